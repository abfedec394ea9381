"""What a network on disk is, read from the header of its file: nothing is built and no torch imported."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyscene.document import from_json

RUNS = Path("runs")
STARTER = Path(__file__).parent / "starter"
HUB = "hub:"
LIMIT = 100_000_000  # bytes of header that the format allows
INNER = {"running_mean", "running_var", "num_batches_tracked", "mean", "std"}  # buffers, not parameters


class BadFile(ValueError):
    """Not a whole safetensors file of ours."""


def describe(path: str | Path) -> dict[str, Any]:
    """``{"file", "bytes", "parameters": by part, "model": ..., "facts": ...}`` of a run, a folder of weights or a file.
    Raises ``FileNotFoundError`` and ``BadFile``."""
    file = find(path)
    header = read_header(file)
    card = header.pop("__metadata__", {})
    if "card" not in card:
        raise BadFile(f"{file} was not written by polyscene; `polyscene info` reads runs and weights of its own")
    try:
        about = from_json(card["card"])
        known = {"model": about["model"], "facts": about["facts"]}
    except (KeyError, TypeError, ValueError):
        raise BadFile(f"{file} does not say what network it is; take another copy") from None
    count: dict[str, int] = {}
    for name, tensor in header.items():
        if name.rpartition(".")[2] not in INNER:
            count[part_of(name)] = count.get(part_of(name), 0) + math.prod(tensor["shape"])
    return {"file": str(file), "bytes": file.stat().st_size, "parameters": count, **known}


def part_of(tensor: str) -> str:
    """``heads.depth.weight`` belongs to ``heads.depth``; everything else to its first name."""
    first, *rest = tensor.split(".")
    return f"{first}.{rest[0]}" if first == "heads" and rest else first


def locate(name: str | Path) -> Path:
    """A path, the name of a run in ``runs/``, ``starter``, the network that comes with the package, or one of the
    Hugging Face hub, ``hub:USER/NAME``, which is downloaded."""
    if str(name).startswith(HUB):
        from polyscene import hub

        return hub.fetch(str(name).removeprefix(HUB))
    for place in (places := _places(name)):
        if place.exists():
            return place
    tried = " nor ".join(map(str, dict.fromkeys(places)))
    raise FileNotFoundError(f"no weights at {tried}; `starter` comes with the package, hub:USER/NAME is downloaded")


def there(name: str | Path) -> bool:
    """Whether ``locate`` finds it on this machine."""
    return any(place.exists() for place in _places(name))


def _places(name: str | Path) -> list[Path]:
    return [Path(name), STARTER] if str(name) == "starter" else [Path(name), RUNS / name]


def find(path: str | Path) -> Path:
    """The weights meant by ``path`` (see ``locate``): a run's best, else its last, else those in the folder, or the
    file itself."""
    path = locate(path)
    places = [path] if path.is_file() else [path / inner / "model.safetensors" for inner in ("best", "last", "")]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"no weights at {path}: it is neither a run, a folder with model.safetensors, nor a file")


def read_header(file: Path) -> dict[str, Any]:
    """Tensors by name (``shape``, ``dtype``, ``data_offsets``) and ``__metadata__``; ``BadFile`` if cut short."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = opened.read(length) if 0 < length < min(LIMIT, size) else b""
    try:
        header = from_json(text)
        tensors = [item for key, item in header.items() if key != "__metadata__"]
        end = max((int(item["data_offsets"][1]) for item in tensors), default=0)
        if not all(isinstance(side, int) for item in tensors for side in item["shape"]):
            raise ValueError("shapes are not numbers")
        if not isinstance(header.get("__metadata__", {}), dict):
            raise ValueError("metadata is no mapping")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
        raise BadFile(f"{file} is cut short or no safetensors file; take another copy") from None
    if 8 + length + end != size:
        raise BadFile(f"{file} is cut short: {size} bytes of {8 + length + end}; take another copy")
    return header


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people. ``BadFile`` where it is not what ``describe`` says of a network."""
    try:
        return _lines(found)
    except (TypeError, KeyError, ValueError, AttributeError, IndexError):
        raise BadFile(f"{found['file']} does not say what network it is; take another copy") from None


def _lines(found: Mapping[str, Any]) -> list[str]:
    model, facts, count = found["model"], found["facts"], found["parameters"]
    told = [f"{found['file']}  ({found['bytes'] / 1e6:.1f} MB)", "", "tasks"]
    for task in model["tasks"]:
        classes = task.get("classes") or ()
        told.append(f"  {task['name']:<12}{_called(task)}" + (f", {len(classes)} classes: " if classes else ""))
        told[-1] += ", ".join(classes)
    told += ["", "parts"]
    for kind in ("encoder", "neck", "decoder", "regularizer"):
        if part := model.get(kind):
            options = ", ".join(f"{key}={value}" for key, value in part.items() if key != "name")
            told.append(f"  {kind:<12}{part['name']}" + (f" ({options})" if options else ""))
    if model.get("canonical_focal"):
        told.append(f"  depth as seen by a camera of focal length {model['canonical_focal']:g} image widths")
    told += ["", f"parameters   {sum(count.values()):,}"]
    told += [f"  {part:<20}{number:>12,}" for part, number in count.items()]
    told += ["", f"licence      {facts.get('licence', 'not stated')}"]
    if size := facts.get("size"):
        told.append(f"size         {size[0]}x{size[1]} (height x width) in training")
    if source := facts.get("converted"):
        told.append(f"{'converted':<13}{source['file']} of {source['format']}")
        for reason, number in Counter(source["left out"].values()).items():
            told.append(f"{'':<13}{number} tensors left out: {reason}")
    told += [f"{key:<13}{_told(value)}" for key, value in facts.items() if key not in _APART]
    for source, figures in (facts.get("metrics") or {}).items():
        told += ["", f"judged on {source} (floor)"]
        floors = (facts.get("floors") or {}).get(source, {})
        for task, row in figures.items():
            beside = floors.get(task, {})
            pairs = (f"{figure} {_pair(row[figure], beside.get(figure))}" for figure in list(row)[:6])
            told.append(f"  {task:<10}{', '.join(pairs)}")
    return told


_APART = ("licence", "size", "converted", "metrics", "floors")


def _called(task: Mapping[str, Any]) -> str:
    return task["type"] + (f" ({task['encoding']})" if "encoding" in task else "")


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pair(value: float | None, floor: float | None) -> str:
    return ("–" if value is None else f"{value:.3g}") + ("" if floor is None else f" ({floor:.3g})")
