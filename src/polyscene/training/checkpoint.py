"""Checkpoints: a directory of safetensors and JSON, replaced as a whole. Nothing is pickled or unpickled.

What is sharded over ranks is written by each of them, ``state.safetensors``, ``state.1.safetensors``..., and is read by
any number of them: its parts follow one another by rows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyscene.document import BadText, from_json
from polyscene.training import distributed

FORMAT, TENSORS, TREE = "polyscene training state 1", "state.safetensors", "state.json"


class BadCheckpoint(ValueError):
    """A checkpoint that cannot be used: not ours, cut short, or of another model."""


def replace(target: Path, fill: Callable[[Path], None]) -> None:
    """``fill`` writes a new directory, which then takes the place of ``target``. Killed at any moment, the old or the
    new one is whole; ``recover`` finds it. ``OSError`` where the disk is full: the old one remains. All ranks call
    this at once, and each fills in its own files."""
    fresh, old = _beside(target, "new"), _beside(target, "old")

    def begin() -> None:
        recover(target)
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir(parents=True)

    def settle() -> None:
        for place in (*fresh.iterdir(), fresh):
            sync(place)

    try:
        distributed.of_first(begin)
        distributed.of_each(lambda: fill(fresh))
        distributed.of_first(settle)
    except (OSError, SafetensorError) as error:
        if distributed.first():
            shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, distributed.RankFailed):
            raise
        kept = "what was there before is kept" if target.exists() else "nothing was there before"
        remedy = "make room, or see that it may be written to, and give the same command again"
        raise OSError(f"{target} cannot be written ({_reason(error)}); {kept}; {remedy}") from error

    def take_its_place() -> None:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)

    distributed.of_first(take_its_place)


def sync(place: Path) -> None:
    """A file or a directory, onto the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]


def recover(target: Path) -> None:
    """Puts the old directory back if a kill fell between the two renames of ``replace``."""
    old = _beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f"{target.name}.{suffix}")


def save_state(directory: Path, tree: dict[str, Any]) -> None:
    """Nested dictionaries and lists of tensors, numbers, strings and None. The first rank writes all but other ranks'
    parts of what is sharded."""
    tensors: dict[str, Tensor] = {}
    skeleton = _split(tree, "", tensors)
    writes_all = distributed.first()
    mine = {path: tensor for path, tensor in tensors.items() if writes_all or distributed.is_shard(tensor)}
    if mine or writes_all:
        file = directory / _part(distributed.rank())
        save_file(_storable(mine), file)
        file.chmod(directory.stat().st_mode & 0o666)  # safetensors keeps it to its owner
        sync(file)
    if writes_all:
        (directory / TREE).write_text(json.dumps({"format": FORMAT, "tree": skeleton}))


def load_state(directory: Path, sharded: bool = False) -> dict[str, Any]:
    """The inverse of ``save_state``, on the CPU: whole, or if ``sharded`` of what is in parts what this rank is to own.
    ``BadCheckpoint`` says which file is missing, damaged or not ours."""

    @cache
    def file(place: int) -> Any:
        path = directory / _part(place)
        if not path.exists():
            raise BadCheckpoint(f"{path} is missing; {_remedy(directory)}")
        return safe_open(path, "pt").__enter__()  # nothing is read until it is asked for

    @cache
    def read(path: str, parts: int) -> Tensor:
        if parts == 1:
            return cast(Tensor, file(0).get_tensor(path))
        pieces = [file(place).get_slice(path) for place in range(parts)]
        if len({piece.get_dtype() for piece in pieces}) != 1:
            raise ValueError(f"{path} is in {parts} parts, of more types than one")
        rows = [piece.get_shape()[0] for piece in pieces]
        begin, end = distributed.rows(sum(rows)) if sharded else (0, sum(rows))
        before = [sum(rows[:place]) for place in range(parts)]
        return torch.cat(
            [
                piece[max(begin - first, 0) : max(min(end - first, count), 0)]
                for piece, first, count in zip(pieces, before, rows, strict=True)
            ]
        )

    try:
        document = from_json((directory / TREE).read_bytes())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BadCheckpoint(f"{directory / TREE} is not a training state of this version")
        file(0)
        tree = _join(document["tree"], read)
        if not isinstance(tree, dict):
            raise BadCheckpoint(f"{directory / TREE} holds no state; {_remedy(directory)}")
        return tree
    except BadCheckpoint:
        raise
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{error.filename or directory} is missing; {_remedy(directory)}") from None
    except (SafetensorError, BadText, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"{directory} is damaged or not ours ({error}); {_remedy(directory)}") from None


def _part(rank: int) -> str:
    return TENSORS if rank == 0 else TENSORS.replace(".", f".{rank}.")


def _remedy(directory: Path) -> str:
    return f"remove {directory} to start over, or restore it from a copy"


def _split(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            tensors[path] = node
            parts = node.device_mesh.size() if distributed.is_shard(node) else 1
            return {"$tensor": path} | ({"parts": parts} if parts > 1 else {})
        case dict():
            if all(isinstance(key, str) and not key.startswith("$") for key in node):
                return {key: _split(item, f"{path}/{key}", tensors) for key, item in node.items()}
            return {"$items": [[key, _split(item, f"{path}/{key}", tensors)] for key, item in node.items()]}
        case list() | tuple():
            return [_split(item, f"{path}/{index}", tensors) for index, item in enumerate(node)]
        case None | bool() | int() | float() | str():
            return node
    raise TypeError(f"state {path!r} is a {type(node).__name__}; only tensors, numbers, strings and None are saved")


def _join(node: Any, read: Callable[[str, int], Tensor]) -> Any:
    match node:
        case {"$tensor": path}:
            return read(path, node.get("parts", 1))
        case {"$items": items}:
            return {key: _join(item, read) for key, item in items}
        case dict():
            return {key: _join(item, read) for key, item in node.items()}
        case list():
            return [_join(item, read) for item in node]
    return node


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous, on the CPU, none sharing memory: what safetensors asks for."""
    seen: set[int] = set()
    stored = {}
    for name, tensor in tensors.items():
        tensor = distributed.owned(tensor).detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    return stored
