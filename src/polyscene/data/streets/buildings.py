"""Houses, shops, offices and sheds: walls with windows set into them, doors, roofs and chimneys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Floats, Mesh

from . import finish
from .thing import Thing, boxes, quads, stock, upright

REVEAL = 0.14  # metres a window lies behind its wall


class Facade:
    """A wall in the plane y = 0, x from 0 to ``width``, z from ``base`` to ``top``, with rectangular openings."""

    def __init__(self, width: float, base: float, top: float) -> None:
        self.width, self.base, self.top = width, base, top
        self.holes: list[tuple[float, float, float, float]] = []

    def row(self, rng: Generator, count: int, wide: float, low: float, high: float, skip: float = 0.0) -> None:
        """``count`` openings evenly along the wall."""
        bay = self.width / count
        for k in range(count):
            if rng.random() >= skip:
                x = (k + 0.5) * bay
                self.holes.append((x - wide / 2, x + wide / 2, low, high))

    def wall(self) -> Mesh:
        """The wall between the openings, and their reveals."""
        holes = np.array(self.holes).reshape(-1, 4)
        xs = np.unique(np.round(np.r_[0.0, self.width, holes[:, 0], holes[:, 1]], 4))
        zs = np.unique(np.round(np.r_[self.base, self.top, holes[:, 2], holes[:, 3]], 4))
        open_ = np.zeros((len(xs) - 1, len(zs) - 1), bool)
        mx, mz = (xs[1:] + xs[:-1]) / 2, (zs[1:] + zs[:-1]) / 2
        for a, b, c, d in holes:
            open_ |= ((mx > a) & (mx < b))[:, None] & ((mz > c) & (mz < d))[None]
        i, j = np.nonzero(~open_)
        flat = upright((xs[i], xs[i + 1]), (zs[j], zs[j + 1]), 0.0)
        if not len(holes):
            return quads(flat)
        a, b, c, d = holes.T
        o, r = np.zeros_like(a), np.full_like(a, REVEAL)
        sides = [
            ((a, o, c), (a, r, c), (a, r, d), (a, o, d)), ((b, r, c), (b, o, c), (b, o, d), (b, r, d)),
            ((a, o, d), (a, r, d), (b, r, d), (b, o, d)), ((a, r, c), (a, o, c), (b, o, c), (b, r, c)),
        ]  # fmt: skip
        reveals = [np.stack([np.stack(corner, -1) for corner in side], 1) for side in sides]
        return quads(np.concatenate([flat, *reveals]))

    def glaze(
        self, thing: Thing, rng: Generator, glass: Material, frame: Material, bars: tuple[int, int], near: bool = True
    ) -> None:
        """Panes into all openings, behind some a curtain; with ``near`` frames and sills too."""
        holes = np.array(self.holes).reshape(-1, 4)
        if not len(holes):
            return
        drawn = rng.random(len(holes)) < 0.25
        panes = upright((holes[:, 0], holes[:, 1]), (holes[:, 2], holes[:, 3]), REVEAL)
        for mask, material in ((~drawn, glass), (drawn, finish.curtain(rng))):
            if mask.any():
                thing.add(quads(panes[mask]), material)
        if not near:
            return
        a, b, c, d = holes.T
        t, o = 0.05, np.zeros_like(a)
        before, behind = o + REVEAL - 0.05, o + REVEAL + 0.01
        low = [(a, before, c), (b - t, before, c), (a, before, c), (a, before, d - t)]
        high = [(a + t, behind, d), (b, behind, d), (b, behind, c + t), (b, behind, d)]
        for n, one, two, upwards in ((bars[0], a, b, True), (bars[1], c, d, False)):
            for k in range(1, n):
                at = one + (two - one) * k / n
                low.append((at - 0.02, before, c) if upwards else (a, before, at - 0.02))
                high.append((at + 0.02, behind, d) if upwards else (b, behind, at + 0.02))
        low.append((a - 0.06, o - 0.06, c - 0.07))
        high.append((b + 0.06, o + REVEAL, c))
        thing.add(boxes(_rows(low), _rows(high)), frame)


def _rows(corners: Sequence[Sequence[Floats]]) -> Floats:
    return np.concatenate([np.stack(corner, 1) for corner in corners])


def _shell(thing: Thing, wall: Material, width: float, depth: float, height: float) -> None:
    """Sides and back."""
    corners = [
        [(0, depth, 0), (0, 0, 0), (0, 0, height), (0, depth, height)],
        [(width, 0, 0), (width, depth, 0), (width, depth, height), (width, 0, height)],
        [(width, depth, 0), (0, depth, 0), (0, depth, height), (width, depth, height)],
    ]
    thing.add(quads(np.array(corners, float)), wall)


def _pitched(
    thing: Thing, rng: Generator, wall: Material, width: float, depth: float, height: float, gable: bool
) -> None:
    """A roof whose ridge runs along the street, or with ``gable`` across it."""
    tiles, rise, eave = finish.roof(rng), rng.uniform(0.3, 0.55) * (width if gable else depth) * 0.8, 0.3
    if gable:
        m, z = width / 2, height + rise
        drop = eave * rise / m
        slopes = [
            [(-eave, -eave, height - drop), (m, -eave, z), (m, depth, z), (-eave, depth, height - drop)],
            [(m, -eave, z), (width + eave, -eave, height - drop), (width + eave, depth, height - drop), (m, depth, z)],
        ]
        slopes = [[s[k] for k in (0, 1, 2, 3)] for s in slopes]
        ends = [
            [(0, 0, height), (width, 0, height), (m, 0, z), (m, 0, z)],
            [(width, depth, height), (0, depth, height), (m, depth, z), (m, depth, z)],
        ]
    else:
        m, z = depth / 2, height + rise
        drop = eave * rise / m
        slopes = [
            [(-0.05, -eave, height - drop), (width + 0.05, -eave, height - drop), (width + 0.05, m, z), (-0.05, m, z)],
            [
                (width + 0.05, depth + eave, height - drop),
                (-0.05, depth + eave, height - drop),
                (-0.05, m, z),
                (width + 0.05, m, z),
            ],
        ]
        ends = [
            [(0, depth, height), (0, 0, height), (0, m, z), (0, m, z)],
            [(width, 0, height), (width, depth, height), (width, m, z), (width, m, z)],
        ]
    faces = np.array(slopes, float)
    along = faces[:, 1] - faces[:, 0]
    thing.add(quads(faces), tiles, grain="x" if abs(along[0, 0]) > 0.1 and not gable else "y")
    thing.add(quads(np.array(ends, float)[:, :3][:, [0, 1, 2, 2]]), wall)
    thing.block(
        finish.trim(rng),
        (-0.05, -eave - 0.05, height - 0.16 - 0.3 * eave),
        (width + 0.05, -eave + 0.06, height - 0.3 * eave),
    ) if not gable else None
    for x in (0.4, width - 1.0)[: int(rng.integers(0, 3))]:
        y = depth / 2 + (rng.uniform(-1, 1) if gable else 0)
        thing.block(wall, (x, y - 0.35, height + 0.3 * rise), (x + 0.6, y + 0.35, z + rng.uniform(0.6, 1.2)))
        for k in range(2):
            thing.block(tiles, (x + 0.1 + 0.26 * k, y - 0.1, z), (x + 0.26 + 0.26 * k, y + 0.1, z + 1.5))


def _flat(thing: Thing, rng: Generator, wall: Material, width: float, depth: float, height: float) -> None:
    lip = rng.uniform(0.3, 0.9)
    thing.add(
        quads(np.array([[(0, 0, height), (width, 0, height), (width, depth, height), (0, depth, height)]], float)),
        finish.asphalt(rng),
    )
    thing.block(wall, (0, 0, height), (width, 0.25, height + lip))
    thing.block(
        finish.trim(rng), (-0.04, -rng.uniform(0.06, 0.35), height + lip), (width + 0.04, 0.3, height + lip + 0.12)
    )
    if rng.random() < 0.4:
        x = rng.uniform(0.2, 0.6) * width
        thing.block(
            finish.plain(finish.grey(rng, 0.4, 0.7), rng),
            (x, 0.4 * depth, height),
            (x + 2, 0.4 * depth + 2, height + 1.8),
        )


def _door(thing: Thing, rng: Generator, x: float, wide: float, high: float) -> None:
    thing.block(finish.trim(rng), (x - 0.1, -0.03, 0), (x + wide + 0.1, 0.1, high + 0.12))
    thing.block(finish.painted(rng), (x, -0.05, 0.05), (x + wide, 0.1, high))
    if rng.random() < 0.4:
        thing.block(finish.trim(rng), (x - 0.3, -0.7, high + 0.25), (x + wide + 0.3, 0.05, high + 0.36))
    thing.block(finish.kerb(rng), (x - 0.15, -0.35, 0), (x + wide + 0.15, 0.05, 0.12))


def _shop(thing: Thing, rng: Generator, face: Facade, width: float, height: float) -> None:
    """A shop front into the ground floor."""
    front, pillar = finish.painted(rng), rng.uniform(0.2, 0.5)
    face.holes.append((pillar, width - pillar, 0.0, height))
    glass, door = finish.glass(rng), pillar + rng.choice([0.1, 0.75]) * (width - 2 * pillar - 1.2)
    thing.add(quads(upright((pillar, width - pillar), (0.0, height), REVEAL)), glass)
    if rng.random() < 0.7:
        cuts = np.linspace(pillar + 0.3, width - pillar - 0.3, max(2, int(width / 2.2)))
        for a, b in pairwise(cuts.tolist()):
            thing.panel(finish.goods(rng), (a + 0.1, 0.75), (b - 0.1, height - 0.5), REVEAL - 0.012)
    near, far = REVEAL - 0.06, REVEAL - 0.004
    x = np.linspace(pillar, width - pillar, max(2, int(width / 1.8)) + 1)
    low = np.stack([x - 0.04, np.full_like(x, near), np.zeros_like(x)], 1)
    high = np.stack([x + 0.04, np.full_like(x, far), np.full_like(x, height)], 1)
    thing.add(boxes(low, high), front)
    thing.block(front, (pillar, near, 0), (width - pillar, far, 0.55))
    thing.block(front, (door, near - 0.02, 0.02), (door + 1.0, far, 2.1))
    thing.block(glass, (door + 0.15, near - 0.035, 0.4), (door + 0.85, near - 0.02, 1.95))
    colour = front.colour
    thing.block(front, (0.05, -0.12, height), (width - 0.05, 0.02, height + 0.65))
    thing.panel(finish.lettering(rng, colour), (0.2 * width, height + 0.12), (0.8 * width, height + 0.5), -0.125)
    if rng.random() < 0.3:
        awning, reach = finish.painted(rng), rng.uniform(0.8, 1.4)
        striped = (
            Material("stripes", awning.colour, awning.second, 0.4, seed=awning.seed) if rng.random() < 0.5 else awning
        )
        sheet = [
            [
                (0.2, -reach, height - 0.45),
                (width - 0.2, -reach, height - 0.45),
                (width - 0.2, -0.1, height + 0.05),
                (0.2, -0.1, height + 0.05),
            ]
        ]
        thing.add(quads(np.array(sheet)), striped, grain="y")


def house(rng: Generator, width: float, shop: bool = False, floors: int | None = None, near: bool = True) -> Thing:
    """One in stock that fills x from 0 to ``width``, whole metres; its front is y = 0."""
    floors = floors or int(rng.choice([2, 3, 4], p=[0.5, 0.38, 0.12]))
    return stock(home, rng, 8, float(round(width)), shop, floors, near)


def office(rng: Generator, width: float, near: bool = True) -> Thing:
    """One in stock."""
    return stock(block, rng, 10, float(round(width)), near)


def shed(rng: Generator, width: float) -> Thing:
    """One in stock."""
    return stock(hall, rng, 8, float(round(width)))


def tower(rng: Generator) -> Thing:
    """One in stock."""
    return stock(high_rise, rng, 24)


def home(rng: Generator, width: float, shop: bool, floors: int, near: bool) -> Thing:
    thing, wall = Thing("building"), finish.wall(rng)
    thing.coat = wall
    storey = rng.uniform(2.6, 3.3)
    ground = rng.uniform(3.0, 3.7) if shop else storey
    height, depth = ground + storey * (floors - 1) + rng.uniform(0.1, 0.5), rng.uniform(7, 11)
    face = Facade(width, 0.0, height)
    bays = max(1, int(width / rng.uniform(1.6, 2.9)))
    wide = min(rng.uniform(0.85, 1.5), 0.72 * width / bays)
    tall = rng.uniform(1.1, 1.75)
    door = None
    if shop:
        _shop(thing, rng, face, width, ground - 0.75)
    else:
        door = float(rng.choice([0.06, 0.94])) * (width - 1.0)
        first = Facade(width, 0.0, 1.0)
        first.row(rng, bays, wide, 0.85, 0.85 + tall)
        face.holes += [h for h in first.holes if h[1] < door - 0.15 or h[0] > door + 1.1]
    for floor in range(1, floors):
        face.row(
            rng,
            bays,
            wide,
            ground + storey * (floor - 1) + 0.8,
            ground + storey * (floor - 1) + 0.8 + min(tall, storey - 1.1),
        )
    thing.add(face.wall(), wall)
    glazed = [h for h in face.holes if not (shop and h[2] < 0.01)]
    face.holes = glazed
    face.glaze(
        thing, rng, finish.glass(rng), finish.trim(rng), (int(rng.integers(1, 4)), int(rng.integers(1, 4))), near
    )
    if door is not None:
        _door(thing, rng, door, 0.92, 2.1)
    _shell(thing, wall, width, depth, height)
    if rng.random() < 0.3:
        thing.block(finish.trim(rng), (0, -0.06, ground - 0.1), (width, 0.0, ground + 0.1))
    if rng.random() < 0.35:
        thing.rod(finish.steel(rng), (0.15, -0.07, 0.1), (0.15, -0.07, height - 0.2), 0.045, 6)
    if floors < 4 and rng.random() < 0.8:
        _pitched(thing, rng, wall, width, depth, height, rng.random() < 0.2)
    else:
        _flat(thing, rng, wall, width, depth, height)
    return thing


def block(rng: Generator, width: float, near: bool) -> Thing:
    """Three to eight floors of rows of windows, or bands of glass."""
    thing, wall = Thing("building"), finish.wall(rng)
    thing.coat = wall
    storey, floors = rng.uniform(3.0, 3.8), int(rng.integers(3, 9))
    height, depth = storey * floors + 0.6, rng.uniform(12, 18)
    face, bands = Facade(width, 0.0, height), rng.random() < 0.4
    count = max(2, int(width / rng.uniform(1.6, 3.0)))
    wide = width / count * (0.94 if bands else rng.uniform(0.45, 0.75))
    low, high = (rng.uniform(0.6, 1.0), storey - 0.4)
    for floor in range(floors):
        face.row(rng, count, wide, floor * storey + (0.2 if floor == 0 else low), floor * storey + high)
    thing.add(face.wall(), wall)
    face.glaze(thing, rng, finish.glass(rng), finish.trim(rng), (1, int(rng.integers(1, 3))), near)
    _shell(thing, wall, width, depth, height)
    _flat(thing, rng, wall, width, depth, height)
    return thing


def hall(rng: Generator, width: float) -> Thing:
    """A windowless or nearly windowless hall: warehouse, garage, supermarket."""
    thing = Thing("building")
    wall = (
        finish.wall(rng)
        if rng.random() < 0.5
        else Material(
            "stripes", finish.grey(rng, 0.4, 0.8), finish.grey(rng, 0.4, 0.8), 0.25, seed=int(rng.integers(1 << 30))
        )
    )
    thing.coat = wall
    height, depth = rng.uniform(3.5, 7.5), rng.uniform(10, 16)
    face = Facade(width, 0.0, height)
    if rng.random() < 0.6:
        face.row(rng, max(1, int(width / 4)), 2.2, height - 1.8, height - 0.8, 0.3)
    thing.add(face.wall(), wall, grain="z")
    face.glaze(thing, rng, finish.glass(rng), finish.trim(rng), (3, 1))
    x = rng.uniform(0.1, 0.5) * width
    thing.block(finish.painted(rng), (x, -0.04, 0), (x + min(3.2, 0.4 * width), 0.05, min(3.0, height - 0.4)))
    _shell(thing, wall, width, depth, height)
    _flat(thing, rng, wall, width, depth, height)
    return thing


def high_rise(rng: Generator) -> Thing:
    """A block or a spire far off, 12 to 40 m high."""
    thing, wall = Thing("building"), finish.wall(rng)
    thing.coat = wall
    width, height = rng.uniform(8, 25), rng.uniform(10, 38)
    face = Facade(width, 0.0, height)
    for floor in range(int(height / 3.3) - 1):
        face.row(rng, int(width / 3), 1.6, 3.3 * floor + 1.2, 3.3 * floor + 2.8)
    thing.add(face.wall(), wall)
    face.glaze(thing, rng, finish.glass(rng), finish.trim(rng), (1, 1), False)
    _shell(thing, wall, width, 12.0, height)
    _flat(thing, rng, wall, width, 12.0, height)
    return thing
