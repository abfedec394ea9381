from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.metrics.saliency import MaxF
from polyscene.tasks.base import Legend, Metric, Task, binary
from polyscene.types import Target


@dataclass(frozen=True)
class Saliency(Task):
    """What catches the eye, as a probability; labels are {0, 1}. The loss balances the two classes image by image."""

    name: str = "saliency"
    unit: ClassVar[str] = "probability"

    @property
    def channels(self) -> int:
        return 1

    def accept(self, target: Target) -> Target:
        return binary(super().accept(target))

    def activate(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        salient = torch.where(target.valid, target.value.to(raw.dtype), 0.0)
        count = target.valid.sum((-3, -2, -1), keepdim=True).clamp_min(1)
        share = salient.sum((-3, -2, -1), keepdim=True) / count
        weight = torch.where(salient > 0.5, 1 - share, share)
        values = F.binary_cross_entropy_with_logits(raw, salient, weight=weight, reduction="none")
        return losses.mean_where(values, target.valid)

    def metric(self) -> Metric:
        return MaxF()

    def evaluate_at(self, value: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(value.shape[-2:]) == size:
            return value
        flat = value.reshape(-1, *value.shape[-3:])
        return F.interpolate(flat, size, mode="bilinear").reshape(*value.shape[:-2], *size)

    def constant(self, targets: list[Target]) -> Tensor:
        """Everything salient: the constant with the best F-measure."""
        return torch.ones(1)

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        grey = (value[0].float().clamp(0, 1) * 255).to(torch.uint8).cpu()
        return grey[..., None].expand(*grey.shape, 3)

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        return Legend(ramp=self.draw(torch.linspace(0, 1, 64)[None, None]), ticks=((0.0, "0"), (1.0, "1")))
