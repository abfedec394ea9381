from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.enlarged_conv import enlarged_conv
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class ViTLight(Decoder):
    """The modern plain baseline on the levels of a ViT (Lu et al., SAK, ICLR 2025): for each task, every level is
    projected to ``width`` channels (a quarter of its own unless given) and brought to stride 4; one 3x3 convolution
    over all of them together, batch norm and GELU make the task's map, which has as many channels as all projections.

    Any pyramid will do, of whatever strides. The 3x3 convolution is done at each level's own size where that is
    cheaper (see ``enlarged_conv``), which for a ViT of stride 16 saves nine tenths of it.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        width: Count | None = None,
    ) -> None:
        super().__init__()
        widths = tuple(max(channels // 4, 1) if width is None else width for channels in in_channels)
        self.enlargement = max(round(strides[0] / 4), 1)
        self.channels = dict.fromkeys(tasks, sum(widths))
        self.branches = nn.ModuleDict({name: _Branch(in_channels, widths) for name in tasks})

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        height, width = features.maps[0].shape[-2:]
        size = self.enlargement * height, self.enlargement * width
        pyramids = {name: features.by_task.get(name, features.maps) for name in self.branches}
        return {name: branch(pyramids[name], size) for name, branch in self.branches.items()}, []


class _Branch(nn.Module):
    def __init__(self, in_channels: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        self.project = nn.ModuleList(nn.Conv2d(*ends, 1) for ends in zip(in_channels, widths, strict=True))
        self.fuse = nn.Conv2d(sum(widths), sum(widths), 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(sum(widths))

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for tensor, project, weight in zip(maps, self.project, self.fuse.weight.split(self.widths, 1), strict=True):
            alike[tuple(map(int, tensor.shape[-2:]))].append((project(tensor), weight))
        levels = [[torch.cat(side, 1) for side in zip(*group, strict=True)] for group in alike.values()]
        fused = [enlarged_conv(tensor, weight, size) for tensor, weight in levels]
        return F.gelu(self.norm(sum(fused[1:], fused[0])))
