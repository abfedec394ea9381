"""Photometric losses between views: pure functions. Pictures (n, 3, h, w) in [0, 1], depth (n, 1, h, w) in metres.

Written from the formulas of Godard et al., "Digging into Self-Supervised Monocular Depth Estimation", ICCV 2019, and
Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry.camera import pixel_grid
from polyscene.losses import mean_where

C1, C2 = 0.01**2, 0.03**2  # of SSIM, for pictures in [0, 1]
STRUCTURE = 0.85  # of the dissimilarity; the rest is the plain difference
NEAREST = 1e-3  # metres before the other camera, below which nothing is seen


def warp(
    other: Float[Tensor, "n c y x"],
    depth: Float[Tensor, "n 1 h w"],
    intrinsics: Float[Tensor, "n 3 3"],
    other_intrinsics: Float[Tensor, "n 3 3"],
    other_from_one: Float[Tensor, "n 4 4"],
) -> tuple[Float[Tensor, "n c h w"], Bool[Tensor, "n 1 h w"]]:
    """The other view's picture as the one would see it, had it this ``depth``, and where the other view shows that
    place at all: before its camera and within its picture. Differentiable in depth and pose; bilinear."""
    height, width = depth.shape[-2:]
    rays = torch.linalg.solve(intrinsics, pixel_grid(height, width, depth).flatten(1))
    turned = other_intrinsics @ other_from_one[:, :3, :3] @ rays
    moved = (other_intrinsics @ other_from_one[:, :3, 3:])[..., None]
    seen = turned.unflatten(-1, (height, width)) * depth + moved
    ahead = seen[:, 2:] > NEAREST
    pixels = seen[:, :2] / torch.where(ahead, seen[:, 2:], NEAREST)
    last = pixels.new_tensor([other.shape[-1] - 1, other.shape[-2] - 1])
    inside = ahead & ((pixels >= 0) & (pixels <= last[:, None, None])).all(1, keepdim=True)
    grid = (2 / last) * pixels.movedim(1, -1) - 1
    return F.grid_sample(other, grid.to(other.dtype), padding_mode="border", align_corners=True), inside


def distance(
    depth: Float[Tensor, "n 1 h w"], intrinsics: Float[Tensor, "n 3 3"], other_from_one: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n 1 h w"]:
    """How deep before the other camera lies what the one sees."""
    height, width = depth.shape[-2:]
    rays = torch.linalg.solve(intrinsics, pixel_grid(height, width, depth).flatten(1))
    ahead = other_from_one[:, 2:3, :3] @ rays
    return ahead.unflatten(-1, (height, width)) * depth + other_from_one[:, 2:3, 3:, None]


def structure(one: Float[Tensor, "n c h w"], other: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """(1 - SSIM) / 2 in [0, 1], over windows of 3x3 pixels, which are mirrored at the border."""
    mean_one, mean_other = _mean(one), _mean(other)
    product = mean_one * mean_other
    squares = mean_one.square() + mean_other.square()
    variances = _mean(one.square() + other.square()) - squares
    covariance = _mean(one * other) - product
    similarity = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return ((1 - similarity) / 2).clamp(0, 1)


def dissimilarity(one: Float[Tensor, "n c h w"], other: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    """0.85 ``structure`` + 0.15 absolute difference, mean over the channels."""
    error = STRUCTURE * structure(one, other) + (1 - STRUCTURE) * (one - other).abs()
    return error.mean(1, keepdim=True)


def least(
    errors: Float[Tensor, "n s 1 h w"],
    seen: Bool[Tensor, "n s 1 h w"],
    unmoved: Float[Tensor, "n s 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the pixels that any of the ``s`` other views has ``seen`` of the least error among these: what one view
    hides, another may show. Where the ``unmoved`` other views resemble the picture more than any warped one, nothing
    moved, and a depth is not asked for."""
    best = torch.where(seen, errors, torch.inf).amin(1)
    if unmoved is not None:
        best = torch.minimum(best, unmoved.amin(1))
    return mean_where(best, seen.any(1))


def smoothness(
    depth: Float[Tensor, "n 1 h w"], pictures: Float[Tensor, "n 3 h w"], edges: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of |gradient of the inverse depth| · exp(-``edges`` · |gradient of the picture|), the inverse depth over its
    mean; horizontal and vertical added."""
    inverse = 1 / depth
    inverse = inverse / inverse.mean((-2, -1), keepdim=True)
    total = depth.new_zeros(())
    for axis in (-1, -2):
        steps = pictures.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (inverse.diff(dim=axis).abs() * (-edges * steps).exp()).mean()
    return total


@torch.no_grad()
def exposure(
    one: Float[Tensor, "n c h w"], other: Float[Tensor, "n c h w"], seen: Bool[Tensor, "n 1 h w"]
) -> tuple[Float[Tensor, "n c 1 1"], Float[Tensor, "n c 1 1"]]:
    """Gain and offset by which ``other`` gets the mean and spread of ``one`` where ``seen``, channel by channel. The
    gain is kept between a half and two."""
    weight = seen.to(one)
    weight = weight / weight.sum((-2, -1), keepdim=True).clamp_min(1)

    def moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean = (pictures * weight).sum((-2, -1), keepdim=True)
        return mean, ((pictures - mean).square() * weight).sum((-2, -1), keepdim=True).sqrt()

    (mean, spread), (other_mean, other_spread) = moments(one), moments(other)
    gain = (spread / other_spread.clamp_min(1e-3)).clamp(0.5, 2.0)
    return gain, mean - gain * other_mean


def eroded(mask: Bool[Tensor, "n 1 h w"]) -> Bool[Tensor, "n 1 h w"]:
    """Where the whole window of ``structure`` lies in the mask; beyond the border does not count."""
    return F.max_pool2d((~mask).float(), 3, 1, 1) == 0


def _mean(pictures: Tensor) -> Tensor:
    """Of windows of 3x3 pixels. Sums of slices, which on one core take half the time of pooling."""
    padded = F.pad(pictures, (1, 1, 1, 1), mode="reflect")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9
