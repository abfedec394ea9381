"""Boundaries of label maps."""

from __future__ import annotations

import torch
from torch import Tensor


def of_ids(ids: Tensor, valid: Tensor | None = None) -> Tensor:
    """(..., h, w) ids -> bool, true where the pixel to the right, below or to the lower right is another's; as the
    Berkeley benchmark turns segmentations into boundaries. Where either of two pixels is not ``valid`` there is none.
    """
    known = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
    marked = torch.zeros_like(known)
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        near = (..., slice(0, ids.shape[-2] - rows), slice(0, ids.shape[-1] - columns))
        far = (..., slice(rows, None), slice(columns, None))
        marked[near] |= (ids[near] != ids[far]) & known[near] & known[far]
    return marked
