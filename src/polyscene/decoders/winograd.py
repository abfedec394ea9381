from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Room = tuple[Tensor, Tensor]
TILE, SEEN = 4, 6  # pixels of the output a tile, and of the input it is made from
WIDEST = 128  # output channels at once: bounds the memory in between
ENOUGH_PIXELS, ENOUGH_CHANNELS = 1024, 64  # below these, transforming costs more than it spares

# Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3
_INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_KERNEL = (
    (0.25, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def worthwhile(maps: Tensor, weight: Tensor) -> bool:
    """Whether ``gated3x3`` is faster than torch: for wide convolutions of large maps in single precision on a CPU."""
    return (
        maps.device.type == "cpu"
        and maps.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and min(weight.shape[:2]) >= ENOUGH_CHANNELS
        and maps.shape[-2] * maps.shape[-1] >= ENOUGH_PIXELS
    )


def gated3x3(maps: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """``F.conv2d(maps, value, padding=1) * F.conv2d(maps, gate, padding=1).sigmoid()`` of maps (n, c, h, w), for each
    two of the weights (k, c, 3, 3): a value and its gate.

    By Winograd's minimal filtering, 4x4 outputs a tile, which takes a quarter of the multiplications: two to three
    times faster where it is ``worthwhile``, forward and backward, at rounding errors of up to 1e-4 of the values'
    deviation.
    """
    made: tuple[Tensor, ...] = _Gated.apply(maps, *weights)
    return made


class _Gated(torch.autograd.Function):
    """Inside, the places of a tile come first, then all tiles, then channels: one product of matrices a place. Nothing
    but the arguments is kept for the way back: values and gates are worked out again, from tiles that are needed
    anyway."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(maps, *weights)
        tiles = _Tiles(maps)
        seen = tiles.inputs(maps)
        room = _room(seen)
        convolved = (_forward(tiles, seen, weight, room) for weight in weights)
        return tuple(value.mul_(gate.sigmoid_()) for value, gate in zip(convolved, convolved, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        maps, *weights = ctx.saved_tensors
        tiles = _Tiles(maps)
        seen = tiles.inputs(maps)
        to_seen, room = torch.zeros_like(seen), _room(seen)
        to_weights = []
        for value, gate, gradient in zip(weights[::2], weights[1::2], gradients, strict=True):
            to_gate = _forward(tiles, seen, value, room).mul_(gradient)
            to_value = _forward(tiles, seen, gate, room).sigmoid_()
            to_gate.mul_(to_value).addcmul_(to_gate, to_value, value=-1)
            to_value.mul_(gradient)
            to_weights += [
                _backward(tiles, seen, weight, above, to_seen, room)
                for weight, above in ((value, to_value), (gate, to_gate))
            ]
        return tiles.join(to_seen), *to_weights


def _forward(tiles: _Tiles, seen: Tensor, weight: Tensor, room: Room) -> Tensor:
    shape = tiles.batch, len(weight), *tiles.covered
    made = torch.empty(shape, dtype=seen.dtype, memory_format=torch.channels_last)
    for part, (products, given) in _parts(weight, room):
        torch.bmm(seen, _transformed(weight[part]), out=products)
        torch.mm(_square(_OUTPUT, seen), products.flatten(1), out=given)
        made_part = tiles.outputs(made.permute(0, 2, 3, 1)[..., part])
        made_part.copy_(given.view(made_part.shape))
    if tiles.covered == tiles.size:
        return made
    return made[..., : tiles.size[0], : tiles.size[1]].contiguous(memory_format=torch.channels_last)


def _backward(tiles: _Tiles, seen: Tensor, weight: Tensor, gradient: Tensor, to_seen: Tensor, room: Room) -> Tensor:
    """The gradient of ``weight``; that of ``seen`` is added to what is there."""
    above = tiles.padded(gradient)
    to_weight = torch.empty_like(weight)
    for part, (products, given) in _parts(weight, room):
        above_part = tiles.outputs(above[..., part])
        given.view(above_part.shape).copy_(above_part)
        torch.mm(_square(_OUTPUT, seen).mT, given, out=products.flatten(1))
        to_seen.baddbmm_(products, _transformed(weight[part]).mT)
        kernels = _square(_KERNEL, seen).mT @ torch.bmm(seen.mT, products).flatten(1)
        to_weight[part] = kernels.view(3, 3, seen.shape[-1], -1).permute(3, 2, 0, 1)
    return to_weight


class _Tiles:
    """How maps (n, c, h, w) fall into tiles, which overlap in what they see."""

    def __init__(self, maps: Tensor) -> None:
        self.batch, self.size = len(maps), tuple(maps.shape[-2:])
        self.down, self.across = (-(-side // TILE) for side in self.size)
        self.covered = TILE * self.down, TILE * self.across

    def padded(self, maps: Tensor, around: int = 0) -> Tensor:
        """(n, h', w', c): zeros around, and below and to the right up to whole tiles."""
        lower, right = (whole - side + around for whole, side in zip(self.covered, self.size, strict=True))
        turned = maps.permute(0, 2, 3, 1)
        return F.pad(turned, (0, 0, around, right, around, lower)) if lower or right else turned

    def inputs(self, maps: Tensor) -> Tensor:
        """What the tiles see, transformed: (36, tiles, c)."""
        windows = self.padded(maps, around=1).unfold(1, SEEN, TILE).unfold(2, SEEN, TILE).permute(4, 5, 0, 1, 2, 3)
        return (_square(_INPUT, maps) @ windows.reshape(SEEN**2, -1)).unflatten(1, (-1, maps.shape[1]))

    def join(self, seen: Tensor) -> Tensor:
        """The gradient of ``inputs``: sums where tiles see the same."""
        channels = seen.shape[-1]
        windows = (_square(_INPUT, seen).mT @ seen.flatten(1)).view(SEEN, SEEN, -1, self.down, self.across, channels)
        joined = seen.new_zeros(windows.shape[2], self.covered[0] + 2, self.covered[1] + 2, channels)
        for row in range(SEEN):
            for column in range(SEEN):
                rows, columns = slice(row, row + self.covered[0], TILE), slice(column, column + self.covered[1], TILE)
                joined[:, rows, columns] += windows[row, column]
        return joined[:, 1 : 1 + self.size[0], 1 : 1 + self.size[1]].permute(0, 3, 1, 2)

    def outputs(self, made: Tensor) -> Tensor:
        """(n, h', w', c), seen as (4, 4, n, rows of tiles, columns of tiles, c)."""
        tiled = made.unflatten(2, (self.across, TILE)).unflatten(1, (self.down, TILE))
        return tiled.permute(2, 4, 0, 1, 3, 5)


def _room(seen: Tensor) -> Room:
    """Memory for what is in between: the same for all parts, as fresh memory is slow."""
    wide = seen.shape[1] * WIDEST
    return seen.new_empty(SEEN**2 * wide), seen.new_empty(TILE**2 * wide)


def _parts(weight: Tensor, room: Room) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    """Output channels, a few at once, with room for them: (36, tiles, few) and (16, tiles · few)."""
    tiles = len(room[1]) // (TILE**2 * WIDEST)
    for start in range(0, len(weight), WIDEST):
        count = min(WIDEST, len(weight) - start)
        products, given = (
            memory[: places * tiles * count].view(places, tiles * count)
            for memory, places in zip(room, (SEEN**2, TILE**2), strict=True)
        )
        yield slice(start, start + count), (products.unflatten(1, (tiles, count)), given)


def _transformed(weight: Tensor) -> Tensor:
    """(36, c, k)."""
    flat = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (_square(_KERNEL, weight) @ flat).view(SEEN**2, *weight.shape[1::-1])


def _square(rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """The transform of both axes, for places in one row."""
    matrix = like.new_tensor(rows)
    return torch.kron(matrix, matrix)
