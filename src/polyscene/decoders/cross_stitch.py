from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyscene.decoders.base import need_stages
from polyscene.decoders.single_task import EncoderPerTask, SingleTask, together
from polyscene.encoders.base import Encoder
from polyscene.ranges import Amount
from polyscene.tasks import Task
from polyscene.types import Features

ALPHA, BETA = 0.9, 0.1  # as published for NYUv2; 0.8 and 0.05 for PASCAL


class CrossStitch(SingleTask):
    """Cross-stitch networks: one network a task, each channel of which is after every stage a weighted sum of that
    channel of all tasks. ``alpha`` and ``beta`` are the weights at the start, of the own task and of each other one;
    the other options are ``SingleTask``'s.

    As published, it starts from trained single-task networks and its weights learn a hundred times faster:
    ``training.init`` names a run of ``single_task``, or one a task, with the same encoder and head, and
    ``training.optimiser.groups`` holds ``{pattern: "^encoder.units", lr_scale: 100, weight_decay: 0}``. The public
    code loses that factor when its schedule first sets the rate; ``lr_scale: 1`` does as it does.

    Needs an encoder whose stages form a chain; raises ``ValueError`` for others. Misra et al., CVPR 2016.
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
        need_stages(encoder, "cross_stitch")
        units = [Stitch(len(tasks), width, alpha, beta) for width in encoder.channels]
        return JoinedEncoders(encoder, tasks, [nn.Identity(), *units])


class Stitch(nn.Module):
    """Maps of T tasks, (n, c, h, w) each, to as many sums of them. ``weight``: (task that hears, task heard, c)."""

    def __init__(self, tasks: int, channels: int, alpha: float, beta: float) -> None:
        super().__init__()
        start = torch.full((tasks, tasks), beta).fill_diagonal_(alpha)
        self.weight = nn.Parameter(start[:, :, None].repeat(1, 1, channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self._sum(gains, maps) for gains in self.weight[..., None, None]]

    def _sum(self, gains: Tensor, maps: Sequence[Tensor]) -> Tensor:
        total = gains[0] * maps[0]
        for gain, tensor in zip(gains[1:], maps[1:], strict=True):
            total = torch.addcmul(total, gain, tensor)
        return total


class JoinedEncoders(EncoderPerTask):
    """An encoder a task, run abreast. ``units`` map the tasks' features to new ones, one unit after the stem and one
    after every stage."""

    def __init__(self, encoder: Encoder, tasks: dict[str, Task], units: Sequence[nn.Module]) -> None:
        super().__init__(encoder, tasks)
        self.units = nn.ModuleList(units)

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        encoders: list[Any] = list(self.copies.values())
        after_stem, *after_stages = self.units
        maps = after_stem([encoder.stem(images) for encoder in encoders])
        levels = []
        for unit, *stages in zip(after_stages, *(encoder.stages for encoder in encoders), strict=True):
            maps = unit([stage(tensor) for stage, tensor in zip(stages, maps, strict=True)])
            levels.append(maps)
        pyramids = ([level[place] for level in levels] for place in range(len(encoders)))
        return together(dict(zip(self.copies, pyramids, strict=True)))
