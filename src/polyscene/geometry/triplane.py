"""Triplanes: a volume [-1, 1]³ held as three planes of features, seen along its axes.

Plane 0 is XY (x along the width, y along the height), plane 1 is XZ (x along the width, z along the height), plane 2
is YZ (y along the width, z along the height). A coordinate of -1 is the outer edge of the first texel and 1 that of
the last; beyond the outermost texel centres their value is kept. A point's features are the mean of its three
bilinear samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from polyscene.geometry.precision import without_autocast

Implementation = Literal["auto", "torch", "numba"]
AXES = ((0, 1), (0, 2), (1, 2))
"""Of each plane: the coordinates along its width and along its height."""


@dataclass(frozen=True)
class Taps:
    """Points prepared once for planes of one size: see :func:`prepare`."""

    points: Float[Tensor, "b n 3"]
    size: tuple[int, int]


def prepare(points: Float[Tensor, "b n 3"], size: tuple[int, int]) -> Taps:
    """Points that will be sampled again and again, from planes of ``size`` (height, width) texels.

    A batch of one serves any batch of planes. No gradient reaches prepared points.
    """
    _check_points(points)
    return Taps(points.detach().contiguous(), (int(size[0]), int(size[1])))


def sample(
    planes: Float[Tensor, "b 3 c h w"],
    points: Float[Tensor, "p n 3"] | Taps,
    *,
    implementation: Implementation = "auto",
) -> Float[Tensor, "b n c"]:
    """The features of points: the mean of the three bilinear samples. Points of batch one serve any batch of planes.

    Gradients reach the planes, and points that were not prepared. Coordinates and sums are at least fp32.
    """
    _check_planes(planes)
    if isinstance(points, Taps):
        if points.size != tuple(planes.shape[-2:]):
            raise ValueError(f"points were prepared for planes of {points.size}, these have {tuple(planes.shape[-2:])}")
        points = points.points
    _check_points(points)
    if len(points) not in (1, len(planes)):
        raise ValueError(f"{len(points)} sets of points for {len(planes)} sets of planes: give one, or one each")
    dtype = torch.promote_types(planes.dtype, torch.float32)
    planes, points = planes.to(dtype), points.to(dtype)
    if use_numba(implementation, planes):
        from ._triplane_numba import Sample

        return Sample.apply(planes, points.contiguous())
    return _sample_torch(planes, points)


def sample_grid(
    planes: Float[Tensor, "b 3 c h w"],
    x: Float[Tensor, " ws"],
    y: Float[Tensor, " hs"],
    z: Float[Tensor, " s"],
    *,
    implementation: Implementation = "auto",
) -> Float[Tensor, "b hs ws s c"]:
    """The features of every point (x_i, y_j, z_k): what :func:`sample` gives, at h w + w s + h s samples."""
    xy, xz, yz = sample_axes(planes, x, y, z)
    if use_numba(implementation, xy):
        from ._triplane_numba import Spread

        return Spread.apply(xy, xz, yz)
    return xy[:, :, :, None] + xz[:, None] + yz[:, :, None]


def sample_axes(
    planes: Float[Tensor, "b 3 c h w"], x: Float[Tensor, " ws"], y: Float[Tensor, " hs"], z: Float[Tensor, " s"]
) -> tuple[Float[Tensor, "b hs ws c"], Float[Tensor, "b ws s c"], Float[Tensor, "b hs s c"]]:
    """A third of each plane, sampled where a grid's lines cross it: the features of (x_i, y_j, z_k) are
    ``xy[:, j, i] + xz[:, i, k] + yz[:, j, k]``."""
    _check_planes(planes)
    height, width = planes.shape[-2:]
    dtype = torch.promote_types(planes.dtype, torch.float32)
    with without_autocast(planes):
        xy, xz, yz = (planes.to(dtype) / 3).unbind(1)
        across, down = hat(x.to(dtype), width), hat(y.to(dtype), height)
        return (
            torch.einsum("jh,bchw,iw->bjic", down, xy, across),
            torch.einsum("kh,bchw,iw->bikc", hat(z.to(dtype), height), xz, across),
            torch.einsum("kh,bchw,jw->bjkc", hat(z.to(dtype), height), yz, hat(y.to(dtype), width)),
        )


def hat(coordinates: Float[Tensor, " n"], texels: int) -> Float[Tensor, "n texels"]:
    """The matrix that samples a row of texels linearly at coordinates in [-1, 1]."""
    place = ((coordinates + 1) * texels / 2 - 0.5).clamp(0, texels - 1)
    centres = torch.arange(texels, device=coordinates.device, dtype=coordinates.dtype)
    return (1 - (place[:, None] - centres).abs()).clamp_min(0)


def use_numba(implementation: str, values: Tensor) -> bool:
    """Whether compiled loops shall run on ``values``: on processors, unless a graph is being recorded."""
    if implementation not in get_args(Implementation):
        raise ValueError(f"unknown implementation {implementation!r}: use one of {get_args(Implementation)}")
    if implementation == "torch" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    possible = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    if implementation == "numba" and not possible:
        raise ValueError(f"the numba implementation runs on processors, not on {values.dtype} on {values.device}")
    return possible


def _sample_torch(planes: Tensor, points: Tensor) -> Tensor:
    batch, _, channels, height, width = planes.shape
    with without_autocast(planes):
        places = torch.stack([points[..., pair] for pair in AXES], 1)
        places = places.expand(batch, 3, -1, 2).reshape(3 * batch, -1, 1, 2)
        found = functional.grid_sample(
            planes.reshape(3 * batch, channels, height, width),
            places,
            padding_mode="border",
            align_corners=False,
        )
        return found.view(batch, 3, channels, -1).mean(1).transpose(1, 2)


def _check_planes(planes: Tensor) -> None:
    if planes.ndim != 5 or planes.shape[1] != 3:
        raise ValueError(f"planes are (b, 3, c, h, w), not {tuple(planes.shape)}")


def _check_points(points: Tensor) -> None:
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points are (b, n, 3), not {tuple(points.shape)}")
