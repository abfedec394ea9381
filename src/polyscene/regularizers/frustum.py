"""The box in which planes live, and the rays that cross it. Its coordinates (u, v, w) are in [-1, 1]: u and v over
the extent of the picture, w over depth. For a pinhole camera w is linear in inverse depth, so that the camera's own
rays run along w; ``near`` is at w = -1, ``far`` at 1."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyscene.geometry.camera import pixel_grid, project, resize_intrinsics, transform

Range = tuple[float, float]


def centres(count: int, like: Tensor) -> Float[Tensor, " n"]:
    """The middles of ``count`` equal cells of [-1, 1]."""
    return (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) * (2 / count) - 1


def stratified(count: int, jitter: bool, like: Tensor) -> Float[Tensor, " s"]:
    """One place in each of ``count`` equal cells of [-1, 1], ascending: anywhere in it, or in its middle."""
    middles = centres(count, like)
    return middles + (torch.rand_like(middles) - 0.5) * (2 / count) if jitter else middles


def depth_at(w: Float[Tensor, " *n"], limits: Range) -> Float[Tensor, " *n"]:
    """Metres along the optical axis."""
    near, far = limits
    return 1 / (1 / far + (1 - w) / 2 * (1 / near - 1 / far))


def box_of(depth: Float[Tensor, " *n"], limits: Range) -> Float[Tensor, " *n"]:
    """The inverse of ``depth_at``; beyond [-1, 1] for depths beyond the limits."""
    near, far = limits
    return 1 - 2 * (1 / depth - 1 / far) / (1 / near - 1 / far)


def cross(
    w: Float[Tensor, " s"],
    grid: tuple[int, int],
    extent: tuple[int, int],
    target_intrinsics: Float[Tensor, "b 3 3"],
    source_intrinsics: Float[Tensor, "b 3 3"],
    source_from_target: Float[Tensor, "b 4 4"],
    limits: Range,
) -> tuple[Float[Tensor, "b n s 3"], Bool[Tensor, "b n s"]]:
    """Places along the rays of a target view, in the box of a source view, and which of them lie inside it.

    Rays go through the centres of the ``grid`` (h, w) of cells over ``extent`` (pixels of the picture, to which the
    intrinsics belong), row by row. Places outside are clamped to the box's wall; those behind the camera are outside.
    """
    rows, columns = grid
    height, width = extent
    cells = resize_intrinsics(target_intrinsics, columns / width, rows / height)
    depth = depth_at(w, limits)[None, None, None].expand(len(cells), 1, rows * columns, -1)
    rays = torch.linalg.inv(cells) @ pixel_grid(rows, columns, w).flatten(1)
    points = transform(rays[..., None] * depth, source_from_target)
    pixels, deep = project(points, source_intrinsics)
    extents = w.new_tensor([width, height])[:, None, None]
    box = torch.cat([(pixels + 0.5) * (2 / extents) - 1, box_of(deep.clamp_min(limits[0] / 8), limits)], 1)
    edge = 1 + 1e-4  # the outermost samples of a view's own rays are its own
    inside = ((box.abs() <= edge) & (deep > 0)).all(1)
    return box.clamp(-1, 1).permute(0, 2, 3, 1), inside
