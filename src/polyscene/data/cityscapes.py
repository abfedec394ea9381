"""Cityscapes (Cordts et al., CVPR 2016): streets of 50 cities, finely annotated, with the disparity of stereo pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import cameras, labels
from polyscene.data.base import BadSample
from polyscene.data.driving import CLASSES_13, GROUPS_7, GROUPS_8, Streets, alone, chosen, nearest_first
from polyscene.ranges import Count
from polyscene.tasks.sets import CITYSCAPES, CITYSCAPES_CLASSES, SYNTHIA_CLASSES
from polyscene.types import Target

LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""What the numbers of ``*_gtFine_labelIds.png`` mean."""
TABLE = np.array([CITYSCAPES_CLASSES.index(name) if name in CITYSCAPES_CLASSES else -1 for name in LABELS])
GROUPS = {
    19: alone(CITYSCAPES_CLASSES),
    16: alone(SYNTHIA_CLASSES),
    13: alone(CLASSES_13),
    8: GROUPS_8,
    7: GROUPS_7,
}
PUBLISHED = {"train": 2975, "val": 500}
DIGITS = "[0-9]" * 6
REACH = 20  # strides in which a neighbour is looked for: annotated frames stand in the middle of 30
FORWARD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # camera axes -> x forward, y left, z up


@dataclass(frozen=True)
class Calibration:
    """Of one frame: ``intrinsics`` (3, 3) in pixels, ``baseline`` in metres, and how the camera sits in the vehicle,
    (4, 4) from camera axes to x forward, y left, z up."""

    intrinsics: Tensor
    baseline: float
    vehicle_from_camera: NDArray[np.float64]


class Cityscapes(Streets):
    """``classes``: the 19 that are evaluated, the 16 or 13 that SYNTHIA has, 8 shared with Virtual KITTI, or 7 groups.
    ``tasks``: only these labels. Depth is measured by a stereo camera, at three pixels of four or so.

    A sample holds ``views`` frames: the annotated one, and neighbours of ``leftImg8bit_sequence`` a number of
    ``stride``s of 1/17 s away. Only the annotated one has classes. Their poses are unknown, unless ``odometry`` lets
    them be reckoned from the vehicle's speed and yaw rate, which is rough, and knows of no pitch.
    """

    name = "cityscapes"
    title = "Cityscapes"
    where = """
        From https://www.cityscapes-dataset.com (registration; licence for research, non-commercial):
          leftImg8bit_trainvaltest.zip   leftImg8bit/{train,val}/CITY/CITY_SEQ_FRAME_leftImg8bit.png
          gtFine_trainvaltest.zip        gtFine/{train,val}/CITY/..._gtFine_labelIds.png (not labelTrainIds)
          disparity_trainvaltest.zip     disparity/{train,val}/CITY/..._disparity.png, 16 bit
          camera_trainvaltest.zip        camera/{train,val}/CITY/..._camera.json
        For several views: leftImg8bit_sequence_trainvaltest.zip; for their depth disparity_sequence_trainvaltest.zip;
        for odometry vehicle_sequence_trainvaltest.zip and timestamp_sequence_trainvaltest.zip.
        Unpack all into one folder, so that leftImg8bit, gtFine, disparity and camera lie side by side.
        """
    named = CITYSCAPES_CLASSES
    coarse, radius = 2, 5  # disparity is too noisy for smaller windows

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        classes: Literal[19, 16, 13, 8, 7] = 19,
        tasks: list[str] | None = None,
        views: Count = 1,
        stride: Count = 1,
        odometry: bool = False,
    ) -> None:
        super().__init__(root, split, CITYSCAPES, tasks, chosen(GROUPS, classes, self.name))
        self._views, self._stride, self._odometry = views, stride, odometry
        found = sorted((self.root / "leftImg8bit" / split).glob(f"*/*_{DIGITS}_{DIGITS}_leftImg8bit.png"))
        frames = [f"{split}/{file.parent.name}/{file.name.removesuffix('_leftImg8bit.png')}" for file in found]
        self._annotated: dict[str, list[int]] = {}
        for frame in frames:
            sequence, number = _apart(frame)
            self._annotated.setdefault(sequence, []).append(number)
        self.settle(frames, self.root / "leftImg8bit" / split, PUBLISHED[split])

    def problems(self) -> Iterator[BadSample]:
        archives = {"leftImg8bit": "leftImg8bit_trainvaltest.zip"}
        if {"semseg", "edges"} & self.tasks.keys():
            archives["gtFine"] = "gtFine_trainvaltest.zip"
        if {"depth", "normals"} & self.tasks.keys():
            archives |= {"disparity": "disparity_trainvaltest.zip", "camera": "camera_trainvaltest.zip"}
        if self._views > 1:
            archives["leftImg8bit_sequence"] = "leftImg8bit_sequence_trainvaltest.zip"
        if self._odometry:
            archives |= {f"{name}_sequence": f"{name}_sequence_trainvaltest.zip" for name in ("vehicle", "timestamp")}
        if (self.root / self.split / "image").is_dir():
            problem = "holds image/*.npy of 128x256, as some code bases keep Cityscapes; classes and depth are reduced"
            yield BadSample(self.root / self.split, problem, f"take the published archives; {self.remedy}")
        yield from self.lacking(archives)
        if (self.root / "leftImg8bit").is_dir():
            yield from self.miscounted(self.root / "leftImg8bit" / self.split)

    def views(self, index: int) -> Sequence[str]:
        frame = self.frames[index]
        sequence, number = _apart(frame)
        found = [frame]
        for offset in nearest_first(REACH * (self._views > 1), self._stride):
            other = f"{sequence}_{number + offset:06d}"
            if len(found) < self._views and self._anchor(other) == number and self.image_file(other).exists():
                found.append(other)
        if len(found) < self._views:
            folder = self.image_file(f"{sequence}_{number + self._stride:06d}").parent
            problem = f"{len(found) - 1} neighbours of {frame} at stride {self._stride}, asked for {self._views - 1}"
            raise BadSample(folder, problem, f"fewer views or a smaller stride; {self.remedy}")
        return found

    def image(self, frame: str) -> Tensor:
        return self.picture(self.image_file(frame))

    def ids(self, frame: str, size: tuple[int, int]) -> Target | None:
        if not self._is_annotated(frame):
            return None
        path = self.root / "gtFine" / f"{frame}_gtFine_labelIds.png"
        raw = self.stored(path, size, np.uint8, "labelIds, one channel of 8 bit")
        if raw.ndim != 2 or raw.max() >= len(LABELS):
            problem = f"holds {raw.max()}, which is none of the labelIds 0 to {len(LABELS) - 1}"
            raise BadSample(
                path, problem, "restore the published labelIds; labelTrainIds, made by a script, are others"
            )
        return labels.ids(raw, void=(), table=TABLE)

    def measured(self, frame: str) -> bool:
        return self._is_annotated(frame) or self._disparity(frame).exists()

    def measurements(self, frame: str) -> Sequence[Path]:
        return self._disparity(frame), self._camera(frame)

    def depth(self, frame: str, size: tuple[int, int]) -> Target | None:
        """Baseline times focal length by disparity, which is stored as 256 times itself and one; 0 is unknown."""
        if not self.measured(frame):
            return None
        raw = self.stored(self._disparity(frame), size, np.uint16, "one channel of 16 bit")
        facts = self._calibration(frame)
        disparity = (raw.astype(np.float32) - 1) / 256
        known = disparity > 0
        scale = float(facts.intrinsics[0, 0]) * facts.baseline
        return labels.metres(np.where(known, scale / np.where(known, disparity, 1), 0))

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        facts = self._calibration(frame)
        (fx, _, cx), (_, fy, cy), _ = facts.intrinsics.tolist()
        if not (cameras.fits(fx, cx, size[1]) and cameras.fits(fy, cy, size[0])):
            problem = f"fx={fx:g} fy={fy:g} u0={cx:g} v0={cy:g} do not fit an image of {size[1]}x{size[0]}"
            raise BadSample(self._camera(frame), problem, "take the images at their published size")
        if not self._odometry:
            return facts.intrinsics, None
        sequence, number = _apart(frame)
        pose = self._travelled(sequence, self._anchor(frame), number) @ facts.vehicle_from_camera
        return facts.intrinsics, torch.from_numpy(pose).float()

    # -- files ---------------------------------------------------------------------------------------------------------
    def _is_annotated(self, frame: str) -> bool:
        sequence, number = _apart(frame)
        return number in self._annotated.get(sequence, ())

    def _anchor(self, frame: str) -> int:
        """The number of the nearest annotated frame of the same sequence."""
        sequence, number = _apart(frame)
        return min(self._annotated[sequence], key=lambda other: abs(other - number))

    def _folder(self, name: str, frame: str) -> Path:
        return self.root / (name if self._is_annotated(frame) else f"{name}_sequence")

    def image_file(self, frame: str) -> Path:
        return self._folder("leftImg8bit", frame) / f"{frame}_leftImg8bit.png"

    def _disparity(self, frame: str) -> Path:
        return self._folder("disparity", frame) / f"{frame}_disparity.png"

    def _camera(self, frame: str) -> Path:
        return self.root / "camera" / f"{_apart(frame)[0]}_{self._anchor(frame):06d}_camera.json"

    def _calibration(self, frame: str) -> Calibration:
        """Of the annotated frame, which holds for its neighbours."""
        path = self._camera(frame)
        facts = self._json(path)
        try:
            fx, fy, cx, cy = (float(facts["intrinsic"][name]) for name in ("fx", "fy", "u0", "v0"))
            pitch, roll, yaw = (float(facts["extrinsic"][name]) for name in ("pitch", "roll", "yaw"))
            place = [float(facts["extrinsic"][name]) for name in ("x", "y", "z")]
            baseline = float(facts["extrinsic"]["baseline"])
        except (KeyError, TypeError, ValueError) as error:
            problem = f"no calibration ({type(error).__name__}: {error})"
            raise BadSample(path, problem, f"restore it: extrinsic and intrinsic numbers; {self.remedy}") from None
        pose = np.eye(4)
        pose[:3, :3] = _turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll) @ FORWARD
        pose[:3, 3] = place
        return Calibration(torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), baseline, pose)

    def _travelled(self, sequence: str, start: int, end: int) -> NDArray[np.float64]:
        """The vehicle's pose at frame ``end`` in its axes at frame ``start``: (4, 4), on a plane."""
        first, last = sorted((start, end))
        states = [self._state(f"{sequence}_{number:06d}") for number in range(first, last + 1)]
        pose, heading = np.eye(4), 0.0
        for (before, speed, rate), (after, next_speed, next_rate) in pairwise(states):
            seconds = after - before
            turned = (rate + next_rate) / 2 * seconds
            way = (speed + next_speed) / 2 * seconds
            pose[:2, 3] += way * np.array([math.cos(heading + turned / 2), math.sin(heading + turned / 2)])
            heading += turned
        pose[:3, :3] = _turn(2, heading)
        return pose if start <= end else np.linalg.inv(pose).astype(np.float64)

    def _state(self, frame: str) -> tuple[float, float, float]:
        """When, in seconds; how fast, in metres a second; turning left, in radians a second."""
        clock = self.found(self.root / "timestamp_sequence" / f"{frame}_timestamp.txt")
        path = self.root / "vehicle_sequence" / f"{frame}_vehicle.json"
        facts = self._json(path)
        try:
            return int(clock.read_text()) * 1e-9, float(facts["speed"]), float(facts["yawRate"])
        except (KeyError, TypeError, ValueError) as error:
            problem = f"no odometry ({type(error).__name__}: {error})"
            raise BadSample(path, problem, f"restore it and {clock}; {self.remedy}") from None

    def _json(self, path: Path) -> Any:
        try:
            return json.loads(self.found(path).read_text())
        except ValueError as error:
            raise BadSample(path, f"no JSON ({error})", f"restore it; {self.remedy}") from None


def _apart(frame: str) -> tuple[str, int]:
    sequence, _, number = frame.rpartition("_")
    return sequence, int(number)


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    """A right-handed turn about one axis."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = math.cos(angle)
    matrix[other, one] = math.sin(angle)
    matrix[one, other] = -math.sin(angle)
    return matrix
