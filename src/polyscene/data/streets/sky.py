"""Weather and what the sky sends from each direction."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from polyscene.compiled import compiled
from polyscene.data.rooms import materials
from polyscene.data.rooms.scene import Array
from polyscene.data.rooms.shapes import Floats

from .scene import RGB, Weather

SOFTNESS = 0.0015  # radians, of the sun's disc: less than it is, for one ray a pixel draws its edge as noise
_GROUND = 0.12  # albedo of what lies below the horizon
_CLOUD_BANK = 8


def _scaled(colour: Floats, by: float = 1.0) -> RGB:
    r, g, b = (float(c * by) for c in colour)
    return r, g, b


def weather(rng: Generator, heading: float) -> Weather:
    """Clear, broken or overcast; the sun anywhere but low in the driver's back half the time."""
    style = float(rng.random())
    azimuth = heading + rng.uniform(-np.pi, np.pi)
    height = np.radians(rng.uniform(12, 65))
    sun = (-np.sin(azimuth) * np.cos(height), np.cos(azimuth) * np.cos(height), np.sin(height))
    warm = max(0.0, 1 - height / 0.6) * rng.uniform(0.1, 0.35)
    tint = np.exp([warm, 0.0, -1.6 * warm])
    seed = int(rng.integers(1 << 30))
    haze = float(np.exp(rng.uniform(np.log(1e-4), np.log(2e-3))))
    if style < 0.33:  # clear, perhaps with fair-weather clouds
        blue = np.array([0.24, 0.42, 0.85]) * rng.uniform(0.7, 1.3)
        edge = np.array([0.85, 0.95, 1.1]) * rng.uniform(0.7, 1.2)
        light = tint * rng.uniform(5.0, 8.0) * (0.35 + 0.65 * np.sin(height))
        cover = float(rng.choice([0.0, rng.uniform(0.15, 0.5)]))
        return Weather(sun, _scaled(light), _scaled(blue), _scaled(edge), _scaled(tint, rng.uniform(0.5, 2)),
                       _scaled(tint ** 0.3, 1.6), cover, haze, seed)  # fmt: skip
    if style < 0.58:  # bright haze, thin sun
        white = np.array([0.95, 1.0, 1.06]) * rng.uniform(0.9, 1.5)
        light = tint * rng.uniform(1.5, 4.5) * (0.4 + 0.6 * np.sin(height))
        return Weather(sun, _scaled(light), _scaled(white, 0.85), _scaled(white, 1.1),
                       _scaled(tint, rng.uniform(0.5, 3)), _scaled(white, 1.3), float(rng.uniform(0.2, 0.8)),
                       1.5 * haze, seed)  # fmt: skip
    grey = np.array([0.95, 1.0, 1.05]) * rng.uniform(0.7, 1.3)
    return Weather(sun, _scaled(grey, rng.uniform(0.0, 0.35)), _scaled(grey, 1.1), _scaled(grey, 0.85),
                   (0.0, 0.0, 0.0), _scaled(grey, 0.75), float(rng.uniform(0.3, 0.9)), 1.5 * haze, seed)  # fmt: skip


@compiled(fastmath=True)
def _shine(direction, table, cover, clouds, ground, out):  # type: ignore[no-untyped-def]
    """``table`` (6, 3): sun, zenith, horizon, glare, cloud, unused."""
    size = len(clouds)
    sx, sy, sz = table[0, 0], table[0, 1], table[0, 2]
    for i in range(len(direction)):
        x, y, z = direction[i, 0], direction[i, 1], direction[i, 2]
        length = np.float32(1) / np.sqrt(x * x + y * y + z * z)
        x, y, z = x * length, y * length, z * length
        if z < -0.02:
            for c in range(3):
                out[i, c] = ground[c]
            continue
        high = max(z, np.float32(0))
        low = (np.float32(1) - high) ** 4
        towards = max(x * sx + y * sy + z * sz, np.float32(0))
        glow = towards**8 * np.float32(0.15) + towards**64 * np.float32(0.6) + towards**2000 * np.float32(8)
        density = np.float32(0)
        if cover > 0:
            far = np.float32(40) / (high + np.float32(0.12))
            u, v = x * far, y * far
            x0, y0 = int(np.floor(u)), int(np.floor(v))
            fx, fy = u - x0, v - y0
            a, b = x0 % size, (x0 + 1) % size
            c0, d0 = y0 % size, (y0 + 1) % size
            value = (clouds[c0, a] * (1 - fx) + clouds[c0, b] * fx) * (1 - fy)
            value += (clouds[d0, a] * (1 - fx) + clouds[d0, b] * fx) * fy
            density = min(max((value - (np.float32(1.6) - np.float32(3.2) * cover)) * np.float32(0.7), 0.0), 1.0)
            density *= min(high * np.float32(6), np.float32(1))
        for c in range(3):
            clear = table[1, c] + (table[2, c] - table[1, c]) * low
            clear += (table[4, c] - clear) * density
            out[i, c] = clear + table[3, c] * glow * (1 - np.float32(0.6) * density)


class Sky:
    """Radiance by direction, and the irradiance ``open`` RGB on level ground that sees all of it."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        rows = [weather.sun, weather.zenith, weather.horizon, weather.glare, weather.cloud]
        self._table = np.array(rows, np.float32)
        rng = np.random.default_rng([weather.seed % _CLOUD_BANK, 0xC10D])
        self._clouds: NDArray[np.float32] = materials.fractal(rng, 1.7) + 0.25 * materials.fractal(rng, 1.0, low=6)
        self.sun = np.array(weather.sun, np.float32)
        self.sunlight = np.array(weather.sunlight, np.float32)
        self._ground = np.zeros(3, np.float32)
        k = np.arange(256) + 0.5
        radius, turn = np.sqrt(k / 256), k * np.pi * (3 - 5**0.5)
        dome = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - radius**2)], 1)
        self.open: Array = np.minimum(self.radiance(dome.astype(np.float32)), 6).mean(0) * np.float32(np.pi)
        self._ground = (_GROUND / np.pi * (self.open + self.sunlight * max(weather.sun[2], 0.0))).astype(np.float32)

    def radiance(self, direction: Array) -> Array:
        """(n, 3) from ``direction`` (n, 3), of any length; below the horizon that of plain ground."""
        out = np.empty((len(direction), 3), np.float32)
        _shine(direction, self._table, np.float32(self.weather.cover), self._clouds, self._ground, out)
        return out
