"""A first ``polyscene.yaml`` for a folder of data, by looking at it. What was guessed is said in comments."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from polyscene.data import files

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy"}
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
KINDS = {  # in the order they are tried on a folder's name
    "depth": r"depth|dpt",
    "normals": r"normal|nrm",
    "edges": r"edge|bound|contour",
    "saliency": r"salien|sal$",
    "human_parts": r"parts?$",
    "semseg": r"seg|label|mask|annot|class|^gt",
    "images": r"rgb|image|img|colou?r|photo|frames|pictures",
}
LOOKED_AT = 24  # files of a folder, evenly spread
MILLIMETRES = 0.001
BYTE_STEP = 2 / 255


@dataclass
class Found:
    """A folder of one kind: its ``pattern`` with {split} and {id}, its ``files``."""

    pattern: str
    files: list[Path] = field(default_factory=list)

    def some(self) -> list[Path]:
        return self.files[:: max(1, len(self.files) // LOOKED_AT)][:LOOKED_AT]


class NothingFound(ValueError):
    """No folder of pictures was recognised."""


def describe(folder: str | Path) -> str:
    """The text of a description. ``NothingFound`` if no sub-folder holds what looks like images."""
    root = Path(folder)
    kinds, splits = _look(root)
    if "images" not in kinds:
        names = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
        remedy = "call it rgb or images, or write polyscene.yaml"
        raise NothingFound(f"{root}: no sub-folder looks like images (sub-folders: {names}); {remedy}")
    images = kinds.pop("images")
    size = files.read_image(images.files[0]).shape[:2]
    lines = [f"name: {_plain(root.resolve().name)}", f'images: "{images.pattern}"  # {len(images.files)} files']
    if kinds:
        lines.append("tasks:")
        for kind, found in kinds.items():
            lines += [f"  {kind}:", f'    path: "{found.pattern}"  # {len(found.files)} files']
            lines += [f"    {line}" for line in _encoding(kind, found, (size[0], size[1]), root)]
            if len(found.files) < len(images.files):
                lines.append("    optional: true  # fewer files than images")
    if (root / "cameras.json").is_file():
        lines.append("cameras: cameras.json")
    if splits:
        lines.append(f"splits: {{{', '.join(f'{name}: {name}' for name in splits)}}}")
    else:
        lines += ["splits:  # the last frames are held out: random ones would have neighbours in training"]
        lines += ["  train: {first: 0.8}", "  val: {last: 0.2}"]
    return "\n".join(lines) + "\n"


def _look(root: Path) -> tuple[dict[str, Found], list[str]]:
    """Folders by kind, of several the one with most files, and the names of split folders: DIR/rgb, DIR/train/rgb and
    DIR/rgb/train are known."""
    places: dict[tuple[str, str], Found] = {}
    splits: list[str] = []
    for path in sorted(item for item in root.rglob("*") if item.is_dir()):
        inside = path.relative_to(root).parts
        split = next((part for part in inside if part.lower() in SPLITS), None)
        kind = _kind([part for part in inside if part != split])
        pictures = sorted(item for item in path.iterdir() if item.suffix.lower() in PICTURES)
        if kind is None or not pictures:
            continue
        if split is not None and split not in splits:
            splits.append(split)
        place = "/".join("{split}" if part == split else part for part in inside)
        pattern = f"{place}/{_name_pattern(pictures)}"
        known = places.setdefault((kind, place), Found(pattern))
        known.files += pictures
        if known.pattern != pattern:
            known.pattern = f"{place}/{{id}}.*"
    kinds: dict[str, Found] = {}
    for (kind, _), found in places.items():
        if kind not in kinds or len(found.files) > len(kinds[kind].files):
            kinds[kind] = found
    return kinds, splits if any("{split}" in found.pattern for found in kinds.values()) else []


def _kind(parts: list[str]) -> str | None:
    for part in reversed(parts):
        for kind, expression in KINDS.items():
            if re.search(expression, part.lower()):
                return kind
    return None


def _name_pattern(pictures: list[Path]) -> str:
    """``{id}_depth.png`` if all names end alike in letters, else ``{id}.png``."""
    suffixes = {path.suffix for path in pictures}
    suffix = suffixes.pop() if len(suffixes) == 1 else ".*"
    ends = {match[0] if (match := re.search(r"[_-][A-Za-z]+\w*$", path.stem)) else "" for path in pictures}
    return "{id}" + (ends.pop() if len(ends) == 1 else "") + suffix


def _encoding(kind: str, found: Found, image: tuple[int, int], root: Path) -> list[str]:
    arrays = [files.read_label(path) for path in found.some()]
    return [*_size(arrays, image), *_GUESS.get(kind, _binary)(arrays, root)]


def _size(arrays: list[np.ndarray], image: tuple[int, int]) -> list[str]:
    size = arrays[0].shape[:2]
    if size == image:
        return []
    share = size[0] / image[0]
    whole = (round(image[0] * share), round(image[1] * share)) == size
    return [f"size: {share:g}  # of the image's" if whole else f"size: [{size[0]}, {size[1]}]"]


def _depth(arrays: list[np.ndarray], root: Path) -> list[str]:
    values = np.concatenate([array.ravel()[::17] for array in arrays]).astype(np.float64)
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    scale = 1.0 if arrays[0].dtype.kind == "f" else MILLIMETRES
    middle = float(np.median(positive)) * scale if positive.size else 0.0
    lines = [f"scale: {scale:g}  # to metres; a guess that makes the median depth {middle:.2f} m"]
    if finite.size < values.size:
        lines.append("invalid: .nan")
    elif (finite == 0).any():
        lines.append("invalid: 0")
    return lines


def _normals(arrays: list[np.ndarray], root: Path) -> list[str]:
    raw = np.concatenate([array[..., :3].reshape(-1, 3)[::17] for array in arrays]).astype(np.float64)
    whole = 0 if arrays[0].dtype.kind == "f" else np.iinfo(arrays[0].dtype).max
    vectors = raw if not whole else raw * 2 / whole - 1
    unit = np.abs(np.linalg.norm(vectors, axis=1) - 1) < 0.1
    toward = -1 if not unit.any() or vectors[unit, 2].mean() <= 0 else 1
    scale, offset = (2 / whole, -1.0) if whole else (1.0, 0.0)
    if toward < 0:
        lines = [f"scale: {scale:.15g}", f"offset: {offset:g}"]
    else:
        lines = [
            f"scale: [{scale:.15g}, {-scale:.15g}, {-scale:.15g}]  # a guess: z points at the camera, so y points up",
            f"offset: [{offset:g}, {-offset:g}, {-offset:g}]",
        ]
    odd = Counter(map(tuple, raw[~unit].tolist())).most_common(1)
    if odd:
        lines.append(f"invalid: [{', '.join(f'{number:g}' for number in odd[0][0])}]")
    return lines


def _classes(arrays: list[np.ndarray], root: Path) -> list[str]:
    ids = sorted({int(number) for array in arrays for number in np.unique(array)})
    known = [number for number in ids if number < 255]
    count = max(known, default=1) + 1
    names = [f"class_{number}" for number in range(max(2, count))]
    comment = "  # ids found; give them their names, and unlabelled ones to `ignore`"
    for name in ("classes.txt", "labels.txt"):
        if (root / name).is_file():
            listed = [line.strip() for line in (root / name).read_text().splitlines() if line.strip()]
            names, comment = listed, f"  # from {name}"
            known = [number for number in known if number < len(listed)]
    lines = [f"classes: [{', '.join(map(_plain, names))}]{comment}"]
    ignored = [number for number in ids if number >= len(names)]
    return lines + ([f"ignore: [{', '.join(map(str, ignored))}]"] if ignored else [])


def _binary(arrays: list[np.ndarray], root: Path) -> list[str]:
    values = sorted({float(number) for array in arrays for number in np.unique(array)})
    if set(values) <= {0.0, 1.0}:
        return []
    return [f"threshold: {(values[0] + values[-1]) / 2:g}  # a guess: halfway between the least and the greatest value"]


_GUESS = {"depth": _depth, "normals": _normals, "semseg": _classes, "human_parts": _classes}


def _plain(text: str) -> str:
    """``text`` as a YAML scalar that stays a string."""
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) and yaml.safe_load(text) == text else json.dumps(text)
