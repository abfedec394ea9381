from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyscene.necks.base import Neck
from polyscene.necks.fusion import Fusion, Place
from polyscene.necks.matching import WIDTH, MultiViewTransformer, SpatialEncoder
from polyscene.types import Camera, Features


class PlainBranch(Neck):
    """The control for ``CrossView``: the same networks at stride 8, as many parameters and channels, but no other view
    and no cost volume. What the spatial-aware encoder gives stands in the volume's place.

    ``fusion``: as there.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[int, ...], *, fusion: Place = "last") -> None:
        super().__init__()
        self.encoder = SpatialEncoder()
        self.transformer = MultiViewTransformer()
        self.norms = nn.ModuleList(nn.GroupNorm(1, WIDTH) for _ in range(2))
        self.fusion = Fusion(in_channels, strides, 2 * WIDTH, fusion)
        self.channels, self.strides = self.fusion.channels, self.fusion.strides

    def forward(
        self,
        features: Features,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None,
        present: Bool[Tensor, "b v"],
        memory: Any = None,
    ) -> tuple[Features, None]:
        local = self.encoder(images.flatten(0, 1))
        both = zip(self.norms, (local, self.transformer(local)), strict=True)
        return self.fusion(features, torch.cat([norm(maps) for norm, maps in both], 1)), None
