"""What a rendered room is made of: parts with materials, lights, and the views that look at them.

World axes: x right, y forward, z up, metres. Camera axes: x right, y down, z forward (OpenCV).
Everything here is plain numpy, a pure function of its seed, and knows nothing of how it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CLASSES = (  # the 13 NYU classes, alphabetical
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects",
    "picture", "sofa", "table", "tv", "wall", "window",
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """How a surface looks. ``kind`` names a procedural texture in ``materials.py``.

    Colours are linear RGB albedo in [0, 1]; ``scale`` is the size in metres of one texture tile;
    ``gloss`` in [0, 1] is the strength of the highlight; ``glow`` is emitted radiance (screens, windows, lamps).
    """

    kind: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: float = 1.0
    gloss: float = 0.0
    glow: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """One mesh of one material: vertices (n, 3) world metres, faces (m, 3).

    Normals point by ``smooth``: interpolated from the vertices, or flat per face. ``texture_from_world`` (4, 4)
    carries a world point into the frame its texture is laid out in (metres, box-mapped), so that grain follows
    the object. ``instance`` is unique to the object within its scene (walls: one each).
    """

    vertices: Array
    faces: NDArray[np.int32]
    material: Material
    semseg: int
    instance: int
    smooth: bool = False
    texture_from_world: Array = field(default_factory=lambda: np.eye(4, dtype=np.float32))


@dataclass(frozen=True)
class Light:
    """A rectangle centred at ``centre`` spanned by half axes ``u`` and ``v`` (metres); ``power`` is RGB radiant flux.

    Ceiling lamps, windows, table lamps; u = v = 0 is a point light. Shines to both sides.
    """

    centre: Array
    u: Array
    v: Array
    power: Array


@dataclass(frozen=True)
class View:
    """A pinhole camera: ``intrinsics`` (3, 3) pixels for ``size`` (h, w), ``world_from_camera`` (4, 4) metres."""

    size: tuple[int, int]
    intrinsics: Array
    world_from_camera: Array


@dataclass(frozen=True)
class Scene:
    parts: tuple[Part, ...]
    lights: tuple[Light, ...]
    ambient: Array  # RGB radiance that arrives from everywhere, before occlusion
    bounds: Array  # (2, 3): the room's lowest and highest corner; L-shaped rooms lie within
    seed: tuple[int, int]  # (data-set seed, scene number)
