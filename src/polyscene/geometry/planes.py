"""Planes fitted to small windows of a depth map, with gradient. See ``normals`` for the exact fit to measured depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry.camera import pixel_grid

Map = Float[Tensor, "n 1 h w"]


def fit(
    depth: Float[Tensor, "n 1 h w"], intrinsics: Float[Tensor, "n 3 3"], radius: int = 2
) -> tuple[Float[Tensor, "n 3 h w"], Map, Map]:
    """Unit normals facing the camera, the cosine of the angle at which each pixel's ray meets its plane, and how far
    the window is from a plane: the root mean square of what the fit leaves of its inverse depth, over the mean of that.

    The inverse depth of a plane is affine in the pixel, so the fit is linear and exact; and it is the same plane's
    normal whatever the scale of ``depth``. Misfit has no gradient, and is infinite where the window of 2 ``radius`` + 1
    pixels leaves the map. ``ValueError`` if that is larger than the map.
    """
    side = 2 * radius + 1
    if min(depth.shape[-2:]) < side:
        raise ValueError(f"windows of {side} pixels do not fit in a map of {tuple(depth.shape[-2:])}")
    inverse = 1 / depth.float().clamp_min(1e-3)
    steps = range(-radius, radius + 1)
    spread = sum(step**2 for step in steps) / side
    even, slope = [1 / side] * side, [step / (side * spread) for step in steps]
    middle = _windows(inverse, even, even)
    slope_x, slope_y = _windows(inverse, even, slope), _windows(inverse, slope, even)
    with torch.no_grad():
        about = inverse - inverse.mean((-2, -1), keepdim=True)  # squares of small numbers keep more digits
        variance = _windows(about.square(), even, even) - _windows(about, even, even).square()
        left = variance - (slope_x.square() + slope_y.square()) * spread
        misfit = F.pad(left.clamp_min(0).sqrt() / middle, [radius] * 4, value=torch.inf)
    middle, slope_x, slope_y = (F.pad(each, [radius] * 4, mode="replicate") for each in (middle, slope_x, slope_y))
    focal_x, focal_y, centre_x, centre_y = (
        intrinsics[:, i, j, None, None, None].float() for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))
    )
    x, y, _ = pixel_grid(depth.shape[-2], depth.shape[-1], inverse)
    ray = torch.cat(torch.broadcast_tensors((x - centre_x) / focal_x, (y - centre_y) / focal_y), 1)
    # 1/z = a x + b y + c over the rays (x, y, 1): (a, b, c) is the plane's normal, up to its length and sign
    a, b = slope_x * focal_x, slope_y * focal_y
    plane = torch.cat([a, b, middle - a * ray[:, :1] - b * ray[:, 1:]], 1)
    length = plane.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()
    incidence = middle / (length * (1 + ray.square().sum(1, keepdim=True)).sqrt())
    return -plane / length, incidence, misfit


def _windows(maps: Map, down: Sequence[float], across: Sequence[float]) -> Float[Tensor, "n 1 _ _"]:
    """Weighted sums over the windows that lie within the map; weights are the product of both. By slices, whose
    gradient is several times cheaper than that of a convolution of one channel."""
    height, width = (length - len(down) + 1 for length in maps.shape[-2:])
    rows = torch.stack([weight * maps[..., place : place + width] for place, weight in enumerate(across)]).sum(0)
    return torch.stack([weight * rows[..., place : place + height, :] for place, weight in enumerate(down)]).sum(0)
