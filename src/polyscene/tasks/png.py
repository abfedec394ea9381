"""Values as PNG files, the way the field's data sets keep them."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from polyscene.tasks.base import Task
from polyscene.tasks.depth import Depth
from polyscene.tasks.normals import Normals
from polyscene.tasks.probability import Probability
from polyscene.tasks.semseg import SemanticSegmentation

FARTHEST = 65.535  # metres that 16 bits of millimetres hold


@singledispatch
def as_png(task: Task, value: np.ndarray) -> np.ndarray:
    """A value (h, w[, c]) as integers of 8 or 16 bits: class ids; millimetres, where 0 is unknown and 65535 that or
    more; unit vectors as (n + 1) * 127.5, where x, y, z are red, green, blue; a probability times 255."""
    raise ValueError(f"task {task.name!r} ({type(task).__name__}) has no PNG form; register it in tasks/png.py")


@as_png.register
def _(task: SemanticSegmentation, value: np.ndarray) -> np.ndarray:
    return value.astype(np.uint8 if len(task.classes) <= 256 else np.uint16)


@as_png.register
def _(task: Depth, value: np.ndarray) -> np.ndarray:
    known = np.where(np.isfinite(value) & (value > 0), value, 0.0)
    return np.round(known.clip(0, FARTHEST) * 1000).astype(np.uint16)


@as_png.register
def _(task: Normals, value: np.ndarray) -> np.ndarray:
    return np.round((value.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


@as_png.register
def _(task: Probability, value: np.ndarray) -> np.ndarray:
    return np.round(value.clip(0, 1) * 255).astype(np.uint8)
