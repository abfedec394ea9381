"""The colours of images (v, 3, h, w) in [0, 1]; all views alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.transforms.chance import Chance


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
    """SSD's distortion (Liu et al., ECCV 2016) as MMSegmentation and ATRC have it: brightness by 32/255, contrast and
    saturation by a half, hue by 36 degrees at most, each in every second picture; contrast before saturation or after
    hue. (The code's hue is 18 steps of 8-bit OpenCV, of two degrees each.)"""
    if chance.coin():
        images = (images + chance.uniform(-32 / 255, 32 / 255)).clamp(0, 1)
    early = chance.coin()
    if early and chance.coin():
        images = (images * chance.uniform(0.5, 1.5)).clamp(0, 1)
    if chance.coin():
        images = saturate(images, chance.uniform(0.5, 1.5))
    if chance.coin():
        images = turn_hue(images, 2 * chance.integer(-18, 17))
    if not early and chance.coin():
        images = (images * chance.uniform(0.5, 1.5)).clamp(0, 1)
    return images


def saturate(images: Tensor, factor: float) -> Tensor:
    """The saturation of HSV times ``factor``, 1 at most; value and hue stay."""
    value = images.amax(-3, keepdim=True)
    most = value / (value - images.amin(-3, keepdim=True)).clamp_min(1e-6)
    return value - (value - images) * most.clamp_max(factor)


def turn_hue(images: Tensor, degrees: float) -> Tensor:
    """The hue of HSV turned; value and saturation stay."""
    red, green, blue = images.unbind(-3)
    value = images.amax(-3)
    chroma = value - images.amin(-3)
    reddest, greener = red == value, green == value
    ahead = torch.where(reddest, green - blue, torch.where(greener, blue - red, red - green))
    sextant = torch.where(reddest, 0.0, torch.where(greener, 2.0, 4.0))
    hue = sextant + ahead / chroma.clamp_min(1e-6) + degrees / 60
    away = torch.stack([hue + 5, hue + 3, hue + 1], -3).remainder(6)
    less = torch.minimum(away, 4 - away).clamp(0, 1)
    return value[..., None, :, :] - chroma[..., None, :, :] * less
