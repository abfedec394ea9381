"""Materials met outdoors: each function draws one from ``rng``."""

from __future__ import annotations

from numpy.random import Generator

from polyscene.data.rooms.palette import hsv, shade
from polyscene.data.rooms.scene import Material

from .scene import RGB


def _seed(rng: Generator) -> int:
    return int(rng.integers(1 << 30))


def plain(colour: RGB, rng: Generator, gloss: float = 0.0, kind: str = "paint", scale: float = 1.0) -> Material:
    return Material(kind, colour, shade(colour, 0.85), scale, gloss, seed=_seed(rng))


def grey(rng: Generator, low: float, high: float) -> RGB:
    """A display value between ``low`` and ``high``, hardly tinted."""
    return hsv(rng.choice([0.08, 0.12, 0.6]), rng.uniform(0.0, 0.07), rng.uniform(low, high))


def asphalt(rng: Generator) -> Material:
    colour = grey(rng, 0.26, 0.5)
    return Material("noise", colour, shade(colour, rng.uniform(0.7, 1.35)), rng.uniform(1.0, 3.0), 0.1, seed=_seed(rng))


def paving(rng: Generator) -> Material:
    """Asphalt, slabs or bricks, mostly as grey as the road."""
    roll = rng.random()
    if roll < 0.2:
        return asphalt(rng)
    if roll < 0.7:
        colour = grey(rng, 0.36, 0.66)
    else:
        colour = hsv(rng.uniform(0.03, 0.12), rng.uniform(0.06, 0.25), rng.uniform(0.4, 0.68))
    if rng.random() < 0.4:
        return Material("noise", colour, shade(colour, rng.uniform(0.75, 1.2)), 1.5, seed=_seed(rng))
    kind = "tile" if rng.random() < 0.75 else "brick"
    size = rng.uniform(0.4, 0.9) if kind == "tile" else 0.2
    return Material(kind, colour, shade(colour, rng.uniform(0.65, 0.9)), size, seed=_seed(rng))


def kerb(rng: Generator) -> Material:
    return plain(grey(rng, 0.5, 0.7), rng, kind="noise", scale=0.8)


def marking(rng: Generator, yellow: bool = False) -> Material:
    colour = hsv(0.13, 0.75, rng.uniform(0.65, 0.85)) if yellow else grey(rng, 0.7, 0.92)
    return Material("noise", colour, shade(colour, 0.55), 0.9, seed=_seed(rng))


def grass(rng: Generator) -> Material:
    colour = hsv(rng.uniform(0.17, 0.3), rng.uniform(0.35, 0.65), rng.uniform(0.25, 0.48))
    return Material("carpet", colour, shade(colour, rng.uniform(0.6, 1.4)), rng.uniform(0.5, 1.2), seed=_seed(rng))


def foliage(rng: Generator) -> Material:
    autumn = rng.random() < 0.15
    hue = rng.uniform(0.06, 0.13) if autumn else rng.uniform(0.15, 0.32)
    colour = hsv(hue, rng.uniform(0.2, 0.55), rng.uniform(0.2, 0.55))
    return Material("noise", shade(colour, 0.4), shade(colour, 1.6), rng.uniform(0.3, 0.7), seed=_seed(rng))


def bark(rng: Generator) -> Material:
    colour = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.1, 0.35), rng.uniform(0.14, 0.4))
    return Material("wood", colour, shade(colour, 0.5), 0.12, seed=_seed(rng))


def wall(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.45:
        brick = hsv(rng.uniform(0.015, 0.11), rng.uniform(0.12, 0.5), rng.uniform(0.25, 0.7))
        return Material("brick", brick, shade(brick, rng.choice([0.6, 1.5])), 0.24, seed=_seed(rng))
    if roll < 0.82:
        tint = rng.uniform(0.0, 0.14) if rng.random() < 0.75 else rng.uniform(0.14, 0.5)
        colour = hsv(rng.uniform(0.04, 0.16), tint, rng.uniform(0.45, 0.95))
        return Material("plaster", colour, shade(colour, 0.8), rng.uniform(2, 5), seed=_seed(rng))
    if roll < 0.92:
        colour = hsv(rng.uniform(0.07, 0.13), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.8))  # ashlar
        return Material("tile", colour, shade(colour, 0.75), rng.uniform(0.4, 0.8), seed=_seed(rng))
    colour = grey(rng, 0.3, 0.75)  # concrete
    return Material("noise", colour, shade(colour, 0.85), 3.0, seed=_seed(rng))


def roof(rng: Generator) -> Material:
    colour = grey(rng, 0.18, 0.38) if rng.random() < 0.5 else hsv(rng.uniform(0.01, 0.06), 0.5, rng.uniform(0.3, 0.55))
    return Material("tile", colour, shade(colour, 0.6), 0.3, seed=_seed(rng))


def trim(rng: Generator) -> Material:
    """Window frames, sills, cornices."""
    return plain(grey(rng, 0.75, 0.97) if rng.random() < 0.75 else grey(rng, 0.12, 0.4), rng)


def painted(rng: Generator) -> Material:
    """Doors, shop fronts, awnings."""
    return plain(hsv(rng.random(), rng.uniform(0.2, 0.85), rng.uniform(0.15, 0.7)), rng, 0.3)


def glass(rng: Generator) -> Material:
    colour = hsv(0.58, rng.uniform(0.05, 0.3), rng.uniform(0.06, 0.3))
    return Material("plastic", colour, shade(colour, 1.8), rng.uniform(1.5, 4.0), 0.97, seed=_seed(rng))


def curtain(rng: Generator) -> Material:
    return plain(grey(rng, 0.45, 0.8), rng, 0.6, "stripes", 0.3)


def goods(rng: Generator) -> Material:
    """Behind a shop window."""
    return Material("picture", (0.35, 0.33, 0.3), (0.2, 0.2, 0.2), 1.0, 0.9, seed=_seed(rng))


def lettering(rng: Generator, ground: RGB) -> Material:
    ink = hsv(rng.random(), rng.uniform(0, 0.7), 0.95 if sum(ground) < 0.9 else 0.1)
    return Material("paper", ground, ink, 1.0, seed=_seed(rng))


def car_paint(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.38:
        colour = grey(rng, 0.5, 0.8)
    elif roll < 0.55:
        colour = grey(rng, 0.05, 0.22)
    elif roll < 0.7:
        colour = grey(rng, 0.86, 0.98)
    else:
        hue = rng.choice([0.0, 0.61, 0.35, 0.14], p=[0.4, 0.42, 0.12, 0.06]) + rng.normal(0, 0.015)
        colour = hsv(hue, rng.uniform(0.55, 0.9), rng.uniform(0.2, 0.7))
    return Material("plastic", colour, shade(colour, 0.95), 2.0, rng.uniform(0.85, 0.96), seed=_seed(rng))


def rubber(rng: Generator) -> Material:
    return plain(grey(rng, 0.08, 0.17), rng)


def steel(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.55:
        return plain(grey(rng, 0.35, 0.68), rng, 0.3)
    return plain(grey(rng, 0.08, 0.22) if roll < 0.85 else hsv(0.38, 0.5, 0.22), rng, 0.2)


def cloth(rng: Generator) -> Material:
    roll = rng.random()
    colour = (
        grey(rng, 0.06, 0.3) if roll < 0.5 else grey(rng, 0.5, 0.95) if roll < 0.65
        else hsv(rng.random(), rng.uniform(0.3, 0.85), rng.uniform(0.15, 0.75))
    )  # fmt: skip
    return plain(colour, rng, kind="fabric", scale=0.2)


def skin(rng: Generator) -> Material:
    return plain(hsv(rng.uniform(0.04, 0.08), rng.uniform(0.25, 0.55), rng.uniform(0.35, 0.9)), rng)


def hair(rng: Generator) -> Material:
    return plain(hsv(rng.uniform(0.05, 0.11), rng.uniform(0.1, 0.6), rng.uniform(0.06, 0.5)), rng)
