"""A decoder: one fused map, of which every task takes what its own gate lets through."""

import torch
from torch import Tensor, nn

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import ConvNormAct, Fpn
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class Gated(Decoder):
    """``channels`` is the width of the fused map, and of every task's."""

    def __init__(
        self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...], *, channels: Count = 64
    ) -> None:
        super().__init__()
        self.channels = dict.fromkeys(tasks, channels)
        self.fuse = Fpn(in_channels, channels)
        self.gates = nn.ModuleDict({name: nn.Conv2d(channels, channels, 1) for name in tasks})
        self.branches = nn.ModuleDict({name: ConvNormAct(channels, channels) for name in tasks})

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        fused = self.fuse(features.maps)
        taken = {name: fused * torch.sigmoid(gate(fused)) for name, gate in self.gates.items()}
        return {name: branch(taken[name]) for name, branch in self.branches.items()}, []
