"""A thing in a room: pieces of mesh with materials about a local origin, and the surfaces it offers to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import shapes
from .scene import CLASSES, Array, Light, Material, Part
from .shapes import Floats, Mesh, Pair, Point, Vector

Grain = Literal["x", "y", "z"]

# Rows carry local x, y, z into texture x, y, z; texture x is the direction of the grain.
_GRAIN: dict[str, Array] = {
    "x": np.eye(4, dtype=np.float32),
    "y": np.eye(4, dtype=np.float32)[[1, 2, 0, 3]],
    "z": np.eye(4, dtype=np.float32)[[2, 0, 1, 3]],
}


class Surface(NamedTuple):
    """A level rectangle things may stand on, local to its prop: ``kind`` says what is expected there."""

    kind: str
    low: Pair
    high: Pair
    z: float
    headroom: float = 1.0


class Piece(NamedTuple):
    mesh: Mesh
    material: Material
    texture: Floats


@dataclass(frozen=True)
class Pose:
    """Turned by ``yaw`` about z, then moved to ``at``."""

    at: Point
    yaw: float = 0.0

    def matrix(self) -> Array:
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = shapes.turn_z(self.yaw)
        matrix[:3, 3] = self.at
        return matrix

    def point(self, x: float, y: float, z: float = 0.0) -> Point:
        c, s = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return self.at[0] + c * x - s * y, self.at[1] + s * x + c * y, self.at[2] + z


class Prop:
    """Local axes: the front looks along -y, the back stands against +y, z is up and 0 is what it stands on.

    ``semseg`` is one of the class names. The NYU mapping of 40 classes to 13 decides: doors are ``wall``; curtains
    and blinds ``window``; counters, cupboards, shelves, chests, fridges ``furniture``; desks ``table``; rugs
    ``floor``; pillows, mirrors, lamps, boards, bags, paper, plants, sinks and all smaller things ``objects``.
    """

    def __init__(self, semseg: str) -> None:
        self.semseg = CLASSES.index(semseg)
        self.surfaces: list[Surface] = []
        self.lights: list[Light] = []
        self.pieces: list[Piece] = []
        self._bounds: NDArray[np.float64] | None = None

    def add(
        self,
        mesh: Mesh,
        material: Material,
        at: Vector = (0.0, 0.0, 0.0),
        size: Vector = 1.0,
        turn: Floats | None = None,
        grain: Grain = "x",
        texture: Floats | None = None,
    ) -> None:
        """``mesh`` scaled, turned and moved; ``texture`` (4, 4) carries a local point into its texture."""
        piece = Piece(shapes.moved(mesh, at, turn, size), material, _GRAIN[grain] if texture is None else texture)
        self.pieces.append(piece)
        self._bounds = None

    def block(self, material: Material, low: Vector, high: Vector, bevel: float = 0.0, grain: Grain = "x") -> None:
        """A box from corner ``low`` to corner ``high``."""
        a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
        size, at = b - a, (a + b) / 2
        if bevel > 0:
            self.add(shapes.bevelled(size, bevel), material, at, grain=grain)
        else:
            self.add(shapes.box(), material, at, size, grain=grain)

    def rod(self, material: Material, start: Vector, end: Vector, radius: float, segments: int = 8) -> None:
        self.add(shapes.tube([start, end], radius, segments), material)

    def panel(self, material: Material, low: Pair, high: Pair, y: float) -> None:
        """A flat picture in the plane ``y`` facing the front, x and z from ``low`` to ``high``.

        The texture, centred on its origin, is stretched so that it spans the panel once, upright.
        """
        (x0, z0), (x1, z1) = low, high
        mesh = shapes.quad((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1))
        scale = material.scale
        texture = np.diag([scale / (x1 - x0), 1.0, scale / (z1 - z0), 1.0]).astype(np.float32)
        texture[:3, 3] = -texture[0, 0] * (x0 + x1) / 2, -y, -texture[2, 2] * (z0 + z1) / 2
        self.add(mesh, material, texture=texture)

    def plate(self, material: Material, low: Pair, high: Pair, z: float) -> None:
        """A flat print in the level plane ``z`` facing up, spanning the texture once."""
        (x0, y0), (x1, y1) = low, high
        mesh = shapes.quad((x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z))
        scale = material.scale
        texture = np.diag([scale / (x1 - x0), scale / (y1 - y0), 1.0, 1.0]).astype(np.float32)
        texture[:3, 3] = -texture[0, 0] * (x0 + x1) / 2, -texture[1, 1] * (y0 + y1) / 2, -z
        self.add(mesh, material, texture=texture)

    def include(self, other: Prop, pose: Pose) -> None:
        """Makes ``other``'s pieces, surfaces and lights part of this prop."""
        matrix = pose.matrix()
        back = np.linalg.inv(matrix)
        for mesh, material, texture in other.pieces:
            vertices = (mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
            self.pieces.append(Piece(mesh._replace(vertices=vertices), material, texture @ back))
        self._bounds = None

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(2, 3): the lowest and highest local corner."""
        if self._bounds is None:
            low = np.min([p.mesh.vertices.min(0) for p in self.pieces], 0)
            high = np.max([p.mesh.vertices.max(0) for p in self.pieces], 0)
            self._bounds = np.stack([low, high]).astype(np.float64)
        return self._bounds

    @property
    def size(self) -> NDArray[np.float64]:
        return self.bounds[1] - self.bounds[0]

    def parts(self, pose: Pose, instance: int) -> Iterator[Part]:
        """In the world: pieces of one material and texture frame are joined."""
        groups: dict[tuple[Material, bytes, bool], list[Piece]] = {}
        for piece in self.pieces:
            groups.setdefault((piece.material, piece.texture.tobytes(), piece.mesh.smooth), []).append(piece)
        matrix = pose.matrix()
        back = np.linalg.inv(matrix)
        for (material, _, smooth), pieces in groups.items():
            mesh = pieces[0].mesh if len(pieces) == 1 else shapes.join([p.mesh for p in pieces])
            vertices = (mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
            texture = (pieces[0].texture @ back).astype(np.float32)
            yield Part(vertices, mesh.faces, material, self.semseg, instance, smooth, texture)

    def lights_at(self, pose: Pose) -> Iterator[Light]:
        matrix = pose.matrix()
        turn = matrix[:3, :3]
        for light in self.lights:
            yield Light(turn @ light.centre + matrix[:3, 3], turn @ light.u, turn @ light.v, light.power)

    def shine(self, centre: Vector, power: Vector, u: Vector = (0, 0, 0), v: Vector = (0, 0, 0)) -> None:
        """Adds a light at a local point."""
        self.lights.append(Light(*(np.asarray(a, np.float32) for a in (centre, u, v, power))))
