from __future__ import annotations

from torch import Tensor, nn

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import Aspp, ConvNormAct
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class DeepLab(Decoder):
    """A DeepLabV3 head a task on the coarsest map: the multi-task baseline of dilated ResNets
    (``encoder: {name: resnet50, output_stride: 8}``).

    ``channels`` is the width throughout, ``rates`` are the dilations of its atrous convolutions. Chen et al.,
    "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Count = 256,
        rates: tuple[int, ...] = (12, 24, 36),
    ) -> None:
        super().__init__()
        if min((channels, *rates)) < 1:
            raise ValueError(f"deeplab: channels and rates must be positive, got {channels} and {rates}")
        self.channels = dict.fromkeys(tasks, channels)
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(Aspp(in_channels[-1], channels, rates), ConvNormAct(channels, channels))
                for name in tasks
            }
        )

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        return {name: branch(features.maps[-1]) for name, branch in self.branches.items()}, []
