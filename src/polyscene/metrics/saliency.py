from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from polyscene.metrics.base import Metric
from polyscene.types import Target


class MaxF(Metric):
    """The best F-measure over 255 thresholds, in percent, with β² = 0.3, over the pooled pixels of the set."""

    key: ClassVar[str] = "maxF"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.state = torch.zeros(2 * 256, dtype=torch.float64)  # histograms of the score: salient, not salient

    def update(self, value: Tensor, target: Target) -> None:
        score = (value[target.valid].float() * 255).floor().clamp(0, 255).long()
        salient = target.value[target.valid] > 0.5
        for half, chosen in enumerate((score[salient], score[~salient])):
            self.state[half * 256 : (half + 1) * 256] += torch.bincount(chosen, minlength=256).to(self.state)

    def compute(self) -> dict[str, float]:
        hits, misses = (part.flip(0).cumsum(0).flip(0) for part in self.state.reshape(2, 256))
        precision, recall = hits / (hits + misses).clamp_min(1), hits / hits[0]
        score = 1.3 * precision * recall / (0.3 * precision + recall).clamp_min(1e-12)
        return {"maxF": float(score[1:].max()) * 100}
