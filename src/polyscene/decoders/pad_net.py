from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders import winograd
from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import Bottleneck, Concat
from polyscene.ranges import Several
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class PadNet(Decoder):
    """PAD-Net: each task predicts, and then refines what it has with what the others send it through gates.

    Xu, Ouyang, Wang, Sebe, "PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network", CVPR 2018, with module C
    of section 3.3, attention-guided message passing; widths and towers are those of the survey "Multi-Task Learning for
    Dense Prediction Tasks" (Vandenhende et al., TPAMI 2021), which brings all levels of the pyramid to the finest.
    ``channels`` is the width of every task's features. The initial predictions are the auxiliary ``initial``, in the
    size of the finest level.

    Takes any encoder. The cost grows with the square of the number of tasks, and with the size of the finest level.
    """

    def __init__(
        self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...], *, channels: Several = 256
    ) -> None:
        super().__init__()
        self.initial = Initial(tasks, in_channels, channels)
        self.distil = Distillation(len(tasks), channels)
        self.final = nn.ModuleDict({name: tower(channels, channels) for name in tasks})
        self.channels = dict.fromkeys(tasks, channels)

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        by_task, auxiliary = self.initial(features)
        distilled = self.distil(by_task)
        pairs = zip(self.final.items(), distilled, strict=True)
        return {name: layers(tensor) for (name, layers), tensor in pairs}, [auxiliary]


class Initial(nn.Module):
    """The pyramid as one map, and every task's own features and first prediction from it. A convolution a task: one for
    all in groups was measured a fifth slower."""

    def __init__(self, tasks: dict[str, Task], in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.tasks = tasks
        width = sum(in_channels)
        self.fuse = Concat(in_channels, width)
        self.features = nn.ModuleDict({name: tower(width, channels) for name in tasks})
        self.project = nn.ModuleDict({name: nn.Conv2d(channels, task.channels, 1) for name, task in tasks.items()})

    def forward(self, features: Features) -> tuple[list[Tensor], Auxiliary]:
        """Features (n, c, h, w) in the order of the tasks, and predictions (n, 1, c, h, w)."""
        fused = self.fuse([tensor.contiguous(memory_format=torch.channels_last) for tensor in features.maps])
        by_task = [layers(fused) for layers in self.features.values()]
        pairs = zip(self.project.items(), by_task, strict=True)
        maps = {name: conv(tensor)[:, None] for (name, conv), tensor in pairs}
        return by_task, Auxiliary(maps, self.tasks, name="initial")


class Distillation(nn.Module):
    """Each task's features, and what it takes of every other's: a convolution of these behind a gate of its own.

    PAD-Net's attention-guided message passing (module C, section 3.3). What a task sends to all others is one
    convolution. Usable alone: ``tasks`` maps (n, ``channels``, h, w) of any one size to as many of the same shape.
    ``ValueError`` for another number of maps.

    >>> semseg, depth = Distillation(2, 64)([torch.rand(1, 64, 32, 48), torch.rand(1, 64, 32, 48)])
    """

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        others = tasks - 1
        self.tasks, self.channels = tasks, channels
        # for each source: features for every other task in their order, then the gates
        self.send = nn.ModuleList(
            nn.Conv2d(channels, 2 * others * channels, 3, padding=1, bias=False) for _ in range(tasks if others else 0)
        )

    def forward(self, by_task: list[Tensor]) -> list[Tensor]:
        if len(by_task) != self.tasks:
            raise ValueError(f"Distillation between {self.tasks} tasks takes as many maps, got {len(by_task)}")
        received = list(by_task)
        for source, conv in enumerate(self.send):
            targets = [target for target in range(len(by_task)) if target != source]
            for target, part in zip(targets, self._sent(by_task[source], conv), strict=True):
                received[target] = received[target] + part
        return received

    def _sent(self, tensor: Tensor, conv: nn.Module) -> Iterable[Tensor]:
        weight = conv.get_parameter("weight")
        if not winograd.worthwhile(tensor, weight):
            return F.glu(conv(tensor), 1).split(self.channels, 1)
        parts = weight.split(self.channels)
        half = len(parts) // 2
        pairs = zip(parts[:half], parts[half:], strict=True)
        return winograd.gated3x3(tensor, *(part for pair in pairs for part in pair))


def tower(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(Bottleneck(in_channels, channels), Bottleneck(channels, channels))
