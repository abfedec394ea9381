"""The pixels within reach of one, and what a pair of them costs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]


def disc(radius: float) -> tuple[Ints, Ints]:
    """(n, 2) offsets of row and column at most ``radius`` long, nearest first, and their squared lengths."""
    reach = int(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = dy * dy + dx * dx
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= radius * radius]
    return np.stack([dy, dx], 1)[order].astype(np.int32), squared[order].astype(np.int32)


def costs(squared: NDArray[np.integer], radius: float) -> tuple[NDArray[np.int64], int]:
    """Of pairs, in hundredths of a pixel, and of each pair that is not made: a hundred times the reach."""
    return np.rint(100 * np.sqrt(squared)).astype(np.int64), math.ceil(100 * 100 * radius)
