"""Believable materials: each function draws one from ``rng``; a ``Style`` keeps a room's choices consistent."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from .scene import Material

RGB = tuple[float, float, float]


def _linear(value: float) -> float:
    return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)


def hsv(hue: float, saturation: float, value: float) -> RGB:
    """Linear albedo of a display colour, never wholly black or white."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return tuple(0.015 + 0.87 * _linear(c) for c in (r, g, b))  # type: ignore[return-value]


def shade(colour: RGB, factor: float) -> RGB:
    return tuple(float(min(max(c * factor, 0.01), 0.92)) for c in colour)  # type: ignore[return-value]


def hue(rng: Generator) -> float:
    """Hues as they are met indoors: mostly red to yellow and blue, seldom green, turquoise or violet."""
    roll = rng.random()
    return float(rng.normal(0.07, 0.05) if roll < 0.58 else rng.normal(0.6, 0.04) if roll < 0.85 else rng.random())


def _seed(rng: Generator) -> int:
    return int(rng.integers(1 << 30))


def wood(rng: Generator, scale: float | None = None) -> Material:
    kind = rng.integers(6)
    hue, saturation, value = (
        (0.085, 0.45, 0.78), (0.095, 0.30, 0.85), (0.065, 0.55, 0.50), (0.05, 0.50, 0.30), (0.09, 0.12, 0.88),
        (0.07, 0.62, 0.62),
    )[kind]  # fmt: skip
    colour = hsv(hue + rng.normal(0, 0.008), saturation + rng.normal(0, 0.06), value + rng.normal(0, 0.05))
    second = shade(colour, rng.uniform(0.45, 0.85))
    return Material("wood", colour, second, scale or rng.uniform(0.1, 0.35), rng.uniform(0, 0.45), seed=_seed(rng))


def floor(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.42:
        base = wood(rng)
        return replace(base, kind="planks", scale=rng.uniform(0.07, 0.22), gloss=rng.uniform(0.05, 0.6))
    if roll < 0.62:
        return tiles(rng, rng.choice([0.15, 0.3, 0.33, 0.45, 0.6]))
    if roll < 0.9:
        return carpet(rng)
    if roll < 0.95:
        return replace(marble(rng), scale=rng.uniform(0.6, 1.5))
    stone = hsv(rng.random(), 0.1, rng.uniform(0.3, 0.8))
    return Material("noise", stone, hsv(0.0, 0.0, 0.5), 0.03, 0.2, seed=_seed(rng))


def carpet(rng: Generator) -> Material:
    colour = hsv(
        hue(rng), rng.choice([0.05, 0.15, 0.55], p=[0.5, 0.3, 0.2]) * rng.uniform(0.5, 1.3), rng.uniform(0.2, 0.75)
    )
    second = shade(colour, rng.uniform(0.3, 1.6))
    if rng.random() < 0.25:
        return Material("stripes", colour, second, rng.uniform(0.02, 0.12), seed=_seed(rng))
    return Material("carpet", colour, second, rng.uniform(0.02, 0.3), seed=_seed(rng))


def tiles(rng: Generator, scale: float) -> Material:
    colour = hsv(hue(rng), rng.choice([0.03, 0.1, 0.35], p=[0.55, 0.35, 0.1]), rng.uniform(0.35, 0.95))
    grout = shade(colour, rng.choice([0.4, 0.65, 1.3]))
    return Material("tile", colour, grout, float(scale), rng.uniform(0.2, 0.8), seed=_seed(rng))


def wall(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.58:
        colour = hsv(rng.uniform(0.03, 0.2), rng.uniform(0, 0.1), rng.uniform(0.74, 0.97))
    elif roll < 0.78:
        colour = hsv(rng.uniform(0.5, 0.7), rng.uniform(0, 0.08), rng.uniform(0.4, 0.82))
    else:
        colour = hsv(
            hue(rng), rng.uniform(0.06, 0.3) if rng.random() < 0.85 else rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.88)
        )
    roll = rng.random()
    if roll < 0.82:
        kind = "paint" if rng.random() < 0.8 else "plaster"
        return Material(kind, colour, shade(colour, 0.9), rng.uniform(0.2, 1.0), rng.uniform(0, 0.15), seed=_seed(rng))
    if roll < 0.9:
        kind = "pattern" if rng.random() < 0.7 else "stripes"
        second = shade(colour, rng.uniform(0.7, 1.3))
        return Material(kind, colour, second, rng.uniform(0.06, 0.4), 0.0, seed=_seed(rng))
    if roll < 0.935:
        brick = hsv(rng.choice([0.03, 0.05, 0.1]), rng.choice([0.03, 0.5]), rng.uniform(0.45, 0.95))
        return Material("brick", brick, shade(brick, rng.uniform(0.5, 1.4)), 0.25, 0.0, seed=_seed(rng))
    if roll < 0.97:
        return replace(wood(rng), kind="planks", scale=rng.uniform(0.08, 0.2))
    return tiles(rng, rng.uniform(0.1, 0.4))


def white(rng: Generator, gloss: float = 0.2) -> Material:
    colour = hsv(rng.uniform(0.05, 0.18), rng.uniform(0, 0.05), rng.uniform(0.82, 0.98))
    return Material("paint", colour, shade(colour, 0.93), 0.5, gloss, seed=_seed(rng))


def lacquer(rng: Generator) -> Material:
    """Painted or coated board: white and grey mostly, now and then a strong colour."""
    roll = rng.random()
    if roll < 0.4:
        return white(rng, rng.uniform(0.1, 0.6))
    if roll < 0.72:
        colour = hsv(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.12, 0.75))
    else:
        strength = rng.uniform(0.1, 0.5) if rng.random() < 0.6 else rng.uniform(0.5, 0.9)
        colour = hsv(hue(rng), strength, rng.uniform(0.2, 0.75))
    return Material("paint", colour, shade(colour, 0.9), 0.4, rng.uniform(0.05, 0.7), seed=_seed(rng))


def board(rng: Generator) -> Material:
    """What cupboards are made of."""
    return wood(rng) if rng.random() < 0.5 else lacquer(rng)


def marble(rng: Generator) -> Material:
    colour = hsv(rng.random(), rng.uniform(0, 0.1), rng.choice([0.12, 0.3, 0.85, 0.93]))
    second = shade(colour, rng.choice([0.5, 0.7, 1.6]))
    return Material("marble", colour, second, rng.uniform(0.15, 0.6), rng.uniform(0.3, 0.8), seed=_seed(rng))


def worktop(rng: Generator) -> Material:
    roll = rng.random()
    if roll < 0.35:
        return wood(rng)
    if roll < 0.6:
        return marble(rng)
    colour = hsv(rng.random(), rng.uniform(0, 0.15), rng.choice([0.08, 0.2, 0.6, 0.9]))
    return Material(
        "noise", colour, shade(colour, rng.choice([0.6, 1.7])), 0.01, rng.uniform(0.1, 0.7), seed=_seed(rng)
    )


def fabric(rng: Generator) -> Material:
    strength = rng.choice([0.05, 0.25, 0.6], p=[0.45, 0.35, 0.2]) * rng.uniform(0.4, 1.2)
    colour = hsv(hue(rng), strength, rng.uniform(0.12, 0.85))
    roll = rng.random()
    kind = "fabric" if roll < 0.6 else "pattern" if roll < 0.82 else "stripes"
    second = shade(colour, rng.choice([0.6, 0.8, 1.5])) if kind == "fabric" or rng.random() < 0.5 else any_colour(rng)
    scale = rng.uniform(0.004, 0.02) if kind == "fabric" else rng.uniform(0.03, 0.2)
    return Material(kind, colour, second, scale, seed=_seed(rng))


def leather(rng: Generator) -> Material:
    colour = hsv(rng.uniform(0.02, 0.1), rng.uniform(0, 0.6), rng.choice([0.1, 0.25, 0.45, 0.8]))
    return Material(
        "leather", colour, shade(colour, 0.6), rng.uniform(0.01, 0.03), rng.uniform(0.15, 0.5), seed=_seed(rng)
    )


def upholstery(rng: Generator) -> Material:
    return leather(rng) if rng.random() < 0.3 else fabric(rng)


def any_colour(rng: Generator) -> RGB:
    """Mostly pale, grey or dark, now and then strong; bright and strong at once hardly ever."""
    value = float(rng.uniform(0.1, 0.92))
    strength = rng.beta(1.0, 3.5) if rng.random() < 0.75 else rng.uniform(0.35, 0.85)
    return hsv(hue(rng), float(strength) * (1 - 0.45 * max(value - 0.45, 0.0) / 0.47), value)


def plastic(rng: Generator, dark: bool = False) -> Material:
    colour = hsv(rng.random(), rng.uniform(0, 0.15), rng.uniform(0.06, 0.25)) if dark else any_colour(rng)
    return Material("plastic", colour, shade(colour, 0.8), 0.2, rng.uniform(0.1, 0.6), seed=_seed(rng))


def ceramic(rng: Generator) -> Material:
    colour = hsv(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.85, 0.97)) if rng.random() < 0.6 else any_colour(rng)
    if rng.random() < 0.25:
        return Material("pattern", colour, any_colour(rng), rng.uniform(0.02, 0.06), 0.6, seed=_seed(rng))
    return Material("plastic", colour, shade(colour, 0.85), 0.2, rng.uniform(0.4, 0.9), seed=_seed(rng))


def sanitary(rng: Generator) -> Material:
    """Basins, toilets, bath tubs: white but for some old ones."""
    pale = hsv(hue(rng), rng.uniform(0.0, 0.25) if rng.random() < 0.15 else 0.02, rng.uniform(0.8, 0.97))
    return Material("plastic", pale, shade(pale, 0.9), 0.2, rng.uniform(0.4, 0.9), seed=_seed(rng))


def metal(rng: Generator, dark: bool | None = None) -> Material:
    dark = bool(rng.random() < 0.3) if dark is None else dark
    value = rng.uniform(0.08, 0.2) if dark else rng.uniform(0.55, 0.85)
    colour = hsv(rng.choice([0.0, 0.1, 0.6]), rng.uniform(0, 0.1), value)
    return Material("metal", colour, shade(colour, 0.8), 0.1, rng.uniform(0.4, 0.95), seed=_seed(rng))


def brass(rng: Generator) -> Material:
    return Material("metal", hsv(0.12, 0.5, 0.7), hsv(0.1, 0.5, 0.5), 0.1, 0.7, seed=_seed(rng))


def paper(rng: Generator) -> Material:
    colour = hsv(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.85, 0.98))
    return Material("paper", colour, hsv(0.6, 0.2, rng.uniform(0.05, 0.4)), 0.2, 0.0, seed=_seed(rng))


def cardboard(rng: Generator) -> Material:
    colour = hsv(rng.uniform(0.07, 0.1), rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.75))
    return Material("paper", colour, shade(colour, 0.8), 0.3, 0.0, seed=_seed(rng))


def printed(rng: Generator) -> Material:
    """Packaging, covers, magazines."""
    return Material("picture", any_colour(rng), any_colour(rng), 1.0, rng.uniform(0, 0.4), seed=_seed(rng))


def picture(rng: Generator) -> Material:
    return Material("picture", any_colour(rng), any_colour(rng), 1.0, rng.choice([0.0, 0.3]), seed=_seed(rng))


def leaves(rng: Generator) -> Material:
    colour = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.25, 0.65), rng.uniform(0.18, 0.5))
    return Material("leaves", colour, shade(colour, 1.5), 0.05, rng.uniform(0.05, 0.4), seed=_seed(rng))


def screen(rng: Generator, on: float = 0.5) -> Material:
    lit = rng.uniform(0.5, 2.5) if rng.random() < on else 0.0
    return Material("screen", hsv(rng.random(), 0.4, 0.6 if lit else 0.06), any_colour(rng), 1.0, 0.6, lit, _seed(rng))


def clear(rng: Generator) -> Material:
    """Glass and clear plastic are drawn as pale opaque things."""
    return Material(
        "plastic", hsv(rng.uniform(0.3, 0.6), rng.uniform(0, 0.2), rng.uniform(0.6, 0.95)), gloss=0.9, seed=_seed(rng)
    )


@dataclass(frozen=True)
class Style:
    """The materials one room repeats."""

    wood: Material
    front: Material  # cupboard doors
    carcass: Material
    top: Material  # worktops
    frame: Material  # doors, window frames, skirting
    cloth: Material
    seat: Material
    steel: Material
    handle: Material


def style(rng: Generator) -> Style:
    timber = wood(rng)
    front = board(rng)
    frame = white(rng, 0.4) if rng.random() < 0.6 else timber if rng.random() < 0.6 else lacquer(rng)
    carcass = front if rng.random() < 0.5 else white(rng)
    return Style(
        timber, front, carcass, worktop(rng), frame, fabric(rng), upholstery(rng), metal(rng),
        metal(rng) if rng.random() < 0.8 else brass(rng),
    )  # fmt: skip


def daylight(rng: Generator) -> RGB:
    """White balance of the sky, warm to blue, unit mean."""
    warmth = rng.normal(0, 0.12)
    colour = np.exp([warmth, 0.0, -warmth])
    return tuple(float(c) for c in colour / colour.mean())  # type: ignore[return-value]


def lamplight(rng: Generator) -> RGB:
    warmth = rng.uniform(0.0, 0.45)
    colour = np.exp([warmth, 0.0, -1.3 * warmth])
    return tuple(float(c) for c in colour / colour.mean())  # type: ignore[return-value]
