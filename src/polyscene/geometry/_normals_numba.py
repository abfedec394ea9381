"""Affine fits of inverse depth in windows, in one loop over pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled


@compiled(nogil=True)
def fit(depth: NDArray[np.float64], radius: int, step: float, out: NDArray[np.float64], first: int, last: int) -> None:
    """Rows ``first`` to ``last`` of ``out`` (h, w, 3): inverse depth's slope to the right and down and its value, by a
    fit around each pixel; left as they are where that is unknown."""
    height, width = depth.shape
    least = ((2 * radius + 1) ** 2 + 1) // 2
    for row in range(first, last):
        for column in range(width):
            here = depth[row, column]
            if here <= 0:
                continue
            n = sx = sy = sxx = sxy = syy = sw = sxw = syw = 0.0
            for i in range(max(row - radius, 0), min(row + radius + 1, height)):
                for j in range(max(column - radius, 0), min(column + radius + 1, width)):
                    there = depth[i, j]
                    if there <= 0 or abs(there - here) > step * here:
                        continue
                    x, y, w = float(j - column), float(i - row), 1 / there
                    n += 1
                    sx += x
                    sy += y
                    sxx += x * x
                    sxy += x * y
                    syy += y * y
                    sw += w
                    sxw += x * w
                    syw += y * w
            if n < least:
                continue
            cxx, cxy, cyy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
            cxw, cyw = sxw - sx * sw / n, syw - sy * sw / n
            scale = cxx * cyy - cxy * cxy
            if scale < 1e-9 * n * n:
                continue
            slope_x, slope_y = (cyy * cxw - cxy * cyw) / scale, (cxx * cyw - cxy * cxw) / scale
            out[row, column, 0], out[row, column, 1] = slope_x, slope_y
            out[row, column, 2] = (sw - slope_x * sx - slope_y * sy) / n
