"""Roads, kerbs, pavements and what is painted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Mesh

from . import finish
from .scene import Course
from .thing import Edge, Thing, quads

KERB = 0.12  # metres a pavement lies above its road
PAINT = 0.004  # metres a marking lies above it
Span = tuple[float, float]


@dataclass(frozen=True)
class Profile:
    """Across a road: half its ``width`` and the ``pavement`` on each side, metres."""

    half: float
    pavement: float


def strip(course: Course, s: Span, t: Span, z: float, step: float = 2.0) -> Mesh:
    """Level ground between ``t`` metres beside the course, along ``s``; it bends with it."""
    bends = course.curvature != 0 and s[1] > course.start and s[0] < course.end
    along = np.linspace(*s, max(2, int((s[1] - s[0]) / step) + 1)) if bends else np.array(s)
    points = np.stack([course.at(along, t[0]), course.at(along, t[1])], 1)
    return shapes.sheet(np.concatenate([points, np.full((*points.shape[:2], 1), z)], 2)[:, ::-1], smooth=False)


def upstand(course: Course, s: Span, t: float, step: float = 2.0) -> Mesh:
    """A kerb's face."""
    bends = course.curvature != 0
    along = np.linspace(*s, max(2, int((s[1] - s[0]) / step) + 1)) if bends else np.array(s)
    line = course.at(along, t)
    low, high = (np.c_[line, np.full(len(line), z)] for z in (0.0, KERB))
    return shapes.sheet(np.stack([low, high], 1), smooth=False)


def pavement(
    thing: Thing, course: Course, s: Span, side: int, profile: Profile, stone: Material, edge: Material
) -> None:
    near, far = side * profile.half, side * (profile.half + profile.pavement)
    lip = near + side * 0.14
    thing.add(strip(course, s, _sorted(lip, far), KERB), stone)
    thing.add(strip(course, s, _sorted(near, lip), KERB), edge)
    thing.add(upstand(course, s, near), edge)
    for end in s:  # where it stops at a crossing
        a, b = course.at(end, near), course.at(end, far)
        thing.add(quads(np.array([[(*a, 0), (*b, 0), (*b, KERB), (*a, KERB)]])), edge)


def _sorted(a: float, b: float) -> Span:
    return (min(a, b), max(a, b))


def line(
    thing: Thing, course: Course, s: Span, t: float, wide: float, paint: Material, dash: Span | None = None
) -> None:
    """A painted line; ``dash`` is the length of its strokes and of the gaps between them."""
    if dash is None:
        thing.add(strip(course, s, (t - wide / 2, t + wide / 2), PAINT), paint)
        return
    a = np.arange(s[0], s[1] - dash[0], sum(dash))
    if len(a):
        thing.add(_dashes(course, (a, a + dash[0]), (t - wide / 2, t + wide / 2)), paint)


def _dashes(course: Course, s: tuple[Edge, Edge], t: tuple[Edge, Edge]) -> Mesh:
    """Straight strokes of paint (n) between distances ``s`` along and ``t`` beside the course."""
    corners = np.stack([course.at(s[i], t[j]) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))], 1)
    return quads(np.concatenate([corners, np.full((*corners.shape[:2], 1), PAINT)], 2))


def markings(thing: Thing, rng: Generator, course: Course, spans: list[Span], profile: Profile, lanes: int) -> None:
    """Centre, lane and edge lines, or none."""
    white, half = finish.marking(rng), profile.half
    style = rng.random()
    for span in spans:
        if style < 0.12:
            continue
        dash = (rng.uniform(1.5, 4), rng.uniform(2, 6))
        if style < 0.75 or lanes > 2:
            line(thing, course, span, 0.0, 0.12, white, dash)
        else:
            for t in (-0.12, 0.12):
                line(thing, course, span, t, 0.1, white)
        for k in range(1, lanes // 2):
            for side in (-1, 1):
                line(thing, course, span, side * half * 2 * k / lanes, 0.1, white, dash)
    edge = rng.random()
    for span in spans:
        for side in (-1, 1):
            if edge < 0.35:  # no waiting
                for t in (0.25, 0.42)[: 1 + int(edge < 0.22)]:
                    line(thing, course, span, side * (half - t), 0.08, _yellow(rng, edge))
            elif edge < 0.6:
                line(thing, course, span, side * (half - 0.3), 0.1, white)


def _yellow(rng: Generator, draw: float) -> Material:
    return finish.marking(np.random.default_rng(int(draw * 1e9)), yellow=True)


def zebra(thing: Thing, rng: Generator, course: Course, s: float, profile: Profile, long: float = 2.6) -> None:
    paint = finish.marking(rng)
    t = np.arange(-profile.half + 0.4, profile.half - 0.4, 1.0)
    thing.add(_dashes(course, (s, s + long), (t, t + 0.5)), paint)


def stop_line(thing: Thing, rng: Generator, course: Course, s: float, t: Span) -> None:
    thing.add(strip(course, (s, s + 0.3), t, PAINT), finish.marking(rng))


def arrow(thing: Thing, rng: Generator, course: Course, s: float, t: float) -> None:
    paint = finish.marking(rng)
    thing.add(strip(course, (s, s + 2.6), (t - 0.08, t + 0.08), PAINT), paint)
    head = [
        [
            (*course.at(s + 2.4, t - 0.35), PAINT),
            (*course.at(s + 2.4, t + 0.35), PAINT),
            (*course.at(s + 3.6, t), PAINT),
            (*course.at(s + 3.6, t), PAINT),
        ]
    ]
    thing.add(Mesh(np.array(head, np.float32)[0, :3], np.array([[0, 1, 2]], np.int32)), paint)


def patches(thing: Thing, rng: Generator, course: Course, length: float, profile: Profile) -> None:
    """Repairs, covers and stains."""
    for _ in range(int(rng.integers(2, 9))):
        s, t = rng.uniform(0, length), rng.uniform(-0.8, 0.8) * profile.half
        long, wide = (0.6, 0.6) if rng.random() < 0.4 else (rng.uniform(1, 8), rng.uniform(0.4, 1.6))
        if abs(t) + wide < profile.half:
            thing.add(strip(course, (s, s + long), (t, t + wide), 0.5 * PAINT), finish.asphalt(rng))
