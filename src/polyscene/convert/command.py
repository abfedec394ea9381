"""``polyscene convert``: a checkpoint file of public code, as a folder of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file
from torch import Tensor

import polyscene
from polyscene import parts, weights
from polyscene.convert import CONVERTERS
from polyscene.convert.base import Converted, Converter, convert, load

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")  # what training code calls the weights
PREFIXES = ("module.", "model.", "network.")  # of wrappers around the network


KINDS: dict[str, type] = {  # of META.json's entries
    "tasks": list,
    "channels": dict,
    "config": dict,
    "backbone": str,
    "input": dict,
    "source_order_used_in_post_concat": dict,
}
SCALAR: Any = numpy.float64().__reduce__()[0]
NUMBERS: list[Any] = [  # what training code keeps beside the weights, under the names of numpy 1 and 2
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    numpy.dtype,
    *(type(numpy.dtype(kind)) for kind in ("float64", "float32", "int64")),
]


class Facts(dict[str, Any]):
    """META.json, at every depth. What a converter wants and does not find is a ``ValueError``."""

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"META.json lacks {key!r}; it has {', '.join(self) or 'nothing'}")


def run(format: str, file: Path, meta: Path | None, out: Path) -> Converted:
    """Reads ``file``, converts it strictly and writes the network to ``out``. ``ValueError`` names a tensor that has no
    place in ours, one that is missing, or what ``meta`` lacks; nothing is written then."""
    kind: type[Converter] = parts.load(CONVERTERS, format, "format")
    state = read(file)
    _belongs(file, state, format)
    facts = described(meta) if meta else kind.guess(state)
    names = (key.removeprefix(kind.branch).partition(".")[0] for key in state if key.startswith(kind.branch))
    held = list(dict.fromkeys(names))
    if set(held) != set(facts["tasks"]):
        raise ValueError(f"{file} is of the tasks {', '.join(held)}; META.json has {', '.join(facts['tasks'])}")
    converter = kind(facts)
    converted = convert(converter, state)
    model = load(converter, converted)
    model.reference = {"format": format, "meta": facts}
    origin = {"format": format, "file": file.name, "left out": converted.leftovers}
    weights.save(model, out, converted=origin, version=polyscene.__version__)
    return converted


def _belongs(file: Path, state: Mapping[str, Tensor], format: str) -> None:
    """``ValueError`` that names the formats that fit, where ``format`` does not."""
    marks = {name: parts.load(CONVERTERS, name, "format").mark for name in CONVERTERS}
    fits = [name for name, mark in marks.items() if any(key.startswith(mark) for key in state)]
    if format not in fits:
        hint = f"it looks like {' or '.join(fits)}" if fits else f"nor is it of any other of {', '.join(CONVERTERS)}"
        raise ValueError(f"{file} is no checkpoint of {format}, which has tensors under {marks[format]!r}; {hint}")


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a checkpoint that torch wrote, which is not unpickled beyond tensors and
    plain containers. ``ValueError`` if there are none."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            found = load_file(file)
        else:
            with torch.serialization.safe_globals(NUMBERS):
                found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle leads to
        first = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{file} is no checkpoint of tensors alone ({first}); load it where you trust it and save its state dict"
        ) from None
    state = _unwrapped(found)
    if not state:
        raise ValueError(f"{file} holds no state dict; save `model.state_dict()`")
    return state


def _unwrapped(found: Any) -> dict[str, Tensor]:
    if not isinstance(found, Mapping):
        return {}
    state = {str(key): item for key, item in found.items() if isinstance(item, Tensor)}
    if len(state) < len(found):
        inner = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), None)
        state = _unwrapped(inner) if inner is not None else state
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def described(file: Path) -> dict[str, Any]:
    """META.json: what the tensors cannot say."""
    try:
        facts = json.loads(file.read_text(), object_hook=Facts)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    missing = [key for key in ("tasks", "channels") if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise ValueError(
            f"{file}: lacks {' and '.join(missing)}: the tasks in the reference's order, and their channels"
        )
    for key, kind in KINDS.items():
        if not isinstance(facts.get(key, kind()), kind):
            raise ValueError(f"{file}: {key} is a {kind.__name__}, got {facts[key]!r}")
    if strange := [task for task in facts["tasks"] if not isinstance(task, str)]:
        raise ValueError(f"{file}: tasks: {strange[0]!r} is no name")
    if twice := [task for task in facts["tasks"] if facts["tasks"].count(task) > 1]:
        raise ValueError(f"{file}: tasks: {twice[0]} is given twice")
    if lost := [task for task in facts["tasks"] if task not in facts["channels"]]:
        raise ValueError(f"{file}: channels: {', '.join(lost)} missing")
    return Facts({key: facts[key] for key in KINDS if key in facts})
