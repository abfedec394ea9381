"""From soft values at the network's size to values at the picture's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

BAND = 4_000_000  # numbers that are enlarged at a time: those of a whole photograph fill the memory


def decided(soft: Float[Tensor, "c y x"], size: tuple[int, int], decide: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Soft values, linearly enlarged to ``size`` (h, w) and only then decided, so that borders come out smooth:
    (h, w), or (h, w, c) of values with channels. Band by band, so that the memory is that of the result."""
    height, width = size
    above, below, share = _between(soft.shape[-2], height)
    rows = max(1, BAND // (soft.shape[0] * width))
    values: np.ndarray | None = None
    for start in range(0, height, rows):
        band = slice(start, start + rows)
        tall = torch.lerp(soft[:, above[band]], soft[:, below[band]], share[band, None])
        value = decide(F.interpolate(tall[None], (tall.shape[-2], width), mode="bilinear")[0])
        array = (value if value.is_floating_point() else value.to(torch.int16)).movedim(0, -1).numpy()
        if values is None:
            values = np.empty((height, width, array.shape[-1]), array.dtype)
        values[band] = array
    assert values is not None
    return values[..., 0] if values.shape[-1] == 1 else values


def _between(count: int, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of ``wanted`` places along a side, the two of ``count`` it lies between, and the share of the second."""
    place = ((torch.arange(wanted) + 0.5) * (count / wanted) - 0.5).clamp(0, count - 1)
    first = place.long()
    return first, (first + 1).clamp_max(count - 1), place - first
