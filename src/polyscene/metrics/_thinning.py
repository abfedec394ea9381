"""Morphological thinning to lines one pixel wide, as MATLAB's ``bwmorph(mask, "thin", inf)`` does it.

Each round removes, in two halves, the pixels whose eight neighbours say so: Guo and Hall, "Parallel thinning with
two-subiteration algorithms", Communications of the ACM 32(3), 1989. Outside the image nothing is set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# the neighbours east, north-east, north, ... in this order are the bits 0..7 of a pixel's code
NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def _removable() -> NDArray[np.bool_]:
    """(2, 256): whether a pixel with this code goes in the first and in the second half of a round."""
    x = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1
    east, north_east, north, _, west, south_west, south, south_east = x.T
    after = np.roll(x, -1, axis=1)
    corners = [~x[:, i] & (after[:, i] | after[:, (i + 1) % 8]) for i in (0, 2, 4, 6)]
    once_connected = np.sum(corners, axis=0) == 1
    pairs = x | after
    fewest = np.minimum(pairs[:, 0::2].sum(1), pairs[:, 1::2].sum(1))
    common = once_connected & (fewest >= 2) & (fewest <= 3)
    first = common & ~((north_east | north | ~south_east) & east)
    second = common & ~((south_west | south | ~x[:, 3]) & west)
    return np.stack([first, second])


REMOVABLE = _removable()


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thins ``mask`` (h, w) until nothing changes."""
    image = np.pad(np.asarray(mask, bool), 1)
    inner = image[1:-1, 1:-1]
    while True:
        before = int(inner.sum())
        for table in REMOVABLE:
            inner &= ~table[_codes(image)]
        if int(inner.sum()) == before:
            return inner.copy()


def _codes(image: NDArray[np.bool_]) -> NDArray[np.uint8]:
    height, width = image.shape
    codes = np.zeros((height - 2, width - 2), np.uint8)
    for bit, (dy, dx) in enumerate(NEIGHBOURS):
        codes |= image[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx].astype(np.uint8) << np.uint8(bit)
    return codes
