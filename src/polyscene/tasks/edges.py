from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.metrics import Metric, edges, protocols
from polyscene.metrics.protocols import Protocol
from polyscene.ranges import Between
from polyscene.tasks.base import Task
from polyscene.tasks.probability import Probability
from polyscene.types import Target


@dataclass(frozen=True)
class Edges(Probability):
    """Boundaries as a probability; labels are {0, 1}, one pixel wide. ``positive_weight`` balances the cross-entropy
    (0.8 on PASCAL-Context, 0.95 on NYUv2 in the field's protocols). The exact measure matches lines within
    ``max_dist`` times the diagonal of the image (0.0075 and 0.011 there). ``strokes``: the set's labels are strokes,
    around which some protocols trace, as on NYUv2."""

    name: str = "edges"
    positive_weight: Between = 0.95
    max_dist: Between = 0.0075
    strokes: bool = False
    ink_on_paper: ClassVar[bool] = True
    slack: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 < self.positive_weight < 1:
            raise ValueError(f"{self.name}: positive_weight must lie in (0, 1), got {self.positive_weight}")

    def resize(self, target: Target, size: tuple[int, int]) -> Target:
        """A pixel is an edge if it covers one: thin lines survive shrinking."""
        nearest = super().resize(target, size)
        if size[0] > target.value.shape[-2] or size[1] > target.value.shape[-1]:
            return nearest
        marked = (target.value * target.valid).to(torch.float32)
        flat = F.adaptive_max_pool2d(marked.reshape(-1, *marked.shape[-3:]), size)
        return Target(flat.reshape(nearest.value.shape).to(target.value.dtype), nearest.valid)

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        return losses.balanced_binary(self.logit(raw), target.value, target.valid, self.positive_weight)

    def as_labelled(self, own: Task) -> Task:
        """How exactly lines must meet depends on how they were drawn."""
        return replace(self, max_dist=own.max_dist, strokes=own.strokes) if isinstance(own, Edges) else self

    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        rules = protocols.find(protocol).boundary
        return edges.build(rules if self.strokes else replace(rules, truth="labels"), self.max_dist)
