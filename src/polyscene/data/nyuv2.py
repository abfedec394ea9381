"""NYU Depth v2's 1449 labelled frames, in any of the archives that multi-task papers used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import kinect, labels
from polyscene.data.axes import LIMIT, UNTOLD, Axes
from polyscene.data.base import BadSample
from polyscene.data.derived import Derived
from polyscene.data.nyuv2_archive import ARCHIVES, FOLDERS, SAYS_WHERE, Unpacked
from polyscene.data.original import Original, picture
from polyscene.geometry import boundaries, normals
from polyscene.tasks.sets import NYUV2, NYUV2_13_CLASSES, NYUV2_CLASSES
from polyscene.types import Target

FROM_40 = (  # the place among the 13 of each of the 40 (Couprie et al., ICLR 2013)
    11, 4, 5, 0, 3, 8, 9, 11, 12, 5, 7, 5, 12, 9, 5, 12, 5, 6, 6, 4, 6, 2, 1, 5, 10, 6, 6, 6, 6, 6, 6, 5, 6, 6, 6, 6, 6,
    6, 5, 6,
)  # fmt: skip
CLASSES = {40: (NYUV2_CLASSES, range(40)), 13: (NYUV2_13_CLASSES, FROM_40)}
RADIUS = 9  # pixels: windows of derived normals
GAP = 5  # pixels: strips between labelled regions, up to twice as wide, are closed before their boundaries are taken
UNKNOWN = 128  # in pictures of derived labels


class Nyuv2(Original):
    """Any of ``ARCHIVES``, told apart by what lies in ``root``; another than ``archive`` is refused. Of 40 ``classes``,
    or the 13 these are grouped into. ``tasks``: only these labels.

    Normals are stored in axes of their own, which are found by comparing them with those of the same images' depth. A
    folder of normals or edges that is absent is made up for: normals from depth, edges from instances where there is
    such a folder, else from segmentation.
    """

    name = "nyuv2"
    title = "NYU Depth v2, labelled frames (Silberman et al., ECCV 2012)"
    where = """
    One of these, for research only. Unpack it and give the folder that holds images/:
      NYUDv2.tar.gz (425x560; ATRC, InvPT and all that followed): from the pages of github.com/brdav/atrc,
        github.com/prismformore/Multi-Task-Transformer or github.com/innovator-zero/SAK
      NYUD_MT.tgz (480x640; MTI-Net, the survey): from github.com/SimonVandenhende/Multi-Task-Learning-PyTorch
    It must hold images/, segmentation/, depth/, normals/, edge/ with a file a frame (0001 to 1449), and
    gt_sets/train.txt and val.txt with 795 and 654 of these numbers.

    Or the original: nyu_depth_v2_labeled.mat from cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html, and beside it
    classMapping40.mat and splits.mat from github.com/ankurhanda/nyuv2-meta-data. Then:
      polyscene data prepare nyuv2 --convert FOLDER --out NEW_FOLDER
    """

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        archive: Literal["any", "nyud_mt", "nyudv2", "astmt", "prepared"] = "any",
        classes: Literal[40, 13] = 40,
        tasks: list[str] | None = None,
    ) -> None:
        super().__init__(root, split)
        self._files = Unpacked(self.root)
        self.archive, about = self._files.name, self._files.about
        if archive not in ("any", self.archive):
            wanted = ARCHIVES[archive]
            problem = f"holds {about.file}, wanted is {wanted.file}, whose numbers are {wanted.numbers}"
            raise BadSample(self.root, problem, f"give its folder as `root`, or leave `archive` out; {SAYS_WHERE}")
        self.frames = self._files.frames(split)
        names, ids = CLASSES[classes]
        self._ids = np.array([-1, *ids])
        self.offer((replace(task, classes=names) if task.classes else task for task in NYUV2), tasks)
        self._regions = "instances" if self._files.has("instances") else "segmentation"
        self.derived = frozenset(
            name for name in {"normals", "edges"} & self.tasks.keys() if not self._files.has(FOLDERS[name])
        )
        recipes = {"normals": f"planes fitted to depth, radius {RADIUS}", "edges": f"of {self._regions}, gaps {GAP}"}
        self._made = {name: Derived(self.name, self.root, f"{name} {how}") for name, how in recipes.items()}
        stored = "normals" in self.tasks and "normals" not in self.derived
        self._axes = Axes.find(self._files.frames("train"), self._looked_at) if stored else None
        self.notes = [f"nyuv2: {about.file}, {about.size[0]}x{about.size[1]}: {about.numbers}"]
        self.notes += [f"nyuv2: {self._axes.told()}"] if self._axes else []
        self._origins = {"normals": "depth", "edges": self._regions}
        self.notes += [f"nyuv2: {name} are derived from {self._origins[name]}" for name in sorted(self.derived)]

    def image(self, frame: str) -> Tensor:
        return picture(self.image_file(frame))

    def image_file(self, frame: str) -> Path:
        return self._files.file("images", frame)

    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target | None:
        match name:
            case "semseg":
                return labels.ids(self._files.read("segmentation", frame, size), void=(), table=self._ids)
            case "depth":
                return labels.metres(self._files.read("depth", frame, size))
            case "normals" if name in self.derived:
                return labels.vectors(labels.coded(self._derive(name, frame, lambda: self._fitted(frame, size))))
            case "normals":
                vectors = self._vectors(frame, size)
                if self._axes is None:
                    raise BadSample(self.root / "normals", *UNTOLD)
                return labels.vectors(self._axes.applied(vectors))
            case "edges" if name in self.derived:
                drawn = self._derive(name, frame, lambda: self._bounded(frame, size))
                return labels.binary(drawn == 255, drawn != UNKNOWN)
            case "edges":
                half = 127 if self._files.file("edge", frame).suffix == ".png" else 0.5
                return labels.binary(np.greater(self._files.read("edge", frame, size), half))
        return None

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor | None] | None:
        intrinsics = kinect.intrinsics(size)
        return None if intrinsics is None else (intrinsics, None)

    def problems(self) -> Iterator[BadSample]:
        yield from self._files.problems([FOLDERS[name] for name in self.tasks])
        if self._axes is not None and self._axes.remains > LIMIT:
            yield BadSample(self.root / "normals", self._axes.told(), self._files.again)

    @classmethod
    def convert(cls, source: Path, out: Path) -> None:
        """``nyu_depth_v2_labeled.mat``, or the folder of it, written as a folder like that of NYUDv2.tar.gz."""
        from polyscene.data import nyuv2_mat

        nyuv2_mat.convert(source, out)

    def _vectors(self, frame: str, size: tuple[int, int]) -> NDArray[np.float32]:
        """(h, w, 3) normals in [-1, 1], in the axes they are stored in."""
        stored = self._files.read("normals", frame, (*size, 3))
        return labels.coded(stored) if stored.dtype == np.uint8 else stored.astype(np.float32)

    def _looked_at(self, frame: str) -> tuple[NDArray[np.float32], Target, Tensor]:
        size = self._files.size(frame)
        depth = labels.metres(self._files.read("depth", frame, size))
        return self._vectors(frame, size), depth, self._intrinsics(size)

    def _derive(self, name: str, frame: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return self._made[name].get(frame, [self._files.file(self._origins[name], frame)], make)

    def _intrinsics(self, size: tuple[int, int]) -> Tensor:
        if (found := kinect.intrinsics(size)) is None:
            problem = f"the camera of frames of {size[0]}x{size[1]} is not known"
            raise BadSample(self.root / "images", problem, self._files.again)
        return found

    def _fitted(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        depth = labels.metres(self._files.read("depth", frame, size))
        found, known = normals.from_depth(depth.value[0], depth.valid[0], self._intrinsics(size), RADIUS)
        drawn = torch.where(known, (found + 1) * 127.5, torch.tensor(float(UNKNOWN)))
        return drawn.round().to(torch.uint8).movedim(0, -1).numpy()

    def _bounded(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        closed = _closed(self._files.read(self._regions, frame, size).astype(np.int64))
        known = closed > 0
        marked = boundaries.of_ids(torch.from_numpy(closed), torch.from_numpy(known)).numpy()
        return np.where(known, np.where(marked, 255, 0), UNKNOWN).astype(np.uint8)


def _closed(regions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unlabelled pixels (0) no further than ``GAP`` from a region are taken to be of the nearest."""
    from scipy.ndimage import distance_transform_edt

    distance, nearest = distance_transform_edt(regions == 0, return_indices=True)
    return np.where(distance <= GAP, regions[tuple(nearest)], 0)
