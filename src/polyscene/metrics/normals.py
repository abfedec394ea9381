from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from polyscene.metrics.base import Metric, choose
from polyscene.metrics.protocols import NormalsRules

LIMITS = 11.25, 22.5, 30.0  # degrees


def angles(prediction: Tensor, truth: Tensor) -> Tensor:
    """Degrees between vectors of any length along dimension -3, 90 where one has none; an arctangent, so accurate also
    near 0 and 180."""
    (a, b, c), (x, y, z) = prediction.unbind(-3), truth.unbind(-3)
    cross = (b * z).addcmul_(c, y, value=-1), (c * x).addcmul_(a, z, value=-1), (a * y).addcmul_(b, x, value=-1)
    sine = cross[0].square_().addcmul_(cross[1], cross[1]).addcmul_(cross[2], cross[2]).sqrt_()
    cosine = (a * x).addcmul_(b, y).addcmul_(c, z)
    nowhere = (sine == 0) & (cosine == 0)
    return torch.rad2deg(sine.atan2_(cosine)).masked_fill_(nowhere, 90.0)


def angles_by_cosine(prediction: Tensor, truth: Tensor) -> Tensor:
    """The same by the arc cosine, in which small angles drown in rounding; the truth must be of unit length."""
    (a, b, c), (x, y, z) = prediction.unbind(-3), truth.unbind(-3)
    length = (a * a).addcmul_(b, b).addcmul_(c, c).sqrt_().clamp_min_(1e-30)
    return torch.rad2deg((a * x).addcmul_(b, y).addcmul_(c, z).div_(length).clamp_(-1, 1).acos_())


class NormalError(Metric):
    """Angle to the true normal, as ``rules`` say: mean, median and RMSE in degrees, shares below 11.25, 22.5 and 30 in
    percent. The median of a set is read from a histogram of 0.001° bins, so that accumulators add up."""

    key = "mean"
    higher_is_better = False
    bins: ClassVar[int] = 180_000

    def __init__(self, rules: NormalsRules | None = None) -> None:
        self.rules = rules or NormalsRules()
        self.pooled = self.rules.pool == "pixels"
        super().__init__(6 + (self.bins if self.pooled else 0))  # of error, square, hits; medians; histogram

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        if self.rules.eight_bits:
            prediction = ((prediction + 1) * 127.5).to(torch.uint8) / 127.5 - 1
        kind = torch.promote_types(prediction.dtype, torch.float32)
        by = angles if self.rules.formula == "arctangent" else angles_by_cosine
        (error,) = choose(valid, by(prediction.to(kind), truth.to(kind)))
        hits = [(error < limit).sum() for limit in LIMITS]
        row = torch.stack([error.sum(), error.square().sum(), *hits]).double().cpu()
        if self.pooled:
            self.sums[:5] += row
            filled = (error * (self.bins / 180)).to(torch.int32).clamp_(max=self.bins - 1)
            self.sums[6:] += torch.bincount(filled, minlength=self.bins).cpu()
            return
        row /= len(error)
        if self.rules.pool == "images":
            row[1] = row[1].sqrt()
        self.sums[:5] += row
        self.sums[5] += error.median().cpu()

    def figures(self) -> dict[str, float]:
        mean, square, *shares = (self.sums[:5] / self.state[1 if self.pooled else 0]).tolist()
        rmse = square if self.rules.pool == "images" else square**0.5
        below = {f"<{limit:g}°": share * 100 for limit, share in zip(LIMITS, shares, strict=True)}
        return {"mean": mean, "median": self._median(), "RMSE": rmse, **below}

    def _median(self) -> float:
        if not self.pooled:
            return float(self.sums[5] / self.state[0])
        cumulative = self.sums[6:].cumsum(0)
        return float(torch.searchsorted(cumulative, cumulative[-1:] / 2)) * 180 / self.bins

    def words(self) -> str:
        return self.rules.words()
