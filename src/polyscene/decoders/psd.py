from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import Concat
from polyscene.decoders.pad_net import Initial
from polyscene.ranges import Count, Several, Share
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

STRIDE = 8  # at which patterns are compared


class Psd(Decoder):
    """PSD: how a place resembles its neighbours, task by task, and whose resemblances agree.

    After Zhou, Cui, Xu, Yang, Zhang, Yan, Sebe, Yang, "Pattern-Structure Diffusion for Multi-Task Learning", CVPR 2020.
    No code was published, and not all details are in print: this is our own reading. Every task's features have local
    affinities at stride 8, the softmax over a ``window`` of scaled dot products. Within a task, features spread along
    them ``steps`` times, each of which reaches further. Between tasks, a place takes over the affinities of every task
    in the measure in which they point as its own do (the softmax of cosines), and features spread along these. Both
    results join the task's features at the finest level. Towers and initial predictions are PAD-Net's.

    ``channels`` is the width before diffusion, of which half remains; ``beta`` the share of what comes from neighbours
    at each step. Takes any encoder.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Several = 256,
        window: Count = 3,
        beta: Share = 0.5,
        steps: Count = 3,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.coarser = max(1, STRIDE // strides[0])
        self.initial = Initial(tasks, in_channels, channels)
        self.reduce = nn.ModuleDict({name: nn.Conv2d(channels, half, 1) for name in tasks})
        self.diffuse = PatternDiffusion(window, beta, steps)
        self.join = nn.ModuleDict({name: Concat((channels, half, half), half) for name in tasks})
        self.channels = dict.fromkeys(tasks, half)

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        by_task, auxiliary = self.initial(features)
        reduced = []
        for conv, tensor in zip(self.reduce.values(), by_task, strict=True):
            reduced.append(conv(F.avg_pool2d(tensor, self.coarser, ceil_mode=True)))
        within, between = self.diffuse(reduced)
        found = zip(self.join.items(), by_task, within, between, strict=True)
        return {name: join(maps) for (name, join), *maps in found}, [auxiliary]


class PatternDiffusion(nn.Module):
    """PSD's intra-task, then inter-task diffusion, as ``Psd`` reads them. Usable alone: maps (n, c, h, w) of any number
    of tasks and any one shape to the results of both, each likewise. ``ValueError`` for an even ``window`` or one of 1,
    ``beta`` outside [0, 1], and no ``steps``.

    >>> within, between = PatternDiffusion()([torch.rand(1, 64, 32, 48), torch.rand(1, 64, 32, 48)])
    """

    def __init__(self, window: int = 3, beta: float = 0.5, steps: int = 3) -> None:
        super().__init__()
        if window % 2 == 0 or window < 3 or not 0 <= beta <= 1 or steps < 1:
            raise ValueError(
                f"psd: window is odd and at least 3, beta in [0, 1], steps at least 1; got {window}, {beta} and {steps}"
            )
        self.reach, self.beta, self.steps = window // 2, beta, steps

    def forward(self, by_task: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        maps = torch.stack(by_task)
        affinities = self.affinities(maps)
        within = self.spread(maps, affinities)
        unit = F.normalize(affinities, dim=2)
        alike = torch.stack([(unit * own).sum(2) for own in unit]).softmax(1)  # targets, sources, n, h, w
        joint = torch.stack([(share[:, :, None] * affinities).sum(0) for share in alike])
        return list(within), list(self.spread(within, joint))

    def affinities(self, maps: Tensor) -> Tensor:
        """(..., neighbours, h, w) of maps (..., c, h, w): positive, of sum 1; zero beyond the border."""
        scores = torch.stack([(maps * near).sum(-3) for near in self._neighbours(maps)], -3)
        inside = torch.stack([near[0] for near in self._neighbours(torch.ones_like(maps[0, 0, :1]))])
        return (scores / maps.shape[-3] ** 0.5).masked_fill(inside == 0, -torch.inf).softmax(-3)

    def spread(self, start: Tensor, affinities: Tensor) -> Tensor:
        maps = start
        for _ in range(self.steps):
            gathered = torch.zeros_like(start)
            for share, near in zip(affinities.unbind(-3), self._neighbours(maps), strict=True):
                gathered = torch.addcmul(gathered, share.unsqueeze(-3), near)
            maps = torch.lerp(start, gathered, self.beta)
        return maps

    def _neighbours(self, maps: Tensor) -> list[Tensor]:
        """The maps as each neighbour in the window has them, row by row."""
        height, width = maps.shape[-2:]
        padded = F.pad(maps, (self.reach,) * 4)
        offsets = range(2 * self.reach + 1)
        return [padded[..., down : down + height, right : right + width] for down in offsets for right in offsets]
