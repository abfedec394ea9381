from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from polyscene.ranges import Amount, Count, Share
from polyscene.regularizers.base import Regularizer
from polyscene.regularizers.trunk import Tap, Trunk
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Camera, Features


class PlainHead(Regularizer):
    """What the triplane regularizer is to be compared with: the same encoder, as many channels, and a 1x1 convolution
    a task in place of the volume and its rendering."""

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Count = 96,
        stride: Count = 8,
        tap: Tap = "all",
        weight: Amount = 1.0,
        warmup: Share = 0.05,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"plain_head: channels must be at least 1, got {channels}")
        self.weight, self.warmup, self.tasks = weight, warmup, tasks
        self.trunk = Trunk(in_channels, strides, channels, tap, stride)
        self.heads = nn.ModuleDict({name: nn.Conv2d(channels, task.channels, 1) for name, task in tasks.items()})

    def forward(self, features: Features, camera: Camera) -> Auxiliary:
        trunk = F.gelu(self.trunk(features.maps))
        maps = {name: head(trunk).float().unflatten(0, camera.known.shape) for name, head in self.heads.items()}
        return Auxiliary(maps, self.tasks, 1.0, "plain_head")
