from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.metrics.base import Metric
from polyscene.types import Target


class QuickEdgeF(Metric):
    """A quick boundary F for training curves, in percent: the best over ``thresholds`` of the harmonic mean of
    precision and recall, a pixel being matched if the other side has one within ``radius`` pixels.

    Neither thinned nor matched one to one: not odsF, and not to be compared with published figures.
    """

    key: ClassVar[str] = "quick F"
    higher_is_better: ClassVar[bool] = True

    def __init__(self, radius: int = 2, thresholds: int = 19) -> None:
        self.radius, self.thresholds = radius, torch.arange(1, thresholds + 1) / (thresholds + 1)
        self.state = torch.zeros(4 * thresholds, dtype=torch.float64)

    def update(self, value: Tensor, target: Target) -> None:
        size = value.shape[-3:]
        valid = target.valid.reshape(-1, *size)
        truth, score = (target.value.reshape(-1, *size) > 0.5) & valid, value.reshape(-1, *size).float()
        score = torch.where(valid, score, -1.0)
        near_truth = self._grown(truth.float()) > 0
        sums = self.state.reshape(-1, 4)  # matched, found, recalled, true
        for column, chosen in enumerate((score[near_truth], score, self._grown(score)[truth])):
            sums[:, column] += self._at_least(chosen).to(sums)
        sums[:, 3] += truth.sum().to(sums)

    def _at_least(self, score: Tensor) -> Tensor:
        """How many reach each threshold."""
        passed = torch.bucketize(score.flatten(), self.thresholds.to(score.device), right=True)
        counts = torch.bincount(passed, minlength=len(self.thresholds) + 1)
        return counts.flip(0).cumsum(0).flip(0)[1:]

    def _grown(self, score: Tensor) -> Tensor:
        width = 2 * self.radius + 1
        return F.max_pool2d(score, width, stride=1, padding=self.radius)

    def compute(self) -> dict[str, float]:
        matched, found, recalled, truth = self.state.reshape(-1, 4).T
        precision, recall = matched / found.clamp_min(1), recalled / truth
        score = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        best = int(score.nan_to_num(-1).argmax())
        return {
            "quick F": float(score[best]) * 100,
            "precision": float(precision[best]) * 100,
            "recall": float(recall[best]) * 100,
            "threshold": float(self.thresholds[best]),
        }
