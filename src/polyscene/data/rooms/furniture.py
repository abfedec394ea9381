"""Furniture: each function draws one piece, standing on z = 0, its front towards -y, its back at the largest y."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from . import palette, shapes
from .palette import Style
from .prop import Prop, Surface
from .scene import Material
from .shapes import Pair, Point

Maker = Callable[[Generator, Style], Prop]


def _legs(prop: Prop, rng: Generator, material: Material, half: Pair, height: float, kind: int) -> None:
    """Four legs whose outer corners lie at ``half``."""
    thick = rng.uniform(0.03, 0.08)
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (half[0] - thick / 2), sy * (half[1] - thick / 2)
            if kind == 0:
                low, high = (x - thick / 2, y - thick / 2, 0), (x + thick / 2, y + thick / 2, height)
                prop.block(material, low, high, grain="z")
            elif kind == 1:
                prop.add(shapes.cylinder(10), material, (x, y, 0), (thick * 0.4, thick * 0.4, height), grain="z")
            else:  # splayed and tapering
                profile = [(thick * 0.25, 0), (thick * 0.5, height)]
                leg = shapes.lathe(profile, 10)
                shear = np.eye(3, dtype=np.float32)
                shear[0, 2], shear[1, 2] = -sx * 0.1, -sy * 0.1
                prop.add(
                    leg, material, (x + sx * 0.1 * height * 0.6, y + sy * 0.1 * height * 0.6, 0), turn=shear, grain="z"
                )


def _pull(prop: Prop, rng: Generator, style: Style, x: float, z: float, y: float, upright: bool, kind: int) -> None:
    """A handle on the front plane ``y``."""
    length, out = (0.14, 0.035)
    if kind == 0:
        ends = [(0, 0, -length / 2), (0, 0, length / 2)] if upright else [(-length / 2, 0, 0), (length / 2, 0, 0)]
        (a, b) = (np.add((x, y, z), e) for e in ends)
        path = [a, np.add(a, (0, -out, 0)), np.add(b, (0, -out, 0)), b]
        prop.add(shapes.tube(path, 0.006, 6), style.handle)
    elif kind == 1:
        prop.add(shapes.superellipsoid(1.0, 1.0, 5, 8), style.handle, (x, y - 0.015, z), 0.016)
    elif kind == 2:
        half = (0.006, 0.07) if upright else (0.07, 0.006)
        prop.block(style.handle, (x - half[0], y - 0.025, z - half[1]), (x + half[0], y, z + half[1]))


def cupboard(
    prop: Prop, rng: Generator, style: Style, low: Point, high: Point,
    fronts: str, handle: int, carcass: Material | None = None, front: Material | None = None,
) -> None:  # fmt: skip
    """A closed box with ``fronts``: one letter a column; d door, e pair of stacked doors, 2-4 drawers, o open."""
    carcass, front = carcass or style.carcass, front or style.front
    thick, gap = 0.02, 0.003
    x0, y0, z0 = low
    x1, y1, z1 = high
    y0 += thick
    if "o" not in fronts:
        prop.block(carcass, (x0, y0, z0), (x1, y1, z1))
    width = (x1 - x0) / len(fronts)
    for k, letter in enumerate(fronts):
        a, b = x0 + k * width, x0 + (k + 1) * width
        if letter == "o":
            _open_box(prop, carcass, (a, y0 - thick, z0), (b, y1, z1))
            continue
        if "o" in fronts:
            prop.block(carcass, (a, y0, z0), (b, y1, z1))
        rows = {"d": 1, "e": 2}.get(letter) or int(letter)
        for row in range(rows):
            c, d = z0 + (z1 - z0) * row / rows, z0 + (z1 - z0) * (row + 1) / rows
            upright = letter in "de"
            prop.block(
                front, (a + gap, y0 - thick, c + gap), (b - gap, y0 - 0.002, d - gap), grain="z" if upright else "x"
            )
            if upright:
                x = b - 0.05 if k % 2 == 0 else a + 0.05
                z = min(max(1.0, c + 0.12), d - 0.12) if c > 1.0 or d - c > 1.2 else d - 0.14
                z = c + 0.14 if c > 1.2 else z
                _pull(prop, rng, style, x, z, y0 - thick, True, handle)
            else:
                _pull(prop, rng, style, (a + b) / 2, d - 0.06, y0 - thick, False, handle)


def _open_box(prop: Prop, board: Material, low: Point, high: Point) -> None:
    (x0, y0, z0), (x1, y1, z1) = low, high
    t = 0.018
    prop.block(board, (x0, y0, z0), (x0 + t, y1, z1), grain="z")
    prop.block(board, (x1 - t, y0, z0), (x1, y1, z1), grain="z")
    prop.block(board, (x0 + t, y1 - t, z0), (x1 - t, y1, z1), grain="z")
    for z in (z0, z1 - t):
        prop.block(board, (x0 + t, y0, z), (x1 - t, y1 - t, z + t))
    prop.surfaces.append(Surface("shelf", (x0 + t, y0), (x1 - t, y1 - t), z0 + t, z1 - z0 - 2 * t))


def table(rng: Generator, style: Style, kind: str = "table", size: Point | None = None) -> Prop:
    """Dining table or, by ``size``, any other: round or rectangular, on legs, a pedestal, frames or panels."""
    prop = Prop("table")
    width, depth, height = size or (rng.uniform(0.8, 2.2), rng.uniform(0.7, 1.05), rng.uniform(0.7, 0.78))
    top = style.wood if rng.random() < 0.65 else palette.board(rng)
    leg = top if rng.random() < 0.5 else style.steel if rng.random() < 0.6 else palette.lacquer(rng)
    thick = rng.uniform(0.018, 0.055)
    round_top = rng.random() < (0.25 if max(width, depth) < 1.6 else 0.0)
    if round_top:
        radius = max(width, depth) / 2
        width = depth = 2 * radius
        edge = thick * 0.3
        profile = [
            (0, 0),
            (radius - edge, 0),
            (radius, edge),
            (radius, thick - edge),
            (radius - edge, thick),
            (0, thick),
        ]
        prop.add(shapes.lathe(profile, 36), top, (0, 0, height - thick))
        inner = 0.66 * radius
        prop.surfaces.append(Surface(kind, (-inner, -inner), (inner, inner), height))
    else:
        if rng.random() < 0.4:
            outline = shapes.rounded_outline(width, depth, rng.uniform(0.02, 0.25 * depth))
            prop.add(shapes.extruded(outline, thick), top, (0, 0, height - thick))
        else:
            prop.block(top, (-width / 2, -depth / 2, height - thick), (width / 2, depth / 2, height), 0.25 * thick)
        inset = 0.03
        prop.surfaces.append(
            Surface(kind, (-width / 2 + inset, -depth / 2 + inset), (width / 2 - inset, depth / 2 - inset), height)
        )
    under = height - thick
    roll = rng.random()
    if roll < (0.6 if round_top else 0.1):
        base = 0.33 * min(width, depth)
        profile = [(0, 0), (base, 0), (base, 0.02), (0.05, 0.05), (0.035, 0.1), (0.035, under - 0.04), (0.12, under)]
        prop.add(shapes.lathe(profile, 18), leg)
    elif roll < 0.75 or round_top:
        shrink = 0.68 if round_top else 1.0
        half = (shrink * width / 2 - 0.03, shrink * depth / 2 - 0.03)
        _legs(prop, rng, leg, half, under, int(rng.integers(3)))
        if not round_top and rng.random() < 0.6:
            apron = rng.uniform(0.05, 0.1)
            for sy in (-1, 1):
                y = sy * (half[1] - 0.02)
                prop.block(leg, (-half[0], y - 0.01, under - apron), (half[0], y + 0.01, under))
            for sx in (-1, 1):
                x = sx * (half[0] - 0.02)
                prop.block(leg, (x - 0.01, -half[1], under - apron), (x + 0.01, half[1], under), grain="y")
    elif roll < 0.88:  # a steel frame at each end
        for sx in (-1, 1):
            x, y = sx * (width / 2 - 0.12), depth / 2 - 0.06
            path = [(x, -y, under), (x, -y, 0.02), (x, y, 0.02), (x, y, under)]
            prop.add(shapes.tube(path, 0.02, 4), style.steel)
    else:  # panels
        for sx in (-1, 1):
            x = sx * (width / 2 - 0.05)
            prop.block(leg, (x - 0.015, -depth / 2 + 0.04, 0), (x + 0.015, depth / 2 - 0.04, under), grain="z")
    return prop


def desk(rng: Generator, style: Style) -> Prop:
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.55, 0.85), rng.uniform(0.7, 0.77)
    prop = table(rng, style, "desk", (width, depth, height)) if rng.random() < 0.3 else Prop("table")
    if not prop.surfaces:
        top = style.wood if rng.random() < 0.6 else palette.white(rng)
        prop.block(top, (-width / 2, -depth / 2, height - 0.025), (width / 2, depth / 2, height), 0.004)
        prop.surfaces.append(
            Surface("desk", (-width / 2 + 0.03, -depth / 2 + 0.03), (width / 2 - 0.03, depth / 2 - 0.03), height)
        )
        leg = style.steel if rng.random() < 0.7 else top
        sides = [-1, 1]
        if rng.random() < 0.6:
            side = int(rng.choice(sides))
            sides.remove(side)
            x = side * (width / 2 - 0.22)
            drawers = str(rng.integers(2, 5))
            cupboard(prop, rng, style, (x - 0.2, -depth / 2 + 0.04, 0.04), (x + 0.2, depth / 2 - 0.03, height - 0.03),
                     drawers, int(rng.integers(4)))  # fmt: skip
        for side in sides:
            x = side * (width / 2 - 0.05)
            if rng.random() < 0.5:
                prop.block(leg, (x - 0.02, -depth / 2 + 0.03, 0), (x + 0.02, depth / 2 - 0.03, 0.03))
                prop.block(leg, (x - 0.02, -0.04, 0.03), (x + 0.02, 0.04, height - 0.025))
            else:
                for y in (-depth / 2 + 0.05, depth / 2 - 0.05):
                    prop.block(leg, (x - 0.02, y - 0.02, 0), (x + 0.02, y + 0.02, height - 0.025), grain="z")
        if rng.random() < 0.5:
            y = depth / 2 - 0.06
            prop.block(leg, (-width / 2 + 0.06, y, 0.35), (width / 2 - 0.06, y + 0.015, height - 0.03))
    return prop


def coffee_table(rng: Generator, style: Style) -> Prop:
    return table(rng, style, "table", (rng.uniform(0.5, 1.2), rng.uniform(0.45, 0.7), rng.uniform(0.35, 0.5)))


def side_table(rng: Generator, style: Style) -> Prop:
    return table(rng, style, "table", (rng.uniform(0.35, 0.55), rng.uniform(0.35, 0.5), rng.uniform(0.45, 0.6)))


def wooden_chair(rng: Generator, style: Style) -> Prop:
    """Four legs, a seat, a back of slats, rungs or a panel; sometimes armrests."""
    prop = Prop("chair")
    timber = style.wood if rng.random() < 0.7 else palette.lacquer(rng)
    width, depth, seat, height = (
        rng.uniform(0.4, 0.48),
        rng.uniform(0.4, 0.46),
        rng.uniform(0.43, 0.48),
        rng.uniform(0.8, 1.05),
    )
    thick = rng.uniform(0.03, 0.045)
    x, y = width / 2 - thick / 2, depth / 2 - thick / 2
    for sx in (-1, 1):
        prop.block(
            timber, (sx * x - thick / 2, -depth / 2, 0), (sx * x + thick / 2, -depth / 2 + thick, seat), grain="z"
        )
        prop.block(timber, (sx * x - thick / 2, y - thick / 2, 0), (sx * x + thick / 2, y + thick / 2, seat), grain="z")
        prop.block(timber, (sx * x - thick / 4, -y, seat - 0.09), (sx * x + thick / 4, y, seat - 0.02), grain="y")
    prop.block(timber, (-x, -y - thick / 4, seat - 0.09), (x, -y + thick / 4, seat - 0.02))
    if rng.random() < 0.5:
        prop.block(timber, (-width / 2, -depth / 2 - 0.01, seat - 0.02), (width / 2, depth / 2, seat), 0.006)
    else:
        pad = style.seat if rng.random() < 0.6 else palette.upholstery(rng)
        prop.add(shapes.cushion((width, depth, 0.06), 0.3), pad, (0, 0, seat - 0.01))
    lean = shapes.turn_x(-rng.uniform(0.05, 0.22))
    back = height - seat

    def leaning(low: Point, high: Point, grain: str) -> None:
        size = np.subtract(high, low)
        at = lean @ ((np.add(low, high)) / 2).astype(np.float32) + (0, y, seat - 0.02)
        prop.add(shapes.box(), timber, at, size, lean, grain=grain)  # type: ignore[arg-type]

    for sx in (-1, 1):
        leaning((sx * x - thick / 2, -thick / 2, 0), (sx * x + thick / 2, thick / 2, back), "z")
    kind = rng.integers(4)
    if kind == 0:  # ladder
        rungs = int(rng.integers(2, 6))
        for k in range(rungs):
            z = back * (0.3 + 0.7 * (k + 0.5) / rungs)
            leaning((-x, -0.008, z - 0.025), (x, 0.008, z + 0.025), "x")
    elif kind == 1:  # slats
        leaning((-x, -0.012, back - 0.07), (x, 0.012, back), "x")
        leaning((-x, -0.01, 0.12), (x, 0.01, 0.16), "x")
        for k in range(int(rng.integers(3, 7))):
            u = -x + 2 * x * (k + 1) / 7
            leaning((u - 0.01, -0.006, 0.16), (u + 0.01, 0.006, back - 0.07), "z")
    elif kind == 2:
        leaning((-x, -0.01, 0.15), (x, 0.01, back), "z")
    else:
        leaning((-x, -0.01, back - rng.uniform(0.15, 0.3)), (x, 0.01, back), "x")
    if rng.random() < 0.25:
        for sx in (-1, 1):
            prop.block(timber, (sx * x - 0.02, -y, seat + 0.2), (sx * x + 0.02, y + 0.05, seat + 0.225), grain="y")
            prop.block(timber, (sx * x - 0.015, -y, seat), (sx * x + 0.015, -y + 0.03, seat + 0.2), grain="z")
    prop.surfaces.append(
        Surface("seat", (-width / 2 + 0.03, -depth / 2 + 0.03), (width / 2 - 0.03, depth / 2 - 0.06), seat + 0.02)
    )
    return prop


def _shell(width: float, depth: float, height: float, lean: float, thick: float) -> shapes.Mesh:
    """Seat and back in one bent sheet of some thickness, z = 0 at the seat."""
    u = np.linspace(-1, 1, 9)[None]
    bend = np.linspace(0, 1, 15)[:, None]
    t = np.clip((bend - 0.45) / 0.2, 0, 1)
    t = t * t * (3 - 2 * t)
    y = -depth / 2 + np.minimum(bend / 0.5, 1) * depth * 0.95 + np.maximum(bend - 0.5, 0) * 2 * height * lean
    z = 0.04 * t + np.maximum(bend - 0.5, 0) * 2 * height
    dish = 0.05 * u**2
    x = u * width / 2 * (1 - 0.15 * np.abs(2 * bend - 1) ** 3)
    y = y - dish * t
    z = z + dish * (1 - t)
    front = np.stack(np.broadcast_arrays(x, y, z), -1)
    back = front + np.stack(np.broadcast_arrays(0 * x, thick * t, -thick * (1 - t)), -1)
    top = shapes.sheet(front)
    under = shapes.sheet(back[:, ::-1])
    return shapes.join([top, under])


def shell_chair(rng: Generator, style: Style) -> Prop:
    """A moulded seat on four thin legs, a cantilever tube or a star base."""
    prop = Prop("chair")
    width, depth, seat, height = (
        rng.uniform(0.42, 0.5),
        rng.uniform(0.4, 0.46),
        rng.uniform(0.42, 0.46),
        rng.uniform(0.32, 0.48),
    )
    cover = palette.plastic(rng, bool(rng.random() < 0.4)) if rng.random() < 0.6 else style.wood
    if rng.random() < 0.25:
        cover = style.seat
    prop.add(_shell(width, depth, height, rng.uniform(0.15, 0.4), 0.015), cover, (0, 0, seat))
    steel = style.steel
    x, y, r = width / 2 - 0.05, depth / 2 - 0.04, 0.011
    kind = rng.integers(3)
    if kind == 0:
        for sx in (-1, 1):
            for sy in (-1, 1):
                prop.rod(steel, (sx * x * 1.1, sy * y * 1.1, 0), (sx * x * 0.8, sy * y * 0.7, seat + 0.01), r)
    elif kind == 1:
        for sx in (-1, 1):
            path = [(sx * x, depth / 2 + 0.08, seat + 0.15), (sx * x, y, seat - 0.02), (sx * x, -y, seat - 0.02),
                    (sx * x, -y - 0.02, r), (sx * x, y + 0.05, r)]  # fmt: skip
            prop.add(shapes.tube(shapes.rounded_path(path, 0.06), r, 7), steel)
        prop.rod(steel, (-x, y + 0.05, r), (x, y + 0.05, r), r)
    else:
        _star_base(prop, steel, seat, castors=False)
    prop.surfaces.append(Surface("seat", (-width / 3, -depth / 3), (width / 3, depth / 4), seat + 0.03))
    return prop


def _star_base(prop: Prop, steel: Material, seat: float, castors: bool) -> None:
    lift = 0.06 if castors else 0.02
    for k in range(5):
        angle = 2 * np.pi * k / 5 + 0.3
        end = np.array([0.29 * np.cos(angle), 0.29 * np.sin(angle), lift])
        prop.add(shapes.tube([(0, 0, lift + 0.05), end], 0.017, 6), steel)
        if castors:
            prop.add(shapes.superellipsoid(1.0, 1.0, 6, 8), steel, end - (0, 0, 0.03), (0.028, 0.028, 0.03))
    prop.rod(steel, (0, 0, lift), (0, 0, seat - 0.02), 0.028, 10)


def office_chair(rng: Generator, style: Style) -> Prop:
    prop = Prop("chair")
    cover = palette.fabric(rng) if rng.random() < 0.5 else palette.plastic(rng, True)
    dark = palette.plastic(rng, True) if rng.random() < 0.7 else style.steel
    seat, width = rng.uniform(0.44, 0.54), rng.uniform(0.46, 0.54)
    _star_base(prop, dark, seat, castors=True)
    prop.add(shapes.cushion((width, 0.48, 0.09), 0.4), cover, (0, 0, seat))
    height = rng.uniform(0.4, 0.75)
    lean = shapes.turn_x(-rng.uniform(0.05, 0.25))
    prop.add(shapes.cushion((width * 0.92, 0.07, height), 0.4), cover, (0, 0.25, seat + 0.12 + height / 2), turn=lean)
    prop.add(shapes.tube([(0, 0.05, seat - 0.05), (0, 0.28, seat - 0.03), (0, 0.3, seat + 0.3)], 0.022, 6), dark)
    if rng.random() < 0.65:
        for sx in (-1, 1):
            x = sx * (width / 2 + 0.03)
            prop.add(
                shapes.tube([(sx * 0.15, 0.05, seat - 0.05), (x, 0.05, seat - 0.03), (x, 0.05, seat + 0.2)], 0.016, 6),
                dark,
            )
            prop.block(dark, (x - 0.035, -0.12, seat + 0.2), (x + 0.035, 0.14, seat + 0.23), 0.01)
    return prop


def stool(rng: Generator, style: Style) -> Prop:
    prop = Prop("chair")
    height, radius = rng.choice([0.45, 0.65, 0.75]) + rng.uniform(-0.03, 0.03), rng.uniform(0.15, 0.2)
    timber = style.wood if rng.random() < 0.6 else palette.lacquer(rng)
    prop.add(shapes.lathe([(0, 0), (radius, 0), (radius, 0.03), (0, 0.03)], 20), timber, (0, 0, height - 0.03))
    _legs(prop, rng, style.steel if rng.random() < 0.5 else timber, (0.7 * radius, 0.7 * radius), height - 0.03, 2)
    return prop


def chair(rng: Generator, style: Style) -> Prop:
    return wooden_chair(rng, style) if rng.random() < 0.5 else shell_chair(rng, style)


def sofa(rng: Generator, style: Style, seats: int | None = None) -> Prop:
    """One to four seats between arms, with loose cushions; a single seat counts as a sofa as well."""
    prop = Prop("sofa")
    seats = seats or int(rng.choice([1, 2, 2, 3, 3, 4]))
    cover = style.seat if rng.random() < 0.6 else palette.upholstery(rng)
    arm, one, depth = rng.uniform(0.1, 0.25), rng.uniform(0.55, 0.75), rng.uniform(0.78, 1.0)
    width = seats * one + 2 * arm
    legs, base, seat = rng.uniform(0.02, 0.16), rng.uniform(0.12, 0.22), rng.uniform(0.38, 0.46)
    height = rng.uniform(0.7, 0.95)
    arm_height = rng.uniform(seat + 0.05, min(seat + 0.25, height))
    soft = rng.uniform(0.1, 0.45)
    _legs(
        prop,
        rng,
        style.wood if rng.random() < 0.5 else style.steel,
        (width / 2 - 0.05, depth / 2 - 0.05),
        legs + 0.02,
        1,
    )
    prop.block(
        cover, (-width / 2 + 0.02, -depth / 2 + 0.03, legs), (width / 2 - 0.02, depth / 2 - 0.02, legs + base), 0.03
    )
    back = rng.uniform(0.16, 0.28)

    def pad(low: Point, high: Point, softness: float) -> None:
        size = np.subtract(high, low)
        prop.add(shapes.cushion(size.tolist(), softness), cover, np.add(low, high) / 2)

    if soft < 0.2:
        prop.block(cover, (-width / 2, depth / 2 - back, legs), (width / 2, depth / 2, height), 0.04)
    else:
        pad((-width / 2, depth / 2 - back, legs), (width / 2, depth / 2, height), soft)
    for sx in (-1, 1):
        a, b = sorted((sx * width / 2, sx * (width / 2 - arm)))
        if soft < 0.2:
            prop.block(cover, (a, -depth / 2, legs), (b, depth / 2, arm_height), 0.03)
        else:
            pad((a, -depth / 2, legs), (b, depth / 2, arm_height), soft)
    for k in range(seats):
        a = -seats * one / 2 + k * one
        pad((a + 0.004, -depth / 2 - 0.01, seat - 0.17), (a + one - 0.004, depth / 2 - back, seat), 0.3)
        if rng.random() < 0.85:
            pad(
                (a + 0.01, depth / 2 - back - 0.14, seat - 0.04),
                (a + one - 0.01, depth / 2 - back + 0.06, height + 0.03),
                0.5,
            )
    prop.surfaces.append(
        Surface("cushions", (-seats * one / 2, -depth / 2 + 0.1), (seats * one / 2, depth / 2 - back - 0.16), seat)
    )
    return prop


def bed(rng: Generator, style: Style) -> Prop:
    """The head stands against the wall (+y); a rumpled duvet hangs over the sides."""
    prop = Prop("bed")
    width, length = float(rng.choice([0.9, 1.2, 1.4, 1.6, 1.8])), rng.uniform(1.95, 2.1)
    base, mattress = rng.uniform(0.2, 0.35), rng.uniform(0.15, 0.25)
    frame = style.wood if rng.random() < 0.6 else palette.upholstery(rng)
    top = base + mattress
    prop.block(frame, (-width / 2 - 0.03, -length / 2, 0.08), (width / 2 + 0.03, length / 2, base), 0.01, "y")
    _legs(prop, rng, frame, (width / 2, length / 2 - 0.05), 0.1, 0)
    head = rng.uniform(0.8, 1.2)
    if rng.random() < 0.8:
        prop.block(frame, (-width / 2 - 0.05, length / 2, 0), (width / 2 + 0.05, length / 2 + 0.06, head), 0.015)
    prop.add(
        shapes.cushion((width, length - 0.02, mattress + 0.02), 0.15),
        palette.white(rng, 0.0),
        (0, 0, base + mattress / 2),
    )
    cloth = palette.fabric(rng)
    rows, columns = 22, 24
    s, t = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(0, 1, rows))
    reach = width / 2 + 0.03
    x = np.clip(s * (reach + 0.25), -reach, reach)
    drop = np.maximum(np.abs(s) * (reach + 0.25) - reach, 0)
    y = -length / 2 - 0.02 + t * length * rng.uniform(0.6, 0.8)
    waves = sum(rng.uniform(0.001, 0.006) * np.sin(a * s + b * t + c) for a, b, c in rng.uniform(2, 14, (5, 3)))
    z = top + 0.045 + waves - drop
    prop.add(shapes.sheet(np.stack([x + np.sign(s) * (drop > 0) * (0.01 + waves), y, z], -1)), cloth)
    pillow = palette.white(rng, 0.0) if rng.random() < 0.6 else palette.fabric(rng)
    for k in range(2 if width > 1.25 else 1):
        middle = 0.0 if width < 1.25 else (-1 + 2 * k) * width / 4
        tilt = shapes.turn_x(rng.uniform(0.1, 0.6)) @ shapes.turn_z(rng.normal(0, 0.1))
        prop.add(
            shapes.cushion((rng.uniform(0.5, 0.7), 0.42, 0.15), 0.7),
            pillow,
            (middle, length / 2 - 0.28, top + 0.11),
            turn=tilt,
        )
    low, high = (-width / 2 + 0.1, -length / 2 + 0.2), (width / 2 - 0.1, 0.05 * length)
    prop.surfaces.append(Surface("cushions", low, high, top + 0.04))
    return prop


def chest(rng: Generator, style: Style, size: Point | None = None) -> Prop:
    """Drawers and doors on a plinth or legs: sideboards, dressers, night stands, tv benches, filing cabinets."""
    prop = Prop("furniture")
    width, depth, height = size or (rng.uniform(0.6, 1.8), rng.uniform(0.38, 0.52), rng.uniform(0.5, 1.2))
    lift = rng.choice([0.0, 0.06, 0.15]) if height > 0.3 else 0.03
    own = rng.random() < 0.4
    carcass, front = (palette.board(rng), palette.board(rng)) if own else (style.carcass, style.front)
    columns = max(1, round(width / rng.uniform(0.4, 0.6)))
    letters = "".join(rng.choice(["d", "2", "3", "4", "o"], p=[0.35, 0.15, 0.25, 0.1, 0.15]) for _ in range(columns))
    if height < 0.4:
        letters = "".join(rng.choice(["1", "o"]) for _ in range(columns))
    cupboard(prop, rng, style, (-width / 2, -depth / 2, lift), (width / 2, depth / 2, height - 0.02), letters,
             int(rng.integers(4)), carcass, front)  # fmt: skip
    prop.block(carcass, (-width / 2 - 0.01, -depth / 2 - 0.01, height - 0.02), (width / 2 + 0.01, depth / 2, height))
    if lift > 0.1:
        _legs(prop, rng, style.wood, (width / 2 - 0.02, depth / 2 - 0.04), lift, int(rng.integers(2)))
    elif lift > 0:
        prop.block(carcass, (-width / 2 + 0.02, -depth / 2 + 0.05, 0), (width / 2 - 0.02, depth / 2, lift))
    prop.surfaces.append(
        Surface("display", (-width / 2 + 0.02, -depth / 2 + 0.02), (width / 2 - 0.02, depth / 2 - 0.02), height)
    )
    return prop


def nightstand(rng: Generator, style: Style) -> Prop:
    return chest(rng, style, (rng.uniform(0.38, 0.5), rng.uniform(0.35, 0.42), rng.uniform(0.42, 0.6)))


def tv_bench(rng: Generator, style: Style) -> Prop:
    return chest(rng, style, (rng.uniform(1.1, 2.0), rng.uniform(0.38, 0.45), rng.uniform(0.35, 0.55)))


def wardrobe(rng: Generator, style: Style) -> Prop:
    prop = Prop("furniture")
    width, depth, height = rng.uniform(0.7, 2.0), rng.uniform(0.5, 0.62), rng.uniform(1.8, 2.15)
    columns = max(1, round(width / 0.5))
    letters = "".join(rng.choice(["d", "e"], p=[0.75, 0.25]) for _ in range(columns))
    low = (-width / 2, -depth / 2, 0.06)
    cupboard(prop, rng, style, low, (width / 2, depth / 2, height), letters, int(rng.integers(4)))
    prop.block(style.carcass, (-width / 2 + 0.01, -depth / 2 + 0.04, 0), (width / 2 - 0.01, depth / 2, 0.06))
    prop.surfaces.append(
        Surface("storage", (-width / 2 + 0.05, -depth / 2 + 0.05), (width / 2 - 0.05, depth / 2 - 0.05), height, 0.3)
    )
    return prop


def bookcase(rng: Generator, style: Style, size: Point | None = None) -> Prop:
    """Open shelves, sometimes with doors below."""
    prop = Prop("furniture")
    width, depth, height = size or (rng.uniform(0.4, 1.0), rng.uniform(0.24, 0.4), rng.uniform(0.8, 2.1))
    columns = int(rng.integers(1, 3)) if width > 0.8 else 1
    board = style.wood if rng.random() < 0.5 else palette.board(rng)
    t = 0.02
    bottom = 0.05
    if rng.random() < 0.3 and height > 1.4:
        cupboard(
            prop,
            rng,
            style,
            (-width / 2, -depth / 2, 0.05),
            (width / 2, depth / 2, 0.75),
            "d" * (columns + 1),
            int(rng.integers(4)),
        )
        bottom = 0.75
    x0, x1 = -width / 2, width / 2
    prop.block(board, (x0, -depth / 2, 0), (x0 + t, depth / 2, height), grain="z")
    prop.block(board, (x1 - t, -depth / 2, 0), (x1, depth / 2, height), grain="z")
    if rng.random() < 0.8:
        prop.block(board, (x0 + t, depth / 2 - 0.008, bottom), (x1 - t, depth / 2, height), grain="z")
    rows = max(2, round((height - bottom) / rng.uniform(0.27, 0.42)))
    levels = np.linspace(bottom, height - t, rows + 1)
    for z in levels:
        prop.block(board, (x0 + t, -depth / 2 + 0.003, z), (x1 - t, depth / 2 - 0.01, z + t))
    step = (width - t) / columns
    for k in range(columns):
        a, b = x0 + k * step + t, x0 + (k + 1) * step
        if k:
            prop.block(board, (a - t, -depth / 2 + 0.003, bottom), (a, depth / 2 - 0.01, height), grain="z")
        for z, above in itertools.pairwise(levels):
            low, high = (a + 0.005, -depth / 2 + 0.01), (b - 0.005, depth / 2 - 0.015)
            prop.surfaces.append(Surface("shelf", low, high, float(z) + t, float(above - z) - t))
    prop.surfaces.append(Surface("display", (x0 + 0.02, -depth / 2 + 0.02), (x1 - 0.02, depth / 2 - 0.02), height, 0.5))
    return prop


def wall_shelf(rng: Generator, style: Style) -> Prop:
    """A board on brackets; hung on a wall."""
    prop = Prop("furniture")
    width, depth = rng.uniform(0.5, 1.8), rng.uniform(0.15, 0.3)
    board = style.wood if rng.random() < 0.5 else palette.lacquer(rng)
    prop.block(board, (-width / 2, -depth / 2, 0.1), (width / 2, depth / 2, 0.13))
    for x in np.linspace(-width / 2 + 0.1, width / 2 - 0.1, 2 if width < 1.2 else 3):
        prop.block(style.steel, (x - 0.01, -depth / 2 + 0.03, 0.09), (x + 0.01, depth / 2, 0.1))
        prop.block(style.steel, (x - 0.01, depth / 2 - 0.01, 0.0), (x + 0.01, depth / 2, 0.09))
    prop.surfaces.append(Surface("shelf", (-width / 2, -depth / 2), (width / 2, depth / 2), 0.13, 0.4))
    return prop


def fridge(rng: Generator, style: Style) -> Prop:
    prop = Prop("furniture")
    width, depth, height = rng.uniform(0.55, 0.75), rng.uniform(0.58, 0.68), rng.choice([0.85, 1.4, 1.7, 1.85, 2.0])
    body = palette.white(rng, 0.5) if rng.random() < 0.6 else palette.metal(rng)
    prop.block(body, (-width / 2, -depth / 2 + 0.06, 0.03), (width / 2, depth / 2, height), 0.01)
    split = height * rng.choice([0.35, 0.65]) if height > 1.2 else height
    for a, b in ((0.05, split), (split, height)) if split < height else ((0.05, height),):
        prop.block(body, (-width / 2, -depth / 2, a + 0.004), (width / 2, -depth / 2 + 0.055, b - 0.004), 0.012)
        z = (a + b) / 2
        x = width / 2 - 0.05
        path = [
            (x, -depth / 2, z - 0.15),
            (x, -depth / 2 - 0.04, z - 0.15),
            (x, -depth / 2 - 0.04, z + 0.15),
            (x, -depth / 2, z + 0.15),
        ]
        prop.add(shapes.tube(path, 0.009, 6), style.handle)
    prop.block(
        palette.plastic(rng, True), (-width / 2 + 0.02, -depth / 2 + 0.1, 0), (width / 2 - 0.02, depth / 2 - 0.02, 0.03)
    )
    prop.surfaces.append(
        Surface("storage", (-width / 2 + 0.05, -depth / 2 + 0.1), (width / 2 - 0.05, depth / 2 - 0.05), height, 0.4)
    )
    return prop


def base_units(rng: Generator, style: Style, width: float, sink: bool, stove: bool, handle: int) -> Prop:
    """A run of kitchen base cupboards of any ``width`` under one worktop, with a sink and a stove built in."""
    prop = Prop("furniture")
    depth, height, plinth, thick = 0.6, 0.9, 0.1, 0.035
    x0 = -width / 2
    count = max(1, round(width / 0.55))
    unit = width / count
    order = rng.permutation(count)
    stove_at = int(order[0]) if stove else -1
    sink_at = int(order[1 % count]) if sink and count > 1 else (0 if sink and not stove else -1)
    washer_at = int(order[2]) if count > 3 and rng.random() < 0.6 else -1
    front = -depth / 2
    prop.block(style.carcass, (x0, front + 0.06, 0), (x0 + width, depth / 2, plinth))
    hole: Pair | None = None
    for k in range(count):
        a, b = x0 + k * unit, x0 + (k + 1) * unit
        high = height - thick
        if k == stove_at:
            _oven(prop, rng, style, (a, front + 0.02, plinth), (b, depth / 2, high))
            hob = palette.plastic(rng, True)
            prop.block(hob, (a + 0.02, front + 0.06, height), (b - 0.02, depth / 2 - 0.06, height + 0.008))
            ring = palette.metal(rng, True)
            for sx in (-0.24, 0.24):
                for sy in (-0.12, 0.13):
                    radius = rng.uniform(0.06, 0.09)
                    profile = [(radius, 0), (radius, 0.006), (0, 0.006)]
                    prop.add(shapes.lathe(profile, 14), ring, ((a + b) / 2 + sx * unit, sy, height + 0.008))
            continue
        if k == washer_at:
            white = palette.white(rng, 0.5)
            prop.block(white, (a + 0.003, front + 0.015, plinth * 0.3), (b - 0.003, depth / 2, high), 0.008)
            door = shapes.lathe([(0.17, 0), (0.17, 0.02), (0.13, 0.035), (0.1, 0.01), (0, 0.03)], 22)
            prop.add(door, style.steel, ((a + b) / 2, front + 0.016, 0.45), turn=shapes.turn_x(np.pi / 2))
            continue
        letter = "d" if k == sink_at or unit < 0.35 else str(rng.choice(["d", "3", "4", "2"], p=[0.55, 0.25, 0.1, 0.1]))
        cupboard(
            prop,
            rng,
            style,
            (a, front, plinth),
            (b, depth / 2, high - (0.2 if k == sink_at else 0)),
            letter,
            handle,
        )
        if k == sink_at:
            prop.block(style.front, (a + 0.003, front, high - 0.2), (b - 0.003, front + 0.02, high - 0.003))
            hole = (a + 0.06, b - 0.06)
    top = style.top
    z0, z1 = height - thick, height
    y0, y1 = front - 0.02, depth / 2
    free = [(x0, x0 + width)]
    if hole:
        a, b = hole
        near, far = -0.19, 0.17
        prop.block(top, (x0, y0, z0), (a, y1, z1))
        prop.block(top, (b, y0, z0), (x0 + width, y1, z1))
        prop.block(top, (a, y0, z0), (b, near, z1))
        prop.block(top, (a, far, z0), (b, y1, z1))
        deep = rng.uniform(0.13, 0.18)
        basin = palette.metal(rng, False) if rng.random() < 0.75 else palette.ceramic(rng)
        _basin(prop, basin, (a, near), (b, far), z1, deep)
        _tap(prop, style, ((a + b) / 2, far + 0.05, z1), rng.uniform(0.18, 0.32), 0.17)
        free = [(x0, a - 0.02), (b + 0.02, x0 + width)]
    else:
        prop.block(top, (x0, y0, z0), (x0 + width, y1, z1), 0.004)
    for a, b in free:
        lowest, highest = a + 0.02, b - 0.02
        if stove_at >= 0:
            s0, s1 = x0 + stove_at * unit, x0 + (stove_at + 1) * unit
            if lowest < s1 and highest > s0:
                left, right = (lowest, s0 - 0.02), (s1 + 0.02, highest)
                spans = [span for span in (left, right) if span[1] - span[0] > 0.15]
            else:
                spans = [(lowest, highest)]
        else:
            spans = [(lowest, highest)]
        for c, d in spans:
            if d - c > 0.12:
                prop.surfaces.append(Surface("worktop", (c, y0 + 0.04), (d, y1 - 0.02), height, 0.5))
    if stove_at >= 0:
        a = x0 + stove_at * unit
        prop.surfaces.append(Surface("stove", (a + 0.05, -0.22), (a + unit - 0.05, 0.22), height + 0.014, 0.5))
    return prop


def _oven(prop: Prop, rng: Generator, style: Style, low: Point, high: Point) -> None:
    (x0, y0, z0), (x1, y1, z1) = low, high
    body = palette.metal(rng, False) if rng.random() < 0.6 else palette.plastic(rng, True)
    dark = palette.plastic(rng, True)
    prop.block(body, (x0 + 0.003, y0, z0), (x1 - 0.003, y1, z1))
    prop.block(dark, (x0 + 0.03, y0 - 0.02, z0 + 0.12), (x1 - 0.03, y0 - 0.001, z1 - 0.14), 0.005)
    z = z1 - 0.17
    path = [(x0 + 0.06, y0 - 0.02, z), (x0 + 0.06, y0 - 0.06, z), (x1 - 0.06, y0 - 0.06, z), (x1 - 0.06, y0 - 0.02, z)]
    prop.add(shapes.tube(path, 0.009, 6), style.handle)
    for k in range(5):
        x = x0 + (x1 - x0) * (k + 1) / 6
        prop.add(shapes.cylinder(10), dark, (x, y0, z1 - 0.06), (0.018, 0.018, 0.025), turn=shapes.turn_x(np.pi / 2))


def _basin(prop: Prop, material: Material, low: Pair, high: Pair, z: float, deep: float) -> None:
    (x0, y0), (x1, y1) = low, high
    i = 0.03
    rim, floor = (
        [(x0, y0), (x1, y0), (x1, y1), (x0, y1)],
        [(x0 + i, y0 + i), (x1 - i, y0 + i), (x1 - i, y1 - i), (x0 + i, y1 - i)],
    )
    for k in range(4):
        a, b, c, d = rim[k], rim[(k + 1) % 4], floor[(k + 1) % 4], floor[k]
        prop.add(shapes.quad((*b, z), (*a, z), (*d, z - deep), (*c, z - deep)), material)
    prop.add(shapes.quad(*((*p, z - deep) for p in floor)), material)
    w = 0.018
    prop.block(material, (x0 - w, y0 - w, z), (x1 + w, y0, z + 0.004))
    prop.block(material, (x0 - w, y1, z), (x1 + w, y1 + w, z + 0.004))
    prop.block(material, (x0 - w, y0, z), (x0, y1, z + 0.004))
    prop.block(material, (x1, y0, z), (x1 + w, y1, z + 0.004))


def _tap(prop: Prop, style: Style, at: Point, height: float, reach: float) -> None:
    x, y, z = at
    steps = np.linspace(0, np.pi, 8)
    arc = np.c_[
        np.zeros(8), y - reach / 2 + reach / 2 * np.cos(steps), z + height - reach / 2 + reach / 2 * np.sin(steps)
    ]
    path = np.add(np.concatenate([[(0, y, z)], arc, [(0, y - reach, z + height - reach / 2 - 0.03)]]), (x, 0, 0))
    prop.add(shapes.tube(path, 0.012, 8), style.steel)
    prop.add(shapes.cylinder(12), style.steel, (x, y, z), (0.025, 0.025, 0.05))
    prop.rod(style.steel, (x + 0.02, y, z + 0.04), (x + 0.09, y - 0.01, z + 0.07), 0.007)


def wall_units(rng: Generator, style: Style, width: float, handle: int) -> Prop:
    """Hung cupboards with doors, some open; z = 0 is their underside."""
    prop = Prop("furniture")
    height, depth = rng.uniform(0.5, 0.75), rng.uniform(0.3, 0.37)
    count = max(1, round(width / 0.5))
    letters = "".join(rng.choice(["d", "o"], p=[0.85, 0.15]) for _ in range(count))
    cupboard(prop, rng, style, (-width / 2, -depth / 2, 0), (width / 2, depth / 2, height), letters, handle)
    return prop


def hood(rng: Generator, style: Style) -> Prop:
    """An extractor: z = 0 is its underside; its duct rises out of sight."""
    prop = Prop("furniture")
    ring = np.array([(-0.3, -0.25), (0.3, -0.25), (0.3, 0.25), (-0.3, 0.25)])
    low = np.c_[ring, np.zeros(4)]
    for k in range(4):
        a, b = low[k], low[(k + 1) % 4]
        c, d = b * (0.4, 0.4, 0) + (0, 0.15, 0.2), a * (0.4, 0.4, 0) + (0, 0.15, 0.2)
        prop.add(shapes.quad(a, b, c, d), style.steel)
    prop.block(style.steel, (-0.3, -0.25, -0.04), (0.3, 0.25, 0.0))
    prop.block(style.steel, (-0.12, 0.05, 0.2), (0.12, 0.25, 0.8))
    return prop


def washbasin(rng: Generator, style: Style) -> Prop:
    prop = Prop("objects")
    width, depth, height = rng.uniform(0.45, 0.65), rng.uniform(0.4, 0.5), 0.85
    white = palette.sanitary(rng)
    low, high = (-width / 2 + 0.05, -depth / 2 + 0.05), (width / 2 - 0.05, depth / 2 - 0.12)
    prop.block(white, (-width / 2, -depth / 2, height - 0.12), (-width / 2 + 0.05, depth / 2, height), 0.008)
    prop.block(white, (width / 2 - 0.05, -depth / 2, height - 0.12), (width / 2, depth / 2, height), 0.008)
    prop.block(white, (low[0], -depth / 2, height - 0.12), (high[0], low[1], height))
    prop.block(white, (low[0], high[1], height - 0.12), (high[0], depth / 2, height))
    _basin(prop, white, low, high, height, 0.1)
    _tap(prop, style, (0, depth / 2 - 0.06, height), 0.14, 0.12)
    if rng.random() < 0.5:
        prop.add(shapes.lathe([(0.1, 0), (0.08, 0.3), (0.1, height - 0.12)], 14), white, (0, depth / 2 - 0.15, 0))
    else:
        cupboard(
            prop,
            rng,
            style,
            (-width / 2 + 0.02, -depth / 2 + 0.03, 0.2),
            (width / 2 - 0.02, depth / 2, height - 0.12),
            "dd",
            2,
        )
    return prop


def toilet(rng: Generator, style: Style) -> Prop:
    prop = Prop("objects")
    white = palette.sanitary(rng)
    bowl = shapes.lathe(
        [(0.12, 0), (0.1, 0.1), (0.13, 0.22), (0.19, 0.36), (0.2, 0.4), (0.15, 0.4), (0.1, 0.25), (0, 0.22)], 20
    )
    prop.add(bowl, white, (0, -0.12, 0), (1, 1.25, 1))
    prop.block(white, (-0.12, -0.05, 0), (0.12, 0.3, 0.36), 0.03)
    lid = shapes.lathe([(0, 0.0), (0.2, 0), (0.205, 0.015), (0.19, 0.03), (0, 0.035)], 20)
    prop.add(lid, white, (0, -0.12, 0.405), (1, 1.25, 1))
    prop.block(white, (-0.2, 0.14, 0.4), (0.2, 0.32, 0.78), 0.03)
    prop.surfaces.append(Surface("bathroom", (-0.18, 0.16), (0.18, 0.3), 0.78, 0.4))
    return prop


def bathtub(rng: Generator, style: Style) -> Prop:
    prop = Prop("objects")
    length, depth, height = rng.uniform(1.5, 1.8), rng.uniform(0.7, 0.8), rng.uniform(0.5, 0.6)
    white = palette.sanitary(rng)
    x, y = length / 2, depth / 2
    _basin(prop, white, (-x + 0.08, -y + 0.07), (x - 0.08, y - 0.07), height, 0.4)
    for low, high in (
        ((-x, -y), (-x + 0.08, y)),
        ((x - 0.08, -y), (x, y)),
        ((-x, -y), (x, -y + 0.07)),
        ((-x, y - 0.07), (x, y)),
    ):
        prop.block(white, (*low, 0), (*high, height), 0.01)
    _tap(prop, style, (0, y - 0.04, height), 0.15, 0.15)
    return prop


def island(rng: Generator, style: Style) -> Prop:
    """A free-standing counter."""
    width = rng.uniform(1.0, 2.2)
    prop = base_units(rng, style, width, bool(rng.random() < 0.3), bool(rng.random() < 0.3), int(rng.integers(4)))
    prop.block(style.carcass, (-width / 2, 0.3, 0.0), (width / 2, 0.315, 0.86))
    return prop


def coat_rack(rng: Generator, style: Style) -> Prop:
    """A board with hooks and some clothes; hung on a wall."""
    prop = Prop("objects")
    width = rng.uniform(0.5, 1.2)
    prop.block(style.wood, (-width / 2, 0, 0.9), (width / 2, 0.02, 1.0))
    for x in np.arange(-width / 2 + 0.1, width / 2 - 0.05, 0.16):
        prop.rod(style.steel, (x, 0, 0.95), (x, -0.06, 0.97), 0.006, 6)
        if rng.random() < 0.6:
            rows, columns = 8, 9
            s, t = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(0, 1, rows))
            half = 0.06 + 0.1 * np.sqrt(t)
            long = rng.uniform(0.5, 0.95)
            depth = -0.05 - 0.05 * np.cos(s * np.pi / 2) * np.sqrt(t) - 0.012 * np.sin(s * rng.uniform(5, 9) + 1) * t
            prop.add(shapes.sheet(np.stack([x + s * half, depth, 0.97 - t * long], -1)), palette.fabric(rng))
    return prop
