"""Data sets of the field, read from the very files their authors publish, where the user unpacked them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from polyscene import parts
from polyscene.data import files
from polyscene.data.base import BadSample, Dataset
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.tasks import Task
from polyscene.types import Camera, Sample, Target


class Original(Dataset):
    """``root`` is where the files lie: given, or in the environment variable ``POLYSCENE_NAME``. Nothing is written
    there; what is derived from them is kept in the cache folder (see ``Derived``).

    A reader lists its ``frames`` of a ``split`` and gives the ``image``, a ``label`` and the ``camera`` of one. A label
    is a value with its validity and no sentinel; labels in ``derived`` are none of the authors', but were computed from
    others. ``ValueError`` when made if there is no such folder, ``BadSample`` from reading.
    """

    title: ClassVar[str]
    where: ClassVar[str]  # what to get, from whom, under which licence, and how it must lie
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    derived: frozenset[str] = frozenset()
    frames: Sequence[str]
    root: Path
    split: str

    def __init__(self, root: str | Path | None, split: str) -> None:
        if split not in self.splits:
            raise ValueError(f"{self.name}: split {split!r} is none of {', '.join(self.splits)}")
        self.root, self.split = find_root(self.name, root), split

    def offer(self, known: Iterable[Task], wanted: Collection[str] | None) -> None:
        """Settles ``tasks``: of those ``known`` the ``wanted``, or all. ``ValueError`` names what is unknown."""
        tasks = {task.name: task for task in known}
        if unknown := set(wanted or ()) - tasks.keys():
            raise ValueError(f"{self.name}: {parts.unknown(min(unknown), tasks, 'label')}")
        self.tasks = {name: task for name, task in tasks.items() if wanted is None or name in wanted}
        self.derived = self.derived & self.tasks.keys()

    @abstractmethod
    def image(self, frame: str) -> Tensor:
        """(3, h, w) in [0, 1]."""

    def image_file(self, frame: str) -> Path | None:
        """Where the picture lies, if in a file of its own."""
        return None

    @abstractmethod
    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target | None:
        """(1, c, h, w) for an image of ``size`` (h, w); None where this frame has no such label."""

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor | None] | None:
        """Intrinsics (3, 3) in pixels and the pose (4, 4), camera to world in metres, if that is known."""
        return None

    def views(self, index: int) -> Sequence[str]:
        """The frames of a sample, the first of which is its own."""
        return [self.frames[index]]

    def problems(self) -> Iterator[BadSample]:
        """What is wrong with the set as a whole: folders missing, counts that are off, the wrong archive."""
        return iter(())

    @classmethod
    def convert(cls, source: Path, out: Path) -> None:
        """Files of another form, ``source``, written into ``out`` in the form that is read here. Resumable."""
        raise ValueError(f"{cls.name} is read as published; there is nothing to convert")

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Sample:
        frames = self.views(index)
        images = [self.image(frame) for frame in frames]
        sizes = {(image.shape[-2], image.shape[-1]) for image in images}
        if len(sizes) > 1:
            raise BadSample(" ".join(frames), f"views differ in size: {sizes}", "verify the files of this sequence")
        size = sizes.pop()
        labels = {name: [self.labelled(name, frame, size) for frame in frames] for name in self.tasks}
        return Sample(
            images=torch.stack(images),
            targets={name: _stacked(each) for name, each in labels.items()},
            camera=self._cameras(frames, size),
            present=torch.ones(len(frames), dtype=torch.bool),
            source=self.name,
            meta=(" ".join(f"{self.name}/{frame}" for frame in frames),),
        )

    def raw_files(self, index: int) -> dict[str, list[Path]]:
        pictures = [file for frame in self.views(index) if (file := self.image_file(frame)) is not None]
        return {"image": pictures} if pictures else {}

    def labelled(self, name: str, frame: str, size: tuple[int, int]) -> Target:
        """The label as its task accepts it, all invalid where there is none."""
        task = self.tasks[name]
        target = self.label(name, frame, size)
        if target is None:
            blank = torch.zeros(1, task.value_channels, *size)
            target = Target(blank, torch.zeros(1, 1, *size, dtype=torch.bool))
        try:
            return task.accept(target)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            raise BadSample(f"{self.name}/{frame}", f"{name}: {problem}", remedy or "restore the file") from None

    def _cameras(self, frames: Sequence[str], size: tuple[int, int]) -> Camera:
        intrinsics, poses, known = [], [], []
        for frame in frames:
            matrix, pose = self.camera(frame, size) or (None, None)
            intrinsics.append(assumed_intrinsics(*size) if matrix is None else matrix)
            poses.append(torch.eye(4) if pose is None else pose)
            known.append(matrix is not None and (pose is not None or len(frames) == 1))
        return Camera(torch.stack(intrinsics), torch.stack(poses), torch.tensor(known))


def find_root(name: str, root: str | Path | None) -> Path:
    """The folder of a set's files. ``ValueError`` says how to name it and how to learn where to get them."""
    variable = f"POLYSCENE_{name.upper()}"
    how = f"give `root`, or set {variable}; `polyscene data prepare {name}` says where to get the files"
    chosen = root if root is not None else os.environ.get(variable)
    if not chosen:
        raise ValueError(f"{name}: no folder is given; {how}")
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{name}: {folder} is no folder; {how}")
    return folder


def elsewhere(root: Path, folder: str) -> Path | None:
    """The root that was meant where ``folder`` is not in ``root``: one below or above that has it."""
    below = (found.parents[len(Path(folder).parts) - 1] for found in sorted(root.glob(f"*/{folder}")))
    return next((each for each in (*below, root.absolute().parent) if (each / folder).is_dir()), None)


def listed(file: Path, name: str) -> list[str]:
    """The words of a list of frames. ``BadSample`` if it is not there."""
    try:
        return file.read_text().split()
    except OSError as error:
        remedy = f"`polyscene data prepare {name}` says which archive holds it"
        raise BadSample(file, str(error.strerror).lower(), remedy) from None


def picture(file: Path) -> Tensor:
    """(3, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(files.read_image(file))).movedim(-1, 0).contiguous() / 255


def _stacked(each: Sequence[Target]) -> Target:
    return Target(torch.cat([one.value for one in each]), torch.cat([one.valid for one in each]))
