"""Pictures without labels: a folder, files by a pattern, or the frames of a video."""

from __future__ import annotations

import glob
import hashlib
from functools import cached_property
from pathlib import Path

import torch

from polyscene import pictures
from polyscene.data import video
from polyscene.data.base import BadSample, Dataset
from polyscene.data.cache import cache_folder
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.pictures import BadPicture
from polyscene.ranges import Count
from polyscene.types import Camera, Sample

WILD = frozenset("*?[")


class Photographs(Dataset):
    """``path``: a folder, searched through; a pattern (``shots/*/left_*.jpg``, ``**`` for any depth); a picture; or a
    video, whose frames are decoded once into the cache folder. ``every``: only each so-manieth picture or frame.

    Pictures are upright, as cameras mark them, and of any size; the camera is known where a file tells its focal
    length. ``ValueError`` when made if there is no picture, or the video cannot be read.
    """

    name = "photographs"

    def __init__(self, path: str | Path, every: Count = 1) -> None:
        self.path, self.every, self.tasks = Path(path), every, {}
        self.is_video = self.path.is_file() and self.path.suffix.lower() not in pictures.SUFFIXES
        if self.is_video:
            video.opened(self.path)
        elif not self.files:
            suffixes = ", ".join(sorted(pictures.SUFFIXES))
            raise ValueError(f"{self.path}: no picture is found there ({suffixes}); correct the path, or put some in")

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def files(self) -> list[Path]:
        if self.is_video:
            stat = self.path.stat()
            what = f"{self.path.absolute()} {stat.st_mtime_ns} {stat.st_size} {self.every}"
            work = cache_folder() / "videos" / hashlib.sha256(what.encode()).hexdigest()[:16]
            return sorted(video.extract(self.path, work, self.every).iterdir())
        if not self.path.exists() and WILD & set(str(self.path)):
            named = [Path(name) for name in glob.glob(str(self.path), recursive=True)]
            found = sorted(file for file in named if file.suffix.lower() in pictures.SUFFIXES)
        elif self.path.exists():
            found = [file for file, _ in pictures.find([self.path])]
        else:
            raise ValueError(f"{self.path}: no such folder, picture or video; correct the path")
        return found[:: self.every]

    def prepare(self) -> None:
        """Frames of a video are decoded."""
        len(self.files)

    def raw_files(self, index: int) -> dict[str, list[Path]]:
        return {"image": [self.files[index]]}

    def read(self, index: int) -> Sample:
        file = self.files[index]
        try:
            picture = pictures.read(file)
        except BadPicture as error:
            problem, _, remedy = str(error).removeprefix(f"{file}: ").partition("; ")
            raise BadSample(file, problem, remedy or "replace or remove the file") from None
        height, width = picture.pixels.shape[:2]
        focal = {} if picture.focal is None else {"focal": picture.focal / max(height, width)}
        return Sample(
            images=torch.from_numpy(picture.pixels).movedim(-1, 0)[None].contiguous() / 255,
            targets={},
            camera=Camera(
                assumed_intrinsics(height, width, **focal)[None],
                torch.eye(4)[None],
                torch.tensor([picture.focal is not None]),
            ),
            present=torch.ones(1, dtype=torch.bool),
            source=self.name,
            meta=(str(file),),
        )
