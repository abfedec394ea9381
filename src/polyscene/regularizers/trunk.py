from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.blocks import resize

Tap = Literal["last", "all"]


class Trunk(nn.Module):
    """A pyramid of features to one map (bv, ``out_channels``, h, w) at ``stride`` pixels of the image a cell.

    ``tap`` says what is read: the last level, or all of them. Levels are brought to one size and mixed by a 1x1
    convolution to ``width``; then GELU, 3x3 to ``width``, GELU, 3x3 to ``out_channels``. The 1x1 convolution of a
    coarser level is applied before its resizing, with which it commutes.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        out_channels: int,
        tap: Tap = "all",
        stride: int = 8,
        width: int = 256,
    ) -> None:
        super().__init__()
        if tap not in get_args(Tap):
            raise ValueError(f"tap {tap!r} is none of {get_args(Tap)}")
        if stride < 1:
            raise ValueError(f"stride must be at least 1 pixel, got {stride}")
        self.levels = len(in_channels) if tap == "all" else 1
        self.finest, self.stride = strides[0], stride
        taps = in_channels[-self.levels :]
        self.mix = nn.ModuleList(nn.Conv2d(channels, width, 1, bias=not place) for place, channels in enumerate(taps))
        self.deepen = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, out_channels, 3, padding=1)

    def extent(self, maps: list[Tensor]) -> tuple[int, int]:
        """Height and width in image pixels of what the maps cover: the image's, or a little more by padding."""
        height, width = maps[0].shape[-2:]
        return height * self.finest, width * self.finest

    def grid(self, maps: list[Tensor]) -> tuple[int, int]:
        """Size (h, w) of what comes out."""
        height, width = self.extent(maps)
        return -(-height // self.stride), -(-width // self.stride)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = self.grid(maps)
        taps = zip(self.mix, maps[-self.levels :], strict=True)
        mixed = torch.stack([_mixed(conv, tensor, size) for conv, tensor in taps]).sum(0)
        return self.out(F.gelu(self.deepen(F.gelu(mixed))))


def _mixed(conv: nn.Module, tensor: Tensor, size: tuple[int, int]) -> Tensor:
    larger = tensor.shape[-2] * tensor.shape[-1] > size[0] * size[1]
    return conv(resize(tensor, size)) if larger else resize(conv(tensor), size)
