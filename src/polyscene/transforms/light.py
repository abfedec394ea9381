"""The colours of images (v, 3, h, w) in [0, 1]; all views alike."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.transforms.chance import Chance
from polyscene.transforms.opencv import by_image

BYTES = np.arange(256, dtype=np.float64)


def photometric(images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Ours: exposure, contrast, gamma, white balance, saturation, blur and noise as cameras vary."""

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    images = images.clamp_min(1e-4) ** torch.exp(draw(-0.4, 0.4) * strength)
    images = images * torch.exp(draw(-0.4, 0.4) * strength) * torch.exp(draw(-0.15, 0.15, 3, 1, 1) * strength)
    middle = images.mean((-3, -2, -1), keepdim=True)
    images = middle + (images - middle) * torch.exp(draw(-0.4, 0.3) * strength)
    grey = images.mean(-3, keepdim=True)
    images = grey + (images - grey) * torch.exp(draw(-0.7, 0.4) * strength)
    if draw(0.0, 1.0) < 0.3 * strength:
        height, width = images.shape[-2:]
        factor = float(draw(1.2, 2.2))
        small = F.interpolate(
            images, (math.ceil(height / factor), math.ceil(width / factor)), mode="bilinear", antialias=True
        )
        images = F.interpolate(small, (height, width), mode="bilinear")
    if draw(0.0, 1.0) < 0.5 * strength:
        images = images + torch.randn(images.shape, generator=generator) * draw(0.0, 0.05)
    return images.clamp(0, 1)


def distort(images: Tensor, chance: Chance) -> Tensor:
    """SSD's distortion (Liu et al., ECCV 2016) as MMSegmentation and ATRC have it, in 8 bits: brightness by 32/255,
    contrast and saturation by a half, hue by 36 degrees at most, each in every second picture; contrast before
    saturation or after hue. (The code's hue is 18 of OpenCV's 8-bit steps, of two degrees each.)"""
    before = after = BYTES
    if chance.coin():
        before = _limited(before + chance.uniform(-32.0, 32.0))
    early = chance.coin()
    if chance.coin():
        contrast = chance.uniform(0.5, 1.5)
        before, after = (_limited(before * contrast), after) if early else (before, _limited(after * contrast))
    saturation = chance.uniform(0.5, 1.5) if chance.coin() else 1.0
    turn = 2.0 * chance.integer(-18, 17) if chance.coin() else 0.0

    def changed(image: np.ndarray) -> np.ndarray:
        return _look_up(colour(_look_up(image, before), turn, saturation), after)

    return by_image(images.mul(255).round().to(torch.uint8), changed) / 255


def colour(image: np.ndarray, turn: float, saturation: float) -> np.ndarray:
    """An 8-bit image (h, w, 3) whose hue is turned by so many degrees, and whose saturation is multiplied."""
    if turn == 0 and saturation == 1:
        return image
    tables = np.stack([(BYTES + turn / 2) % 180, _limited(BYTES * saturation), BYTES], -1)
    return cv2.cvtColor(_look_up(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables[:, None]), cv2.COLOR_HSV2RGB)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return image if table is BYTES else cv2.LUT(image, table.astype(np.uint8))


def _limited(table: np.ndarray) -> np.ndarray:
    return table.clip(0, 255)
