from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.metrics.base import Metric, choose
from polyscene.metrics.protocols import BoundaryRules
from polyscene.metrics.thresholds import Thresholds


class QuickEdgeF(Metric):
    """A quick boundary F for training curves, in percent: the best over ``thresholds`` of the harmonic mean of
    precision and recall, a pixel being matched if the other side has one within ``radius`` pixels.

    Neither thinned nor matched one to one: not odsF, and not to be compared with published figures.
    """

    key = "quick F"
    higher_is_better = True

    def __init__(self, radius: int = 2, thresholds: int = 19) -> None:
        self.radius = radius
        self.thresholds = Thresholds([k / (thresholds + 1) for k in range(1, thresholds + 1)])
        super().__init__(4 * thresholds)  # by threshold: matched, found, recalled, true

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        true = (truth > 0.5) & valid
        level = self.thresholds.reached(torch.where(valid, prediction.float(), 0.0).flatten()).reshape(true.shape)
        sums = self.sums.reshape(-1, 4)
        near_truth, near_score = self._grown(true) > 0, self._grown(level).int()
        for column, chosen in enumerate((level[near_truth], level.flatten(), near_score[true])):
            sums[:, column] += self.thresholds.count(chosen)
        sums[:, 3] += true.sum().to(sums)

    def _grown(self, level: Tensor) -> Tensor:
        return F.max_pool2d(level.float(), 2 * self.radius + 1, stride=1, padding=self.radius)

    def figures(self) -> dict[str, float]:
        matched, found, recalled, truth = self.sums.reshape(-1, 4).T
        precision, recall = matched / found.clamp_min(1), recalled / truth
        score = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        if not truth.any():
            return dict.fromkeys(("quick F", "precision", "recall", "threshold"), math.nan)
        best = int(score.argmax())
        return {
            "quick F": float(score[best]) * 100,
            "precision": float(precision[best]) * 100,
            "recall": float(recall[best]) * 100,
            "threshold": float(self.thresholds.values[best]),
        }

    def words(self) -> str:
        return BoundaryRules("quick").words()


class EdgeClassF(Metric):
    """DenseMTL's F1, in percent: the mean of that of edge pixels and that of all others, at probability 0.5, over the
    pooled pixels of the set. Nothing is matched, and most of it is the others'."""

    key = "class F1"
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(4)  # counts, truth by rows

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        true, found = choose(valid, truth > 0.5, prediction > 0.5)
        self.sums.add_(torch.bincount(2 * true + found, minlength=4).cpu())

    def figures(self) -> dict[str, float]:
        counts = self.sums.reshape(2, 2)
        each = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
        return {"class F1": float(each.nanmean()) * 100, "edge F1": float(each[1]) * 100}

    def words(self) -> str:
        return BoundaryRules("class F1").words()


def build(rules: BoundaryRules, max_dist: float) -> Metric:
    """``max_dist``: of the exact measure, a share of the diagonal of the image."""
    match rules.measure:
        case "quick":
            return QuickEdgeF()
        case "class F1":
            return EdgeClassF()
    from polyscene.metrics.boundary import BoundaryMetric

    return BoundaryMetric(rules, max_dist)
