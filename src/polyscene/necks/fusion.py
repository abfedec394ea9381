"""Where maps at stride 8 join a pyramid."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.blocks import resize
from polyscene.necks.matching import STRIDE
from polyscene.types import Features

Place = Literal["last", "level"]


class Fusion(nn.Module):
    """``last``: the maps are concatenated with the coarsest level, and a 1x1 convolution brings it back to its width.
    ``level``: they become a level of their own, or join the level of their stride in the same way where there is one.

    The convolution begins as the identity on the pyramid's own channels. It is kept in two parts, for what is common
    to the pyramids of all tasks is computed once.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[int, ...], width: int, place: Place) -> None:
        super().__init__()
        if not in_channels:
            raise ValueError("the encoder has no level to join: choose its out_indices or blocks")
        if place not in get_args(Place):
            raise ValueError(f"fusion is one of {', '.join(get_args(Place))}, not {place!r}")
        self.added = place == "level" and STRIDE not in strides
        self.place = bisect_left(strides, STRIDE) if place == "level" else len(strides) - 1
        self.channels, self.strides = in_channels, strides
        if self.added:
            before, after = slice(self.place), slice(self.place, None)
            self.channels = (*in_channels[before], width, *in_channels[after])
            self.strides = (*strides[before], STRIDE, *strides[after])
        else:
            own = in_channels[self.place]
            self.keep, self.join = nn.Conv2d(own, own, 1), nn.Conv2d(width, own, 1, bias=False)
            nn.init.dirac_(self.keep.weight)
            nn.init.zeros_(self.keep.bias)  # type: ignore[arg-type]

    def forward(self, features: Features, maps: Tensor) -> Features:
        if not self.added:
            size = features.maps[self.place].shape[-2:]
            maps = self.join(_to(maps, size[0], size[1]))
        by_task = {name: self._with(levels, maps) for name, levels in features.by_task.items()}
        return Features(self._with(features.maps, maps), by_task)

    def _with(self, levels: list[Tensor], maps: Tensor) -> list[Tensor]:
        before, after = levels[: self.place], levels[self.place :]
        if self.added:
            return [*before, maps, *after]
        return [*before, self.keep(after[0]) + maps, *after[1:]]


def _to(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, of means where it would skip places."""
    step = max(1, round(int(maps.shape[-2]) / int(height) / 2))
    return resize(F.avg_pool2d(maps, step, ceil_mode=True) if step > 1 else maps, (height, width))
