"""A task: how far above the floor each pixel lies, in metres."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from polyscene.losses import mean_where
from polyscene.metrics import Metric
from polyscene.tasks.base import Task, summed
from polyscene.types import Target


class MeanError(Metric):
    key, higher_is_better = "mean", False

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        self.sums.add_(summed((prediction - truth).abs(), valid))

    def figures(self) -> dict[str, float]:
        return {"mean": float(self.sums[0] / self.sums[1])}

    def words(self) -> str:
        return "mean absolute error in metres, over all valid pixels"


@dataclass(frozen=True)
class Height(Task):
    name: str = "height"
    unit: ClassVar[str] = "m"
    channels = 1

    def activate(self, raw: Tensor) -> Tensor:
        return raw

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        return mean_where((raw - target.value).abs(), target.valid)

    def metric(self, protocol: object = "polyscene") -> Metric:
        return MeanError(sums=2)

    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        return {"difference": summed((own - carried.value).abs(), carried.valid)}

    def constant(self, targets: list[Target]) -> Tensor:
        return torch.cat([target.value[target.valid] for target in targets]).mean()[None]

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        return (value[0] * 100).clamp(0, 255).byte().cpu()[..., None].repeat(1, 1, 3)
