"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9400 views of a rendered city."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from polyscene.data import labels
from polyscene.data.base import BadSample
from polyscene.data.driving import CLASSES_13, GROUPS_7, Streets, alone, chosen
from polyscene.geometry.camera import resize_intrinsics
from polyscene.tasks.sets import SYNTHIA, SYNTHIA_CLASSES
from polyscene.types import Target

LABELS = (
    "void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "person",
    "bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain", "rider", "truck", "bus", "train",
    "wall", "lane marking",
)  # fmt: skip
"""What the numbers in the red channel of ``GT/LABELS`` mean."""
TABLE = np.array([SYNTHIA_CLASSES.index(name) if name in SYNTHIA_CLASSES else -1 for name in LABELS])
GROUPS = {16: alone(SYNTHIA_CLASSES), 13: alone(CLASSES_13), 7: GROUPS_7}
HELD_OUT = 7520  # the first image of validation
PUBLISHED = {"train": HELD_OUT, "val": 9400 - HELD_OUT}
FAR = 655.345  # metres: 65535 centimetres means as far or farther
SIZE = (760, 1280)
INTRINSICS = torch.tensor([[532.740352, 0.0, 640.0], [0.0, 532.740352, 380.0], [0.0, 0.0, 1.0]])  # at that size


class Synthia(Streets):
    """``classes``: 16 shared with Cityscapes, the 13 of these that are not thin, or 7 groups. ``tasks``: only these
    labels. Views are single, and their poses unknown.

    The set has no split of its own: images 0 to 7519 are for training, 7520 to 9399 for validation. The lists that
    DenseMTL drew share four fifths of its validation images with training, so figures on those are not to be compared.
    """

    name = "synthia"
    title = "SYNTHIA-RAND-CITYSCAPES"
    where = """
        From https://synthia-dataset.net (CC BY-NC-SA 3.0): SYNTHIA-RAND-CITYSCAPES (CVPR16), which unpacks into a
        folder RAND_CITYSCAPES. That folder is the root:
          RGB/0000000.png
          GT/LABELS/0000000.png       colour of 16 bit, class in red, instance in green; not the 8-bit picture of
                                      class numbers that some code bases exchange
          Depth/Depth/0000000.png     16 bit, centimetres
        """
    named = SYNTHIA_CLASSES

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        classes: Literal[16, 13, 7] = 16,
        tasks: list[str] | None = None,
    ) -> None:
        super().__init__(root, split, SYNTHIA, tasks, chosen(GROUPS, classes, self.name))
        found = sorted(file.stem for file in (self.root / "RGB").glob("*.png") if file.stem.isdigit())
        frames = [frame for frame in found if (int(frame) >= HELD_OUT) == (split == "val")]
        self.settle(frames, self.root / "RGB", PUBLISHED[split])

    def problems(self) -> Iterator[BadSample]:
        archives = {"RGB": "SYNTHIA-RAND-CITYSCAPES"}
        if {"semseg", "edges"} & self.tasks.keys():
            archives["GT/LABELS"] = "SYNTHIA-RAND-CITYSCAPES"
        if {"depth", "normals"} & self.tasks.keys():
            archives["Depth/Depth"] = "SYNTHIA-RAND-CITYSCAPES"
        if (self.root / "RGB" / "Stereo_Left").is_dir():
            problem = "the video sequences of SYNTHIA, whose layout and classes are others"
            yield BadSample(self.root, problem, f"take SYNTHIA-RAND-CITYSCAPES; {self.remedy}")
        yield from self.lacking(archives)
        if (self.root / "RGB").is_dir():
            yield from self.miscounted(self.root / "RGB")

    def image(self, frame: str) -> Tensor:
        return self.picture(self.image_file(frame))

    def image_file(self, frame: str) -> Path:
        return self.root / "RGB" / f"{frame}.png"

    def ids(self, frame: str, size: tuple[int, int]) -> Target:
        path = self.root / "GT" / "LABELS" / f"{frame}.png"
        raw = self.stored(path, size, np.uint16, "colour of 16 bit, with the class in red")
        if raw.ndim != 3 or raw[..., 0].max() >= len(LABELS):
            problem = "one channel" if raw.ndim != 3 else f"class {raw[..., 0].max()} of {len(LABELS)}"
            raise BadSample(path, f"{problem}, expected is colour of 16 bit, with the class in red", self.remedy)
        return labels.ids(raw[..., 0], void=(), table=TABLE)

    def measurements(self, frame: str) -> Sequence[Path]:
        return [self.root / "Depth" / "Depth" / f"{frame}.png"]

    def depth(self, frame: str, size: tuple[int, int]) -> Target:
        """Stored in centimetres, alike in all channels if there are several."""
        path, *_ = self.measurements(frame)
        raw = self.stored(path, size, np.uint16, "16 bit, centimetres")
        if raw.ndim == 3:
            if (raw != raw[..., :1]).any():
                raise BadSample(path, "colours, expected is one depth a pixel", self.remedy)
            raw = raw[..., 0]
        return labels.metres(raw, unit=0.01, most=FAR)

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, None]:
        """The same for all images, scaled where these were."""
        return resize_intrinsics(INTRINSICS, size[1] / SIZE[1], size[0] / SIZE[0]), None
