"""NYU Depth v2 as MTAN, LibMTL and the papers on weighing losses read it: arrays of 288x384, 13 classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import files, kinect, labels
from polyscene.data.axes import LIMIT, UNTOLD, Axes
from polyscene.data.base import BadSample
from polyscene.data.files import Raw
from polyscene.data.nyuv2_archive import COUNTS
from polyscene.data.original import Original
from polyscene.tasks.sets import NYUV2_MTAN
from polyscene.types import Target

SIZE = (288, 384)
FOLDERS = {"semseg": "label", "depth": "depth", "normals": "normal"}
_AGAIN = "unpack it again; `polyscene data prepare nyuv2_mtan` says where to get it"


class Nyuv2Mtan(Original):
    """``tasks``: only these labels. Normals are stored in axes of their own, which are found by comparing them with
    those of the depth of training frames."""

    name = "nyuv2_mtan"
    title = "NYU Depth v2 as in MTAN (Liu et al., CVPR 2019)"
    where = """
    The arrays that the pages of github.com/lorenmt/mtan and github.com/median-research-group/LibMTL link to, for
    research only. Give the folder that holds train/ and val/, each with image/, label/, depth/, normal/ and a file a
    frame: 0.npy to 794.npy, and to 653.npy.
    """
    notes: Sequence[str] = (
        "nyuv2_mtan: 288x384, 13 classes: comparable with MTAN, LibMTL and their kind, not with 40-class papers",
    )

    def __init__(self, root: str | Path | None = None, split: str = "train", tasks: list[str] | None = None) -> None:
        super().__init__(root, split)
        self.frames = self._listed(split)
        if not self.frames:
            expected = self.root / split / "image" / "0.npy"
            raise BadSample(expected, "missing, and no other number is there", _AGAIN)
        self.offer(NYUV2_MTAN, tasks)
        self._axes = Axes.find(self._listed("train"), self._looked_at) if "normals" in self.tasks else None
        if self._axes is not None:
            self.notes = (*self.notes, f"nyuv2_mtan: {self._axes.told()}")

    def image(self, frame: str) -> Tensor:
        file = self._file("image", frame)
        stored = files.read_label(file)
        if stored.ndim != 3 or stored.shape[-1] != 3:
            raise BadSample(file, f"an array of {stored.shape}, not of height, width and 3", _AGAIN)
        picture = torch.from_numpy(np.array(stored, np.float32)).movedim(-1, 0).contiguous()
        if not (picture.isfinite().all() and 0 <= picture.min() and picture.max() <= 1):
            raise BadSample(file, f"values from {picture.min():g} to {picture.max():g}, not from 0 to 1", _AGAIN)
        return picture

    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target | None:
        stored = self._stored(name, frame, size)
        match name:
            case "semseg":
                return labels.ids(stored, void=(-1,))
            case "depth":
                return labels.metres(stored)
            case "normals":
                if self._axes is None:
                    raise BadSample(self._file("normal", frame).parent, *UNTOLD)
                return labels.vectors(self._axes.applied(stored.astype(np.float32)))
        return None

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor | None] | None:
        intrinsics = kinect.intrinsics(size)
        return None if intrinsics is None else (intrinsics, None)

    def problems(self) -> Iterator[BadSample]:
        for split, count in COUNTS.items():
            for folder in ("image", *FOLDERS.values()):
                found = len(list((self.root / split / folder).glob("*.npy")))
                if found != count:
                    yield BadSample(self.root / split / folder, f"{found} arrays; there should be {count}", _AGAIN)
        if self._axes is not None and self._axes.remains > LIMIT:
            yield BadSample(self.root / "train" / "normal", self._axes.told(), _AGAIN)
        try:
            size = tuple(self.image(self.frames[0]).shape[-2:])
        except BadSample:  # told of the frame
            return
        if size != SIZE:
            problem = f"frames are {size[0]}x{size[1]}, as published they are 288x384"
            yield BadSample(self.root / self.split / "image", problem, _AGAIN)

    def _file(self, folder: str, frame: str) -> Path:
        split, number = frame.split("/")
        return self.root / split / folder / f"{number}.npy"

    def _stored(self, name: str, frame: str, size: tuple[int, int]) -> Raw:
        file = self._file(FOLDERS[name], frame)
        raw = files.read_label(file)
        raw = raw[..., 0] if raw.ndim == 3 and raw.shape[-1] == 1 else raw
        return files.sized(file, raw, (*size, 3) if name == "normals" else size, _AGAIN)

    def _listed(self, split: str) -> list[str]:
        numbers = [file.stem for file in (self.root / split / "image").glob("*.npy") if file.stem.isdecimal()]
        return [f"{split}/{number}" for number in sorted(numbers, key=int)]

    def _looked_at(self, frame: str) -> tuple[NDArray[np.float32], Target, Tensor] | None:
        image = self.image(frame)
        size = image.shape[-2], image.shape[-1]
        if (intrinsics := kinect.intrinsics(size)) is None:
            return None
        depth = labels.metres(self._stored("depth", frame, size))
        return self._stored("normals", frame, size).astype(np.float32), depth, intrinsics
