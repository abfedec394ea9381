"""What a rendered street is made of, besides the parts that rooms have too: its course, its weather, its classes.

World axes: x right, y forward, z up, metres; the road lies at z = 0. Camera axes: x right, y down, z forward (OpenCV).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from polyscene.data.rooms.prop import Pose
from polyscene.data.rooms.scene import Scene
from polyscene.data.rooms.shapes import Floats

CLASSES = (  # the 11 of CamVid
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Course:
    """A road's centre line from ``origin``: straight, a bend of ``curvature`` (1/m, to the left if positive) from
    ``start`` to ``end`` metres along it, straight again. ``turn`` is its first heading, 0 along y."""

    origin: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    start: float = 0.0
    end: float = 0.0
    curvature: float = 0.0

    def heading(self, s: Floats | float) -> Floats:
        return np.asarray(self.turn + self.curvature * np.clip(np.asarray(s) - self.start, 0.0, self.end - self.start))

    def at(self, s: Floats | float, t: Floats | float) -> Floats:
        """(..., 2): the point ``s`` metres along and ``t`` to the right."""
        s, t = np.broadcast_arrays(np.asarray(s, float), np.asarray(t, float))
        ahead = np.minimum(s, self.start)
        bent = np.clip(s - self.start, 0.0, self.end - self.start)
        after = np.maximum(s - self.end, 0.0) if self.end > self.start else np.maximum(s - self.start, 0.0)
        angle = self.curvature * bent
        if self.curvature:
            x, y = (np.cos(angle) - 1) / self.curvature, np.sin(angle) / self.curvature
        else:
            x, y = np.zeros_like(bent), bent
        x = x - after * np.sin(angle) + t * np.cos(angle)
        y = y + ahead + after * np.cos(angle) + t * np.sin(angle)
        c, n = np.cos(self.turn), np.sin(self.turn)
        return np.stack([self.origin[0] + c * x - n * y, self.origin[1] + n * x + c * y], -1)

    def pose(self, s: float, t: float, z: float = 0.0, yaw: float = 0.0) -> Pose:
        """Of a thing whose front (-y) looks back along the road, before ``yaw``."""
        bent = min(max(s - self.start, 0.0), self.end - self.start)
        angle, ahead = self.curvature * bent, min(s, self.start)
        after = max(s - max(self.end, self.start), 0.0)
        c, n = math.cos(angle), math.sin(angle)
        x, y = ((c - 1) / self.curvature, n / self.curvature) if self.curvature else (0.0, bent)
        x, y = x - after * n + t * c, y + ahead + after * c + t * n
        c, n = math.cos(self.turn), math.sin(self.turn)
        place = (self.origin[0] + c * x - n * y, self.origin[1] + n * x + c * y, z)
        return Pose(place, self.turn + angle + yaw)

    def facing(self, s: float, t: float, z: float = 0.0, yaw: float = 0.0) -> Pose:
        """Of a thing beside the road whose front looks at it."""
        return self.pose(s, t, z, yaw + (-np.pi / 2 if t > 0 else np.pi / 2))


@dataclass(frozen=True)
class Weather:
    """``sun`` (3,) points to it, ``sunlight`` is its irradiance RGB; ``zenith``, ``horizon``, ``glare`` (about the
    sun) and ``cloud`` are radiances RGB; ``cover`` in [0, 1] of clouds drawn from ``seed``; ``haze`` is the part of
    light lost on a metre of air."""

    sun: RGB
    sunlight: RGB
    zenith: RGB
    horizon: RGB
    glare: RGB
    cloud: RGB
    cover: float
    haze: float
    seed: int


@dataclass(frozen=True)
class Street(Scene):
    """``lane`` is where one may drive: metres to the right of ``course``, with nothing in the way from its start for
    ``free`` metres."""

    course: Course
    weather: Weather
    lane: float
    free: float
