"""Cars, vans, lorries and buses: lofted bodies with glass, wheels and lights. All are of class car."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.palette import hsv
from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Floats, Mesh

from . import finish
from .thing import Thing, quads, stock, upright

_SHAPE = {  # length, width, height; belt; y of windscreen's foot and top, of the rear window's top and foot; ends
    "hatch": (3.9, 1.72, 1.47, 0.93, 0.27, 0.45, 0.88, 0.98, 0.72, 0.84),
    "saloon": (4.5, 1.76, 1.44, 0.92, 0.29, 0.43, 0.74, 0.88, 0.70, 0.90),
    "estate": (4.6, 1.76, 1.48, 0.93, 0.28, 0.42, 0.92, 0.985, 0.70, 0.84),
    "suv": (4.5, 1.86, 1.76, 1.05, 0.26, 0.40, 0.90, 0.985, 0.88, 0.98),
    "people": (4.4, 1.80, 1.66, 0.98, 0.14, 0.38, 0.91, 0.985, 0.74, 0.92),
    "van": (5.1, 1.95, 2.15, 1.12, 0.13, 0.27, 0.985, 0.992, 0.85, 1.1),
}


def _hull(length: float, width: float, low: float, belt: float, nose: float, foot: float, tail: float) -> Mesh:
    """The body under the windows, its bonnet rising from ``nose`` to ``belt`` at ``foot`` of its length."""
    t = np.array([0.0, 0.012, 0.05, 0.15, foot, 0.55, 0.86, 0.96, 0.99, 1.0])
    top = np.interp(
        t, [0, 0.012, 0.05, foot, 0.86, 0.99, 1], [nose - 0.12, nose - 0.04, nose, belt, tail, tail - 0.03, tail - 0.12]
    )
    half = width / 2 * np.interp(t, [0, 0.012, 0.06, 0.2, 0.85, 0.97, 1], [0.8, 0.9, 0.96, 1, 1, 0.95, 0.84])
    bottom = low + np.interp(t, [0, 0.05, 0.9, 1], [0.1, 0.0, 0.0, 0.12])
    ring = np.array(
        [[-0.9, 0.0], [-1.0, 0.18], [-1.0, 0.55], [-0.97, 0.85], [-0.9, 0.97], [-0.5, 1.0], [0.5, 1.0], [0.9, 0.97],
         [0.97, 0.85], [1.0, 0.55], [1.0, 0.18], [0.9, 0.0], [-0.9, 0.0]]
    )  # fmt: skip
    x = half[:, None] * ring[None, :, 0]
    z = bottom[:, None] + (top - bottom)[:, None] * ring[None, :, 1]
    y = np.broadcast_to(((t - 0.5) * length)[:, None], x.shape)
    body = shapes.sheet(np.stack([x, y, z], -1))
    ends = [shapes.moved(_fan(np.stack([x[k], y[k], z[k]], -1)[:-1], k == 0)) for k in (0, -1)]
    return shapes.join([body, *ends])


def _fan(ring: Floats, flip: bool) -> Mesh:
    n = len(ring)
    i = np.arange(n)
    faces = np.stack([np.full(n, n), (i + 1) % n, i] if flip else [np.full(n, n), i, (i + 1) % n], 1)
    return Mesh(np.r_[ring, ring.mean(0, keepdims=True)].astype(np.float32), faces.astype(np.int32), True)


def _frustum(foot: Floats, head: Floats) -> list[Floats]:
    """Corners of the sides front, back, left, right, and of the top; ``foot`` and ``head`` are x half, y0, y1, z."""
    (a, y0, y1, z0), (b, y2, y3, z1) = foot, head
    p = np.array([[-a, y0, z0], [a, y0, z0], [a, y1, z0], [-a, y1, z0]])
    q = np.array([[-b, y2, z1], [b, y2, z1], [b, y3, z1], [-b, y3, z1]])
    return [
        np.stack([p[0], p[1], q[1], q[0]]), np.stack([p[2], p[3], q[3], q[2]]), np.stack([p[3], p[0], q[0], q[3]]),
        np.stack([p[1], p[2], q[2], q[1]]), q,
    ]  # fmt: skip


def _pane(side: Floats, u: tuple[float, float], v: tuple[float, float], out: float = 0.006) -> Floats:
    """The part ``u`` x ``v`` of a side (4, 3), held ``out`` before it."""
    a, b, c, d = side
    normal = np.cross(b - a, d - a)
    normal = normal / np.linalg.norm(normal) * out

    def at(s: float, t: float) -> Floats:
        return np.asarray((1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c) + normal)

    return np.stack([at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])])


def _wheels(
    thing: Thing, rng: Generator, width: float, axles: tuple[float, ...], radius: float, near: bool = True
) -> None:
    tyre, hub = finish.rubber(rng), finish.plain(finish.grey(rng, 0.4, 0.75), rng, 0.4)
    disc = shapes.cylinder(12 if near else 7)
    for y in axles:
        for side in (-1, 1):
            turn = shapes.turn_y(side * np.pi / 2)
            wide = radius * 1.17
            if near:
                thing.add(disc, tyre, (side * (width / 2 - 0.1), y, 1.18 * radius), (wide, wide, 0.103), turn)
            at = (side * (width / 2 - 0.2), y, radius)
            thing.add(disc, tyre, at, (radius, radius, 0.212), turn)
            thing.add(disc, hub, at, (radius * 0.64, radius * 0.64, 0.218), turn)


def _ends(
    thing: Thing, rng: Generator, length: float, width: float, low: float, nose: float, tail: float, near: bool = True
) -> None:
    """Lamps, grille, number plates and bumpers."""
    lamp = finish.plain(finish.grey(rng, 0.85, 0.97), rng, 0.9)
    red = finish.plain(hsv(0.0, 0.9, 0.55), rng, 0.6)
    dark = finish.plain(finish.grey(rng, 0.07, 0.2), rng, 0.3)
    plate = finish.plain(hsv(0.13, 0.75, 0.85) if rng.random() < 0.5 else finish.grey(rng, 0.85, 0.95), rng)
    white = finish.plain(finish.grey(rng, 0.85, 0.95), rng)
    front, back, w = -length / 2, length / 2, width / 2
    for side in (-1, 1):
        x = side * 0.62 * w
        thing.block(lamp, (x - 0.17, front - 0.01, nose - 0.25), (x + 0.17, front + 0.08, nose - 0.11))
        thing.block(
            red,
            (side * 0.7 * w - 0.12, back - 0.09, tail - 0.32),
            (side * 0.7 * w + 0.12, back + 0.012, tail - 0.1),
        )
    thing.block(dark, (-0.35 * w, front - 0.012, nose - 0.25), (0.35 * w, front + 0.05, nose - 0.13))
    if not near:
        return
    for end, material in ((front, white), (back, plate)):
        y = end - 0.03 if end < 0 else end + 0.005
        z = low + 0.22 if end < 0 else low + 0.36
        thing.block(material, (-0.26, y, z), (0.26, y + 0.025, z + 0.11))
        thing.block(dark, (-0.8 * w, min(end, end * 0.985), low + 0.06), (0.8 * w, max(end, end * 0.985), low + 0.17))
    thing.block(dark, (-0.8 * w, -0.42 * length, low - 0.06), (0.8 * w, 0.42 * length, low + 0.05))


def car(rng: Generator, near: bool = True) -> Thing:
    """One in stock."""
    return stock(motor, rng, 150, near)


def motor(rng: Generator, near: bool = True) -> Thing:
    """Its length lies along y, its nose looks along -y."""
    kind = str(rng.choice(list(_SHAPE), p=[0.33, 0.22, 0.12, 0.12, 0.11, 0.1]))
    length, width, height, belt, f0, f1, r1, r0, nose, tail = _SHAPE[kind]
    scale = rng.normal(1, 0.03, 3)
    length, width, height = length * scale[0], width * scale[1] ** 0.5, height * scale[2]
    thing, paint, glass = Thing("car"), finish.car_paint(rng), finish.glass(rng)
    if kind == "van" and rng.random() < 0.6:
        paint = finish.plain(finish.grey(rng, 0.8, 0.97), rng, 0.7, "plastic")
    thing.coat = paint
    low = 0.2 if kind != "suv" else 0.28
    thing.add(_hull(length, width, low, belt, nose, f0, tail), paint)
    y = (np.array([f0, r0, f1, r1]) - 0.5) * length
    wide = 0.93 if kind == "van" else 0.8
    foot, head = np.array([0.465 * width, y[0], y[1], belt - 0.02]), np.array([wide * width / 2, y[2], y[3], height])
    sides = _frustum(foot, head)
    thing.add(quads(np.stack(sides)), paint)
    crown = head.copy()
    crown[0] *= 0.86
    crown[1:3] += (0.12, -0.08)
    crown[3] += 0.045
    thing.add(quads(np.stack(_frustum(head, crown))), paint)
    panes = [_pane(sides[0], (0.05, 0.95), (0.06, 0.93))]
    closed = kind == "van" and rng.random() < 0.8
    if not closed:
        panes.append(_pane(sides[1], (0.07, 0.93), (0.18, 0.9)))
    for flank, flip in ((sides[2], True), (sides[3], False)):
        spans = (
            ((0.13, 0.26),)
            if closed
            else ((0.14, 0.46), (0.49, 0.9))
            if length < 4.3
            else ((0.13, 0.41), (0.44, 0.7), (0.73, 0.93))
        )
        for a, b in spans:
            panes.append(_pane(flank, (1 - b, 1 - a) if flip else (a, b), (0.12, 0.9)))
    thing.add(quads(np.stack(panes)), glass)
    axles = (-0.33 * length, 0.3 * length)
    _wheels(thing, rng, width, axles, 0.31 if kind != "suv" else 0.36, near)
    _ends(thing, rng, length, width, low, nose, tail, near)
    if near and rng.random() < 0.5:  # whoever sits inside is seen as a shape behind the windscreen
        seat = finish.cloth(rng)
        thing.block(seat, (0.3, y[2], belt), (0.55, y[2] + 0.15, belt + 0.3))
    for side in (-1, 1):
        x = side * (0.47 * width + 0.1)
        thing.block(paint, (x - 0.09, y[0] + 0.35, belt), (x + 0.09, y[0] + 0.46, belt + 0.14))
    return thing


def _windows(
    thing: Thing, material: Material, x: float, y0: float, y1: float, z0: float, z1: float, count: int
) -> None:
    cuts = np.linspace(y0, y1, count + 1)
    panes = []
    for side in (-1, 1):
        flat = upright((cuts[:-1] + 0.05, cuts[1:] - 0.05), (z0, z1), 0.0)
        corners = np.stack([np.full(flat.shape[:2], side * x), flat[..., 0], flat[..., 2]], -1)
        panes.append(corners if side > 0 else corners[:, ::-1])
    thing.add(quads(np.concatenate(panes)), material)


def bus(rng: Generator) -> Thing:
    return stock(omnibus, rng, 30)


def omnibus(rng: Generator) -> Thing:
    double = rng.random() < 0.4
    length, width, height = rng.uniform(9, 11.5), 2.5, 4.2 if double else 3.0
    thing, glass = Thing("car"), finish.glass(rng)
    paint = finish.plain(hsv(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.75)), rng, 0.6)
    thing.block(paint, (-width / 2, -length / 2, 0.35), (width / 2, length / 2, height), 0.12)
    _windows(thing, glass, width / 2 + 0.01, -0.44 * length, 0.44 * length, 1.35, 2.3, 7)
    ends = [(-1.1, 1.1, 1.1, 2.45)]
    if double:
        _windows(thing, glass, width / 2 + 0.01, -0.46 * length, 0.46 * length, 2.95, 3.75, 7)
        ends.append((-1.1, 1.1, 2.95, 3.8))
    for x0, x1, z0, z1 in ends:
        front = upright((x0, x1), (z0, z1), -length / 2 - 0.01)
        back = front * (-1, -1, 1)
        thing.add(quads(np.concatenate([front, back])), glass)
    board = finish.lettering(rng, finish.grey(rng, 0.1, 0.2))
    thing.panel(board, (-0.9, 2.55), (0.9, 2.8), -length / 2 - 0.012)
    _wheels(thing, rng, width, (-0.3 * length, 0.28 * length), 0.48)
    _ends(thing, rng, length, width, 0.3, 0.95, 1.3)
    return thing


def lorry(rng: Generator) -> Thing:
    return stock(truck, rng, 30)


def truck(rng: Generator) -> Thing:
    length, width, height = rng.uniform(5.8, 8.5), 2.3, rng.uniform(2.8, 3.5)
    thing, paint = Thing("car"), finish.car_paint(rng)
    front = -length / 2
    thing.block(paint, (-1.05, front, 0.45), (1.05, front + 1.7, 2.3), 0.1)
    glass = finish.glass(rng)
    thing.add(quads(upright((-0.95, 0.95), (1.3, 2.1), front - 0.01)), glass)
    _windows(thing, glass, 1.06, front + 0.2, front + 1.3, 1.35, 2.0, 1)
    load = finish.plain(finish.grey(rng, 0.65, 0.97), rng) if rng.random() < 0.6 else finish.painted(rng)
    thing.block(load, (-width / 2, front + 1.85, 0.85), (width / 2, length / 2, height), 0.03)
    thing.block(finish.rubber(rng), (-0.9, front + 0.3, 0.5), (0.9, length / 2 - 0.1, 0.85))
    _wheels(thing, rng, width, (front + 1.0, 0.3 * length), 0.45)
    _ends(thing, rng, length, 2.1, 0.4, 1.0, 0.95)
    return thing


def vehicle(rng: Generator, near: bool = True) -> Thing:
    roll = rng.random()
    return bus(rng) if roll < 0.04 else lorry(rng) if roll < 0.07 else car(rng, near)
