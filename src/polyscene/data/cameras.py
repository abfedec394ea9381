"""Reading ``cameras.json``: one intrinsic matrix, one pose a frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyscene import document
from polyscene.data.base import BadSample

FORMAT = "it must hold image_size {width, height}, intrinsics {fx, fy, cx, cy} and frames [{id, T_world_cam}]"


@dataclass(frozen=True)
class Cameras:
    """``intrinsics`` (3, 3) in pixels for images of ``size`` (h, w); ``poses`` by frame id, (4, 4) camera to world."""

    file: Path
    size: tuple[int, int]
    intrinsics: Tensor
    poses: dict[str, Tensor]

    @classmethod
    def load(cls, file: Path) -> Cameras:
        """``BadSample`` if the file is missing, or not of the format, or its intrinsics cannot be an image's."""
        try:
            facts = document.from_json(file.read_bytes())
            size = int(facts["image_size"]["height"]), int(facts["image_size"]["width"])
            if min(size) < 1:
                raise ValueError(f"an image of {size[1]}x{size[0]}")
            fx, fy, cx, cy = (float(facts["intrinsics"][name]) for name in ("fx", "fy", "cx", "cy"))
            poses = {str(frame["id"]): frame.get("T_world_cam") for frame in facts["frames"]}
            tensors = {key: torch.tensor(pose, dtype=torch.float32) for key, pose in poses.items() if pose is not None}
        except FileNotFoundError:
            raise BadSample(file, "missing", "restore it, or take `cameras` out of the description") from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
            raise BadSample(file, f"not readable as cameras ({type(error).__name__}: {error})", FORMAT) from None
        if not fits(fx, cx, size[1]) or not fits(fy, cy, size[0]):
            problem = f"intrinsics fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} do not fit an image of {size[1]}x{size[0]}"
            remedy = "give them in pixels of the images as stored: the principal point lies near the middle"
            raise BadSample(file, problem, remedy)
        return cls(file, size, torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32), tensors)

    def posed(self, frame: str) -> bool:
        """Whether the frame has a pose, and that a camera's."""
        pose = self.poses.get(frame)
        return pose is not None and pose.shape == (4, 4) and is_rigid(pose.double().numpy())

    def pose(self, frame: str, size: tuple[int, int]) -> Tensor:
        """(4, 4) of a frame whose image has this ``size`` (h, w)."""
        if size != self.size:
            own, its = (f"{width}x{height}" for height, width in (self.size, size))
            problem = f"intrinsics are for images of {own}, that of frame {frame} is {its}"
            raise BadSample(self.file, problem, "correct image_size and intrinsics, or the image")
        if frame not in self.poses:
            raise BadSample(self.file, f"no pose for frame {frame}", "add its T_world_cam, or leave the frame out")
        if not self.posed(frame):
            raise BadSample(self.file, f"T_world_cam of frame {frame} is no rigid motion", "give 4x4 camera to world")
        return self.poses[frame]


def fits(focal: float, centre: float, side: int) -> bool:
    """Whether an image's side can have these intrinsics. Those of an image of twice or half the size put the principal
    point a quarter off the middle or more."""
    return 0.05 < focal / side < 100 and abs((centre + 0.5) / side - 0.5) < 0.24


def is_rigid(pose: np.ndarray) -> bool:
    """A rotation (to 1e-3) and a finite translation."""
    rotation = pose[:3, :3]
    return bool(
        np.isfinite(pose).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        and np.linalg.det(rotation) > 0
        and np.allclose(pose[3], [0, 0, 0, 1])
    )
