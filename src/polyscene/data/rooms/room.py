"""An empty room and what is free in it: walls with openings, a floor grid, and the things put in so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import clutter
from .prop import Pose, Prop
from .scene import Light, Part
from .shapes import Floats, Number, Vector

CELL = 0.05  # metres


@dataclass
class Wall:
    """From ``start`` along ``yaw``; the room lies on its right. Spans of it in use are (s0, s1, z0, z1)."""

    start: tuple[float, float]
    yaw: float
    length: float
    used: list[tuple[float, float, float, float]] = field(default_factory=list)
    openings: list[tuple[float, float, float, float, str]] = field(default_factory=list)

    def pose(self, s: float, out: float = 0.0, z: float = 0.0) -> Pose:
        """Local x runs along the wall, local -y into the room; ``out`` metres off the wall."""
        c, d = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return Pose((self.start[0] + c * s + d * out, self.start[1] + d * s - c * out, z), self.yaw)

    def free(self, s0: Number, s1: Number, z0: Number, z1: Number) -> bool:
        if s0 < 0 or s1 > self.length:
            return False
        return all(s1 <= a or s0 >= b or z1 <= c or z0 >= d for a, b, c, d in self.used)


class Room:
    """``outline`` (k, 2) runs clockwise seen from above, so that every wall has the room on its right."""

    def __init__(self, outline: Sequence[tuple[float, float]], height: float, rng: Generator) -> None:
        self.rng = rng
        self.height = height
        self.outline = np.asarray(outline, np.float64)
        self.low, self.high = self.outline.min(0), self.outline.max(0)
        self.walls: list[Wall] = []
        for a, b in zip(self.outline, np.roll(self.outline, -1, 0), strict=True):
            yaw = float(np.arctan2(b[1] - a[1], b[0] - a[0]))
            self.walls.append(Wall((float(a[0]), float(a[1])), yaw, float(np.hypot(*(b - a)))))
        cells = np.ceil((self.high - self.low) / CELL).astype(int)
        self._x = self.low[0] + (np.arange(cells[0]) + 0.5) * CELL
        self._y = self.low[1] + (np.arange(cells[1]) + 0.5) * CELL
        self.taken = np.zeros(cells, bool)
        for i in range(len(self._x)):
            crossings = np.sort(self._crossings(self._x[i]))
            self.taken[i] = np.searchsorted(crossings, self._y) % 2 == 0
        self.parts: list[Part] = []
        self.lights: list[Light] = []
        self._instances = 0

    def _crossings(self, x: float) -> NDArray[np.float64]:
        a, b = self.outline, np.roll(self.outline, -1, 0)
        cut = (a[:, 0] > x) != (b[:, 0] > x)
        t = (x - a[cut, 0]) / (b[cut, 0] - a[cut, 0])
        return a[cut, 1] + t * (b[cut, 1] - a[cut, 1])

    @property
    def area(self) -> float:
        x, y = self.outline.T
        return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2

    def _cells(self, low: Floats, high: Floats, pose: Pose) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
        """The grid window and the cells in it that a local rectangle covers; None where it leaves the grid."""
        corners = np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])])
        c, s = np.cos(pose.yaw), np.sin(pose.yaw)
        world = corners @ np.array([[c, s], [-s, c]]) + pose.at[:2]
        a, b = world.min(0), world.max(0)
        if (a < self.low - 0.02).any() or (b > self.high + 0.02).any():
            return None
        first = np.floor((a - self.low) / CELL + 0.01).astype(int).clip(0)
        last = np.ceil((b - self.low) / CELL - 0.01).astype(int)
        window = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
        x = self._x[window[0]][:, None] - pose.at[0]
        y = self._y[window[1]][None] - pose.at[1]
        u, v = c * x + s * y, -s * x + c * y
        margin = 0.45 * CELL
        inside = (u > low[0] - margin) & (u < high[0] + margin) & (v > low[1] - margin) & (v < high[1] + margin)
        return window, inside

    def clear(self, prop: Prop, pose: Pose, margin: float = 0.0) -> bool:
        """Whether the prop's footprint, widened by ``margin``, is free floor."""
        low, high = prop.bounds[:, :2] + np.array([[-margin], [margin]])
        found = self._cells(low, high, pose)
        return found is not None and not (self.taken[found[0]] & found[1]).any()

    def reserve(self, low: Vector, high: Vector, pose: Pose) -> None:
        found = self._cells(np.asarray(low), np.asarray(high), pose)
        if found is not None:
            self.taken[found[0]] |= found[1]

    def new_instance(self) -> int:
        self._instances += 1
        return self._instances

    def put(self, prop: Prop, pose: Pose, clutter_tries: float = 0.0) -> None:
        """Adds the prop as it stands, and on its surfaces things, about ``clutter_tries`` a square metre."""
        self.parts.extend(prop.parts(pose, self.new_instance()))
        self.lights.extend(prop.lights_at(pose))
        if clutter_tries <= 0:
            return
        for surface in prop.surfaces:
            width, depth = surface.high[0] - surface.low[0], surface.high[1] - surface.low[1]
            if surface.kind == "seat":
                tries = int(self.rng.random() < 0.12)
            elif surface.kind == "cushions":
                tries = int(self.rng.integers(0, 4))
            elif surface.kind == "storage":
                tries = int(self.rng.integers(0, 3))
            else:
                base = {"worktop": 2.2, "shelf": 2.0, "display": 1.6, "table": 1.1, "desk": 1.3, "sill": 2.0}
                tries = 1 + int(self.rng.poisson(min(clutter_tries * base.get(surface.kind, 1.0) * width * depth, 18)))
                if surface.kind == "shelf":
                    tries = min(tries, 5)
            for thing, at in clutter.scatter(self.rng, surface, tries):
                inner = Pose(pose.point(*at.at), pose.yaw + at.yaw)
                self.put(thing, inner, 30.0 if thing.surfaces else 0.0)

    def stand(
        self, prop: Prop, at: tuple[float, float], yaw: float, margin: float = 0.0, clutter_tries: float = 0.0
    ) -> bool:
        """Puts the prop on the floor if there is room."""
        pose = Pose((*at, clutter.GAP), yaw)
        if not self.clear(prop, pose, margin):
            return False
        low, high = prop.bounds[:, :2]
        self.reserve(low, high, pose)
        self.put(prop, pose, clutter_tries)
        return True

    def against(
        self, prop: Prop, wall: Wall, s: float | None = None, out: float = 0.01, clutter_tries: float = 0.0,
        front: float = 0.0, tries: int = 10,
        height: float | None = None,
    ) -> float | None:  # fmt: skip
        """Stands the prop with its back to ``wall``, its centre ``s`` along it, ``front`` metres before it free.

        ``height`` says how much of the wall it hides, where that is not all of its own height.

        Returns the place along the wall, or None when there is none.
        """
        low, high = prop.bounds
        hidden = float(high[2]) if height is None else height
        for _ in range(1 if s is not None else tries):
            if s is None:
                if wall.length < high[0] - low[0] + 0.05:
                    return None
                at = float(self.rng.uniform(-low[0] + 0.02, wall.length - high[0] - 0.02))
                if self.rng.random() < 0.3:
                    at = float(self.rng.choice([-low[0] + 0.02, wall.length - high[0] - 0.02]))
            else:
                at = s
            if not wall.free(at + low[0], at + high[0], 0.0, hidden):
                continue
            pose = wall.pose(at, out + float(high[1]), clutter.GAP)
            if not self.clear(prop, pose):
                continue
            if front > 0:
                found = self._cells(np.array([low[0], low[1] - front]), high[:2], pose)
                if found is None or (self.taken[found[0]] & found[1]).any():
                    continue
            self.reserve(low[:2], high[:2], pose)
            wall.used.append((at + float(low[0]), at + float(high[0]), 0.0, hidden + 0.05))
            self.put(prop, pose, clutter_tries)
            return at
        return None

    def hang(
        self, prop: Prop, wall: Wall, z: float, s: float | None = None, out: float = 0.002, tries: int = 6,
        clutter_tries: float = 0.0,
    ) -> bool:  # fmt: skip
        """Fixes the prop to ``wall`` with its z = 0 at height ``z`` where nothing else stands or hangs."""
        low, high = prop.bounds
        if high[2] + z > self.height - 0.03 or wall.length < high[0] - low[0] + 0.02:
            return False
        for _ in range(1 if s is not None else tries):
            at = float(self.rng.uniform(-low[0], wall.length - high[0])) if s is None else s
            span = (at + float(low[0]), at + float(high[0]), z + float(low[2]), z + float(high[2]))
            if wall.free(*span):
                wall.used.append(span)
                self.put(prop, wall.pose(at, out + float(high[1]), z), clutter_tries)
                return True
        return False

    def free_point(self) -> tuple[float, float] | None:
        """A free place on the floor."""
        free = np.flatnonzero(~self.taken.ravel())
        if not len(free):
            return None
        i, j = np.unravel_index(int(free[self.rng.integers(len(free))]), self.taken.shape)
        return float(self._x[i]), float(self._y[j])
