"""What sets of streets have in common: class lists by name, neighbours in a sequence, normals and edges derived."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import files, labels
from polyscene.data.base import BadSample
from polyscene.data.derived import Derived
from polyscene.data.files import Raw
from polyscene.data.original import Original, elsewhere, picture
from polyscene.geometry import boundaries, normals
from polyscene.tasks import Task
from polyscene.tasks.sets import SYNTHIA_CLASSES
from polyscene.types import Target

CLASSES_13 = tuple(name for name in SYNTHIA_CLASSES if name not in ("wall", "fence", "pole"))
GROUPS_8 = {
    "road": ("road",),
    "building": ("building",),
    "pole": ("pole",),
    "traffic light": ("traffic light",),
    "traffic sign": ("traffic sign",),
    "vegetation": ("vegetation",),
    "sky": ("sky",),
    "vehicle": ("car", "bus"),
}
GROUPS_7 = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation",),
    "sky": ("sky",),
    "human": ("person",),
    "vehicle": ("car", "bicycle"),
}
Groups = Mapping[str, Collection[str]]


def alone(names: Iterable[str]) -> Groups:
    """Each class a group of its own."""
    return {name: (name,) for name in names}


def chosen(groups: Mapping[int, Groups], classes: int, name: str) -> Groups:
    """Those for so many ``classes``."""
    if classes not in groups:
        raise ValueError(f"{name}: classes must be one of {', '.join(map(str, groups))}, got {classes}")
    return groups[classes]


def nearest_first(count: int, stride: int) -> Iterator[int]:
    """Where neighbours are looked for: the next one, the one before, the second next..."""
    for step in range(1, count + 1):
        yield from (step * stride, -step * stride)


class Streets(Original):
    """Segmentation and depth are the authors'; normals are fitted to the depth (every ``coarse``-th pixel, windows of
    2 ``radius`` + 1 of these) and kept in the cache folder; edges are where the class changes, whatever ``groups`` of
    classes are told apart, and unknown where there is no class."""

    named: ClassVar[Sequence[str]]  # the classes of ``ids``
    coarse: ClassVar[int] = 1
    radius: ClassVar[int] = 3
    derived = frozenset({"normals", "edges"})

    def __init__(
        self, root: str | Path | None, split: str, known: Sequence[Task], wanted: Collection[str] | None, groups: Groups
    ) -> None:
        super().__init__(root, split)
        self.offer((replace(task, classes=tuple(groups)) if task.classes else task for task in known), wanted)
        place = {member: number for number, members in enumerate(groups.values()) for member in members}
        self._group = torch.tensor([place.get(name, -1) for name in self.named])
        self._normals = Derived(self.name, self.root, f"normals {self.coarse} {self.radius}")
        self._makers = {"semseg": self.classes, "depth": self.depth, "normals": self.normals, "edges": self.edges}

    def settle(self, frames: Sequence[str], missing: Path, published: int) -> None:
        """Takes the frames that were found, of so many ``published``. ``BadSample`` says what is wrong if none were."""
        self.frames, self.published = frames, published
        if not frames:
            worst, *others = [*self.problems()] or [BadSample(missing, "no image is there", self.remedy)]
            raise BadSample(worst.file, worst.problem, worst.remedy, others)
        if len(frames) != published:
            self.notes = [f"{self.name} {self.split}: {len(frames)} images; published are {published}"]

    @property
    def remedy(self) -> str:
        return f"`polyscene data prepare {self.name}` says which archive holds it"

    # -- labels --------------------------------------------------------------------------------------------------------
    @abstractmethod
    def ids(self, frame: str, size: tuple[int, int]) -> Target | None:
        """(1, 1, h, w) places in ``named``."""

    @abstractmethod
    def depth(self, frame: str, size: tuple[int, int]) -> Target | None:
        """(1, 1, h, w) metres."""

    @abstractmethod
    def measurements(self, frame: str) -> Sequence[Path]:
        """The files that depth and camera are read from."""

    def measured(self, frame: str) -> bool:
        """Whether the frame has depth."""
        return True

    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target | None:
        return self._makers[name](frame, size)

    def classes(self, frame: str, size: tuple[int, int]) -> Target | None:
        found = self.ids(frame, size)
        if found is None:
            return None
        value = self._group[found.value]
        return Target(value.clamp_min(0), found.valid & (value >= 0))

    def edges(self, frame: str, size: tuple[int, int]) -> Target | None:
        found = self.ids(frame, size)
        if found is None:
            return None
        return Target(boundaries.of_ids(found.value, found.valid).float(), found.valid)

    def normals(self, frame: str, size: tuple[int, int]) -> Target | None:
        if not self.measured(frame):
            return None
        stored = self._normals.get(frame, self.measurements(frame), partial(self._fitted, frame, size))
        thin = labels.vectors(labels.coded(stored))
        return Target(self._full(thin.value, size), self._full(thin.valid, size))

    def _full(self, thin: Tensor, size: tuple[int, int]) -> Tensor:
        rows = thin.repeat_interleave(self.coarse, -2)[..., : size[0], :]
        return rows.repeat_interleave(self.coarse, -1)[..., : size[1]]

    def _fitted(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        target, camera = self.depth(frame, size), self.camera(frame, size)
        assert target is not None and camera is not None, frame
        thin = (0, slice(None), slice(None, None, self.coarse), slice(None, None, self.coarse))
        intrinsics = torch.diag(torch.tensor([1 / self.coarse, 1 / self.coarse, 1.0])) @ camera[0]
        value, known = normals.from_depth(target.value[thin], target.valid[thin], intrinsics, self.radius)
        value = torch.where(known, value, 0.0)
        return ((value + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()

    # -- files ---------------------------------------------------------------------------------------------------------
    def picture(self, path: Path) -> Tensor:
        """(3, h, w) in [0, 1]."""
        return picture(self.found(path))

    def stored(self, path: Path, size: tuple[int, int], dtype: Any, what: str) -> Raw:
        """A label as stored, of the image's ``size``; ``BadSample`` says ``what`` it should be where it is not."""
        raw = files.read_label(self.found(path))
        if raw.dtype != dtype:
            kind = "x".join(map(str, raw.shape[2:])) or "1"
            problem = f"{raw.dtype} of {kind} channels, expected is {what}"
            raise BadSample(path, problem, f"it is of another archive; {self.remedy}")
        return self.sized(path, raw, size)

    def sized(self, path: Path, raw: Raw, size: tuple[int, int]) -> Raw:
        if raw.shape[:2] != size:
            problem = f"{raw.shape[1]}x{raw.shape[0]}, its image is {size[1]}x{size[0]}"
            raise BadSample(path, problem, f"take image and label of one archive; {self.remedy}")
        return raw

    def found(self, path: Path) -> Path:
        if not path.exists():
            raise BadSample(path, "missing", self.remedy)
        return path

    def lacking(self, archives: Mapping[str, str]) -> Iterator[BadSample]:
        """The folders that are not there, by the archive that holds each; and where else they seem to lie."""
        for folder, archive in archives.items():
            if not (self.root / folder).is_dir():
                near = elsewhere(self.root, folder)
                problem = f"missing, though there is {near / folder}" if near else f"missing ({archive})"
                remedy = f"move it there, or give {near} as root" if near else f"unpack {archive}; {self.remedy}"
                yield BadSample(self.root / folder, problem, remedy)

    def miscounted(self, where: Path) -> Iterator[BadSample]:
        """Says so if the number of images is not the published one."""
        if len(self.frames) != self.published:
            problem = f"{len(self.frames)} images of {self.split}, published are {self.published}"
            yield BadSample(where, problem, f"unpack the archive again; {self.remedy}")
