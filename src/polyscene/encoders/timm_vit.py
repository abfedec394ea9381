from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.encoders._timm import timm
from polyscene.encoders.base import Encoder
from polyscene.types import Features


class TimmViT(Encoder):
    """A plain ViT of timm: the outputs of ``blocks`` (0-based; four, evenly spread to the last, unless given), all of
    one stride. The last block's map has passed the final norm. Images are resized to whole patches."""

    net: Any

    def __init__(
        self,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        blocks: Sequence[int] = (),
        **options: Any,
    ) -> None:
        super().__init__(name, mean, std)
        self.net = timm.create_model(name, num_classes=0, **options)
        depth = len(self.net.blocks)
        self.blocks = tuple(blocks) or tuple((step * depth) // 4 - 1 for step in (1, 2, 3, 4))
        if list(self.blocks) != sorted(set(self.blocks)) or not 0 <= self.blocks[0] <= self.blocks[-1] < depth:
            raise ValueError(f"encoder {name}: blocks {self.blocks} must ascend within 0..{depth - 1}")
        info = self.net.feature_info
        self.channels = tuple(info[block]["num_chs"] for block in self.blocks)
        self.strides = tuple(info[block]["reduction"] for block in self.blocks)

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        stride = self.strides[0]
        height, width = (max(round(int(length) / stride), 1) for length in images.shape[-2:])
        if (height * stride, width * stride) != tuple(images.shape[-2:]):
            images = F.interpolate(images, (height * stride, width * stride), mode="bilinear", antialias=True)
        final, maps = self.net.forward_intermediates(
            self.normalise(images), indices=list(self.blocks), output_fmt="NCHW"
        )
        if self.blocks[-1] == len(self.net.blocks) - 1:
            tokens = final[:, -height * width :]
            maps[-1] = tokens.transpose(1, 2).unflatten(2, (height, width))
        return Features(list(maps))
