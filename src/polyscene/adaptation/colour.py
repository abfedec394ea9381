"""The colours of pictures (n, 3, h, w) in [0, 1], as tensors on any device."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, 0.0, -0.5), (-0.25, 0.5, -0.25))  # light, red against blue, green against both
STRONGEST = 4.0  # times that contrast is changed at most
Pictures = Float[Tensor, "n 3 h w"]


def align(pictures: Pictures, like: Pictures) -> Pictures:
    """``pictures`` with mean and spread of light and of the two colour differences as the pictures ``like`` have them,
    one by one (Reinhard et al., 2001, in a linear space)."""
    change = pictures.new_tensor(OPPONENT)
    back = torch.linalg.inv(change)
    with torch.autocast(pictures.device.type, enabled=False):
        mine, theirs = (torch.einsum("ij,njhw->nihw", change, each) for each in (pictures, like))
        (spread, mean), (other_spread, other_mean) = (
            torch.std_mean(each, (-2, -1), keepdim=True) for each in (mine, theirs)
        )
        gain = (other_spread / spread.clamp_min(1e-3)).clamp(1 / STRONGEST, STRONGEST)
        return torch.einsum("ij,njhw->nihw", back, (mine - mean) * gain + other_mean).clamp(0, 1)


def disturb(pictures: Pictures, strength: float) -> Pictures:
    """Brightness, contrast, gamma, white balance and saturation at random, each picture its own, and every second one
    blurred. Drawn from torch's own generator."""

    def draw(reach: float, channels: int = 1) -> Tensor:
        numbers = (2 * torch.rand(len(pictures), channels, 1, 1) - 1) * reach * strength
        return numbers.exp().to(pictures)

    changed = pictures.clamp_min(1e-4) ** draw(0.4) * draw(0.3) * draw(0.1, 3)
    middle = changed.mean((-3, -2, -1), keepdim=True)
    changed = middle + (changed - middle) * draw(0.4)
    grey = changed.mean(-3, keepdim=True)
    changed = (grey + (changed - grey) * draw(0.6)).clamp(0, 1)
    soft = torch.rand(len(pictures), 1, 1, 1).to(pictures) < 0.5 * strength
    return torch.where(soft, blur(changed, 0.5 + float(torch.rand(())) * strength), changed)


def blur(pictures: Pictures, sigma: float) -> Pictures:
    """A Gaussian of ``sigma`` pixels, cut at three."""
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = (-0.5 * (places / sigma).square()).exp()
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    with torch.autocast(pictures.device.type, enabled=False):
        return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)
