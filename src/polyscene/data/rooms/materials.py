"""Procedural textures: a bank of small tileable images with the statistics of real surfaces, looked up per hit.

A kind is painted once per variant, on first use. Most kinds hold two channels: how far from ``colour`` towards
``second``, and a brightness around one; the pictorial kinds hold RGB, tinted by ``colour``. Every image is stored as
a pyramid, so that a lookup averages over what a pixel sees.

Texture space is metres, box-mapped: a surface facing texture x shows (y, z), one facing y shows (x, z), one facing z
shows (x, y). Wood grain, boards, stripes' length, lines of text and rows of books run along the first of the two;
up is the second. Pictorial kinds are centred on the texture's origin and read left to right from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from .scene import Material, Part

F = NDArray[np.float32]
Rng = np.random.Generator

SIZE = 128
LEVELS = 7
VARIANTS = 10
_STARTS = np.cumsum([0] + [(SIZE >> k) ** 2 for k in range(LEVELS)]).astype(np.int64)
_X, _Y = np.meshgrid(*[(np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE] * 2)  # in [0, 1); row 0 is at the bottom


def fractal(rng: Rng, beta: float = 1.6, stretch: tuple[float, float] = (1.0, 1.0), low: float = 1.0) -> F:
    """Tileable noise (SIZE, SIZE), mean 0 and variance 1, whose amplitude falls as frequency ** -beta.

    ``stretch`` lengthens its features along x and y; frequencies under ``low`` cycles an image are left out.
    """
    fx = np.fft.rfftfreq(SIZE, 1 / SIZE)[None] * stretch[0]
    fy = np.fft.fftfreq(SIZE, 1 / SIZE)[:, None] * stretch[1]
    radius = np.hypot(fx, fy)
    amplitude = np.where(radius >= low, np.maximum(radius, 1e-6) ** -beta, 0.0)
    phase = rng.standard_normal(amplitude.shape) + 1j * rng.standard_normal(amplitude.shape)
    image = np.fft.irfft2(amplitude * phase, (SIZE, SIZE))
    return ((image - image.mean()) / (image.std() + 1e-9)).astype(np.float32)


def _step(x: Any, at: float, width: float) -> F:
    return np.asarray(np.clip((x - at) / width + 0.5, 0, 1), np.float32)


def _ramp(rng: Rng, n: int, jitter: float) -> F:
    """(n + 1,) rising cuts of [0, 1], unevenly spaced."""
    widths = 1 + jitter * rng.uniform(-1, 1, n)
    return np.concatenate([[0.0], np.cumsum(widths) / widths.sum()]).astype(np.float32)


def _two(mix: Any, bright: Any) -> F:
    """Channels of a two-colour kind, ready for the bank."""
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    image[..., 0] = np.clip(mix, 0, 1)
    image[..., 1] = np.clip(bright, 0, 2) / 2
    return image


def paint(rng: Rng) -> F:
    return _two(0.06 + 0.03 * fractal(rng, 1.8), 1 + 0.012 * fractal(rng, 1.5) + 0.01 * fractal(rng, 0.2))


def plaster(rng: Rng) -> F:
    relief = fractal(rng, rng.uniform(0.7, 1.3), low=6)
    return _two(0.15 + 0.1 * fractal(rng, 1.8), 1 + 0.06 * (relief - np.roll(relief, (2, 2), (0, 1))))


def _grain(rng: Rng) -> tuple[F, F]:
    bend = fractal(rng, 2.0, (10.0, 1.0)) * rng.uniform(0.02, 0.05)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(3, 9) * (_Y + bend)))
    streaks = fractal(rng, 0.6, (24.0, 1.0), low=4)
    return 0.25 + 0.35 * rings**2 + 0.13 * streaks, 1 + 0.06 * streaks + 0.05 * fractal(rng, 1.6, (4, 1))


def wood(rng: Rng) -> F:
    return _two(*_grain(rng))


def planks(rng: Rng) -> F:
    mix, bright = _grain(rng)
    boards = int(rng.integers(4, 7))
    row = np.minimum((_Y * boards).astype(int), boards - 1)
    joint = rng.random(boards).astype(np.float32)[row]
    along = (_X + joint) % 1
    half = (along > 0.5).astype(int)
    tone = rng.uniform(0.72, 1.22, (boards, 2)).astype(np.float32)[row, half]
    shift = rng.integers(0, SIZE, (boards, 2))[row, half]
    cells = (np.arange(SIZE)[:, None], (np.arange(SIZE)[None] + shift) % SIZE)
    mix, bright = mix[cells], bright[cells]
    gap = np.minimum(np.abs((_Y * boards + 0.5) % 1 - 0.5) / boards, np.abs((along * 2 + 0.5) % 1 - 0.5) / 2)
    return _two(mix, bright * tone * (0.45 + 0.55 * _step(gap, 0.004, 0.006)))


def _cells(rng: Rng, columns: int, rows: int, bond: float, grout: float) -> tuple[F, F]:
    row = np.minimum((_Y * rows).astype(int), rows - 1)
    x = _X * columns + bond * (row % 2)
    column = x.astype(int) % columns
    tone = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)[row, column]
    away = np.minimum(np.abs((_Y * rows + 0.5) % 1 - 0.5) / rows, np.abs((x + 0.5) % 1 - 0.5) / columns)
    return 1 - _step(away, grout, 0.004), tone


def tile(rng: Rng) -> F:
    mix, tone = _cells(rng, 4, int(rng.choice([4, 8])), float(rng.choice([0, 0, 0.5])), rng.uniform(0.002, 0.006))
    bright = 1 + rng.uniform(0.0, 0.12) * tone + 0.03 * fractal(rng, 1.5)
    return _two(mix + rng.uniform(0, 0.15) * np.abs(fractal(rng, 1.4)), bright)


def brick(rng: Rng) -> F:
    mix, tone = _cells(rng, 4, 12, 0.5, rng.uniform(0.004, 0.007))
    rough = fractal(rng, 0.9)
    return _two(mix, 1 + (0.2 * tone + 0.1 * rough) * (1 - mix) + 0.04 * rough)


def carpet(rng: Rng) -> F:
    pile = fractal(rng, 0.15, (1.0, rng.uniform(1, 2)))
    return _two(0.3 + 0.18 * pile + 0.1 * fractal(rng, 1.5), 1 + 0.14 * fractal(rng, 0.3) + 0.05 * fractal(rng, 1.9))


def fabric(rng: Rng) -> F:
    threads = int(rng.choice([24, 32, 48]))
    warp, weft = np.sin(2 * np.pi * threads * _X), np.sin(2 * np.pi * threads * _Y)
    over = (np.sin(np.pi * threads * (_X + _Y)) > 0).astype(np.float32)
    slub = fractal(rng, 0.8, (8, 1)) + fractal(rng, 0.8, (1, 8))
    weave = over * warp + (1 - over) * weft
    return _two(0.25 + 0.2 * over + 0.08 * slub, 1 + 0.12 * weave + 0.05 * slub + 0.05 * fractal(rng, 1.8))


def pattern(rng: Rng) -> F:
    n = int(rng.choice([2, 3, 4]))
    x, y = _X * n, _Y * n
    x = x + 0.5 * (y.astype(int) % 2) * (rng.random() < 0.5) * (n % 2 == 0)
    x, y = x % 1 - 0.5, y % 1 - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    style, petals = int(rng.integers(5)), int(rng.integers(3, 9))
    if style == 0:  # flowers
        shape = _step(0.30 + 0.11 * np.cos(petals * angle) - radius, 0, 0.03) - _step(0.1 - radius, 0, 0.03)
    elif style == 1:  # diamonds
        shape = _step(0.5 - np.abs(x) - np.abs(y), rng.uniform(0.02, 0.2), 0.03)
    elif style == 2:  # rings
        shape = _step(rng.uniform(0.05, 0.1) - np.abs(radius - rng.uniform(0.28, 0.42)), 0, 0.03)
    elif style == 3:  # trellis
        shape = _step(rng.uniform(0.04, 0.1) - np.abs(np.abs(x) - np.abs(y)), 0, 0.03)
    else:  # foliage
        shape = _step(fractal(rng, 2.2, low=5), rng.uniform(0.2, 0.7), 0.25)
    return _two(0.9 * shape + 0.03 * fractal(rng, 0.5), 1 + 0.04 * fractal(rng, 0.4) + 0.04 * fractal(rng, 1.8))


def stripes(rng: Rng) -> F:
    n = int(rng.integers(5, 14))
    cuts = _ramp(rng, n, 0.8)
    which = np.clip(np.searchsorted(cuts, _Y[:, 0]) - 1, 0, n - 1)
    level = np.where(np.arange(n) % 2, rng.uniform(0.6, 1, n), rng.uniform(0, 0.25, n)).astype(np.float32)
    return _two(np.broadcast_to(level[which][:, None], _Y.shape), 1 + 0.06 * fractal(rng, 0.4, (3, 1)))


def marble(rng: Rng) -> F:
    veins = np.exp(-np.abs(fractal(rng, 2.0)) * rng.uniform(6, 14)) + 0.5 * np.exp(-np.abs(fractal(rng, 1.7)) * 16)
    return _two(0.1 + 0.07 * fractal(rng, 1.6) + 0.8 * veins, 1 + 0.03 * fractal(rng, 1.2))


def noise(rng: Rng) -> F:
    grain = fractal(rng, rng.uniform(0.2, 0.8), low=10)
    return _two(0.35 + 0.3 * grain, 1 + 0.15 * fractal(rng, 0.3) + 0.04 * fractal(rng, 1.6))


def metal(rng: Rng) -> F:
    return _two(0.1 + 0.1 * fractal(rng, 1.5), 1 + 0.05 * fractal(rng, 0.4, (30, 1)) + 0.05 * fractal(rng, 1.8))


def plastic(rng: Rng) -> F:
    return _two(0.03 + 0.02 * fractal(rng, 1.8), 1 + 0.012 * fractal(rng, 0.3) + 0.02 * fractal(rng, 1.8))


def leather(rng: Rng) -> F:
    creases = np.exp(-np.abs(fractal(rng, 1.2, low=8)) * 5)
    return _two(0.1 + 0.3 * creases + 0.1 * fractal(rng, 1.8), 1 - 0.15 * creases + 0.06 * fractal(rng, 1.6))


def _text(image: F, rng: Rng, box: tuple[float, float, float, float], line: float, ink: F | float) -> None:
    """Rows of word-like marks into ``image`` (SIZE, SIZE, ...) within ``box`` (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = (np.array(box) * SIZE).astype(int)
    pitch = max(int(line * SIZE), 3)
    for top in range(y1 - pitch, y0, -pitch):
        if rng.random() < 0.08:
            continue
        x, end = x0, x1 - int(rng.random() ** 3 * 0.6 * (x1 - x0))
        while x < end:
            word = int(rng.integers(1, 5) * pitch * 0.45) + 1
            image[top : top + max(pitch * 6 // 10, 1), x : min(x + word, end)] = ink
            x += word + max(pitch // 3, 1)


def paper(rng: Rng) -> F:
    mix = np.zeros((SIZE, SIZE), np.float32)
    margin = rng.uniform(0.06, 0.14)
    _text(mix, rng, (margin, margin, 1 - margin, 0.86), rng.uniform(0.025, 0.05), rng.uniform(0.5, 0.85))
    _text(mix, rng, (margin, 0.87, rng.uniform(0.5, 0.95), 0.97), 0.08, 0.9)
    if rng.random() < 0.5:
        y = rng.uniform(0.2, 0.6)
        block = (_Y > y) & (_Y < y + 0.25) & (_X > margin) & (_X < rng.uniform(0.5, 0.9))
        mix[block] = (0.5 + 0.2 * fractal(rng, 1.6))[block]
    return _two(mix, 1 + 0.015 * fractal(rng, 1.8))


def _colour(rng: Rng, dark: float = 0.02, light: float = 0.9) -> F:
    hue = rng.uniform(0, 1, 3) ** 1.5
    grey = rng.beta(0.9, 1.8)
    return (dark + (light - dark) * (hue * grey + hue.mean() * (1 - grey))).astype(np.float32)


def _gradient(rng: Rng, n: int = 4) -> tuple[F, F]:
    return np.linspace(-2, 2, n, dtype=np.float32), np.stack([_colour(rng) for _ in range(n)])


def _toned(value: F, rng: Rng) -> F:
    at, colours = _gradient(rng)
    return np.stack([np.interp(value, at, colours[:, c]) for c in range(3)], -1).astype(np.float32)


def _shapes(image: F, rng: Rng, count: int, size: tuple[float, float]) -> None:
    for _ in range(count):
        x, y, r, s = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(*size), rng.uniform(0.4, 2.0)
        turn = rng.uniform(0, np.pi)
        dx, dy = _X - x, _Y - y
        a, b = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
        inside = np.hypot(a, b * s) < r if rng.random() < 0.5 else np.maximum(np.abs(a), np.abs(b * s)) < r
        image[inside] = _colour(rng) * (1 + 0.15 * fractal(rng, 1.6)[inside][:, None])


def _landscape(rng: Rng) -> F:
    horizon = rng.uniform(0.25, 0.6)
    sky = np.array([0.45, 0.62, 0.95]) * (1 - _Y[..., None]) * 0.4 + np.array([0.5, 0.68, 0.95]) * 0.6
    clouds = _step(fractal(rng, 1.9, (1.0, 2.0)), rng.uniform(0, 1.5), 1.5)[..., None]
    image = (sky + (0.97 - sky) * clouds).astype(np.float32)
    for k in range(3):
        ridge = horizon - 0.12 * k + 0.05 * np.roll(fractal(rng, 1.5)[0], 0)[None, :] * (1 - 0.2 * k)
        land = ridge - _Y > 0
        green = np.array([0.16, 0.24, 0.09]) * rng.uniform(0.4, 1.4, 3) * (0.6 + 0.3 * k)
        image[land] = (green * np.clip(1 + 0.45 * fractal(rng, 0.9), 0.1, 3)[..., None])[land]
    return image


def picture(rng: Rng) -> F:
    style = rng.integers(5)
    if style == 0:
        image = _landscape(rng)
    elif style == 1:  # photograph: soft blobs before a toned ground
        image = _toned(fractal(rng, 1.9), rng)
        _shapes(image, rng, int(rng.integers(2, 6)), (0.05, 0.3))
    elif style == 2:  # abstract
        image = np.broadcast_to(_colour(rng), (SIZE, SIZE, 3)).copy()
        _shapes(image, rng, int(rng.integers(5, 14)), (0.05, 0.35))
    elif style == 3:  # poster: picture above, print below
        image = np.broadcast_to(_colour(rng, 0.2), (SIZE, SIZE, 3)).copy()
        top = _Y > 0.4
        image[top] = _toned(fractal(rng, 1.7), rng)[top]
        _shapes(image, rng, 2, (0.05, 0.2))
        _text(image, rng, (0.1, 0.08, 0.9, 0.32), rng.uniform(0.04, 0.09), _colour(rng, 0.0, 0.5))
    else:  # brush strokes
        angle = rng.uniform(1, 6)
        image = _toned(1.2 * fractal(rng, 1.3, (angle, 1)) + 0.6 * fractal(rng, 2.2), rng)
    if rng.random() < 0.35:  # passe-partout
        edge = np.maximum(np.abs(_X - 0.5), np.abs(_Y - 0.5)) > rng.uniform(0.3, 0.42)
        image[edge] = rng.uniform(0.6, 0.85)
    return image


def books(rng: Rng) -> F:
    image = np.full((SIZE, SIZE, 3), 0.02, np.float32)
    n = int(rng.integers(12, 22))
    cuts = (_ramp(rng, n, 0.6) * SIZE).astype(int)
    for a, b in pairwise(cuts):
        spine = _colour(rng, 0.02, 0.75)
        image[:, a + 1 : b] = spine
        across = np.linspace(-1, 1, max(b - a - 1, 1))
        image[:, a + 1 : b] *= (1 - 0.35 * across**2)[None, :, None]
        ink = np.clip(spine + rng.choice([-0.5, 0.5]), 0.02, 0.8)
        for _ in range(int(rng.integers(1, 4))):
            y = int(rng.uniform(0.05, 0.9) * SIZE)
            band = int(rng.uniform(0.01, 0.2) * SIZE)
            inset = (b - a) // 4
            image[y : y + band, a + 1 + inset : b - inset] = ink
    return image * (1 + 0.05 * fractal(rng, 1.2))[..., None]


def screen(rng: Rng) -> F:
    style = rng.integers(3)
    if style == 0:
        image = _landscape(rng)
    elif style == 1:
        image = _toned(fractal(rng, 1.8), rng)
        _shapes(image, rng, 5, (0.04, 0.25))
    else:
        image = np.broadcast_to(_colour(rng, 0.02, 0.4), (SIZE, SIZE, 3)).copy()
        for _ in range(int(rng.integers(1, 4))):
            x0, y0 = rng.uniform(0.02, 0.5, 2)
            x1, y1 = x0 + rng.uniform(0.25, 0.5), y0 + rng.uniform(0.25, 0.48)
            pane = rng.choice([0.03, 0.75, 0.85])
            inside = (_X > x0) & (_X < x1) & (_Y > y0) & (_Y < y1)
            image[inside] = pane
            image[inside & (_Y > y1 - 0.04)] = _colour(rng)
            _text(image, rng, (x0 + 0.02, y0 + 0.02, x1 - 0.02, y1 - 0.05), 0.025, 0.8 if pane < 0.5 else 0.15)
    return image


def outside(rng: Rng) -> F:
    image = _landscape(rng)
    for _ in range(int(rng.integers(0, 4))):
        x0, height, width = rng.uniform(-0.1, 0.8), rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.45)
        wall = (_X > x0) & (_X < x0 + width) & (_Y < height)
        image[wall] = _colour(rng, 0.2, 0.7)
        panes = wall & ((_X * 24 % 2) > 0.9) & ((_Y * 20 % 2) > 0.8)
        image[panes] = _colour(rng, 0.05, 0.3)
    if rng.random() < 0.7:
        crown = fractal(rng, 1.3) + 3 * (rng.uniform(0.2, 0.8) - _Y)
        tree = crown > rng.uniform(0, 1.5)
        leaf = (
            np.array([0.12, 0.2, 0.05]) * rng.uniform(0.5, 1.5) * np.clip(1 + 0.5 * fractal(rng, 0.5), 0, 3)[..., None]
        )
        image[tree] = leaf[tree]
    return image


def leaves(rng: Rng) -> F:
    vein = np.exp(-np.abs(_Y - 0.5) * 60) + 0.5 * np.exp(-np.abs(np.sin(np.pi * (8 * _X + 6 * np.abs(_Y - 0.5)))) * 9)
    return _two(0.15 + 0.4 * vein + 0.12 * fractal(rng, 1.4), 1 + 0.16 * fractal(rng, 1.2))


KINDS: dict[str, Callable[[Rng], F]] = {
    kind.__name__: kind
    for kind in (
        paint, plaster, wood, planks, tile, brick, carpet, fabric, pattern, stripes, marble, noise,
        metal, plastic, leather, paper, picture, books, screen, outside, leaves,
    )
}  # fmt: skip
PICTORIAL = frozenset({"picture", "books", "screen", "outside"})
_FEATURES = {"planks": 5.0, "tile": 4.0, "brick": 4.0, "stripes": 6.0, "pattern": 3.0, "wood": 2.0, "carpet": 4.0}
_CENTRED = PICTORIAL | {"paper"}
_ROW = {kind: row for row, kind in enumerate(KINDS)}
_bank = np.zeros((len(KINDS) * VARIANTS, int(_STARTS[-1]), 3), np.uint8)
_painted: set[int] = set()


def texture(kind: str, variant: int) -> int:
    """The bank's row that holds ``kind``'s ``variant``, painted if it is not there yet."""
    if kind not in KINDS:
        raise ValueError(f"unknown material kind {kind!r}; known: {', '.join(KINDS)}")
    row = _ROW[kind] * VARIANTS + variant % VARIANTS
    if row not in _painted:
        image = np.clip(KINDS[kind](np.random.default_rng([row, 71])), 0, 1) * 255
        for level in range(LEVELS):
            _bank[row, _STARTS[level] : _STARTS[level + 1]] = np.rint(image).reshape(-1, 3)
            if level + 1 < LEVELS:
                image = image.reshape(len(image) // 2, 2, len(image) // 2, 2, 3).mean((1, 3))
        _painted.add(row)
    return row


class Palette:
    """The materials of a scene's parts as tables for the shading kernels, one row a part."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.bank, self.starts = _bank, _STARTS
        self.row = np.array([texture(p.material.kind, p.material.seed) for p in parts], np.int32)
        self.look = np.array([_look(p.material) for p in parts], np.float32).reshape(-1, 14)
        self.frame = np.array([p.texture_from_world[:3] for p in parts], np.float32).reshape(-1, 3, 4)
        mean = self.bank[self.row, self.starts[-2]].astype(np.float32) / 255
        colour, second = self.look[:, 0:3], self.look[:, 3:6]
        two = (colour + (second - colour) * mean[:, :1]) * (2 * mean[:, 1:2])
        self.mean_albedo: F = np.where(self.look[:, 11:12] > 0, colour * mean, two).astype(np.float32)

    def tables(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32], F, F]:
        """The arguments ``surface`` begins with."""
        return self.bank, self.starts, self.row, self.look, self.frame


def _look(material: Material) -> list[float]:
    """colour 0:3, second 3:6, 1/scale 6, gloss 7, glow 8, offset 9:11, pictorial 11, roughness 12, metal 13."""
    colour = np.asarray(material.colour, np.float64)
    if material.kind in PICTORIAL:
        colour = 0.65 + 0.35 * colour / max(colour.max(), 1e-3)
    offset = [0.5, 0.5] if material.kind in _CENTRED else np.random.default_rng(material.seed).random(2)
    period = _FEATURES.get(material.kind, 1.0)  # ``scale`` is one board, tile, brick or motif
    roughness = 0.04 + 0.5 * (1 - min(material.gloss, 1.0)) ** 2
    return [
        *colour, *material.second, 1 / (max(material.scale, 1e-3) * period), material.gloss, material.glow, *offset,
        float(material.kind in PICTORIAL), roughness, float(material.kind == "metal"),
    ]  # fmt: skip


@compiled(fastmath=True)
def surface(bank, starts, row, look, frame, point, normal, part, footprint, albedo, glow):  # type: ignore[no-untyped-def]
    """Fill ``albedo`` and ``glow`` (n, 3) at world ``point`` (n, 3) of ``part`` (n,), a pixel ``footprint`` metres."""
    for i in range(len(part)):
        k = part[i]
        if k < 0:
            albedo[i] = 0
            glow[i] = 0
            continue
        m, t = look[k], frame[k]
        p0 = t[0, 0] * point[i, 0] + t[0, 1] * point[i, 1] + t[0, 2] * point[i, 2] + t[0, 3]
        p1 = t[1, 0] * point[i, 0] + t[1, 1] * point[i, 1] + t[1, 2] * point[i, 2] + t[1, 3]
        p2 = t[2, 0] * point[i, 0] + t[2, 1] * point[i, 1] + t[2, 2] * point[i, 2] + t[2, 3]
        n0 = t[0, 0] * normal[i, 0] + t[0, 1] * normal[i, 1] + t[0, 2] * normal[i, 2]
        n1 = t[1, 0] * normal[i, 0] + t[1, 1] * normal[i, 1] + t[1, 2] * normal[i, 2]
        n2 = t[2, 0] * normal[i, 0] + t[2, 1] * normal[i, 1] + t[2, 2] * normal[i, 2]
        if abs(n2) >= abs(n0) and abs(n2) >= abs(n1):
            u, v = p0, p1
            if n2 < 0:
                u = -u
        elif abs(n1) >= abs(n0):
            u, v = p0, p2
            if n1 > 0:
                u = -u
        else:
            u, v = p1, p2
            if n0 < 0:
                u = -u
        u = u * m[6] + m[9]
        v = v * m[6] + m[10]
        texels = footprint[i] * m[6] * SIZE
        level = 0
        while texels > 1.4 and level < LEVELS - 1:
            texels *= 0.5
            level += 1
        size = SIZE >> level
        u = (u - np.floor(u)) * size - 0.5
        v = (v - np.floor(v)) * size - 0.5
        x0, y0 = int(np.floor(u)), int(np.floor(v))
        fx, fy = u - x0, v - y0
        x1, y1 = (x0 + 1) % size, (y0 + 1) % size
        x0, y0 = x0 % size, y0 % size
        base = starts[level]
        texel = bank[row[k]]
        a, b = base + y0 * size, base + y1 * size
        w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        for c in range(3):
            glow[i, c] = (
                w00 * texel[a + x0, c] + w01 * texel[a + x1, c] + w10 * texel[b + x0, c] + w11 * texel[b + x1, c]
            ) * np.float32(1 / 255)
        if m[11] > 0:
            for c in range(3):
                albedo[i, c] = m[c] * glow[i, c]
        else:
            mix, bright = glow[i, 0], 2 * glow[i, 1]
            for c in range(3):
                albedo[i, c] = (m[c] + (m[3 + c] - m[c]) * mix) * bright
        for c in range(3):
            glow[i, c] = albedo[i, c] * m[8]
