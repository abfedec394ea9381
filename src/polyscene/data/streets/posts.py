"""What stands at the roadside: lamp posts, signs, traffic lights, bollards, fences and low walls."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.palette import hsv

from . import finish
from .scene import RGB
from .thing import Thing, boxes, cone, stock

RED, BLUE, GREEN, YELLOW = hsv(0.0, 0.9, 0.75), hsv(0.6, 0.85, 0.6), hsv(0.4, 0.8, 0.4), hsv(0.13, 0.9, 0.9)
WHITE, BLACK = hsv(0.1, 0.02, 0.95), hsv(0.0, 0.0, 0.08)


def lamp_post(rng: Generator) -> Thing:
    """One in stock."""
    return stock(lantern, rng, 60)


def lantern(rng: Generator, reach: float = 1.5) -> Thing:
    """Its arm reaches ``reach`` metres towards -y."""
    thing, steel = Thing("pole"), finish.steel(rng)
    height, thick = rng.uniform(5, 9.5), rng.uniform(0.06, 0.1)
    thing.add(cone(0, 1.1, 1.5 * thick, 1.4 * thick), steel)
    thing.add(cone(1.1, height, 1.1 * thick, 0.6 * thick), steel)
    if rng.random() < 0.25:  # a lantern on top
        thing.add(
            shapes.lathe([(0.1, height), (0.22, height + 0.45), (0.05, height + 0.6), (0, height + 0.6)], 8), steel
        )
    else:
        arm = rng.uniform(0.4, 1.0) * reach
        thing.add(
            shapes.tube([(0, 0, height - 0.05), (0, -0.3 * arm, height + 0.12), (0, -arm, height + 0.16)], 0.04, 6),
            steel,
        )
        thing.block(steel, (-0.11, -arm - 0.5, height + 0.1), (0.11, -arm, height + 0.22), 0.04)
    return thing


def bare_pole(rng: Generator) -> Thing:
    """For wires, or with nothing on it."""
    thing = Thing("pole")
    material, height = (finish.bark(rng) if rng.random() < 0.5 else finish.steel(rng)), rng.uniform(4, 8)
    thing.add(cone(0, height, rng.uniform(0.06, 0.13), 0.06), material)
    if rng.random() < 0.4:
        thing.block(material, (-0.6, -0.05, height - 0.5), (0.6, 0.05, height - 0.4))
    return thing


def bollard(rng: Generator) -> Thing:
    """One in stock."""
    return stock(stump, rng, 20)


def stump(rng: Generator) -> Thing:
    thing, dark = Thing("pole"), finish.steel(rng)
    height = rng.uniform(0.8, 1.1)
    thing.add(cone(0, height, 0.09, 0.07, 10), dark)
    thing.add(cone(0.75 * height, 0.85 * height, 0.085, 0.084, 10), finish.plain(WHITE, rng))
    return thing


def hoarding(rng: Generator) -> Thing:
    """One in stock."""
    return stock(board, rng, 60)


def board(rng: Generator) -> Thing:
    """A board of a shop or an advertisement, on two legs or from the ground up."""
    thing = Thing("sign")
    field = hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.25, 0.95))
    low, wide = rng.uniform(0.3, 1.8), rng.uniform(0.8, 2.6)
    high = low + rng.uniform(0.7, 2.4)
    thing.block(finish.plain(field, rng), (-wide / 2, -0.1, low), (wide / 2, 0.0, high))
    face = finish.lettering(rng, field) if rng.random() < 0.6 else finish.goods(rng)
    thing.panel(face, (-0.45 * wide, low + 0.06), (0.45 * wide, high - 0.06), -0.105)
    for x in (-0.4 * wide, 0.4 * wide):
        thing.block(finish.steel(rng), (x - 0.04, -0.07, 0.0), (x + 0.04, -0.02, low))
    return thing


def sign_post(rng: Generator, height: float) -> Thing:
    """One in stock, to a tenth of a metre as high."""
    return stock(stick, rng, 4, round(height, 1))


def stick(rng: Generator, height: float) -> Thing:
    thing = Thing("pole")
    thing.add(cone(0, height, 0.04, 0.04, 8), finish.steel(rng))
    return thing


def _outline(kind: str, size: float) -> np.ndarray:
    corners = {"round": 20, "octagon": 8, "triangle": 3, "yield": 3, "diamond": 4}[kind]
    start = {"round": 0.0, "octagon": np.pi / 8, "triangle": np.pi / 2, "yield": -np.pi / 2, "diamond": 0.0}[kind]
    angle = start + np.arange(corners) * 2 * np.pi / corners
    return size * np.stack([np.cos(angle), np.sin(angle)], 1)


def sign(rng: Generator) -> Thing:
    """One in stock."""
    return stock(plate, rng, 100)


def plate(rng: Generator) -> Thing:
    """Of a sign, about height 0, its face at y = -0.05."""
    thing, z = Thing("sign"), 0.0
    kind = str(
        rng.choice(
            ["round", "triangle", "board", "octagon", "yield", "diamond"], p=[0.36, 0.18, 0.32, 0.04, 0.06, 0.04]
        )
    )
    rim, field = RED, WHITE
    if kind == "board":
        field = (BLUE, GREEN, WHITE, YELLOW, hsv(0.08, 0.5, 0.3))[int(rng.integers(5))]
        w, h = rng.uniform(0.3, 1.1), rng.uniform(0.3, 0.8)
        thing.block(finish.plain(field, rng), (-w / 2, -0.06, z - h / 2), (w / 2, -0.03, z + h / 2))
        thing.panel(finish.lettering(rng, field), (-0.46 * w, z - 0.44 * h), (0.46 * w, z + 0.44 * h), -0.062)
        return thing
    if kind == "round" and rng.random() < 0.4:
        rim = field = BLUE
    if kind == "octagon":
        field = RED
    if kind == "diamond":
        rim, field = WHITE, YELLOW
    size = rng.uniform(0.28, 0.42)
    turn = shapes.turn_x(np.pi / 2)  # the plate's z becomes -y
    for scale, depth, colour in ((1.0, 0.03, rim), (0.76, 0.036, field)):
        thing.add(
            shapes.extruded(_outline(kind, scale * size), depth),
            finish.plain(colour, rng, 0.1),
            (0, -0.03, z),
            turn=turn,
        )
    ink = finish.plain(WHITE if field in (RED, BLUE) else BLACK, rng)
    u, v = 0.4 * size, rng.uniform(0.08, 0.3) * size
    if rng.random() < 0.5:
        u, v = v, u
    thing.block(ink, (-u, -0.072, z - v), (u, -0.066, z + v))
    return thing


def traffic_light(rng: Generator, z: float) -> Thing:
    """The head, about height ``z``, facing -y."""
    thing, black = Thing("sign"), finish.plain(BLACK, rng)
    thing.block(black, (-0.16, -0.2, z - 0.5), (0.16, -0.06, z + 0.5), 0.03)
    if rng.random() < 0.5:
        thing.block(finish.plain(WHITE, rng), (-0.25, -0.06, z - 0.62), (0.25, -0.05, z + 0.62))
    lit = int(rng.integers(3))
    for k, (hue, at) in enumerate(((0.0, 0.31), (0.11, 0.0), (0.42, -0.31))):
        lamp = finish.plain(hsv(hue, 0.9, 0.98 if k == lit else 0.2), rng)
        thing.add(shapes.extruded(_outline("round", 0.1), 0.02), lamp, (0, -0.2, z + at), turn=shapes.turn_x(np.pi / 2))
        thing.block(black, (-0.12, -0.34, z + at + 0.1), (0.12, -0.2, z + at + 0.125))
    return thing


def shop_sign(rng: Generator, z: float, reach: float = 0.8) -> Thing:
    """Hangs out from a wall at y = 0 towards -y, its faces to the sides."""
    thing = Thing("sign")
    colour: RGB = hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.15, 0.8))
    thing.block(finish.plain(colour, rng), (-0.04, -reach, z), (0.04, -0.12, z + rng.uniform(0.4, 0.9)))
    thing.block(finish.steel(rng), (-0.02, -0.12, z + 0.2), (0.02, 0.02, z + 0.26))
    return thing


def railing(rng: Generator, length: float) -> Thing:
    """Bars or boards along x, at y = 0."""
    thing, material = Thing("fence"), finish.steel(rng)
    height, roll = rng.uniform(0.95, 1.4), rng.random()
    if roll < 0.5:
        bar = rng.uniform(0.012, 0.03)
        x = np.arange(0.06, length - 0.02, max(0.1, 2 * bar * rng.uniform(1.5, 4.0)))
        thing.add(boxes(np.stack([x - bar, np.full_like(x, -bar), np.full_like(x, 0.1)], 1),
                        np.stack([x + bar, np.full_like(x, bar), np.full_like(x, height)], 1)), material)  # fmt: skip
        rails = [0.1, height - 0.05]
    elif roll < 0.7:
        rails = [0.35, 0.7, height - 0.05]
    else:
        height = rng.uniform(1.3, 2.0)
        material = finish.bark(rng) if rng.random() < 0.7 else finish.painted(rng)
        x = np.arange(0.0, length - 0.1, 0.125)
        low = np.stack([x, np.full_like(x, -0.012), np.full_like(x, 0.05)], 1)
        top = np.stack([x + 0.115, np.full_like(x, 0.012), height + rng.normal(0, 0.006, len(x))], 1)
        thing.add(boxes(low, top), material, grain="z")
        rails = [0.3, height - 0.3]
    posts = np.linspace(0, length, max(2, int(length / 2) + 1))
    low = np.stack([posts - 0.03, np.full_like(posts, -0.03), np.zeros_like(posts)], 1)
    high = np.stack([posts + 0.03, np.full_like(posts, 0.03), np.full_like(posts, height + 0.05)], 1)
    bars = [((0, -0.02, z - 0.025), (length, 0.02, z + 0.025)) for z in rails]
    thing.add(
        boxes(np.concatenate([low, [b[0] for b in bars]]), np.concatenate([high, [b[1] for b in bars]])), material
    )
    return thing


def low_wall(rng: Generator, length: float) -> Thing:
    thing, height = Thing("building"), rng.uniform(0.6, 1.9)
    thing.block(finish.wall(rng), (0, 0, 0), (length, 0.24, height))
    thing.block(finish.kerb(rng), (-0.02, -0.04, height), (length + 0.02, 0.28, height + 0.07))
    return thing
