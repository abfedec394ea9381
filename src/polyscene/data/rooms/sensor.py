"""The camera's imperfections: from linear radiance to an sRGB picture as a phone or a depth camera would give it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import Array

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def expose(light: Array, camera: np.random.Generator, shot: np.random.Generator) -> NDArray[np.uint8]:
    """Linear radiance (h, w, 3) to sRGB uint8.

    ``camera`` draws what all views of a scene share (exposure error, colours, tone, grain), ``shot`` what changes
    from one to the next (focus, shake, noise).
    """
    image = _lens(_meter(light, camera), camera, shot)
    image = _noise(image, camera, shot)
    return _finish(_tone(image, camera), camera)


def _meter(light: Array, rng: np.random.Generator) -> Array:
    """Exposure and white balance, each nearly right."""
    luma = light @ _LUMA
    level = float(np.exp(np.log(np.maximum(luma, 1e-6)).mean()))
    for _ in range(3):  # bright windows count only up to white
        level *= float(np.minimum(luma * (0.2 / max(level, 1e-9)), 1.2).mean()) / 0.24
    gain = 0.2 / max(level, 1e-9) * 2 ** float(np.clip(rng.normal(-0.05, 0.4), -1.1, 0.9))
    dim = np.minimum(light * np.float32(gain), 1.0).reshape(-1, 3).mean(0) + 1e-4
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
    blur = max(camera.normal(0.3, 0.15), 0) if shot.random() < 0.93 else shot.uniform(0.6, 1.0)
    if blur > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * width / 256), np.float32)
    if shot.random() < 0.08:
        image = _shake(image, shot.uniform(1, 3) * width / 256, shot.uniform(0, np.pi))
    return np.asarray(image, np.float32)


def _shake(image: Array, length: float, angle: float) -> Array:
    radius = int(np.ceil(length / 2))
    t = np.linspace(-length / 2, length / 2, 4 * radius + 1)
    kernel = np.zeros((2 * radius + 3, 2 * radius + 3), np.float32)
    kernel[np.rint(t * np.sin(angle)).astype(int) + radius + 1, np.rint(t * np.cos(angle)).astype(int) + radius + 1] = 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def _noise(image: Array, camera: np.random.Generator, shot: np.random.Generator) -> Array:
    photons, read = 10 ** camera.uniform(-5.0, -3.3), 10 ** camera.uniform(-3.8, -2.5)
    image = np.minimum(image, 4.0)
    grain = shot.standard_normal(image.shape, np.float32)
    if camera.random() < 0.5:  # colour filters and denoisers spread it
        grain = cv2.GaussianBlur(grain, (0, 0), 0.6) * np.float32(1.6)
    return np.asarray(image + grain * np.sqrt(photons * np.maximum(image, 0) + read * read), np.float32)


def _tone(image: Array, rng: np.random.Generator) -> Array:
    """Shoulder, contrast and saturation, then display gamma: (h, w, 3) in [0, 1]."""
    shoulder = rng.uniform(0.65, 1.0)
    over = np.maximum(image - shoulder, 0)
    image = np.minimum(image, shoulder) + (1.02 - shoulder) * over / (over + max(1.02 - shoulder, 0.05))
    image = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    contrast = rng.uniform(0.0, 0.75)
    image += np.float32(contrast) * (image * image * (3 - 2 * image) - image)
    grey = (image @ _LUMA)[..., None]
    return np.asarray(grey + (image - grey) * np.float32(rng.uniform(0.65, 1.15)), np.float32)


def _finish(image: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() < 0.45:
        image = image + (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 1.5))) * rng.uniform(0.3, 1.2)
    coded = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, packed = cv2.imencode(".jpg", coded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 96))])
        coded = np.ascontiguousarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
    return coded
