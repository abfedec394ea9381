from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.metrics.edges import QuickEdgeF
from polyscene.ranges import Between
from polyscene.tasks.base import Legend, Metric, Task, binary
from polyscene.types import Target


@dataclass(frozen=True)
class Edges(Task):
    """Boundaries as a probability; labels are {0, 1}, one pixel wide. ``positive_weight`` balances the cross-entropy
    (0.8 on PASCAL-Context, 0.95 on NYUv2 in the field's protocols)."""

    name: str = "edges"
    positive_weight: Between = 0.95
    unit: ClassVar[str] = "probability"

    def __post_init__(self) -> None:
        if not 0 < self.positive_weight < 1:
            raise ValueError(f"{self.name}: positive_weight must lie in (0, 1), got {self.positive_weight}")

    @property
    def channels(self) -> int:
        return 1

    def resize(self, target: Target, size: tuple[int, int]) -> Target:
        """A pixel is an edge if it covers one: thin lines survive shrinking."""
        nearest = super().resize(target, size)
        if size[0] > target.value.shape[-2] or size[1] > target.value.shape[-1]:
            return nearest
        marked = (target.value * target.valid).to(torch.float32)
        flat = F.adaptive_max_pool2d(marked.reshape(-1, *marked.shape[-3:]), size)
        return Target(flat.reshape(nearest.value.shape).to(target.value.dtype), nearest.valid)

    def accept(self, target: Target) -> Target:
        return binary(super().accept(target))

    def activate(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        return losses.balanced_binary(raw, target.value, target.valid, self.positive_weight)

    def metric(self) -> Metric:
        return QuickEdgeF()

    def evaluate_at(self, value: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(value.shape[-2:]) == size:
            return value
        flat = value.reshape(-1, *value.shape[-3:])
        return F.interpolate(flat, size, mode="bilinear").reshape(*value.shape[:-2], *size)

    def constant(self, targets: list[Target]) -> Tensor:
        """Edges everywhere: the constant with the best F-measure."""
        return torch.ones(1)

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        grey = (255 - value[0].float().clamp(0, 1) * 255).to(torch.uint8).cpu()
        return grey[..., None].expand(*grey.shape, 3)

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        return Legend(ramp=self.draw(torch.linspace(0, 1, 64)[None, None]), ticks=((0.0, "0"), (1.0, "1")))
