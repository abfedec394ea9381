"""A wall, seen by a pinhole camera: what tiny data sets of streets are made of."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from polyscene.types import Target

SIZE = (32, 48)  # height, width
NORMAL = np.array([0.36, -0.48, -0.8])  # of the wall, towards the origin, 6 m away


def wall_depth(
    intrinsics: NDArray[np.float64], world_from_camera: NDArray[np.float64], size: tuple[int, int] = SIZE
) -> NDArray[np.float64]:
    """Depth in metres of the wall."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    rays = np.stack([columns, rows, np.ones(size)], -1) @ np.linalg.inv(intrinsics).T @ world_from_camera[:3, :3].T
    return (-6 - NORMAL @ world_from_camera[:3, 3]) / (rays @ NORMAL)


def off_the_wall(normals: Target) -> float:
    """The largest angle, in degrees, between normals seen from the origin and the wall's."""
    cosine = (normals.value[0].double() * torch.from_numpy(NORMAL)[:, None, None]).sum(0)
    return float(cosine[normals.valid[0, 0]].clamp(-1, 1).acos().rad2deg().max())


def save(path: Path, array: NDArray[np.generic]) -> None:
    """Grey or RGB, 8 or 16 bit, as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.dtype == np.uint16 and array.ndim == 3:
        cv2.imwrite(str(path), array[..., ::-1])
    else:
        Image.fromarray(array).save(path)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
