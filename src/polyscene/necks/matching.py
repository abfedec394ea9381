"""Features made for matching: the spatial-aware encoder and the multi-view transformer of the cross-view module."""

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 8
WIDTH = 128
DEPTH = 6

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SpatialEncoder(nn.Module):
    """A shallow residual network with instance norms: images (n, 3, h, w), RGB in [0, 1], to (n, 128, h/8, w/8),
    rounded up. Place i of the map is centred on pixel 8i."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        widths = ((64, 64, 1), (64, 96, 2), (96, WIDTH, 2))
        self.stages = nn.Sequential(
            *(nn.Sequential(_Residual(into, out, stride), _Residual(out, out, 1)) for into, out, stride in widths)
        )
        self.out = nn.Conv2d(WIDTH, WIDTH, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h8 w8"]:
        tensor = F.relu_(_normalised(self.stem((images - self.mean) / self.std)))
        return self.out(self.stages(tensor))


class _Residual(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(into, out, 1, stride) if stride > 1 or into != out else None

    def forward(self, tensor: Tensor) -> Tensor:
        change = F.relu_(_normalised(self.first(tensor)))
        change = F.relu_(_normalised(self.second(change)))
        kept = tensor if self.shortcut is None else _normalised(self.shortcut(tensor))
        return F.relu_(kept + change)


def _normalised(tensor: Tensor) -> Tensor:
    """Instance norm, as groups of one channel: the same numbers from a faster kernel."""
    return F.group_norm(tensor, int(tensor.shape[1]))


class MultiViewTransformer(nn.Module):
    """Six blocks of self-attention, then attention to the neighbours, in 2x2 windows that every other block shifts by
    half a window. All views advance together; a block reads its neighbours as the block before left them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block() for _ in range(DEPTH))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                for square in parameter.split(WIDTH) if parameter.shape[1] == WIDTH else (parameter,):
                    nn.init.xavier_uniform_(square)

    def forward(
        self, maps: Float[Tensor, "n c h w"], neighbours: Int64[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """``neighbours``: for each map which of the n maps it looks at, all in one softmax; None if only at itself,
        which is what a duplicated view gives."""
        tokens = maps.permute(0, 2, 3, 1)
        for index, block in enumerate(self.blocks):
            windows = Windows.of(tokens.shape[1], tokens.shape[2], shifted=index % 2 == 1)
            rows = windows.gather(tokens)
            if index == 0:
                rows = rows + windows.positions(rows)
            tokens = windows.scatter(block(rows, windows, neighbours))
        return tokens.permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.own_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.own_norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.other = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.other_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.other_norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(2 * WIDTH, 8 * WIDTH, bias=False)
        self.narrow = nn.Linear(8 * WIDTH, WIDTH, bias=False)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, rows: Tensor, windows: Windows, neighbours: Tensor | None) -> Tensor:
        query, key, value = self.own(rows).chunk(3, -1)
        others = self.other(rows)[:, None] if neighbours is None else _of(neighbours, self.other(rows))
        rows = rows + self.own_norm(self.own_out(windows.attend(query, key[:, None], value[:, None])))
        message = windows.attend(self.query(rows), *others.chunk(2, -1))
        message = torch.cat([rows, self.other_norm(self.other_out(message))], -1)
        return rows + self.norm(self.narrow(F.gelu(self.widen(message))))


def _of(neighbours: Tensor, rows: Tensor) -> Tensor:
    """(n, t, c) -> (n, k, t, c)"""
    return rows.index_select(0, neighbours.flatten()).unflatten(0, tuple(neighbours.shape))


class Windows(NamedTuple):
    """How a map is cut, as heights and widths of the bands, and the order in which its windows follow one another:
    equal shapes together, so that they attend in one call.

    A shift leaves 3x3 windows, of half and quarter lengths: what shifting, wrapping and masking computes, with neither
    mask nor the pairs that it would forbid. Sizes that do not divide give windows that differ by one.
    """

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    order: tuple[int, ...]

    @staticmethod
    def of(height: int, width: int, shifted: bool) -> Windows:
        heights, widths = _bands(height, shifted), _bands(width, shifted)
        shapes = [(tall, wide) for tall in heights for wide in widths]
        return Windows(heights, widths, tuple(sorted(range(len(shapes)), key=shapes.__getitem__)))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        all_shapes = [(tall, wide) for tall in self.heights for wide in self.widths]
        return [all_shapes[place] for place in self.order]

    def gather(self, tokens: Float[Tensor, "n h w c"]) -> Float[Tensor, "n t c"]:
        pieces = [piece for band in tokens.split(self.heights, 1) for piece in band.split(self.widths, 2)]
        return torch.cat([pieces[place].flatten(1, 2) for place in self.order], 1)

    def scatter(self, rows: Float[Tensor, "n t c"]) -> Float[Tensor, "n h w c"]:
        pieces = rows.split([tall * wide for tall, wide in self.shapes], 1)
        windows = {
            place: piece.unflatten(1, shape)
            for place, piece, shape in zip(self.order, pieces, self.shapes, strict=True)
        }
        across = len(self.widths)
        bands = [
            torch.cat([windows[row * across + column] for column in range(across)], 2)
            for row in range(len(self.heights))
        ]
        return torch.cat(bands, 1)

    def attend(
        self, query: Float[Tensor, "n t c"], key: Float[Tensor, "n k t c"], value: Float[Tensor, "n k t c"]
    ) -> Float[Tensor, "n t c"]:
        """Attention within each window, over the k maps of ``key`` and ``value`` at once."""
        groups = [(len(list(same)), tall * wide) for (tall, wide), same in groupby(self.shapes)]
        lengths = [count * size for count, size in groups]
        results = []
        for q, k, v, group in zip(
            query.split(lengths, 1), key.split(lengths, 2), value.split(lengths, 2), groups, strict=True
        ):
            k, v = (each.unflatten(2, group).transpose(1, 2).flatten(2, 3) for each in (k, v))
            results.append(F.scaled_dot_product_attention(q.unflatten(1, group), k, v).flatten(1, 2))
        return torch.cat(results, 1)

    def positions(self, like: Tensor) -> Float[Tensor, "t c"]:
        """Sines and cosines of the place within the window, half of the channels for y, half for x."""
        return torch.cat([_waves(tall, wide, like) for tall, wide in self.shapes])


def _bands(length: int, shifted: bool) -> tuple[int, ...]:
    half = length // 2
    bands = (half // 2, half, length - half - half // 2) if shifted else (half, length - half)
    return tuple(band for band in bands if band)


def _waves(height: int, width: int, like: Tensor) -> Tensor:
    steps = torch.arange(WIDTH // 4, device=like.device, dtype=torch.float32)
    scale = 2 * math.pi * 10_000.0 ** (-steps / (WIDTH // 4))

    def along(length: int) -> Tensor:
        places = torch.arange(1, length + 1, device=like.device, dtype=torch.float32) / length
        phase = places[:, None] * scale
        return torch.stack([phase.sin(), phase.cos()], -1).flatten(1)

    y, x = along(height)[:, None].expand(-1, width, -1), along(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], -1).flatten(0, 1).to(like.dtype)
