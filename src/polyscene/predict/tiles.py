"""Large pictures looked at again, piece by piece: details that the network's size swallows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.tasks import Task

OVERLAP = 0.25  # of a tile, at least, with the next
WHOLE = 0.25  # what the look at the whole picture weighs beside the middle of a tile

Look = Callable[[Float[Tensor, "b 3 h w"]], Mapping[str, Tensor]]


def refined(
    images: Float[Tensor, "3 y x"], whole: Mapping[str, Tensor], tasks: Mapping[str, Task], count: int, look: Look
) -> dict[str, Tensor]:
    """Soft values (c, y, x) at ``count`` times the size that ``whole`` (c, h, w) has, which is the size of ``images``.

    Tiles of (h, w) overlap by a quarter or more; each is aligned to the look at the whole picture (``Task.align``: of
    depth, its scale), so that no step is seen between tiles, and fades towards its border.
    """
    height, width = next(iter(whole.values())).shape[-2:]
    weight = _window(height)[:, None] * _window(width)
    total = torch.full(images.shape[-2:], WHOLE)
    blended = {name: F.interpolate(value[None], images.shape[-2:], mode="bilinear")[0] for name, value in whole.items()}
    wide = {name: value.clone() for name, value in blended.items()}
    for value in blended.values():
        value *= WHOLE
    for top in _starts(height, count):
        for left in _starts(width, count):
            place = (..., slice(top, top + height), slice(left, left + width))
            for name, value in look(images[place][None]).items():
                blended[name][place] += weight * tasks[name].align(value[0], wide[name][place])
            total[place] += weight
    return {name: value / total for name, value in blended.items()}


def _starts(side: int, count: int) -> list[int]:
    """Where tiles of ``side`` begin on a side of ``count`` times that."""
    steps = math.ceil((count - 1) / (1 - OVERLAP))
    return [round(step * (count - 1) * side / max(steps, 1)) for step in range(steps + 1)]


def _window(side: int) -> Tensor:
    """1 in the middle, near 0 at the borders."""
    return torch.sin(math.pi * (torch.arange(side) + 0.5) / side).square()
