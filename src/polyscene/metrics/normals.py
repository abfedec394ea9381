from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from polyscene.metrics.base import Metric
from polyscene.types import Target


def angles(prediction: Tensor, truth: Tensor) -> Tensor:
    """Degrees between unit vectors along dimension -3; an arctangent, so accurate also near 0 and 180."""
    cross = torch.linalg.cross(prediction, truth, dim=-3).norm(dim=-3)
    return torch.rad2deg(torch.atan2(cross, (prediction * truth).sum(-3)))


class NormalError(Metric):
    """Angle to the true normal over all valid pixels: mean, median, RMSE in degrees; shares below 11.25, 22.5, 30 in
    percent. The median is read from a histogram of 0.01° bins, so that accumulators add up."""

    key: ClassVar[str] = "mean"
    higher_is_better: ClassVar[bool] = False
    bins: ClassVar[int] = 18000

    def __init__(self) -> None:
        self.state = torch.zeros(self.bins + 2, dtype=torch.float64)  # histogram, sum, sum of squares

    def update(self, value: Tensor, target: Target) -> None:
        error = angles(value.double(), target.value.double())[target.valid.squeeze(-3)].cpu()
        self.state[: self.bins] += torch.histc(error, self.bins, 0, 180)
        self.state[-2] += error.sum()
        self.state[-1] += error.square().sum()

    def compute(self) -> dict[str, float]:
        histogram = self.state[: self.bins]
        count = histogram.sum()
        if not count:
            return dict.fromkeys(("mean", "median", "RMSE", "<11.25°", "<22.5°", "<30°"), float("nan"))
        cumulative = histogram.cumsum(0) / count
        median = float(torch.searchsorted(cumulative, torch.tensor([0.5], dtype=torch.float64))) * 180 / self.bins
        below = {f"<{limit:g}°": float(cumulative[int(limit * 100) - 1]) * 100 for limit in (11.25, 22.5, 30)}
        mean, rmse = float(self.state[-2] / count), float((self.state[-1] / count).sqrt())
        return {"mean": mean, "median": median, "RMSE": rmse, **below}
