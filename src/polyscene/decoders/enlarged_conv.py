"""A 3x3 convolution of an enlarged map, at the cost of the map before it was enlarged.

Enlarging is linear and acts on each channel alone, so it may come after the channels are mixed: a small map is
multiplied by each of the nine taps' matrices, and the nine results are enlarged, shifted and added, first along
columns, then along rows, by two small banded matrices.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders.blocks import resize


def enlarged_conv(
    tensor: Float[Tensor, "n c_in _ _"],
    weight: Float[Tensor, "c_out c_in 3 3"],
    size: tuple[int, int],
    dilation: int = 1,
) -> Float[Tensor, "n c_out h w"]:
    """``conv2d(resize(tensor, size), weight)``, padded with ``dilation`` zeros so that the size stays.

    Takes whichever way has fewer multiplications; ``size`` may be any. The result may be in channels-last order.
    """
    (channels, width_in), (height, width) = weight.shape[:2], tensor.shape[-2:]
    direct = 9 * width_in * size[0] * size[1]
    small = 9 * width_in * height * width + 9 * height * width * size[0] + 3 * width * size[0] * size[1]
    if small >= direct:
        return F.conv2d(resize(tensor, size), weight, padding=dilation, dilation=dilation)
    rows = _taps(height, size[0], dilation, tensor).flatten(1)
    columns = _taps(width, size[1], dilation, tensor).transpose(1, 2).flatten(1)
    places = tensor.flatten(2).transpose(1, 2)[:, None]
    mixed = places @ weight.permute(2, 1, 3, 0).flatten(2)  # n, tap row, (h w), (tap column, channel)
    tall = rows @ mixed.view(-1, 3 * height, width * 3 * channels)
    large = columns @ tall.view(-1, size[0], width * 3, channels)
    return large.permute(0, 3, 1, 2)


def _taps(old: int, new: int, dilation: int, like: Tensor) -> Float[Tensor, "new 3 old"]:
    """What each of the three taps reads at each place of an axis resized from ``old`` to ``new``; nothing outside."""
    place = torch.arange(new, device=like.device)[:, None] + torch.tensor([-dilation, 0, dilation], device=like.device)
    exact = like.dtype if like.dtype == torch.float64 else torch.float32
    centre = ((place.to(exact) + 0.5) * (old / new) - 0.5).clamp(0, old - 1)
    share = (1 - (centre[..., None] - torch.arange(old, device=like.device)).abs()).clamp_min(0)
    inside = (place >= 0) & (place < new)
    return (share * inside[..., None]).to(like.dtype)
