"""Stored arrays as labels: a value with its validity, (1, c, h, w), in the project's units and axes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.types import Target

Raw = NDArray[np.generic]


def ids(raw: Raw, void: Collection[int] = (255,), table: NDArray[np.int64] | None = None, shift: int = 0) -> Target:
    """(h, w) class ids. ``table`` gives the id of each stored number, -1 for none; else ``shift`` is added to it.
    ``void`` are stored numbers that mean no label. A number that is neither void nor in the table stays as the id -1,
    which no task accepts."""
    stored = raw.astype(np.int64)
    valid = ~np.isin(stored, list(void))
    if table is None:
        value = stored + shift
    else:
        known = (stored >= 0) & (stored < len(table))
        value = np.where(known, table[np.where(known, stored, 0)], -1)
        valid &= ~(known & (value < 0))
    return Target(_stacked(np.where(valid, value, 0)), _stacked(valid))


def metres(raw: Raw, unit: float = 1.0, most: float = np.inf) -> Target:
    """(h, w) depth, ``unit`` metres a count. Unknown are zero, what is no number, and all from ``most`` metres on."""
    value = raw.astype(np.float32) * np.float32(unit)
    valid = np.isfinite(value) & (value > 0) & (value < most)
    return Target(_stacked(np.where(valid, value, 0)), _stacked(valid))


def vectors(stored: Raw, axes: Sequence[float] = (1, 1, 1), least: float = 0.5) -> Target:
    """(h, w, 3) normals as numbers in [-1, 1], the components multiplied by ``axes`` to be in camera axes, and made of
    unit length. Unknown are those shorter than ``least``."""
    value = np.moveaxis(stored.astype(np.float32) * np.asarray(axes, np.float32), -1, 0)
    length = np.sqrt((value * value).sum(0))
    valid = np.isfinite(length) & (length >= least)
    return Target(
        torch.from_numpy(np.where(valid, value / np.where(valid, length, 1), 0).astype(np.float32))[None],
        _stacked(valid),
    )


def coded(picture: Raw) -> NDArray[np.float32]:
    """(h, w, 3) uint8 -> [-1, 1], by 2 v / 255 - 1."""
    return picture[..., :3].astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def binary(marked: Raw, valid: Raw | None = None) -> Target:
    """(h, w) bool -> {0, 1}; all of it valid unless told."""
    known = np.ones(marked.shape, bool) if valid is None else valid.astype(bool)
    return Target(_stacked((marked & known).astype(np.float32)), _stacked(known))


def _stacked(array: Raw) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None, None]
