"""The camera's imperfections: from linear radiance to an sRGB picture as a phone or a depth camera would give it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from .scene import Array

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def expose(light: Array, camera: np.random.Generator, shot: np.random.Generator) -> NDArray[np.uint8]:
    """Linear radiance (h, w, 3) to sRGB uint8.

    ``camera`` draws what all views of a scene share (exposure error, colours, tone, grain), ``shot`` what changes
    from one to the next (focus, shake, noise).
    """
    image = _lens(_meter(light, camera), camera, shot)
    return _finish(_record(image, camera, shot), camera)


def _meter(light: Array, rng: np.random.Generator) -> Array:
    """Exposure and white balance, each nearly right."""
    luma = light[::2, ::2] @ _LUMA
    level = float(np.exp(np.log(np.maximum(luma, 1e-6)).mean()))
    for _ in range(3):  # bright windows count only up to white
        level *= float(np.minimum(luma * (0.2 / max(level, 1e-9)), 1.2).mean()) / 0.24
    gain = 0.2 / max(level, 1e-9) * 2 ** float(np.clip(rng.normal(-0.05, 0.4), -1.1, 0.9))
    dim = np.minimum(light[::2, ::2] * np.float32(gain), 1.0).reshape(-1, 3).mean(0) + 1e-4
    cast = (float(dim.mean()) / dim) ** rng.uniform(0.3, 0.8)
    warm = rng.normal(0, 0.06)
    cast = cast * np.exp([warm, rng.normal(0, 0.02), -warm])
    return (light * (gain * cast / cast.mean()).astype(np.float32)).astype(np.float32)


def _lens(image: Array, camera: np.random.Generator, shot: np.random.Generator) -> Array:
    height, width = image.shape[:2]
    bright = cv2.resize(np.minimum(image, 8.0), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    haze = cv2.resize(cv2.GaussianBlur(bright, (0, 0), camera.uniform(2, 8)), (width, height))
    veil = camera.uniform(0.01, 0.06)
    image = image * np.float32(1 - veil) + haze * np.float32(veil)
    x = (np.arange(width, dtype=np.float32) / width - 0.5) ** 2
    y = (np.arange(height, dtype=np.float32) / width - 0.5 * height / width) ** 2
    image *= (1 - camera.uniform(0, 0.7) * (y[:, None] + x[None]))[..., None].astype(np.float32)
    blur = max(camera.normal(0.3, 0.15), 0) if shot.random() < 0.94 else shot.uniform(0.5, 0.85)
    if blur > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * width / 256), np.float32)
    if shot.random() < 0.06:
        image = _shake(image, shot.uniform(1, 2.4) * width / 256, shot.uniform(0, np.pi))
    return np.asarray(image, np.float32)


def _shake(image: Array, length: float, angle: float) -> Array:
    radius = int(np.ceil(length / 2))
    t = np.linspace(-length / 2, length / 2, 4 * radius + 1)
    kernel = np.zeros((2 * radius + 3, 2 * radius + 3), np.float32)
    kernel[np.rint(t * np.sin(angle)).astype(int) + radius + 1, np.rint(t * np.cos(angle)).astype(int) + radius + 1] = 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def _record(image: Array, camera: np.random.Generator, shot: np.random.Generator) -> Array:
    """Noise, then shoulder, contrast, display gamma and saturation: (h, w, 3), nearly all in [0, 1]."""
    photons, read = 10 ** camera.uniform(-5.0, -3.3), 10 ** camera.uniform(-3.8, -2.5)
    grain = shot.standard_normal(image.shape, np.float32)
    if camera.random() < 0.5:  # colour filters and denoisers spread it
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.6) * np.float32(1.6), np.float32)
    curve = _curve(camera.uniform(0.65, 1.0), camera.uniform(0.0, 0.75))
    out = np.empty_like(image)
    _develop(image, grain, np.float32(photons), np.float32(read), curve, np.float32(camera.uniform(0.65, 1.15)), out)
    return out


def _curve(shoulder: float, contrast: float) -> Array:
    """Display value of radiance, tabulated over its square root from 0 to 2."""
    light = np.linspace(0, 2, 1024) ** 2
    over = np.maximum(light - shoulder, 0)
    room = 1.02 - shoulder
    value = np.clip(np.minimum(light, shoulder) + room * over / (over + max(room, 0.05)), 0, 1) ** (1 / 2.2)
    return (value + contrast * (value * value * (3 - 2 * value) - value)).astype(np.float32)


@compiled(fastmath=True)
def _develop(image, grain, photons, read, curve, saturation, out):  # type: ignore[no-untyped-def]
    last = np.float32(len(curve) - 1.001)
    value = np.empty(3, np.float32)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(3):
                light = min(image[y, x, c], np.float32(4))
                light += grain[y, x, c] * np.sqrt(photons * light + read * read)
                at = min(np.sqrt(max(light, np.float32(0))) * last * np.float32(0.5), last)
                k = int(at)
                value[c] = curve[k] + (at - k) * (curve[k + 1] - curve[k])
            grey = np.float32(0.2126) * value[0] + np.float32(0.7152) * value[1] + np.float32(0.0722) * value[2]
            for c in range(3):
                out[y, x, c] = grey + (value[c] - grey) * saturation


def _finish(image: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() < 0.45:
        image = image + (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 1.5))) * rng.uniform(0.3, 1.2)
    coded = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, packed = cv2.imencode(".jpg", coded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 96))])
        coded = np.ascontiguousarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
    return coded
