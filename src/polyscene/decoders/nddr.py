from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import need_stages
from polyscene.decoders.cross_stitch import ALPHA, BETA, JoinedEncoders
from polyscene.decoders.single_task import SingleTask
from polyscene.encoders.base import Encoder
from polyscene.ranges import Amount
from polyscene.tasks import Task


class Nddr(SingleTask):
    """NDDR-CNN: one network a task, which after the stem and after every stage mix the channels of all tasks, each by
    a convolution of its own. It begins as a sum of like channels, of weight ``alpha`` for the own task and ``beta``
    for each other one; the other options are ``SingleTask``'s.

    To be started and trained as ``CrossStitch`` is, with the same names: ``training.init`` and the pattern
    ``^encoder.units``. Needs an encoder whose stages form a chain; raises ``ValueError`` for others. Gao et al.,
    "NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural Discriminative Dimensionality Reduction",
    CVPR 2019.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        alpha: Amount = ALPHA,
        beta: Amount = BETA,
        **options: Any,
    ) -> None:
        super().__init__(tasks, in_channels, strides, **options)

    @classmethod
    def wrap_encoder(
        cls, encoder: Encoder, tasks: dict[str, Task], *, alpha: float = ALPHA, beta: float = BETA, **options: Any
    ) -> Encoder:
        need_stages(encoder, "nddr")
        stem = encoder.outline()[0][-1][1]
        units = [Reduction(len(tasks), width, alpha, beta) for width in (stem, *encoder.channels)]
        return JoinedEncoders(encoder, tasks, units)


class Reduction(nn.Module):
    """Maps of T tasks, (n, c, h, w) each, concatenated and brought back to c channels for each task."""

    def __init__(self, tasks: int, channels: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(tasks * channels, channels, 1, bias=False) for _ in range(tasks))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, momentum=0.05) for _ in range(tasks))
        for own, conv in enumerate(self.convs):
            shares = [(alpha if place == own else beta) * torch.eye(channels) for place in range(tasks)]
            conv.weight = nn.Parameter(torch.cat(shares, 1)[..., None, None])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        joined = torch.cat(list(maps), 1)
        return [F.relu(norm(conv(joined)), inplace=True) for conv, norm in zip(self.convs, self.norms, strict=True)]
