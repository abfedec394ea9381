"""A network on disk: ``model.safetensors``, whose header also says what network it is and what is known of it, and
``model.json``, the same for people to read. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save as to_bytes
from torch import Tensor

from polyscene import atomic
from polyscene.bounded import Bounded
from polyscene.document import from_json
from polyscene.info import find as find
from polyscene.model import MultiTaskModel, from_description

FORMAT = "polyscene-1"
SPARE = 50_000_000  # numbers that a network may build besides those in its file


class BadWeights(ValueError):
    """The file is not ours, is cut short, or does not fit the network it describes."""


def save(
    model: MultiTaskModel, directory: Path | str, tensors: Mapping[str, Tensor] | None = None, **facts: Any
) -> Path:
    """Writes both files; ``facts`` (metrics, data, licence, version, step...) must be JSON. ``tensors`` take the place
    of the model's own state. Killed at any moment, the files of before remain whole."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    card = {"model": model.describe(), "facts": facts}
    state = model.state_dict() if tensors is None else tensors
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    path = directory / "model.safetensors"
    replace(path, to_bytes(stored, {"format": FORMAT, "card": json.dumps(card)}))
    replace(directory / "model.json", json.dumps(card, indent=2).encode())
    return path


def load(path: Path | str) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The network, on the CPU and in inference mode, and its facts. ``path``: a run's folder (its best, else its last
    weights), a folder of weights, or the file. Raises ``BadWeights`` or ``FileNotFoundError``."""
    file = find(path)
    card = read_card(file)
    try:
        with Bounded(SPARE + 2 * file.stat().st_size):
            model = from_description(card["model"])
    except Exception as error:  # whatever a description that was tampered with leads to
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadWeights(f"{file} describes a network that cannot be built: {told}") from error
    try:
        with safetensors.safe_open(file, "pt") as tensors:
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}
    except (safetensors.SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise BadWeights(f"{file} is damaged ({error}); take another copy") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadWeights(f"{file} does not fit the network it describes: {error}") from error
    return model.eval(), card["facts"]


def read_card(path: Path | str) -> dict[str, Any]:
    """``{"model": describe(), "facts": ...}`` without building anything."""
    file = find(path)
    try:
        with safetensors.safe_open(file, "pt") as tensors:
            header = tensors.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise BadWeights(f"{file} is cut short or no safetensors file ({error}); take another copy") from error
    if header.get("format") != FORMAT:
        raise BadWeights(f"{file} was not written by polyscene (format {header.get('format')!r}, not {FORMAT!r})")
    try:
        card = from_json(header["card"])
        if not isinstance(card["model"], dict) or not isinstance(card["facts"], dict):
            raise ValueError("model and facts are no mappings")
        return {"model": card["model"], "facts": card["facts"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"{file} does not say what network it is: {error}") from error


def replace(path: Path, content: bytes) -> None:
    """Writes beside ``path``, then takes its place in one step. ``OSError`` where the disk is full: what was there
    remains."""
    try:
        with atomic.whole(path, sync=True) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what was there before is kept", str(path)) from error
