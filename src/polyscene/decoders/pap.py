from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.pad_net import Initial, tower
from polyscene.geometry.precision import without_autocast
from polyscene.ranges import Count, Several, Share
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class Pap(Decoder):
    """PAP: which places of a picture are alike, each task says; every task's features spread along what all say.

    Zhang, Cui, Xu, Yan, Sebe, Yang, "Pattern-Affinitive Propagation across Depth, Surface Normal and Semantic
    Segmentation", CVPR 2019: affinity learning, cross-task and task-specific propagation (section 3). There is no code
    of the authors; widths and towers are those of the re-implementation in Armanfard-Lab's CTAL. The paper's loss
    between pairs of places is, as there, left out. ``channels`` is the width before propagation, of which half remains;
    ``beta`` and ``iterations`` are Propagation's. The initial predictions are the auxiliary ``initial``, in the size of
    the finest level.

    ``reference_compatible``: see ``AffinityPropagation``; the checkpoints of that code need it.

    Takes any encoder.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Several = 256,
        beta: Share = 0.05,
        iterations: Count = 1,
        reference_compatible: bool = False,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.initial = Initial(tasks, in_channels, channels)
        self.reduce = nn.ModuleDict({name: nn.Conv2d(channels, half, 1) for name in tasks})
        self.propagate = AffinityPropagation(len(tasks), beta, iterations, reference_compatible=reference_compatible)
        self.final = nn.ModuleDict({name: tower(half, half) for name in tasks})
        self.channels = dict.fromkeys(tasks, half)

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        by_task, auxiliary = self.initial(features)
        reduced = [conv(tensor) for conv, tensor in zip(self.reduce.values(), by_task, strict=True)]
        pairs = zip(self.final.items(), self.propagate(reduced), strict=True)
        return {name: layers(tensor) for (name, layers), tensor in pairs}, [auxiliary]


class AffinityPropagation(nn.Module):
    """PAP's cross-task propagation (section 3). Usable alone: ``tasks`` maps (n, c, h, w) of any one shape to as many
    of the same. ``ValueError`` for another number of maps, ``beta`` outside [0, 1], and no ``iterations``.

    >>> semseg, depth = AffinityPropagation(2)([torch.rand(1, 64, 32, 48), torch.rand(1, 64, 32, 48)])

    With X of task s, one row a place, its affinities are X·Xᵀ, brought to row sums of 1. Task t mixes those of all
    tasks by weights that sum to 1, into M, and repeats h ← beta·M·h + (1 - beta)·h₀ ``iterations`` times.

    No affinity between places is ever held: X·(Xᵀ·h) is the same, and further iterations take place among channels, as
    Xᵀ·X·(Xᵀ·h). With N places, T tasks and c channels this takes memory O(N·T·c), where M alone has N² values a task.

    X are the features without their negative values and of unit length, so that each row of M is an average.
    ``reference_compatible``: the published code keeps the negative ones, takes each channel to unit length over all
    places instead of each place over its channels, and divides by the sums of the columns.
    """

    def __init__(
        self, tasks: int, beta: float = 0.05, iterations: int = 1, *, reference_compatible: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= beta <= 1 or iterations < 1:
            raise ValueError(f"pap: beta is in [0, 1] and iterations at least 1, got {beta} and {iterations}")
        self.beta, self.iterations, self.reference_compatible = beta, iterations, reference_compatible
        self.weights = nn.Parameter(torch.full((tasks, tasks), 1 / tasks))  # logits; a row a target

    def forward(self, by_task: list[Tensor]) -> list[Tensor]:
        if len(by_task) != len(self.weights):
            raise ValueError(f"AffinityPropagation of {len(self.weights)} tasks takes as many maps, got {len(by_task)}")
        first = by_task[0]
        channels, size = first.shape[1], first.shape[2:]
        with without_autocast(first):
            start = torch.cat([tensor.float() for tensor in by_task], 1).permute(0, 2, 3, 1).flatten(1, 2)
            left, right = self._factors(start.unflatten(2, (len(by_task), channels)))
            sent = right.transpose(-2, -1) @ start  # rows by source, columns by target
            shares = self.weights.float().softmax(1).T.repeat_interleave(channels, 0).repeat_interleave(channels, 1)
            mixed = self.beta * shares * sent
            if self.iterations > 1:
                again = right.transpose(-2, -1) @ left
                for _ in range(self.iterations - 1):
                    mixed = self.beta * shares * (again @ mixed + (1 - self.beta) * sent)
            propagated = torch.baddbmm(start, left, mixed, beta=1 - self.beta)
        maps = propagated.to(first.dtype).unflatten(1, size).permute(0, 3, 1, 2)
        return [part.contiguous(memory_format=torch.channels_last) for part in maps.chunk(len(by_task), 1)]

    def _factors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(n, N, T·c) each, from (n, N, T, c): a task's affinities are its part of the first times the second's."""
        if self.reference_compatible:
            unit = F.normalize(features, dim=1)
        else:
            unit = F.normalize(F.relu(features), dim=3)
        sums = (unit * unit.sum(1, keepdim=True)).sum(3, keepdim=True)
        if self.reference_compatible:
            return unit.flatten(2), (unit / sums).flatten(2)
        return (unit / sums.clamp(min=torch.finfo(sums.dtype).eps)).flatten(2), unit.flatten(2)
