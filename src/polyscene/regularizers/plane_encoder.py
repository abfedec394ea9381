"""Features to three axis-aligned planes (bv, 3, c, h, w): XY, XZ and YZ, in the order of ``geometry.triplane``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.regularizers.trunk import Trunk


class SplitPlanes(nn.Module):
    """One convolution's channels read as three planes: the rows of the second and third, and the columns of the
    third, have to be learned to mean z and y, since the convolution ties them to the picture's."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "bv 3 c h w"]:
        return self.trunk(maps).unflatten(1, (3, -1))


class PooledPlanes(nn.Module):
    """XZ is made from the mean over y, YZ from the mean over x, each with a learned embedding of z: what a plane
    holds at x (or y) comes from there in the picture."""

    def __init__(self, trunk: Trunk, channels: int, depths: int = 32) -> None:
        super().__init__()
        self.trunk = trunk
        self.depth = nn.Parameter(0.5 * torch.randn(2, channels, depths))
        self.lift = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "bv 3 c h w"]:
        front, side, top = self.trunk(maps).unflatten(1, (3, -1)).unbind(1)
        height, width = front.shape[-2:]
        by_x = side.mean(-2)
        by_y = F.interpolate(top.mean(-1), width, mode="linear", align_corners=False)
        depth = F.interpolate(self.depth, height, mode="linear", align_corners=False)
        profiles = zip(self.lift, (by_x, by_y), depth, strict=True)
        planes = [conv(F.gelu(profile[:, :, None] + z[:, :, None])) for conv, profile, z in profiles]
        return torch.stack([front, *planes], 1)
