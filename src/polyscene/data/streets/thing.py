"""Things of a street: props of its classes, and meshes of many boxes or panes at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.prop import Piece, Pose, Prop
from polyscene.data.rooms.scene import Array, Material, Part
from polyscene.data.rooms.shapes import Floats, Mesh, Number

from .scene import CLASSES

Edge = Floats | float


class Thing(Prop):
    """A ``Prop`` whose class is one of the streets'. Its front looks along -y, z is up and 0 is what it stands on.

    ``coat`` is the material, of its walls say, that another may stand for at each of its places.
    """

    coat: Material | None = None

    def __init__(self, semseg: str) -> None:
        super().__init__("objects")
        self.semseg = CLASSES.index(semseg)
        self._joined: _Joined | None = None

    def parts(self, pose: Pose, instance: int, coat: Material | None = None) -> Iterator[Part]:
        """In the world: pieces of one material and texture frame are joined, once for all places of the thing."""
        if self._joined is None:
            self._joined = _Joined.of(self.pieces)
        joined, matrix = self._joined, pose.matrix()
        turn = matrix[:3, :3].T
        back = np.eye(4, dtype=np.float32)
        back[:3, :3], back[:3, 3] = turn, -turn @ matrix[:3, 3]
        vertices, frames = joined.vertices @ turn + matrix[:3, 3], joined.frames @ back
        for k, (mesh, material, _) in enumerate(joined.pieces):
            if coat is not None and material is self.coat:
                material = coat
            own = vertices[joined.cuts[k] : joined.cuts[k + 1]]
            yield Part(own, mesh.faces, material, self.semseg, instance, mesh.smooth, frames[k])


@dataclass(frozen=True)
class _Joined:
    """A thing's pieces, those of one material and frame joined; the ``vertices`` of all, which ``cuts`` divides, and
    the texture ``frames`` (k, 4, 4)."""

    pieces: list[Piece]
    vertices: Array
    cuts: list[int]
    frames: Array

    @classmethod
    def of(cls, pieces: list[Piece]) -> _Joined:
        groups: dict[tuple[Material, bytes, bool], list[Piece]] = {}
        for piece in pieces:
            groups.setdefault((piece.material, piece.texture.tobytes(), piece.mesh.smooth), []).append(piece)
        joined = [found[0]._replace(mesh=shapes.join([p.mesh for p in found])) for found in groups.values()]
        vertices = np.concatenate([p.mesh.vertices for p in joined]).astype(np.float32, copy=False)
        cuts = np.cumsum([0, *(len(p.mesh.vertices) for p in joined)]).tolist()
        return cls(joined, vertices, cuts, np.stack([p.texture for p in joined]).astype(np.float32))


def stock(maker: Callable[..., Thing], rng: Generator, variety: int, *how: Any) -> Thing:
    """One of ``variety`` things that ``maker`` can make ``how``, chosen by ``rng``; each is made once a process."""
    return _made(maker, int(rng.integers(variety)), *how)


@cache
def _made(maker: Callable[..., Thing], number: int, *how: Any) -> Thing:
    return maker(np.random.default_rng([number, zlib.crc32(maker.__qualname__.encode())]), *how)


def boxes(low: Floats, high: Floats) -> Mesh:
    """Boxes from corners ``low`` to ``high`` (n, 3) as one mesh."""
    low, high = np.atleast_2d(low), np.atleast_2d(high)
    unit = shapes.box()
    vertices = (low + high)[:, None] / 2 + unit.vertices[None] * (high - low)[:, None]
    faces = unit.faces[None] + len(unit.vertices) * np.arange(len(low), dtype=np.int32)[:, None, None]
    return Mesh(vertices.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32))


def quads(corners: Floats) -> Mesh:
    """Flat quadrilaterals (n, 4, 3), counter-clockwise seen from their fronts, as one mesh."""
    n = len(corners)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)[None] + 4 * np.arange(n, dtype=np.int32)[:, None, None]
    return Mesh(np.asarray(corners, np.float32).reshape(-1, 3), faces.reshape(-1, 3))


def upright(x: tuple[Edge, Edge], z: tuple[Edge, Edge], y: float) -> Floats:
    """Corners (n, 4, 3) of rectangles in the plane ``y`` that face -y, from first to second ``x`` and ``z``."""
    x0, x1, z0, z1, at = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (*x, *z, y)))
    return np.stack([np.stack(p, -1) for p in ((x0, at, z0), (x1, at, z0), (x1, at, z1), (x0, at, z1))], 1)


def cone(low: Number, high: Number, bottom: Number, top: Number, segments: int = 8) -> Mesh:
    """A tapered post about z, closed above."""
    return shapes.lathe([(bottom, low), (top, high), (0.0, high)], segments)
