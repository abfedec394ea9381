"""Which other views are seen together with a view: pure functions over cameras, in numpy and float64.

Poses are camera to world, (4, 4), metres, OpenCV axes; all views have one pinhole camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyscene.data.description import Limits

Array = NDArray[np.float64]
COLUMNS, ROWS = 12, 9  # of the grid that stands for a picture


def motions(anchor: Array, others: Array) -> tuple[Array, Array]:
    """From one pose (4, 4) to others (n, 4, 4): distances in metres and turns in degrees, (n,) each."""
    distance = np.linalg.norm(others[:, :3, 3] - anchor[:3, 3], axis=1)
    cosine = (np.einsum("nij,ij->n", others[:, :3, :3], anchor[:3, :3]) - 1) / 2
    return distance, np.degrees(np.arccos(cosine.clip(-1, 1)))


def overlap(
    anchor: Array, others: Array, intrinsics: Array, size: tuple[int, int], ranges: Sequence[float] | Array
) -> Array:
    """(n,) the share of the one picture of ``size`` (h, w) that lies in each other and the reverse, whichever is less.

    ``ranges`` are the depths in metres at which a coarse grid is carried over, all of them alike; occlusion is not
    looked at. An estimate, then: exact for things at these depths and nothing in front of them.
    """
    height, width = size
    x, y = (np.arange(COLUMNS) + 0.5) / COLUMNS * width - 0.5, (np.arange(ROWS) + 0.5) / ROWS * height - 0.5
    grid = np.stack([*np.meshgrid(x, y), np.ones((ROWS, COLUMNS))]).reshape(3, -1)
    rays = np.linalg.inv(intrinsics) @ grid
    points = (np.asarray(ranges, float)[:, None, None] * rays).transpose(1, 0, 2).reshape(3, -1)
    relative = np.linalg.inv(others) @ anchor

    def inside(motion: NDArray[np.floating]) -> Array:
        seen = motion[:, :3, :3] @ points + motion[:, :3, 3:]
        u, v = (intrinsics[:2] @ seen / np.maximum(seen[:, 2:], 1e-9)).transpose(1, 0, 2)
        fits = (seen[:, 2] > 0) & (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)
        return fits.mean(1)

    return np.minimum(inside(relative), inside(np.linalg.inv(relative)))


def choose(
    anchor: int,
    candidates: NDArray[np.int64],
    poses: Array,
    intrinsics: Array,
    size: tuple[int, int],
    limits: Limits,
    ranges: Sequence[float] | Array,
    count: int = 1,
) -> list[int]:
    """Up to ``count`` of the ``candidates`` (indices into ``poses`` (n, 4, 4)) that keep to ``limits``, best first;
    none if none does. Best is the greatest overlap times distance: far enough apart to measure depth by, and still much
    of it; of equals the nearest in order."""
    distance, turn = motions(poses[anchor], poses[candidates])
    fits = (distance >= limits.baseline[0]) & (distance <= limits.baseline[1]) & (turn <= limits.rotation)
    candidates, distance = candidates[fits & (candidates != anchor)], distance[fits & (candidates != anchor)]
    if not candidates.size:
        return []
    shared = overlap(poses[anchor], poses[candidates], intrinsics, size, ranges)
    order = np.lexsort([candidates, np.abs(candidates - anchor), -(shared * distance).round(6)])
    return [int(candidates[place]) for place in order if shared[place] >= limits.overlap][:count]
