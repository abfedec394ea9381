from __future__ import annotations

import torch
from torch import Tensor

from polyscene.metrics.base import Metric, choose
from polyscene.metrics.protocols import SaliencyRules
from polyscene.metrics.thresholds import Thresholds

BETA_SQUARED = 0.3  # Achanta et al., CVPR 2009


class _Salient(Metric):
    higher_is_better = True

    def __init__(self, rules: SaliencyRules, sums: int) -> None:
        self.rules = rules
        self.thresholds = Thresholds(rules.thresholds, rules.strict)
        super().__init__(sums)

    def count(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hits and false alarms at each threshold, and the number of salient pixels."""
        score, salient = choose(valid, prediction.float(), truth > 0.5)
        if self.rules.eight_bits:
            score = (score * 255).to(torch.uint8) / 255
        if self.rules.score == "sigmoid of the probability":
            score = score.sigmoid()
        reached = self.thresholds.reached(score)
        hits = self.thresholds.count(reached[salient])
        return hits, self.thresholds.count(reached) - hits, salient.sum().cpu()

    def words(self) -> str:
        return self.rules.words()


class MaxF(_Salient):
    """The best F-measure over thresholds, in percent, with β² = 0.3, over the pooled pixels of the set."""

    key = "maxF"

    def __init__(self, rules: SaliencyRules | None = None) -> None:
        rules = rules or SaliencyRules()
        super().__init__(rules, 2 * len(rules.thresholds) + 1)  # hits, false alarms; salient pixels

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        hits, alarms, salient = self.count(prediction, truth, valid)
        self.sums.add_(torch.cat([hits, alarms, salient[None]]))

    def figures(self) -> dict[str, float]:
        hits, alarms = self.sums[:-1].reshape(2, -1)
        precision, recall = hits / (hits + alarms).clamp_min(1), hits / self.sums[-1]
        score = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall).clamp_min(1e-12)
        return {"maxF": float(score.max()) * 100}


class SaliencyIoU(_Salient):
    """Intersection over union of the salient pixels, in percent, averaged over images, at the best threshold. An image
    that rightly has none counts as 100."""

    key = "mIoU"

    def __init__(self, rules: SaliencyRules | None = None) -> None:
        rules = rules or SaliencyRules("mIoU")
        super().__init__(rules, len(rules.thresholds))

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        hits, alarms, salient = self.count(prediction, truth, valid)
        union = salient + alarms
        self.sums.add_(torch.where(union > 0, hits / union, 1.0))

    def figures(self) -> dict[str, float]:
        return {"mIoU": float((self.sums / self.state[0]).max()) * 100}


def build(rules: SaliencyRules) -> Metric:
    return {"maxF": MaxF, "mIoU": SaliencyIoU}[rules.measure](rules)
