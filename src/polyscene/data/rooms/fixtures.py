"""What belongs to the building: walls with openings, doors, windows, lamps, radiators, pictures, rugs."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.random import Generator

from . import palette, shapes
from .palette import Style
from .prop import Prop, Surface
from .room import Room, Wall
from .scene import Material

DEPTH = {"window": 0.14, "door": 0.06, "passage": 0.12}  # of the reveals, metres


def wall(style_wall: Material, line: Wall, height: float, lower: Material | None) -> Prop:
    """The wall's inner face around its openings, with reveals; ``lower`` covers it up to 1.1 m (wainscot, tiles)."""
    prop = Prop("wall")
    bands = [(0.0, height, style_wall)] if lower is None else [(0.0, 1.1, lower), (1.1, height, style_wall)]
    cuts = sorted({0.0, line.length, *(s for o in line.openings for s in o[:2])})
    for a, b in itertools.pairwise(cuts):
        hole = next((o for o in line.openings if o[0] <= a + 1e-6 and b <= o[1] + 1e-6), None)
        for low, high, material in bands:
            spans = [(low, high)] if hole is None else [(low, min(high, hole[2])), (max(low, hole[3]), high)]
            for c, d in spans:
                if d - c > 1e-4:
                    prop.add(shapes.quad((a, 0, c), (b, 0, c), (b, 0, d), (a, 0, d)), material)
    for a, b, c, d, kind in line.openings:
        t = DEPTH[kind]
        for p, q, r, s in (
            ((a, 0, c), (a, t, c), (a, t, d), (a, 0, d)), ((b, t, c), (b, 0, c), (b, 0, d), (b, t, d)),
            ((a, 0, d), (a, t, d), (b, t, d), (b, 0, d)), ((a, 0, c), (b, 0, c), (b, t, c), (a, t, c)),
        ):  # fmt: skip
            prop.add(shapes.quad(p, q, r, s), style_wall)
    return prop


def skirting(prop: Prop, material: Material, line: Wall, height: float) -> None:
    stops = sorted((o[0] - 0.07, o[1] + 0.07) for o in line.openings if o[2] < 0.05)
    start = 0.0
    for a, b in [*stops, (line.length, line.length)]:
        if a - start > 0.03:
            prop.block(material, (start, -0.012, 0.0), (a, 0.0, height))
        start = b


def door(rng: Generator, style: Style, width: float, height: float) -> Prop:
    """Leaf, frame and handle for an opening of this size; y = 0 is the wall's face."""
    prop = Prop("wall")
    x, t = width / 2, 0.06
    for a, b in ((-x - t, -x), (x, x + t)):
        prop.block(style.frame, (a, -0.015, 0), (b, 0.0, height + t), grain="z")
    prop.block(style.frame, (-x, -0.015, height), (x, 0.0, height + t))
    leaf = style.frame if rng.random() < 0.5 else palette.board(rng)
    y = 0.03
    prop.block(leaf, (-x, y, 0), (x, y + 0.03, height), grain="z")
    roll = rng.random()
    if roll < 0.35:
        rows = int(rng.integers(1, 4))
        for k in range(rows):
            a, b = 0.12 + (height - 0.12) * k / rows, (height - 0.12) * (k + 1) / rows
            prop.block(leaf, (-x + 0.12, y - 0.008, a), (x - 0.12, y, b), 0.006, "z")
    elif roll < 0.5:
        pane = palette.clear(rng)
        prop.block(pane, (-x + 0.13, y - 0.004, 0.9), (x - 0.13, y, height - 0.15))
    side = rng.choice([-1, 1])
    hx = side * (x - 0.07)
    prop.add(
        shapes.tube([(hx, y, 1.03), (hx, y - 0.05, 1.03), (hx - side * 0.11, y - 0.05, 1.03)], 0.009, 6), style.handle
    )
    prop.block(style.handle, (hx - 0.02, y - 0.004, 0.95), (hx + 0.02, y, 1.1))
    return prop


def window(rng: Generator, style: Style, width: float, height: float, sky: Material, power: np.ndarray) -> Prop:
    """Panes, frame, bars and sill for an opening of this size; z = 0 is its lower edge, y = 0 the wall's face."""
    prop = Prop("window")
    x, deep = width / 2, DEPTH["window"]
    prop.panel(sky, (-x, 0), (x, height), deep - 0.02)
    prop.add(shapes.quad((-x, deep, 0), (x, deep, 0), (x, deep, height), (-x, deep, height)), sky)
    w, y0, y1 = rng.uniform(0.04, 0.07), deep - 0.06, deep - 0.01
    frame = style.frame
    for a, b in ((-x, -x + w), (x - w, x)):
        prop.block(frame, (a, y0, 0), (b, y1, height), grain="z")
    for a, b in ((0, w), (height - w, height)):
        prop.block(frame, (-x + w, y0, a), (x - w, y1, b))
    for k in range(1, columns := max(1, round(width / rng.uniform(0.5, 1.0)))):
        u = -x + width * k / columns
        prop.block(frame, (u - 0.6 * w, y0, w), (u + 0.6 * w, y1, height - w), grain="z")
    if rng.random() < 0.4:
        v = height * rng.choice([0.33, 0.5, 0.7])
        prop.block(frame, (-x + w, y0 + 0.01, v - 0.4 * w), (x - w, y1, v + 0.4 * w))
    out = rng.uniform(0.0, 0.15)
    prop.block(frame, (-x - 0.04, -out, -0.03), (x + 0.04, 0.0, 0.0))
    prop.block(frame, (-x, 0.0, 0.0), (x, y0, 0.012))
    if y0 + out > 0.12:
        prop.surfaces.append(Surface("sill", (-x + 0.05, -out), (x - 0.05, y0 - 0.01), 0.013, 0.8))
    prop.shine((0, y0 - 0.02, height / 2), power, (0.48 * width, 0, 0), (0, 0, 0.48 * height))
    return prop


def curtain(rng: Generator, width: float, height: float, cloth: Material) -> Prop:
    """A hanging wavy sheet; z = 0 is its hem."""
    prop = Prop("window")
    columns, rows = max(16, int(width * 40)), 5
    s, t = np.meshgrid(np.linspace(-0.5, 0.5, columns), np.linspace(0, 1, rows))
    folds, phase = width * rng.uniform(6, 11) * 2 * np.pi, rng.uniform(0, 6, 2)
    depth = (0.025 + 0.02 * (1 - t)) * np.sin(s * folds + phase[0] + 0.3 * t) + 0.01 * np.sin(
        s * 2.3 * folds + phase[1]
    )
    gather = 1 - 0.12 * np.sin(t * np.pi) * rng.uniform(0, 1)
    points = np.stack([s * width * gather, depth - 0.06, t * height], -1)
    prop.add(shapes.sheet(points), cloth)
    return prop


def blind(rng: Generator, width: float, height: float) -> Prop:
    """Slats or a roller, drawn part of the way; z = 0 is the opening's lower edge."""
    prop = Prop("window")
    material = palette.white(rng) if rng.random() < 0.6 else palette.fabric(rng)
    drop = height * rng.uniform(0.2, 0.9)
    prop.block(material, (-width / 2, -0.05, height - 0.05), (width / 2, 0.0, height))
    if rng.random() < 0.5:
        prop.block(material, (-width / 2, -0.03, height - drop), (width / 2, -0.027, height - 0.05))
    else:
        tilt = shapes.turn_x(rng.uniform(-0.9, 0.9))
        for z in np.arange(height - drop, height - 0.06, 0.045):
            prop.add(shapes.box(), material, (0, -0.025, z), (width, 0.04, 0.002), tilt)
    return prop


def radiator(rng: Generator, width: float) -> Prop:
    prop = Prop("objects")
    height, z = rng.uniform(0.4, 0.6), 0.1
    white = palette.white(rng, 0.4)
    if rng.random() < 0.5:
        prop.block(white, (-width / 2, -0.07, z), (width / 2, -0.03, z + height), 0.006)
        x = np.arange(-width / 2 + 0.03, width / 2 - 0.02, 0.05)
        for u in x:
            prop.block(white, (u - 0.012, -0.078, z + 0.03), (u + 0.012, -0.07, z + height - 0.03))
    else:
        for u in np.arange(-width / 2 + 0.03, width / 2, 0.06):
            prop.add(shapes.cushion((0.045, 0.1, height), 0.4), white, (u, -0.07, z + height / 2))
    prop.block(white, (-width / 2 + 0.05, -0.05, 0.0), (-width / 2 + 0.08, -0.02, z + 0.02))
    prop.block(white, (width / 2 - 0.08, -0.05, 0.0), (width / 2 - 0.05, 0.0, z + 0.02))
    return prop


def framed(rng: Generator) -> Prop:
    """A picture or poster; z = 0 is its lower edge."""
    prop = Prop("picture")
    w = rng.uniform(0.2, 1.2)
    h = w * rng.choice([0.66, 0.75, 1.0, 1.4, 1.5])
    if rng.random() < 0.35:
        prop.block(palette.paper(rng), (-w / 2, -0.004, 0), (w / 2, 0, h))
        prop.panel(palette.picture(rng), (-w / 2, 0), (w / 2, h), -0.0046)
        return prop
    edge, mount = rng.uniform(0.015, 0.05), rng.choice([0.0, 0.05]) * w
    frame = palette.board(rng) if rng.random() < 0.7 else palette.brass(rng)
    for low, high in (((-w / 2, 0), (-w / 2 + edge, h)), ((w / 2 - edge, 0), (w / 2, h)),
                      ((-w / 2 + edge, 0), (w / 2 - edge, edge)),
                      ((-w / 2 + edge, h - edge), (w / 2 - edge, h))):  # fmt: skip
        prop.block(frame, (low[0], -0.025, low[1]), (high[0], 0, high[1]))
    prop.block(palette.paper(rng), (-w / 2 + edge, -0.01, edge), (w / 2 - edge, 0, h - edge))
    i = edge + mount
    prop.panel(palette.picture(rng), (-w / 2 + i, i), (w / 2 - i, h - i), -0.0106)
    return prop


def mirror(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, h = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.1)
    prop.block(palette.board(rng), (-w / 2, -0.02, 0), (w / 2, 0, h))
    prop.block(palette.metal(rng, False), (-w / 2 + 0.02, -0.022, 0.02), (w / 2 - 0.02, -0.02, h - 0.02))
    return prop


def whiteboard(rng: Generator) -> Prop:
    prop = Prop("objects")
    w, h = rng.uniform(0.8, 2.2), rng.uniform(0.7, 1.2)
    edge = palette.metal(rng, False)
    prop.block(edge, (-w / 2, -0.015, 0), (w / 2, 0, h))
    face = palette.white(rng, 0.6) if rng.random() < 0.6 else Material("noise", palette.any_colour(rng), scale=0.02)
    prop.block(face, (-w / 2 + 0.015, -0.017, 0.015), (w / 2 - 0.015, -0.015, h - 0.015))
    prop.block(edge, (-w / 3, -0.08, -0.01), (w / 3, 0, 0.005))
    for _ in range(int(rng.integers(0, 9))):
        a = rng.uniform(0.1, 0.25)
        u, v = rng.uniform(-0.4, 0.4) * w, rng.uniform(0.05, 0.9 * h - a)
        note = palette.paper(rng) if rng.random() < 0.5 else palette.printed(rng)
        prop.block(note, (u, -0.019, v), (u + 0.8 * a, -0.0172, v + a))
    return prop


def notes(rng: Generator) -> Prop:
    """Sheets and cards pinned beside each other."""
    prop = Prop("objects")
    for k in range(int(rng.integers(1, 7))):
        w, h = rng.uniform(0.1, 0.22), rng.uniform(0.14, 0.3)
        u, v = 0.25 * (k % 4) + rng.uniform(0, 0.05), 0.33 * (k // 4) + rng.uniform(0, 0.03)
        prop.block(palette.paper(rng), (u, -0.002, v), (u + w, 0, v + h))
        prop.panel(palette.printed(rng), (u, v), (u + w, v + h), -0.0026)
    return prop


def clock(rng: Generator) -> Prop:
    prop = Prop("objects")
    r = rng.uniform(0.1, 0.18)
    flat = shapes.turn_x(np.pi / 2)
    prop.add(
        shapes.lathe([(0, 0), (r, 0), (r, 0.03), (0.92 * r, 0.03), (0.9 * r, 0.02)], 24),
        palette.plastic(rng),
        (0, 0, r),
        turn=flat,
    )
    prop.add(shapes.cylinder(24), palette.white(rng), (0, 0, r), (0.9 * r, 0.9 * r, 0.02), flat)
    dark = palette.plastic(rng, True)
    for long, angle in ((0.5, rng.uniform(0, 6)), (0.75, rng.uniform(0, 6))):
        turn = shapes.turn_y(angle)
        prop.add(
            shapes.box(), dark, np.array([0, -0.022, r]) + turn @ (0, 0, long * r / 2), (0.008, 0.002, long * r), turn
        )
    return prop


def switches(rng: Generator) -> Prop:
    prop = Prop("objects")
    count = int(rng.integers(1, 4))
    white = palette.white(rng, 0.4)
    for k in range(count):
        prop.block(white, (0.085 * k, -0.009, 0), (0.085 * k + 0.082, 0, 0.082), 0.003)
        prop.block(white, (0.085 * k + 0.016, -0.013, 0.016), (0.085 * k + 0.066, -0.009, 0.066))
    return prop


def rug(rng: Generator) -> Prop:
    prop = Prop("floor")
    w, d = rng.uniform(0.8, 2.6), rng.uniform(0.6, 1.8)
    cloth = palette.carpet(rng) if rng.random() < 0.4 else palette.fabric(rng)
    if rng.random() < 0.2:
        prop.add(shapes.cylinder(36), cloth, size=(d / 2 + 0.3, d / 2 + 0.3, 0.01))
    else:
        prop.block(cloth, (-w / 2, -d / 2, 0), (w / 2, d / 2, 0.01))
    return prop


def ceiling_light(rng: Generator, kind: str, power: np.ndarray, drop: float) -> Prop:
    """Hangs below z = 0: a panel, a bowl, spots on a rail, or a pendant ``drop`` metres long."""
    prop = Prop("objects")
    glow = Material("plastic", (0.85, 0.85, 0.82), gloss=0.2, glow=float(np.clip(power.mean() / 4, 3.0, 12.0)))
    body = palette.white(rng) if rng.random() < 0.6 else palette.metal(rng)
    if kind == "panel":
        w, d = ((0.6, 0.6), (1.2, 0.3), (1.5, 0.18))[int(rng.integers(3))]
        if rng.random() < 0.5:
            w, d = d, w
        prop.block(body, (-w / 2, -d / 2, -0.05), (w / 2, d / 2, 0))
        prop.block(glow, (-0.46 * w, -0.46 * d, -0.055), (0.46 * w, 0.46 * d, -0.05))
        prop.shine((0, 0, -0.07), power, (0.46 * w, 0, 0), (0, 0.46 * d, 0))
    elif kind == "bowl":
        r = rng.uniform(0.12, 0.25)
        prop.add(shapes.lathe([(0, -0.11), (0.6 * r, -0.1), (0.9 * r, -0.06), (r, 0)], 22), glow)
        prop.shine((0, 0, -0.13), power, (0.6 * r, 0, 0), (0, 0.6 * r, 0))
    elif kind == "spots":
        prop.block(body, (-0.6, -0.02, -0.03), (0.6, 0.02, 0))
        for x in (-0.5, -0.15, 0.2, 0.5):
            turn = shapes.turn_x(rng.uniform(-0.6, 0.6))
            prop.rod(body, (x, 0, -0.03), (x, 0, -0.08), 0.008, 6)
            prop.add(
                shapes.lathe([(0, 0), (0.04, 0), (0.05, -0.1), (0.045, -0.1), (0.0, -0.06)], 12),
                body,
                (x, 0, -0.08),
                turn=turn,
            )
            prop.shine(np.array([x, 0, -0.08]) + turn @ (0, 0, -0.12), power / 4, 0.03 * turn[:, 0], 0.03 * turn[:, 1])
    else:
        r = rng.uniform(0.12, 0.28)
        prop.rod(palette.plastic(rng, True), (0, 0, 0), (0, 0, -drop), 0.005, 6)
        shade = palette.metal(rng) if rng.random() < 0.5 else palette.plastic(rng)
        h = r * rng.uniform(0.6, 1.3)
        prop.add(shapes.lathe([(r, -drop - h), (0.7 * r, -drop - 0.4 * h), (0.2 * r, -drop), (0, -drop)], 22), shade)
        prop.add(shapes.superellipsoid(1.0, 1.0, 6, 10), glow, (0, 0, -drop - 0.6 * h), 0.035)
        prop.shine((0, 0, -drop - 0.6 * h - 0.06), power)
    return prop


def floor_lamp(rng: Generator) -> Prop:
    prop = Prop("objects")
    h, r = rng.uniform(1.3, 1.8), rng.uniform(0.14, 0.24)
    steel = palette.metal(rng)
    prop.add(shapes.lathe([(0, 0), (0.15, 0), (0.15, 0.02), (0.015, 0.04), (0.012, h - 0.1)], 18), steel)
    cloth = palette.fabric(rng)
    on = rng.random() < 0.5
    shade = Material(
        "fabric", palette.shade(cloth.colour, 1.3), cloth.second, 0.01, glow=3.0 if on else 0.0, seed=cloth.seed
    )
    prop.add(shapes.lathe([(r, h - 0.3), (0.7 * r, h)], 22), shade)
    if on:
        prop.shine((0, 0, h - 0.15), np.array(palette.lamplight(rng)) * rng.uniform(10, 30))
    return prop


def column(room: Room, material: Material) -> Prop:
    prop = Prop("wall")
    side = float(room.rng.uniform(0.2, 0.45))
    if room.rng.random() < 0.3:
        prop.add(shapes.cylinder(28), material, size=(side / 2, side / 2, room.height))
    else:
        prop.block(material, (-side / 2, -side / 2, 0), (side / 2, side / 2, room.height))
    return prop
