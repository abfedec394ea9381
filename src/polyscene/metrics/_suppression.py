"""Oriented non-maximum suppression of boundary strength, as the field's evaluation code does it before thresholds.

Across a boundary, whose direction comes from second derivatives of the smoothed map, only the strongest pixel stays;
towards the border of the image strength fades (Dollár and Zitnick, "Fast edge detection using structured forests",
TPAMI 2015; SEISM).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, map_coordinates

Floats = NDArray[np.float32]


def oriented(strength: Floats) -> Floats:
    """As SEISM: a pixel stays if 1.01 times its strength is at least that of both neighbours across."""
    return suppressed(strength, radius=1)


def smoothed(strength: Floats) -> Floats:
    """As SAK: on the smoothed map, against four pixels on each side; rounded to 8 bits."""
    kept = suppressed(triangle(strength, 1), radius=4)
    return np.rint(kept * np.float32(255)) / np.float32(255)


def suppressed(strength: Floats, radius: int, border: int = 5, tolerance: float = 1.01) -> Floats:
    """(h, w) strength with all pixels that are weaker, ``tolerance`` times, than a pixel up to ``radius`` away across
    the boundary set to 0, and fading towards the edges of the image over ``border`` pixels."""
    height, width = strength.shape
    angle = orientation(strength)
    rows, columns = np.nonzero(strength)
    for distance in sorted(range(-radius, radius + 1), key=abs)[1:]:
        across = angle[rows, columns]
        x = np.clip(columns + np.float32(distance) * np.cos(across), 0, width - 1.001)
        y = np.clip(rows + np.float32(distance) * np.sin(across), 0, height - 1.001)
        rival = map_coordinates(strength, [y, x], order=1, output=np.float32, mode="nearest")
        stays = strength[rows, columns] * np.float32(tolerance) >= rival
        rows, columns = rows[stays], columns[stays]
    kept = np.zeros_like(strength)
    kept[rows, columns] = strength[rows, columns]
    border = min(border, height // 2, width // 2)
    for size, view in ((height, kept), (width, kept.T)):
        fade = np.ones(size, np.float32)
        fade[:border] = np.arange(border) / np.float32(border)
        fade[size - border :] = fade[:border][::-1]
        view *= fade[:, None]
    return kept


def orientation(strength: Floats) -> Floats:
    """(h, w) angle of the direction across the boundary, in [0, π): from the x axis, y down."""
    across, along = 1, 0
    smooth = triangle(strength, 4)
    dx, dy = _slope(smooth, across), _slope(smooth, along)
    dxx, dxy, dyy = _slope(dx, across), _slope(dy, across), _slope(dy, along)
    angle = np.arctan(dyy * np.sign(-dxy) / (dxx + np.float32(1e-5)))
    return np.mod(angle, np.float32(np.pi))


def triangle(image: Floats, radius: int) -> Floats:
    """(h, w) smoothed by a triangle that falls to 0 at ``radius`` + 1, mirrored at the edges; of radius 1: 1 2 1."""
    weights = np.concatenate([np.arange(1, radius + 2), np.arange(radius, 0, -1)]).astype(np.float32)
    weights /= weights.sum()
    return np.asarray(correlate1d(correlate1d(image, weights, 0, mode="reflect"), weights, 1, mode="reflect"))


def _slope(image: Floats, axis: int) -> Floats:
    """Central differences, one-sided at the ends."""
    if image.shape[axis] < 2:
        return np.zeros_like(image)
    return np.asarray(np.gradient(image, axis=axis), dtype=np.float32)
