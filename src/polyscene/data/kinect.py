"""The colour camera of NYU Depth v2's Kinect, as calibrated by its authors."""

from __future__ import annotations

import torch
from torch import Tensor

FOCAL = (518.857901, 519.469611)
CENTRE = (325.582449 - 1, 253.736166 - 1)  # the authors' toolbox counts pixels from 1
SIZE = (480, 640)
CUT = (slice(45, 470), slice(40, 600))
"""Rows and columns inside the white border that undistortion left; I(46:470, 41:600) as Gupta et al. (CVPR 2013) cut
frames to 425x560, as those of the multi-task archives are; the authors' own cut is a pixel wider."""


def intrinsics(size: tuple[int, int]) -> Tensor | None:
    """(3, 3) for frames of ``size`` (h, w): whole, cut, or whole and resized evenly; None for others."""
    cut = (CUT[0].stop - CUT[0].start, CUT[1].stop - CUT[1].start)
    if size == cut:
        return _matrix(1.0, CUT[1].start, CUT[0].start)
    scale = size[1] / SIZE[1]
    return _matrix(scale, 0, 0) if size[0] == scale * SIZE[0] else None


def _matrix(scale: float, left: int, top: int) -> Tensor:
    x, y = (scale * (centre - edge + 0.5) - 0.5 for centre, edge in zip(CENTRE, (left, top), strict=True))
    return torch.tensor([[scale * FOCAL[0], 0, x], [0, scale * FOCAL[1], y], [0, 0, 1]])
