"""What edges and saliency share: a label in {0, 1}, predicted as one probability."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.tasks.base import Legend, Task, binary
from polyscene.types import Target


@dataclass(frozen=True)
class Probability(Task, ABC):
    """``two_class``: two scores, whose softmax is the probability, instead of one, as some published networks have it.
    ``ink_on_paper`` draws dark on white, as lines are; else bright on black."""

    two_class: bool = False
    unit: ClassVar[str] = "probability"
    ink_on_paper: ClassVar[bool] = False
    slack: ClassVar[int] = 0  # pixels between marks that count as one, from view to view

    @property
    def channels(self) -> int:
        return 2 if self.two_class else 1

    def logit(self, raw: Tensor) -> Tensor:
        """Raw output -> the logarithm of the odds, one channel."""
        return raw[..., 1:, :, :] - raw[..., :1, :, :] if self.two_class else raw

    def accept(self, target: Target) -> Target:
        return binary(super().accept(target))

    def activate(self, raw: Tensor) -> Tensor:
        return self.logit(raw).sigmoid()

    def evaluate_at(self, value: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(value.shape[-2:]) == size:
            return value
        flat = value.reshape(-1, *value.shape[-3:])
        return F.interpolate(flat, size, mode="bilinear").reshape(*value.shape[:-2], *size)

    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        """``agreement``: percent of what either marks (half or more) that the other marks too, within ``slack`` pixels
        (the Dice coefficient where that is 0)."""
        marks = [((value >= 0.5) & carried.valid).float() for value in (own, carried.value)]
        near = [F.max_pool2d(mark, 2 * self.slack + 1, stride=1, padding=self.slack) for mark in marks]
        matched = (marks[0] * near[1]).sum() + (marks[1] * near[0]).sum()
        return {"agreement": torch.stack([100 * matched, marks[0].sum() + marks[1].sum()])}

    def constant(self, targets: list[Target]) -> Tensor:
        """Everywhere: the constant with the best F-measure."""
        return torch.ones(1)

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        share = value[0].float().clamp(0, 1)
        grey = ((1 - share if self.ink_on_paper else share) * 255).to(torch.uint8).cpu()
        return grey[..., None].expand(*grey.shape, 3)

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        return Legend(ramp=self.draw(torch.linspace(0, 1, 64)[None, None]), ticks=((0.0, "0"), (1.0, "1")))
