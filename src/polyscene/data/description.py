"""What a ``polyscene.yaml`` says about a folder of data: where each task's labels lie and how they are encoded.

Patterns are paths below ``root`` in which ``{id}`` stands for a frame's name, ``{split}`` for the folder of its split
and ``*`` for anything (``rgb/{id}.*``). Importing this file imports no torch.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from polyscene import document

Number = float | tuple[float, ...]
FILE = "polyscene.yaml"


class BadDescription(ValueError):
    """A description that cannot be used: names the file, the key, what is wrong and the remedy."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Strict):
    """One task's labels: value = raw · ``scale`` + ``offset``, channel by channel where these are lists.

    Pixels whose raw value is ``invalid`` (one number, or one a channel; ``.nan`` too) or among the class ids
    ``ignore`` carry no label. ``threshold`` makes value 1 where raw exceeds it, else 0. ``size`` is the share of the
    image's size at which the label is stored, or its (h, w). ``optional``: a frame may lack the file. ``type`` names
    the task's class where the name does not, ``options`` its further keywords.
    """

    path: str
    type: str | None = None
    classes: tuple[str, ...] = ()
    scale: Number = 1.0
    offset: Number = 0.0
    invalid: Number | None = None
    ignore: tuple[int, ...] = ()
    threshold: float | None = None
    size: Annotated[float, Field(gt=0, lt=100)] | tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = 1.0
    optional: bool = False
    options: dict[str, Any] = {}

    def stored_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """(h, w) that a label of an ``image`` of this size must have."""
        if isinstance(self.size, tuple):
            return self.size
        return round(image[0] * self.size), round(image[1] * self.size)


class Split(Strict):
    """Which frames: those of ``folder``, those listed in ``file`` (one id a line), and of these, in their order, the
    ``first`` or the ``last`` share. A bare string means a folder."""

    folder: str | None = None
    file: str | None = None
    first: Annotated[float, Field(gt=0, le=1)] | None = None
    last: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one_share(self) -> Split:
        if self.first is not None and self.last is not None:
            raise ValueError("give `first` or `last`, not both")
        return self

    def of(self, count: int) -> slice:
        """The part of ``count`` ordered frames; ``first: 0.8`` and ``last: 0.2`` complement each other."""
        if self.last is not None:
            return slice(count - round(count * self.last), count)
        if self.first is not None:
            return slice(0, count - round(count * (1 - self.first)))
        return slice(0, count)


def _split(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


class Limits(Strict):
    """Which frames may be seen together with a frame: ``baseline`` metres apart, turned by ``rotation`` degrees at
    most, sharing ``overlap`` of the picture at least, and ``within`` so many frames before or after it (any, if None).

    The overlap is estimated at the depths that the labels have, or, where depth is not labelled, at the ``ranges``.
    """

    baseline: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (0.03, 0.4)
    rotation: Annotated[float, Field(gt=0, le=180)] = 30.0
    overlap: Annotated[float, Field(ge=0, le=1)] = 0.5
    within: Annotated[int, Field(gt=0)] | None = 30
    ranges: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 2.0, 4.0)

    @model_validator(mode="after")
    def _possible(self) -> Limits:
        if self.baseline[0] >= self.baseline[1]:
            raise ValueError(f"baseline: the least, {self.baseline[0]:g} m, must be below the most")
        if not self.ranges:
            raise ValueError("ranges: give one depth in metres or more")
        return self

    def __str__(self) -> str:
        low, high = self.baseline
        within = "" if self.within is None else f", within {self.within} frames"
        return f"{low:g}-{high:g} m apart, turned by <= {self.rotation:g}°, overlap >= {self.overlap:.0%}{within}"


class Description(Strict):
    """``cameras`` is a JSON file with image_size, intrinsics and frames (id, T_world_cam: 4x4 camera to world, metres,
    OpenCV axes); ``neighbours`` says which frames make samples of several views. ``root`` is relative to the
    description's own folder; ``${NAME:-default}`` reads the environment."""

    name: str
    root: str = "."
    images: str
    tasks: dict[str, Label] = {}
    cameras: str | None = None
    neighbours: Limits = Limits()
    splits: dict[str, Annotated[Split, BeforeValidator(_split)]] = {}
    source: str | None = None
    licence: str | None = None

    @model_validator(mode="after")
    def _patterns(self) -> Description:
        patterns = {"images": self.images} | {f"tasks.{name}.path": label.path for name, label in self.tasks.items()}
        for where, pattern in patterns.items():
            if "{id}" not in pattern:
                raise ValueError(f"{where}: the pattern {pattern!r} lacks {{id}}, the frame's name")
        named = [(f"splits.{name}", part) for name, split in self.splits.items() for part in (split.folder, split.file)]
        for where, inside in [*patterns.items(), *named, ("cameras", self.cameras), ("root", self.root)]:
            if inside is None:
                continue
            parts = Path(inside).parts
            if where != "root" and (inside.startswith(("/", "~")) or ".." in parts):
                raise ValueError(f"{where}: {inside!r} leads out of the data set's folder; name that folder in `root`")
            if "\0" in inside or any(len(part.encode()) > 255 for part in parts):
                raise ValueError(f"{where}: {inside[:80]!r} can be no file's name")
            if any("**" in part and part != "**" for part in parts):
                raise ValueError(f"{where}: in {inside!r}, ** must stand alone between slashes")
        return self


def locate(path: str | Path) -> Path:
    """The description file meant by ``path``: itself, or the ``polyscene.yaml`` in it."""
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / FILE
        if not file.is_file():
            raise BadDescription(f"{file}: missing; `polyscene data describe {file.parent}` writes a first one")
    if not file.is_file():
        raise BadDescription(f"{file}: no such folder or description; correct the path")
    return file


def load(path: str | Path) -> tuple[Description, Path]:
    """The description and the root folder it speaks of. ``BadDescription`` lists everything wrong with it."""
    file = locate(path)
    try:
        content = document.from_yaml(file.read_text()) or {}
    except (UnicodeDecodeError, document.BadText) as error:
        raise BadDescription(f"{file}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise BadDescription(f"{file}: holds no keys; `polyscene data describe` writes a first one")
    try:
        description = Description.model_validate(content)
    except ValidationError as error:
        from polyscene.config import words  # a configuration names descriptions, so it imports this file

        lines = [f"  {problem}" for problem in words.of(error, content, model=Description)]
        raise BadDescription("\n".join([f"{file}: this description cannot be used:", *lines])) from None
    root = _expanded(description.root, file.parent).resolve()
    if not root.is_dir():
        raise BadDescription(f"{file}: its root {root} is no folder; correct `root` or the environment variable in it")
    return description, root


def _expanded(text: str, folder: Path) -> Path:
    """Environment variables stand for paths relative to the working directory, all else is relative to ``folder``."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name in os.environ:
            return str(Path(os.environ[name]).expanduser().absolute())
        if default is None:
            raise BadDescription(f"root: the environment variable {name} is not set")
        return default

    return folder / Path(re.sub(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}", value, text)).expanduser()


def find(root: Path, pattern: str, split: str | None) -> dict[str, Path]:
    """Files below ``root`` that match, by frame id, in natural order (frame 2 before frame 10)."""
    if split is not None:
        pattern = pattern.replace("{split}", split)
    pieces = [re.escape(piece).replace(r"\*", "[^/]*") for piece in pattern.split("{id}")]
    expression = re.compile(pieces[0] + "(?P<id>[^/]+)" + "(?P=id)".join(pieces[1:]))
    found: dict[str, Path] = {}
    for path in sorted(root.glob(pattern.replace("{id}", "*"))):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match and path.is_file():
            found.setdefault(match["id"], path)
    return {key: found[key] for key in sorted(found, key=_natural)}


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", text)]
