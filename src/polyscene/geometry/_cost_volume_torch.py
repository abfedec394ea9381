"""The plane sweep in torch: correlate tiles of the reference with what they can see of the source, then look up.

<f, bilinear(g, p)> is bilinear(<f, g>, p): one matrix product for a tile of reference pixels and the window that its
epipolar segments cross, then a look-up in maps of one channel, where warping would gather all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from .camera import pixel_grid

Sweep = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
NEAREST = 1e-6  # least depth in the source, over that in the reference, at which a point counts as in front
OUTSIDE = -2.0  # a pixel coordinate from which nothing is seen
TILE = 8
OVERHEAD = 2e6  # multiplications that cost what a tile costs beside its own
BLOCK = 1 << 24  # correlations held at once in the exportable form


def _points(
    projection: Float[Tensor, "b 3 4"], inverse_depths: Float[Tensor, "b planes"], height: int, width: int
) -> tuple[Float[Tensor, "b h w planes"], Float[Tensor, "b h w planes"], Bool[Tensor, "b h w planes"]]:
    """x and y in the source, and whether the point lies in front of it."""
    base = torch.einsum("bij,jhw->bihw", projection[..., :3], pixel_grid(height, width, projection))
    x, y, z = (
        base[:, row, :, :, None] + projection[:, row, 3, None, None, None] * inverse_depths[:, None, None]
        for row in range(3)
    )
    front = z > NEAREST
    z = torch.where(front, z, 1.0)
    return x / z, y / z, front


def _samples(
    projection: Tensor, inverse_depths: Tensor, height: int, width: int
) -> tuple[Float[Tensor, "b h w planes 2"], Bool[Tensor, "b h w planes"]]:
    """Where to look in the source, and whether anything is seen there."""
    x, y, front = _points(projection, inverse_depths, height, width)
    seen = front & (x > -1) & (x < width) & (y > -1) & (y < height)
    return torch.where(seen[..., None], torch.stack([x, y], -1), OUTSIDE), seen


def inside(
    projection: Float[Tensor, "b 3 4"], inverse_depths: Float[Tensor, "b planes"], height: int, width: int
) -> Bool[Tensor, "b planes h w"]:
    """Whether a sample lies in the source's picture, whose outermost pixels reach half a pixel past their centres."""
    x, y, front = _points(projection, inverse_depths, height, width)
    within = front & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return within.permute(0, 3, 1, 2).contiguous()


def _grid(samples: Float[Tensor, "*n 2"], height: int, width: int) -> Tensor:
    """Pixel coordinates as grid_sample counts them without align_corners, which maps of one pixel survive."""
    return torch.stack([(2 * samples[..., 0] + 1) / width - 1, (2 * samples[..., 1] + 1) / height - 1], -1)


def exportable(
    reference: Float[Tensor, "b c h w"],
    source: Float[Tensor, "b c h w"],
    projection: Float[Tensor, "b 3 4"],
    inverse_depths: Float[Tensor, "b planes"],
) -> Float[Tensor, "b planes h w"]:
    """The same from plain operations alone, none of which depends on values: every pixel is correlated with all."""
    batch, channels, height, width = reference.shape
    size = height * width
    grid = _grid(_samples(projection, inverse_depths, height, width)[0], height, width).reshape(batch, size, -1, 2)
    flat, other = reference.flatten(2).transpose(1, 2), source.flatten(2) * channels**-0.5
    step = max(1, BLOCK // size) if isinstance(size, int) else size
    parts = []
    for start in range(0, size, step) if isinstance(size, int) else (0,):
        correlation = flat[:, start : start + step] @ other
        count = correlation.shape[1]
        maps = correlation.reshape(batch * count, 1, height, width)
        where = grid[:, start : start + step].reshape(batch * count, 1, -1, 2)
        seen = functional.grid_sample(maps, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        parts.append(seen.reshape(batch, count, -1))
    return torch.cat(parts, 1).transpose(1, 2).reshape(batch, -1, height, width)


@torch.compiler.disable
def sweep(reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
    """(b, c, h, w) features -> (b, planes, h, w), storing nothing but the arguments for the way back."""
    return _Sweep.apply(reference, source, projection, inverse_depths)


Tile = tuple[slice, slice, slice, slice]


def _tiles(samples: Float[Tensor, "h w planes 2"], seen: Bool[Tensor, "h w planes"]) -> Iterator[Tile]:
    """Rows and columns of the reference's tiles, then of the windows of the source that they see.

    Tiles are bands of rows, bands of columns or squares, whichever leaves the least to multiply.
    """
    height, width = seen.shape[:2]
    far = torch.where(seen[..., None], samples, -torch.inf).amax(2)
    near = torch.where(seen[..., None], -samples, -torch.inf).amax(2)
    extent = torch.cat([far, near], -1).permute(2, 0, 1)  # largest x, y, then smallest with their signs turned
    plans: list[tuple[float, list[Tile]]] = []
    for tall, wide in ((TILE, width), (height, TILE), (2 * TILE, 2 * TILE)):
        tall, wide = min(tall, height), min(wide, width)
        bounds = functional.max_pool2d(extent[None], (tall, wide), ceil_mode=True)[0].permute(1, 2, 0).tolist()
        plan: list[Tile] = []
        for row, line in enumerate(bounds):
            for column, (right, bottom, left, top) in enumerate(line):
                if right > -1:
                    plan.append(
                        (
                            slice(row * tall, min((row + 1) * tall, height)),
                            slice(column * wide, min((column + 1) * wide, width)),
                            slice(max(0, int(-top)), min(height, int(bottom + 1) + 1)),
                            slice(max(0, int(-left)), min(width, int(right + 1) + 1)),
                        )
                    )
        cost = sum(_area(t[:2]) * _area(t[2:]) for t in plan)
        plans.append((cost + len(plan) * OVERHEAD / 128, plan))
    yield from min(plans, key=lambda known: known[0])[1]


def _area(window: tuple[slice, ...]) -> int:
    rows, columns = window
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _local(samples: Tensor, tile: Tile) -> tuple[Tensor, int, int]:
    """The tile's samples as a grid over its window, and the window's size."""
    rows, columns = tile[2:]
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    corner = samples.new_tensor([columns.start, rows.start])
    where = samples[tile[:2]].flatten(0, 1)[:, None]
    return _grid(where - corner, tall, wide), tall, wide


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
        ctx.save_for_backward(reference, source, projection, inverse_depths)
        batch, channels, height, width = reference.shape
        volume = reference.new_zeros(batch, inverse_depths.shape[1], height, width)
        if reference.is_meta:
            return volume
        for item in range(batch):
            one = slice(item, item + 1)
            samples, seen = (part[0] for part in _samples(projection[one], inverse_depths[one], height, width))
            for tile in _tiles(samples, seen):
                grid, tall, wide = _local(samples, tile)
                here = reference[item, :, tile[0], tile[1]]
                there = source[item, :, tile[2], tile[3]].flatten(1)
                maps = (here.flatten(1).T * channels**-0.5 @ there).view(-1, 1, tall, wide)
                looked = functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
                volume[item, :, tile[0], tile[1]] = looked.flatten(1).T.view(-1, *here.shape[1:])
        return volume

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        reference, source, projection, inverse_depths = ctx.saved_tensors
        to_reference, to_source = torch.zeros_like(reference), torch.zeros_like(source)
        if reference.is_meta:
            return to_reference, to_source, None, None
        channels, height, width = reference.shape[1:]
        for item in range(len(reference)):
            one = slice(item, item + 1)
            samples, seen = (part[0] for part in _samples(projection[one], inverse_depths[one], height, width))
            for tile in _tiles(samples, seen):
                grid, tall, wide = _local(samples, tile)
                here = reference[item, :, tile[0], tile[1]]
                there = source[item, :, tile[2], tile[3]]
                arrived = gradient[item, :, tile[0], tile[1]].flatten(1).T * channels**-0.5
                maps = here.new_zeros(1).expand(len(arrived), 1, tall, wide)  # the look-up is linear: any values do
                spread = torch.ops.aten.grid_sampler_2d_backward(
                    arrived[:, None, None], maps, grid, 0, 0, False, [True, False]
                )[0].flatten(1)
                to_reference[item, :, tile[0], tile[1]] = (there.flatten(1) @ spread.T).view_as(here)
                to_source[item, :, tile[2], tile[3]] += (here.flatten(1) @ spread).view_as(there)
        return to_reference, to_source, None, None
