"""Surface normals from depth: planes fitted in small windows. Axes: x right, y down, z forward, facing the camera."""

from __future__ import annotations

import math
from functools import partial
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

from polyscene.geometry import _threads
from polyscene.geometry._normals_numba import fit

STEP = 0.06  # a neighbour whose depth differs by more than this share lies on another surface


def from_depth(depth: Tensor, valid: Tensor, intrinsics: Tensor, radius: int = 3) -> tuple[Tensor, Tensor]:
    """Normals (3, h, w) and where they are known (1, h, w), from metres (1, h, w) seen by ``intrinsics`` (3, 3).

    A plane's inverse depth is affine in the pixel, so each window of 2 ``radius`` + 1 pixels gets the affine map that
    fits its pixels of the same surface best, by least squares; known where at least half the window took part.
    """
    if depth.shape != valid.shape or depth.dim() != 3 or depth.shape[0] != 1:
        raise ValueError(f"depth and valid must be (1, h, w) both, got {tuple(depth.shape)} and {tuple(valid.shape)}")
    seen = torch.where(valid & (depth > 0), depth, 0.0)[0].double().cpu().numpy()
    gradient = np.full((*seen.shape, 3), np.nan)
    _threads.run([partial(fit, seen, radius, STEP, gradient, *part) for part in _threads.cuts(len(seen))])
    slope_x, slope_y, middle = torch.from_numpy(gradient).unbind(-1)  # of inverse depth, and its value
    focal_x, focal_y, centre_x, centre_y = (float(intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in seen.shape), indexing="ij")
    # 1/z = a x + b y + c over the rays (x, y, 1): (a, b, c) is the plane's normal, up to its length and sign
    a, b = slope_x * focal_x, slope_y * focal_y
    c = middle - slope_x * (columns - centre_x) - slope_y * (rows - centre_y)
    normal = -torch.stack([a, b, c])
    length = normal.square().sum(0).sqrt()
    known = torch.isfinite(length) & (length > 0)
    unit = torch.where(known, normal / torch.where(known, length, 1.0), 0.0)
    return unit.to(depth), known[None].to(valid.device)


def axes(normals: Tensor, depth_normals: Tensor, valid: Tensor) -> tuple[Tensor, float, float]:
    """The signed permutation (3, 3) that turns ``normals`` (3, h, w) into the axes of ``depth_normals``, the median
    angle in degrees that then remains, and the one without it. Of 48 the best; over ``valid`` (1, h, w) pixels."""
    own, other = (each[:, valid[0]].double() for each in (normals, depth_normals))
    if not own.shape[1]:
        raise ValueError("no pixel has both normals and depth; the axes cannot be told")

    def remaining(turn: Tensor) -> float:
        return math.degrees(float((turn @ own * other).sum(0).clamp(-1, 1).median().acos()))

    turns = [
        torch.diag(torch.tensor(signs, dtype=torch.float64))[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    best = min(turns, key=remaining)
    return best, remaining(best), remaining(torch.eye(3, dtype=torch.float64))
