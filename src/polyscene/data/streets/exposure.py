"""How a camera in a car exposes a street: for what stands in it, so that the sky burns out, or now and then for the
sky, so that the street is dark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polyscene.data.rooms import sensor
from polyscene.data.rooms.scene import Array

_GREY = 0.13  # of white, what the street's middle is brought to
_DIM = 0.25  # share of drives that are exposed for the sky


def expose(
    light: Array, sky: NDArray[np.bool_], camera: np.random.Generator, shot: np.random.Generator
) -> NDArray[np.uint8]:
    """Linear radiance (h, w, 3) to sRGB uint8; ``sky`` (h, w) is where nothing stands. ``camera`` draws what all views
    of a street share, ``shot`` what changes from one to the next."""
    return sensor._finish(sensor._record(sensor._lens(_meter(light, sky, camera), camera, shot), camera, shot), camera)


def _meter(light: Array, sky: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Exposure and white balance."""
    luma = light[::2, ::2] @ sensor._LUMA
    high = sky[::2, ::2]
    ground = float(np.exp(np.log(np.maximum(luma[~high], 1e-6)).mean())) if not high.all() else 1.0
    gain = _GREY / max(ground, 1e-6) * 2 ** float(np.clip(rng.normal(0.0, 0.55), -1.3, 1.2))
    dim, white = rng.random() < _DIM, rng.uniform(0.2, 0.8)
    if dim and high.mean() > 0.02:
        gain = min(gain, white / max(float(np.median(luma[high])), 1e-6))
    shown = np.minimum(light[::2, ::2] * np.float32(gain), 1.0).reshape(-1, 3).mean(0) + 1e-4
    cast = (float(shown.mean()) / shown) ** rng.uniform(0.2, 0.8)
    warm = rng.normal(0, 0.06)
    cast = cast * np.exp([warm, rng.normal(0, 0.02), -warm])
    return np.asarray(light * (gain * cast / cast.mean()).astype(np.float32), np.float32)
