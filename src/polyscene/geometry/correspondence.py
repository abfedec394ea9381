"""Which pixel of one view shows the same point as a pixel of another, by depth and cameras: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry import camera as geometry
from polyscene.types import Target

TOLERANCE = 0.03  # of the depth; sensor depth of neighbouring frames agrees to this, things behind others do not


@dataclass(frozen=True)
class Correspondence:
    """Where each pixel of one view falls in another.

    ``pixels`` are (x, y) in the other view; ``seen`` says that the other view shows the very point, unoccluded, at the
    pixel next to that place, ``smooth`` that it does at all four around it. ``other_intrinsics`` and
    ``one_from_other`` are the cameras'.
    """

    pixels: Float[Tensor, "*b 2 h w"]
    seen: Bool[Tensor, "*b 1 h w"]
    smooth: Bool[Tensor, "*b 1 h w"]
    other_intrinsics: Float[Tensor, "*b 3 3"]
    one_from_other: Float[Tensor, "*b 4 4"]

    def nearest(self, value: Shaped[Tensor, "*b c y x"]) -> Shaped[Tensor, "*b c h w"]:
        """The other view's value at the next pixel; anything where ``seen`` is false."""
        return _pick(value, *self.pixels.round().unbind(-3))

    def linear(self, value: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c h w"]:
        """The other view's value between the four pixels; anything where ``smooth`` is false."""
        size = self.pixels.new_tensor([value.shape[-1], value.shape[-2]])
        grid = 2 * (self.pixels.movedim(-3, -1) + 0.5) / size - 1
        lead, shape = value.shape[:-3], grid.shape[-3:]
        flat = F.grid_sample(
            value.reshape(-1, *value.shape[-3:]),
            grid.reshape(-1, *shape).nan_to_num(-2).to(value.dtype),
            padding_mode="border",
            align_corners=False,
        )
        return flat.reshape(*lead, *flat.shape[1:])

    def points(self, depth: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, "*b 3 h w"]:
        """What the other view sees at ``pixels`` in this ``depth`` of its own, in the axes of the one."""
        homogeneous = torch.cat([self.pixels, torch.ones_like(self.pixels[..., :1, :, :])], -3)
        rays = torch.einsum("...ij,...jhw->...ihw", torch.linalg.inv(self.other_intrinsics), homogeneous)
        return geometry.transform(rays * depth, self.one_from_other)

    def turned(self, vectors: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
        """Directions of the other view's axes in those of the one."""
        return torch.einsum("...ij,...jhw->...ihw", self.one_from_other[..., :3, :3], vectors)


def correspond(
    depth: Target,
    intrinsics: Float[Tensor, "*b 3 3"],
    other_depth: Target,
    other_intrinsics: Float[Tensor, "*b 3 3"],
    other_from_one: Float[Tensor, "*b 4 4"],
    tolerance: float = TOLERANCE,
) -> Correspondence:
    """Depths in metres (*b, 1, h, w), intrinsics in their pixels. A point counts as the same, not as one that hides it,
    if the other view's own depth there is within ``tolerance`` times the depth it should have. Nothing is seen where
    either depth is unknown, behind the other camera, or outside its picture."""
    points = geometry.transform(geometry.unproject(depth.value, intrinsics), other_from_one)
    pixels, expected = geometry.project(points, other_intrinsics)
    x, y = pixels.unbind(-3)
    height, width = other_depth.value.shape[-2:]
    front = depth.valid & (expected > 1e-3)

    def same(column: Tensor, row: Tensor) -> Tensor:
        inside = (column >= 0) & (row >= 0) & (column <= width - 1) & (row <= height - 1)
        found, known = _pick(other_depth.value, column, row), _pick(other_depth.valid, column, row)
        return inside[..., None, :, :] & known & ((found - expected).abs() <= tolerance * expected)

    left, top = x.floor(), y.floor()
    corners = [same(left + i, top + j) for i in (0, 1) for j in (0, 1)]
    return Correspondence(
        pixels,
        front & same(x.round(), y.round()),
        front & torch.stack(corners).all(0),
        other_intrinsics,
        torch.linalg.inv(other_from_one),
    )


def _pick(value: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(*b, c, y, x) at whole pixels (*b, h, w), the border's where they lie outside."""
    height, width = value.shape[-2:]
    column, row = x.nan_to_num().clamp(0, width - 1).long(), y.nan_to_num().clamp(0, height - 1).long()
    index = (row * width + column).flatten(-2)[..., None, :].expand(*value.shape[:-2], -1)
    return value.flatten(-2).gather(-1, index).reshape(*value.shape[:-2], *x.shape[-2:])
