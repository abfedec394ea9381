"""Small things that stand on others, and what tends to stand where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.random import Generator

from . import palette, shapes
from .prop import Pose, Prop, Surface
from .shapes import Pair, Point

Maker = Callable[[Generator], Prop]
VARIETY = 128  # different things for each kind of surface
GAP = 0.001  # between a thing and what it stands on, metres


def _handle(prop: Prop, material: palette.Material, radius: float, z: float, height: float) -> None:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 7)
    out = 0.5 * height
    path = np.c_[radius + out * np.cos(angle) - 0.003, np.zeros(7), z + height / 2 * np.sin(angle)]
    prop.add(shapes.tube(path, 0.005, 6), material)


def cup(rng: Generator) -> Prop:
    prop = Prop("objects")
    r, h, w = rng.uniform(0.03, 0.05), rng.uniform(0.06, 0.12), 0.004
    material = palette.ceramic(rng)
    base, belly = r * rng.uniform(0.6, 1.0), r * rng.uniform(0.95, 1.1)
    outer = [(0, 0), (base, 0), (belly, 0.45 * h), (r, h)]
    inner = [(r - w, h), (belly - w, 0.45 * h), (base - w, w), (0, w)]
    prop.add(shapes.lathe(outer + inner, 18), material)
    if rng.random() < 0.7:
        _handle(prop, material, min(r, belly), 0.5 * h, 0.55 * h)
    if rng.random() < 0.4:
        drink = palette.Material("plastic", palette.hsv(0.07, 0.6, rng.uniform(0.1, 0.6)), gloss=0.7)
        prop.add(shapes.lathe([(belly - w, 0.0), (0, 0.0)], 14), drink, (0, 0, 0.6 * h))
    return prop


def glass(rng: Generator) -> Prop:
    prop = Prop("objects")
    h, r = rng.uniform(0.08, 0.22), rng.uniform(0.03, 0.04)
    material = palette.clear(rng)
    if h > 0.15:  # a stem
        profile = [
            (0, 0),
            (r, 0),
            (r, 0.003),
            (0.005, 0.01),
            (0.004, 0.45 * h),
            (r, 0.6 * h),
            (0.9 * r, h),
            (0.85 * r, h),
            (0, 0.5 * h),
        ]
    else:
        profile = [(0, 0), (0.85 * r, 0), (r, h), (r - 0.003, h), (0.8 * r, 0.008), (0, 0.008)]
    prop.add(shapes.lathe(profile, 16), material)
    return prop


def bottle(rng: Generator) -> Prop:
    prop = Prop("objects")
    r, h = rng.uniform(0.025, 0.05), rng.uniform(0.14, 0.34)
    neck, shoulder = r * rng.uniform(0.25, 0.5), rng.uniform(0.45, 0.75)
    roll = rng.random()
    material = palette.clear(rng) if roll < 0.3 else palette.plastic(rng, roll > 0.8)
    profile = [(0, 0), (0.9 * r, 0), (r, 0.02 * h), (r, shoulder * h), (0.85 * r, (shoulder + 0.05) * h),
               (neck, (shoulder + 0.18) * h), (neck, 0.93 * h), (neck, 0.93 * h)]  # fmt: skip
    prop.add(shapes.lathe(profile[:-1], 16, 55.0), material)
    prop.add(shapes.cylinder(12), palette.plastic(rng), (0, 0, 0.92 * h), (1.15 * neck, 1.15 * neck, 0.08 * h))
    if rng.random() < 0.7:
        label = palette.printed(rng)
        prop.add(shapes.lathe([(1.01 * r, 0.2 * h), (1.01 * r, 0.6 * shoulder * h + 0.1 * h)], 16), label)
    return prop


def jar(rng: Generator) -> Prop:
    prop = Prop("objects")
    r, h = rng.uniform(0.035, 0.07), rng.uniform(0.07, 0.22)
    body = (
        palette.clear(rng) if rng.random() < 0.4 else palette.ceramic(rng) if rng.random() < 0.5 else palette.metal(rng)
    )
    prop.add(
        shapes.lathe([(0, 0), (0.95 * r, 0), (r, 0.05 * h), (r, 0.8 * h), (0.9 * r, 0.88 * h), (0, 0.88 * h)], 18), body
    )
    prop.add(
        shapes.cylinder(18),
        palette.plastic(rng) if rng.random() < 0.5 else palette.metal(rng),
        (0, 0, 0.88 * h),
        (0.95 * r, 0.95 * r, 0.12 * h),
    )
    return prop


def plate(rng: Generator) -> Prop:
    prop = Prop("objects")
    material = palette.ceramic(rng)
    r = rng.uniform(0.08, 0.15)
    count = int(rng.choice([1, 1, 1, 2, 5]))
    for k in range(count):
        profile = [(0, 0), (0.6 * r, 0), (r, 0.018), (r, 0.022), (0.62 * r, 0.005), (0, 0.005)]
        prop.add(shapes.lathe(profile, 24), material, (0, 0, 0.008 * k))
    return prop


def bowl(rng: Generator, filled: float = 0.35) -> Prop:
    prop = Prop("objects")
    r, h = rng.uniform(0.06, 0.16), rng.uniform(0.05, 0.1)
    material = palette.ceramic(rng) if rng.random() < 0.7 else palette.wood(rng, 0.05)
    t = np.linspace(0.25, 1, 6)
    outer = [
        (0, 0),
        (0.35 * r, 0),
        *zip(r * np.sin(t * np.pi / 2), h * (1 - np.cos(t * np.pi / 2)) + 0.001, strict=True),
    ]
    inner = [(0.96 * a, b + 0.006) for a, b in outer[:1:-1]] + [(0, 0.008)]
    prop.add(shapes.lathe(outer + inner, 20), material)
    if rng.random() < filled:
        fruit = [palette.plastic(rng) for _ in range(2)]
        for _ in range(int(rng.integers(3, 9))):
            s, a, d = rng.uniform(0.028, 0.042), rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.55 * r)
            squash = (s, s, s * rng.uniform(0.85, 1.25))
            at = (d * np.cos(a), d * np.sin(a), 0.6 * h + rng.uniform(0, 0.03) + s * 0.3)
            prop.add(shapes.superellipsoid(1.0, 1.0, 6, 10), fruit[int(rng.integers(2))], at, squash)
    return prop


def vase(rng: Generator) -> Prop:
    prop = Prop("objects")
    h, r = rng.uniform(0.12, 0.4), rng.uniform(0.04, 0.1)
    z = np.linspace(0, 1, 9)
    radius = r * (0.75 + 0.35 * np.sin(z * rng.uniform(2, 5) + rng.uniform(0, 3)))
    profile = [
        (0.0, 0.0),
        *zip(radius, z * h, strict=True),
        (radius[-1] - 0.005, h),
        (radius[-2] - 0.006, 0.85 * h),
        (0, 0.7 * h),
    ]
    prop.add(shapes.lathe(profile, 20, 60.0), palette.ceramic(rng))
    if rng.random() < 0.5:
        _foliage(prop, rng, (0, 0, 0.8 * h), rng.uniform(0.15, 0.3), int(rng.integers(20, 60)), 0.03)
    return prop


def _foliage(prop: Prop, rng: Generator, root: Point, reach: float, count: int, width: float) -> None:
    """Leaves on a few stems that spread upward from ``root``."""
    stems = max(3, count // 9)
    angle, slope = rng.uniform(0, 2 * np.pi, stems), rng.uniform(0.15, 1.1, stems)
    axis = np.stack([np.cos(angle) * np.sin(slope), np.sin(angle) * np.sin(slope), np.cos(slope)], 1)
    length = reach * rng.uniform(0.5, 1.0, stems)
    green = palette.leaves(rng)
    stalk = palette.Material("leaves", palette.shade(green.colour, 0.6), green.colour, 0.05, seed=green.seed)
    for a, reached in zip(axis, length, strict=True):
        prop.add(shapes.tube([np.array(root), np.array(root) + a * reached], 0.004, 4), stalk)
    which = rng.integers(stems, size=count)
    along = rng.uniform(0.3, 1.0, count)
    roots = np.array(root) + axis[which] * (length[which] * along)[:, None]
    heading = axis[which] * 0.6 + rng.normal(0, 0.6, (count, 3))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    leaf = reach * rng.uniform(0.2, 0.45, count)
    leaves = shapes.blades(
        roots, heading, leaf, np.full(count, width) * rng.uniform(0.7, 1.8, count), rng.uniform(0.1, 0.5, count)
    )
    np.maximum(leaves.vertices[:, 2], 0.004, out=leaves.vertices[:, 2])  # they lie on what the pot stands on
    prop.add(leaves, green)


def plant(rng: Generator, height: float | None = None) -> Prop:
    """A pot with leaves: from a windowsill herb to, by ``height``, a small tree."""
    prop = Prop("objects")
    total = height or rng.uniform(0.2, 0.5)
    pot = total * rng.uniform(0.2, 0.35)
    r = pot * rng.uniform(0.4, 0.65)
    material = palette.ceramic(rng) if rng.random() < 0.6 else palette.plastic(rng)
    prop.add(
        shapes.lathe([(0, 0), (0.75 * r, 0), (r, pot), (0.92 * r, pot), (0.9 * r, 0.85 * pot), (0, 0.85 * pot)], 18),
        material,
    )
    count = int(rng.integers(40, 120))
    if total > 0.9 and rng.random() < 0.6:
        trunk = palette.Material("wood", palette.hsv(0.08, 0.4, 0.35), palette.hsv(0.08, 0.4, 0.2), 0.05)
        z = pot * 0.85
        while z < 0.75 * total:
            top = z + 0.3 * total
            prop.rod(
                trunk, (0, 0, z - 0.02), (rng.normal(0, 0.02), rng.normal(0, 0.02), min(top, 0.8 * total)), 0.015, 6
            )
            _foliage(prop, rng, (0, 0, min(top, 0.8 * total) - 0.1), 0.35 * total, count // 2, 0.05)
            z = top
        return prop
    _foliage(prop, rng, (0, 0, 0.85 * pot), (total - pot), count, rng.uniform(0.02, 0.06) * (1 + total))
    return prop


def tall_plant(rng: Generator) -> Prop:
    return plant(rng, rng.uniform(0.8, 1.9))


def book(rng: Generator) -> Prop:
    return _stack(rng, 1)


def books(rng: Generator) -> Prop:
    return _stack(rng, int(rng.integers(2, 7)))


def _stack(rng: Generator, count: int) -> Prop:
    prop = Prop("books")
    z = 0.0
    for _ in range(count):
        w, d, t = rng.uniform(0.12, 0.22), rng.uniform(0.18, 0.3), rng.uniform(0.006, 0.045)
        one = Prop("books")
        cover = palette.plastic(rng)
        one.block(
            palette.paper(rng), (-w / 2 + 0.003, -d / 2 + 0.003, 0.002), (w / 2 - 0.003, d / 2 - 0.003, t - 0.002)
        )
        one.block(cover, (-w / 2, -d / 2, 0), (w / 2, d / 2, 0.002))
        one.block(cover, (-w / 2, -d / 2, t - 0.002), (w / 2, d / 2, t))
        one.block(cover, (-w / 2, -d / 2, 0), (-w / 2 + 0.002, d / 2, t))
        one.plate(palette.printed(rng), (-w / 2, -d / 2), (w / 2, d / 2), t + 0.0005)
        prop.include(one, Pose((rng.normal(0, 0.008), rng.normal(0, 0.008), z), rng.normal(0, 0.12)))
        z += t + 0.001
    return prop


def book_row(rng: Generator, width: float, depth: float, headroom: float) -> Prop:
    """Books standing side by side, the last ones sometimes leaning."""
    prop = Prop("books")
    tallest = min(headroom - 0.02, rng.uniform(0.2, 0.34))
    x = -width / 2
    same = palette.plastic(rng) if rng.random() < 0.2 else None
    back = depth / 2 - 0.01
    while True:
        t, h, d = rng.uniform(0.01, 0.05), tallest * rng.uniform(0.7, 1.0), min(depth - 0.02, rng.uniform(0.13, 0.22))
        if x + t > width / 2:
            break
        material = same or (palette.printed(rng) if rng.random() < 0.3 else palette.plastic(rng))
        front = back - d if rng.random() < 0.3 else -depth / 2 + rng.uniform(0.01, 0.03)
        prop.block(material, (x, front, 0), (x + t, min(front + d, back), h), grain="z")
        if rng.random() < 0.5:
            prop.block(palette.paper(rng), (x, front - 0.0006, 0.6 * h), (x + t, front, 0.8 * h))
        x += t + 0.0006
        if rng.random() < 0.02:
            x += 0.03
    if rng.random() < 0.5 and width / 2 - x > 0.06:
        t, h = 0.025, 0.85 * tallest
        tilt = shapes.turn_y(-0.2)
        centre = tilt @ np.array([t / 2, 0, h / 2], np.float32)
        prop.add(shapes.box(), palette.plastic(rng), np.add(centre, (x + 0.19 * h, 0, 0.0)), (t, 0.9 * depth, h), tilt)
    return prop


def paper(rng: Generator) -> Prop:
    """A few loose sheets or a magazine, fanned."""
    prop = Prop("objects")
    z = 0.0
    for _ in range(int(rng.integers(1, 5))):
        w, d = (0.21, 0.297) if rng.random() < 0.7 else (0.15, 0.21)
        one = Prop("objects")
        t = rng.choice([0.001, 0.004])
        one.block(palette.paper(rng), (-w / 2, -d / 2, 0), (w / 2, d / 2, t))
        face = palette.printed(rng) if rng.random() < 0.45 else palette.paper(rng)
        one.plate(face, (-w / 2, -d / 2), (w / 2, d / 2), t + 0.0004)
        prop.include(one, Pose((rng.normal(0, 0.04), rng.normal(0, 0.04), z), rng.normal(0, 0.4)))
        z += t + 0.0012
    return prop


def paper_stack(rng: Generator) -> Prop:
    prop = Prop("objects")
    z = 0.0
    for _ in range(int(rng.integers(2, 6))):
        t, turn = rng.uniform(0.003, 0.02), rng.normal(0, 0.06)
        one = Prop("objects")
        one.block(palette.paper(rng), (-0.105, -0.148, 0), (0.105, 0.148, t))
        prop.include(one, Pose((rng.normal(0, 0.006), rng.normal(0, 0.006), z), turn))
        z += t + 0.0004
    return prop


def upright_print(rng: Generator) -> Prop:
    """A card, tablet, photo frame or leaflet that leans on its own stand."""
    prop = Prop("picture" if rng.random() < 0.5 else "objects")
    w, h = rng.uniform(0.1, 0.25), rng.uniform(0.13, 0.3)
    border = rng.choice([0.0, 0.012, 0.025])
    one = Prop("objects")
    one.block(palette.board(rng) if border else palette.paper(rng), (-w / 2, 0, 0), (w / 2, 0.012, h))
    one.panel(palette.picture(rng), (-w / 2 + border, border), (w / 2 - border, h - border), -0.0008)
    lean = np.eye(4, dtype=np.float32)
    lean[:3, :3] = shapes.turn_x(-0.22)
    for mesh, material, texture in one.pieces:
        prop.add(mesh, material, (0, 0, 0.0027), turn=lean[:3, :3], texture=texture @ lean.T)
    y = h * 0.22
    prop.add(
        shapes.quad((-0.02, y * 0.7, h * 0.7), (0.02, y * 0.7, h * 0.7), (0.02, y + 0.05, 0), (-0.02, y + 0.05, 0)),
        palette.plastic(rng, True),
    )
    return prop


def box(rng: Generator, big: bool = False) -> Prop:
    """Cartons, packages, tins; a big one may stand open."""
    prop = Prop("objects")
    low, high = (0.2, 0.55) if big else (0.04, 0.25)
    w, d, h = rng.uniform(low, high), rng.uniform(low, 0.8 * high), rng.uniform(low, high)
    material = palette.cardboard(rng) if big or rng.random() < 0.35 else palette.plastic(rng)
    x, y = w / 2, d / 2
    if big and rng.random() < 0.4:
        t = 0.006
        for a, b in (((-x, -y), (x, -y + t)), ((-x, y - t), (x, y)), ((-x, -y), (-x + t, y)), ((x - t, -y), (x, y))):
            prop.block(material, (*a, 0), (*b, h))
        prop.block(material, (-x, -y, 0), (x, y, t))
        for s in (-1, 1):
            flap = shapes.turn_y(s * rng.uniform(-0.5, 0.9))
            prop.add(shapes.box(), material, np.array([s * x, 0, h]) + flap @ (0, 0, 0.25 * d), (t, d, 0.5 * d), flap)
        return prop
    prop.block(material, (-x, -y, 0), (x, y, h), rng.choice([0.0, 0.004]))
    if rng.random() < 0.6:
        prop.panel(palette.printed(rng), (-0.9 * x, 0.06 * h), (0.9 * x, 0.94 * h), -y - 0.001)
    if big:
        prop.block(palette.paper(rng), (-0.03, -y, h), (0.03, y, h + 0.001))
    return prop


def carton(rng: Generator) -> Prop:
    return box(rng, big=True)


def crate(rng: Generator) -> Prop:
    """An open basket or tray with sloping sides, often filled."""
    prop = Prop("objects")
    w, d, h = rng.uniform(0.2, 0.45), rng.uniform(0.15, 0.32), rng.uniform(0.06, 0.25)
    material = palette.plastic(rng) if rng.random() < 0.6 else palette.fabric(rng)
    outline = shapes.rounded_outline(w, d, 0.03)
    rings = [(0.85, 0.0), (1.0, h), (0.97, h), (0.83, 0.01)]
    points = np.stack([np.c_[s * outline, np.full(len(outline), z)] for s, z in rings])
    points = np.concatenate([points, points[:, :1]], 1)
    for k in range(3):
        prop.add(shapes.sheet(points[k : k + 2], False), material)
    prop.add(shapes.extruded(0.84 * outline, 0.01), material)
    if rng.random() < 0.6:
        stuff = [palette.plastic(rng), palette.fabric(rng)]
        for _ in range(int(rng.integers(4, 12))):
            s = rng.uniform(0.03, 0.06)
            at = (rng.uniform(-0.3, 0.3) * w, rng.uniform(-0.3, 0.3) * d, s + 0.02 + rng.uniform(0, 0.6) * h)
            prop.add(
                shapes.superellipsoid(rng.choice([0.4, 1.0]), 1.0, 6, 10),
                stuff[int(rng.integers(2))],
                at,
                (s, s, s * 0.9),
            )
    return prop


def _crumpled(rng: Generator, size: Point, amount: float) -> shapes.Mesh:
    mesh = shapes.superellipsoid(0.7, 0.8, 14, 24)
    bump = np.zeros(len(mesh.vertices), np.float32)
    for k in (3, 5, 9):
        direction = rng.normal(0, k, (2, 3))
        phase = rng.uniform(0, 6.3, 2)
        bump += (
            np.sin(mesh.vertices @ direction[0] + phase[0]) * np.sin(mesh.vertices @ direction[1] + phase[1]) / k * 2
        )
    vertices = mesh.vertices * (1 + amount * bump)[:, None] * np.asarray(size) / 2
    vertices[:, 2] -= vertices[:, 2].min()
    return mesh._replace(vertices=vertices.astype(np.float32))


def bag(rng: Generator) -> Prop:
    """A backpack, sack or crumpled carrier bag."""
    prop = Prop("objects")
    size = (rng.uniform(0.25, 0.38), rng.uniform(0.15, 0.28), rng.uniform(0.25, 0.48))
    material = palette.fabric(rng) if rng.random() < 0.6 else palette.plastic(rng)
    prop.add(_crumpled(rng, size, rng.uniform(0.05, 0.2)), material)
    if rng.random() < 0.6:
        prop.add(
            _crumpled(rng, (0.7 * size[0], 0.1, 0.45 * size[2]), 0.08), material, (0, -0.42 * size[1], 0.08 * size[2])
        )
    t = np.linspace(0, np.pi, 8)
    prop.add(shapes.tube(np.c_[0.06 * np.cos(t), np.zeros(8), 0.9 * size[2] + 0.09 * np.sin(t)], 0.008, 5), material)
    return prop


def cloth(rng: Generator) -> Prop:
    """A rumpled towel, jacket or blanket lying about."""
    prop = Prop("objects")
    prop.add(
        _crumpled(rng, (rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.4), rng.uniform(0.04, 0.12)), 0.25),
        palette.fabric(rng),
    )
    return prop


def pillow(rng: Generator) -> Prop:
    prop = Prop("objects")
    side = rng.uniform(0.35, 0.5)
    tilt = shapes.turn_x(rng.uniform(0.9, 1.3)) if rng.random() < 0.7 else np.eye(3, dtype=np.float32)
    mesh = shapes.moved(shapes.cushion((side, side * rng.uniform(0.7, 1.0), 0.15), 0.8), turn=tilt)
    prop.add(mesh, palette.fabric(rng), (0, 0, -float(mesh.vertices[:, 2].min())))
    return prop


def laptop(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, d = rng.uniform(0.29, 0.37), rng.uniform(0.2, 0.25)
    body = palette.metal(rng) if rng.random() < 0.6 else palette.plastic(rng, True)
    prop.block(body, (-w / 2, -d / 2, 0), (w / 2, d / 2, 0.015), 0.003)
    keys = palette.plastic(rng, True)
    prop.block(keys, (-0.45 * w, -0.1 * d, 0.015), (0.45 * w, 0.42 * d, 0.0165))
    _keys(prop, keys, (-0.44 * w, -0.08 * d), (0.44 * w, 0.4 * d), 0.0165, 12, 5)
    if rng.random() < 0.85:
        lean = shapes.turn_x(-rng.uniform(0.1, 0.55))
        at = np.array([0, d / 2, 0.012])
        prop.add(shapes.box(), body, at + lean @ (0, 0.004, d / 2), (w, 0.007, d), lean)
        face = Prop("objects")
        face.panel(palette.screen(rng, 0.7), (-0.47 * w, 0.02), (0.47 * w, 0.95 * d), 0.0)
        back = np.eye(4, dtype=np.float32)
        back[:3, :3], back[:3, 3] = lean, at + lean @ (0, -0.0008, 0)
        for mesh, material, texture in face.pieces:
            prop.add(mesh, material, back[:3, 3], turn=lean, texture=texture @ np.linalg.inv(back))
    return prop


def _keys(
    prop: Prop,
    material: palette.Material,
    low: Pair,
    high: Pair,
    z: float,
    columns: int,
    rows: int,
) -> None:
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    size = np.array([(high[0] - low[0]) / columns * 0.8, (high[1] - low[1]) / rows * 0.8, 0.004], np.float32)
    centres = np.stack(
        [low[0] + x * (high[0] - low[0]), low[1] + y * (high[1] - low[1]), np.full_like(x, z + 0.002)], -1
    ).reshape(-1, 1, 3)
    unit = shapes.box()
    vertices = (centres + unit.vertices * size).reshape(-1, 3).astype(np.float32)
    faces = (unit.faces[None] + 8 * np.arange(columns * rows)[:, None, None]).reshape(-1, 3).astype(np.int32)
    prop.add(shapes.Mesh(vertices, faces), material)


def keyboard(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, d = rng.uniform(0.28, 0.45), 0.13
    body = palette.plastic(rng, bool(rng.random() < 0.6)) if rng.random() < 0.7 else palette.white(rng)
    prop.block(body, (-w / 2, -d / 2, 0), (w / 2, d / 2, 0.014), 0.004)
    _keys(prop, body, (-0.48 * w, -0.055), (0.48 * w, 0.055), 0.0135, 15, 5)
    return prop


def mouse(rng: Generator) -> Prop:
    prop = Prop("objects")
    prop.add(shapes.superellipsoid(0.8, 0.8, 6, 12), palette.plastic(rng, True), (0, 0, 0.018), (0.032, 0.055, 0.018))
    return prop


def monitor(rng: Generator) -> Prop:
    prop = Prop("tv")
    w = rng.uniform(0.45, 0.72)
    h, lift = w * rng.choice([0.5625, 0.625]), rng.uniform(0.1, 0.2)
    body = palette.plastic(rng, True) if rng.random() < 0.8 else palette.metal(rng, False)
    prop.block(body, (-w / 2, -0.015, lift), (w / 2, 0.02, lift + h), 0.006)
    prop.panel(palette.screen(rng), (-w / 2 + 0.012, lift + 0.02), (w / 2 - 0.012, lift + h - 0.012), -0.0162)
    prop.block(body, (-0.03, 0.02, 0.01), (0.03, 0.05, lift + 0.5 * h))
    prop.block(body, (-0.13, -0.08, 0), (0.13, 0.1, 0.012), 0.003)
    return prop


def television(rng: Generator, wall: bool = False) -> Prop:
    """On two feet or, with ``wall``, flat on a bracket."""
    prop = Prop("tv")
    w = rng.uniform(0.7, 1.45)
    h, lift = w * 0.58, 0.0 if wall else 0.06
    body = palette.plastic(rng, True)
    prop.block(body, (-w / 2, -0.025, lift), (w / 2, 0.025, lift + h), 0.008)
    prop.panel(palette.screen(rng, 0.35), (-w / 2 + 0.012, lift + 0.018), (w / 2 - 0.012, lift + h - 0.012), -0.0262)
    if wall:
        prop.block(body, (-0.2, 0.025, 0.3 * h), (0.2, 0.06, 0.7 * h))
    else:
        for x in (-0.35 * w, 0.35 * w):
            prop.block(body, (x - 0.02, -0.1, 0), (x + 0.02, 0.1, 0.012))
            prop.block(body, (x - 0.015, -0.012, 0.012), (x + 0.015, 0.012, lift))
    return prop


def phone(rng: Generator) -> Prop:
    prop = Prop("objects")
    prop.add(shapes.extruded(shapes.rounded_outline(0.075, 0.155, 0.012), 0.009), palette.plastic(rng, True))
    prop.plate(palette.screen(rng, 0.3), (-0.034, -0.072), (0.034, 0.072), 0.0096)
    return prop


def controller(rng: Generator) -> Prop:
    """A small rounded hand-held thing with two grips."""
    prop = Prop("objects")
    material = palette.plastic(rng)
    prop.add(shapes.superellipsoid(0.7, 0.7, 6, 14), material, (0, 0, 0.025), (0.07, 0.04, 0.025))
    for s in (-1, 1):
        prop.add(
            shapes.superellipsoid(0.9, 0.9, 6, 12),
            material,
            (s * 0.06, -0.04, 0.022),
            (0.024, 0.05, 0.022),
            shapes.turn_z(s * 0.4),
        )
        prop.add(shapes.cylinder(10), palette.plastic(rng, True), (s * 0.03, 0.005, 0.045), (0.01, 0.01, 0.015))
    return prop


def pens(rng: Generator) -> Prop:
    """A cup of pens."""
    prop = Prop("objects")
    r, h = 0.038, rng.uniform(0.08, 0.11)
    prop.add(
        shapes.lathe([(0, 0), (r, 0), (r, h), (r - 0.003, h), (r - 0.003, 0.005), (0, 0.005)], 14), palette.plastic(rng)
    )
    for _ in range(int(rng.integers(3, 9))):
        a, b = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
        base, tip = 0.02 * np.array([np.cos(a), np.sin(a)]), 0.036 * np.array([np.cos(b), np.sin(b)])
        prop.rod(palette.plastic(rng), (*base, 0.006), (*tip, h + rng.uniform(0.03, 0.07)), 0.004, 5)
    return prop


def kettle(rng: Generator) -> Prop:
    prop = Prop("objects")
    material = palette.metal(rng) if rng.random() < 0.5 else palette.plastic(rng, bool(rng.random() < 0.5))
    r, h = rng.uniform(0.07, 0.09), rng.uniform(0.17, 0.23)
    prop.add(
        shapes.lathe(
            [(0, 0), (r, 0), (r, 0.02), (0.97 * r, 0.1), (0.72 * r, h), (0.3 * r, h + 0.015), (0, h + 0.02)], 18
        ),
        material,
    )
    dark = palette.plastic(rng, True)
    path = shapes.rounded_path([(0.7 * r, 0, h), (r + 0.05, 0, h), (r + 0.05, 0, 0.06), (0.95 * r, 0, 0.05)], 0.03)
    prop.add(shapes.tube(path, 0.011, 6), dark)
    prop.add(shapes.tube([(-0.75 * r, 0, 0.75 * h), (-1.25 * r, 0, 0.97 * h)], 0.018, 8), material)
    prop.add(shapes.superellipsoid(1.0, 1.0, 5, 8), dark, (0, 0, h + 0.025), 0.013)
    return prop


def microwave(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, d, h = rng.uniform(0.43, 0.52), rng.uniform(0.32, 0.4), rng.uniform(0.25, 0.3)
    body = palette.white(rng, 0.4) if rng.random() < 0.4 else palette.metal(rng)
    prop.block(body, (-w / 2, -d / 2, 0.01), (w / 2, d / 2, h), 0.006)
    dark = palette.plastic(rng, True)
    prop.block(dark, (-0.46 * w, -d / 2 - 0.008, 0.03), (0.24 * w, -d / 2, h - 0.02))
    prop.block(dark, (0.28 * w, -d / 2 - 0.005, 0.03), (0.46 * w, -d / 2, h - 0.02))
    prop.block(body, (0.2 * w, -d / 2 - 0.035, 0.05), (0.22 * w, -d / 2 - 0.008, h - 0.04))
    for x in (-0.4 * w, 0.4 * w):
        prop.block(dark, (x - 0.01, -0.4 * d, 0), (x + 0.01, 0.4 * d, 0.01))
    return prop


def toaster(rng: Generator) -> Prop:
    prop = Prop("objects")
    material = palette.metal(rng) if rng.random() < 0.5 else palette.plastic(rng)
    prop.add(shapes.cushion((0.28, 0.17, 0.19), 0.3), material, (0, 0, 0.095))
    dark = palette.plastic(rng, True)
    for y in (-0.03, 0.03):
        prop.block(dark, (-0.1, y - 0.012, 0.18), (0.1, y + 0.012, 0.1915))
    prop.block(dark, (0.135, -0.02, 0.1), (0.165, 0.02, 0.12))
    return prop


def coffee_maker(rng: Generator) -> Prop:
    prop = Prop("objects")
    body = palette.plastic(rng, bool(rng.random() < 0.6)) if rng.random() < 0.6 else palette.metal(rng)
    w, d, h = rng.uniform(0.18, 0.3), rng.uniform(0.22, 0.35), rng.uniform(0.28, 0.4)
    prop.block(body, (-w / 2, -d / 2, 0), (w / 2, d / 2, 0.05), 0.006)
    prop.block(body, (-w / 2, 0, 0.05), (w / 2, d / 2, h), 0.01)
    prop.block(body, (-w / 2, -d / 2, 0.68 * h), (w / 2, 0.01, h), 0.012)
    jug = palette.clear(rng)
    prop.add(shapes.lathe([(0, 0), (0.06, 0), (0.07, 0.06), (0.05, 0.11), (0, 0.11)], 14), jug, (0, -d / 4, 0.052))
    return prop


def pan(rng: Generator) -> Prop:
    prop = Prop("objects")
    r, h = rng.uniform(0.08, 0.14), rng.choice([0.05, 0.1, 0.16])
    material = palette.metal(rng)
    prop.add(shapes.lathe([(0, 0), (0.95 * r, 0), (r, h), (r - 0.004, h), (0.93 * r, 0.006), (0, 0.006)], 20), material)
    dark = palette.plastic(rng, True)
    if h < 0.12:
        prop.add(shapes.tube([(r, 0, h - 0.01), (r + 0.17, 0, h + 0.02)], 0.011, 6), dark)
    else:
        prop.add(shapes.lathe([(r, 0), (0.6 * r, 0.025), (0, 0.03)], 20), material, (0, 0, h))
        prop.add(shapes.superellipsoid(1.0, 1.0, 5, 8), dark, (0, 0, h + 0.045), 0.016)
        for s in (-1, 1):
            prop.block(dark, (s * (r + 0.015) - 0.018, -0.035, h - 0.03), (s * (r + 0.015) + 0.018, 0.035, h - 0.015))
    return prop


def knives(rng: Generator) -> Prop:
    prop = Prop("objects")
    prop.block(palette.wood(rng, 0.06), (-0.05, -0.07, 0), (0.05, 0.07, 0.2), 0.006, "z")
    dark = palette.plastic(rng, True)
    for x in (-0.03, 0.0, 0.03):
        for y in (-0.03, 0.03):
            prop.block(dark, (x - 0.008, y - 0.012, 0.2), (x + 0.008, y + 0.012, rng.uniform(0.27, 0.31)), 0.003)
    return prop


def board(rng: Generator) -> Prop:
    """A chopping board or tray with something on it."""
    prop = Prop("objects")
    w, d = rng.uniform(0.2, 0.45), rng.uniform(0.15, 0.3)
    material = palette.wood(rng, 0.08) if rng.random() < 0.7 else palette.plastic(rng)
    prop.add(shapes.extruded(shapes.rounded_outline(w, d, 0.02), 0.018), material)
    prop.surfaces.append(Surface("small", (-0.4 * w, -0.4 * d), (0.4 * w, 0.4 * d), 0.018, 0.4))
    return prop


def kitchen_roll(rng: Generator) -> Prop:
    prop = Prop("objects")
    r = rng.uniform(0.045, 0.065)
    prop.add(shapes.cylinder(14), palette.plastic(rng), (0, 0, 0), (0.07, 0.07, 0.012))
    prop.add(shapes.cylinder(18), palette.paper(rng), (0, 0, 0.012), (r, r, 0.24))
    prop.rod(palette.metal(rng), (0, 0, 0.2), (0, 0, 0.3), 0.007)
    return prop


def speaker(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, h = rng.uniform(0.1, 0.2), rng.uniform(0.16, 0.35)
    prop.block(palette.board(rng), (-w / 2, -w / 2, 0), (w / 2, w / 2, h), 0.004, "z")
    ring = shapes.lathe([(0.4 * w, 0), (0.4 * w, 0.006), (0.3 * w, 0.001), (0, 0.006)], 16)
    for z in (0.3 * h, 0.7 * h):
        prop.add(ring, palette.plastic(rng, True), (0, -w / 2, z), (0.8, 0.8, 1), shapes.turn_x(np.pi / 2))
    return prop


def table_lamp(rng: Generator) -> Prop:
    prop = Prop("objects")
    h, r = rng.uniform(0.3, 0.55), rng.uniform(0.1, 0.17)
    foot = palette.ceramic(rng) if rng.random() < 0.5 else palette.metal(rng)
    prop.add(
        shapes.lathe(
            [
                (0, 0),
                (0.07, 0),
                (0.07, 0.015),
                (0.02, 0.03),
                (rng.uniform(0.015, 0.07), 0.25 * h),
                (0.012, 0.6 * h),
                (0.008, 0.75 * h),
            ],
            16,
        ),
        foot,
    )
    on = rng.random() < 0.6
    cloth = palette.fabric(rng)
    light = palette.lamplight(rng)
    colour = palette.shade(cloth.colour, 1.3)
    shade = palette.Material(
        "fabric", colour, cloth.second, 0.01, glow=rng.uniform(1.5, 4.0) if on else 0.0, seed=cloth.seed
    )
    profile = [(r, 0.62 * h), (r * rng.uniform(0.5, 0.95), h)]
    prop.add(shapes.lathe(profile, 20), shade)
    if on:
        prop.shine((0, 0, 0.82 * h), np.array(light) * rng.uniform(4, 16))
    return prop


def desk_lamp(rng: Generator) -> Prop:
    """A jointed arm with a tilted reflector."""
    prop = Prop("objects")
    material = palette.metal(rng) if rng.random() < 0.5 else palette.plastic(rng)
    prop.add(shapes.lathe([(0, 0), (0.08, 0), (0.08, 0.02), (0.012, 0.03)], 16), material)
    joint, head = np.array([0, 0.13, 0.28]), np.array([0, -0.12, rng.uniform(0.38, 0.5)])
    prop.add(shapes.tube([(0, 0, 0.02), joint, head], 0.008, 6), material)
    shade = shapes.lathe([(0.07, 0.0), (0.06, 0.05), (0.025, 0.1), (0, 0.11)], 16)
    prop.add(shade, material, head - (0, 0.02, 0.1), turn=shapes.turn_x(-0.3))
    if rng.random() < 0.5:
        prop.shine(head - (0, 0.03, 0.11), np.array(palette.lamplight(rng)) * rng.uniform(3, 10))
    return prop


def ornament(rng: Generator) -> Prop:
    """Something unnameable: a few rounded solids on top of each other."""
    prop = Prop("objects")
    z = 0.0
    material = (
        palette.ceramic(rng)
        if rng.random() < 0.5
        else palette.plastic(rng)
        if rng.random() < 0.5
        else palette.metal(rng)
    )
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(0.02, 0.07, 3)
        e = rng.choice([0.2, 0.5, 1.0, 1.6], 2)
        prop.add(
            shapes.superellipsoid(float(e[0]), float(e[1]), 8, 14),
            material,
            (0, 0, z + size[2]),
            size,
            shapes.turn_z(rng.uniform(0, 3)),
        )
        z += 1.9 * size[2]
        material = material if rng.random() < 0.6 else palette.plastic(rng)
    return prop


def ball(rng: Generator) -> Prop:
    prop = Prop("objects")
    r = rng.uniform(0.03, 0.12)
    prop.add(shapes.superellipsoid(1.0, 1.0, 12, 20), palette.plastic(rng), (0, 0, r), r)
    return prop


def bin_(rng: Generator) -> Prop:
    prop = Prop("objects")
    r, h = rng.uniform(0.11, 0.18), rng.uniform(0.25, 0.6)
    material = palette.plastic(rng, bool(rng.random() < 0.5)) if rng.random() < 0.7 else palette.metal(rng)
    prop.add(shapes.lathe([(0, 0), (0.8 * r, 0), (r, h), (r - 0.006, h), (0.79 * r, 0.01), (0, 0.01)], 20), material)
    if rng.random() < 0.4:
        prop.add(
            shapes.superellipsoid(0.8, 1.0, 6, 14), palette.paper(rng), (0, 0, 0.75 * h), (0.85 * r, 0.85 * r, 0.15 * h)
        )
    return prop


def shoes(rng: Generator) -> Prop:
    prop = Prop("objects")
    material = palette.leather(rng) if rng.random() < 0.5 else palette.fabric(rng)
    for s in (-1, 1):
        turn = shapes.turn_z(rng.normal(0, 0.15))
        prop.add(shapes.superellipsoid(0.7, 0.8, 6, 12), material, (s * 0.07, 0, 0.04), (0.048, 0.14, 0.04), turn)
        prop.add(shapes.superellipsoid(0.6, 0.9, 6, 12), material, (s * 0.07, 0.06, 0.07), (0.042, 0.065, 0.05), turn)
    return prop


def cable(rng: Generator) -> Prop:
    prop = Prop("objects")
    steps = 24
    heading = np.cumsum(rng.normal(0, 0.5, steps))
    path = np.cumsum(np.c_[np.cos(heading), np.sin(heading)] * rng.uniform(0.02, 0.05), 0)
    path -= path.mean(0)
    prop.add(shapes.tube(np.c_[path, np.full(steps, 0.004)], 0.004, 5), palette.plastic(rng, bool(rng.random() < 0.7)))
    return prop


def computer(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, d, h = rng.uniform(0.16, 0.22), rng.uniform(0.35, 0.48), rng.uniform(0.35, 0.48)
    prop.block(palette.plastic(rng, True), (-w / 2, -d / 2, 0), (w / 2, d / 2, h), 0.006)
    prop.block(palette.metal(rng), (-0.4 * w, -d / 2 - 0.004, 0.8 * h), (0.4 * w, -d / 2, 0.85 * h))
    return prop


def files(rng: Generator) -> Prop:
    """Ring binders side by side."""
    prop = Prop("objects")
    x, count = 0.0, int(rng.integers(2, 6))
    for _ in range(count):
        t = rng.choice([0.05, 0.08])
        material = palette.plastic(rng, bool(rng.random() < 0.4))
        prop.block(material, (x, -0.14, 0), (x + t, 0.14, 0.31))
        prop.block(palette.paper(rng), (x + 0.2 * t, -0.1405, 0.12), (x + 0.8 * t, -0.14, 0.26))
        x += t + 0.002
    centred = Prop("objects")
    centred.include(prop, Pose((-x / 2, 0, 0)))
    return centred


_ON: dict[str, tuple[tuple[Maker, float], ...]] = {
    "table": ((cup, 3), (glass, 1.5), (bottle, 1), (plate, 1.5), (bowl, 1.5), (paper, 2), (book, 1.5),
              (books, 0.6), (vase, 0.8),
              (laptop, 0.6), (controller, 0.5), (phone, 0.6), (box, 0.8), (crate, 0.6), (plant, 0.5), (jar, 0.4),
              (cloth, 0.3),
              (bag, 0.2), (ornament, 0.5), (upright_print, 0.4), (table_lamp, 0.1)),
    "desk": ((paper, 3), (paper_stack, 2), (cup, 2), (book, 1.5), (books, 1.5), (pens, 1.2), (phone, 1),
             (box, 0.8), (bottle, 0.7),
             (cable, 1), (mouse, 0.6), (laptop, 0.6), (desk_lamp, 0.7), (plant, 0.5), (upright_print, 0.7),
             (files, 0.5),
             (speaker, 0.5), (ornament, 0.5), (glass, 0.3), (bag, 0.15), (crate, 0.3)),
    "worktop": ((bottle, 3), (jar, 3), (cup, 2), (plate, 1.2), (bowl, 1.2), (box, 2), (kettle, 0.7),
                (toaster, 0.5), (microwave, 0.4),
                (coffee_maker, 0.5), (board, 1), (knives, 0.5), (kitchen_roll, 0.6), (glass, 1),
                (upright_print, 1), (paper, 0.8),
                (book, 0.7), (crate, 0.5), (plant, 0.4), (pan, 0.5), (cloth, 0.5), (ornament, 0.3), (books, 0.3)),
    "stove": ((pan, 3), (kettle, 0.5)),
    "shelf": ((books, 1), (box, 2), (vase, 1), (ornament, 2), (upright_print, 1.5), (jar, 1), (plant, 0.7),
              (bowl, 0.5), (cup, 0.7),
              (files, 1), (speaker, 0.5), (ball, 0.3), (crate, 0.7), (bottle, 0.5), (cloth, 0.3)),
    "display": ((vase, 1.5), (plant, 1.2), (upright_print, 2), (books, 1), (box, 1), (ornament, 1.5),
                (table_lamp, 1), (bowl, 1),
                (speaker, 0.6), (crate, 0.7), (bottle, 0.5), (bag, 0.2), (paper, 0.7), (cup, 0.4)),
    "storage": ((carton, 2), (crate, 1.5), (bag, 0.7), (box, 1), (plant, 0.4), (files, 0.4)),
    "cushions": ((pillow, 3), (cloth, 1.2), (bag, 0.5), (book, 0.4), (controller, 0.2), (laptop, 0.2)),
    "seat": ((bag, 1), (cloth, 1), (books, 0.4), (box, 0.5), (pillow, 0.5)),
    "floor": ((carton, 2), (bag, 2), (bin_, 1.5), (shoes, 1.2), (crate, 0.8), (books, 0.5), (cable, 0.6),
              (ball, 0.5), (tall_plant, 0.8),
              (computer, 0.3), (paper, 0.2)),
    "small": ((cup, 2), (glass, 1), (bowl, 1), (bottle, 1), (jar, 1), (ball, 0.3)),
    "bathroom": ((bottle, 3), (cup, 1), (cloth, 1), (jar, 1), (kitchen_roll, 0.5)),
    "sill": ((plant, 3), (vase, 1), (ornament, 1), (bottle, 0.5), (books, 0.4), (upright_print, 0.5)),
}  # fmt: skip


def something(rng: Generator, kind: str) -> Prop:
    """One thing that may stand on a surface of that ``kind``."""
    return _made(kind, int(rng.integers(VARIETY)))


@cache
def _made(kind: str, number: int) -> Prop:
    rng = np.random.default_rng([list(_ON).index(kind), number, 0x7B])
    makers, weights = zip(*_ON[kind], strict=True)
    p = np.cumsum(weights)
    return makers[int(np.searchsorted(p, rng.random() * p[-1]))](rng)


def scatter(rng: Generator, surface: Surface, tries: int) -> Iterator[tuple[Prop, Pose]]:
    """Things on ``surface``, clear of each other, in the surface's frame; poses are those of their undersides."""
    taken: list[tuple[float, float, float, float]] = []
    z = surface.z + GAP
    (x0, y0), (x1, y1) = surface.low, surface.high
    if surface.kind == "shelf" and surface.headroom > 0.17 and rng.random() < 0.6 and x1 - x0 > 0.15:
        width = (x1 - x0) * rng.choice([0.35, 0.6, 0.97])
        row = book_row(rng, width, y1 - y0, surface.headroom)
        if row.pieces:
            x = x0 + width / 2 + 0.002 if rng.random() < 0.6 else x1 - width / 2 - 0.002
            yield row, Pose((x, (y0 + y1) / 2, z))
            taken.append((x - width / 2, y0, x + width / 2, y1))
    for _ in range(tries):
        prop = something(rng, surface.kind)
        yaw = rng.normal(0, 0.35) if surface.kind not in ("table", "cushions", "floor") else rng.uniform(-np.pi, np.pi)
        low, high = prop.bounds
        if high[2] > surface.headroom - 0.01:
            continue
        corners = np.array([(low[0], low[1]), (low[0], high[1]), (high[0], low[1]), (high[0], high[1])])
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        corners = corners @ turn.T
        a, b = corners.min(0), corners.max(0)
        if (b - a > (x1 - x0, y1 - y0)).any():
            continue
        for _ in range(3):
            x, y = rng.uniform(x0 - a[0], x1 - b[0]), rng.uniform(y0 - a[1], y1 - b[1])
            if surface.kind in ("shelf", "display", "worktop") and rng.random() < 0.5:
                y = y0 - a[1] + (y1 - b[1] - y0 + a[1]) * rng.uniform(0.6, 1.0)
            rect = (x + a[0], y + a[1], x + b[0], y + b[1])
            if all(rect[0] > t[2] or rect[2] < t[0] or rect[1] > t[3] or rect[3] < t[1] for t in taken):
                taken.append(rect)
                yield prop, Pose((x, y, z), yaw)
                break
