from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from polyscene.metrics.base import Metric
from polyscene.types import Target

FIGURES = ("RMSE", "log RMSE", "AbsRel", "SqRel", "δ<1.25", "δ<1.25²", "δ<1.25³")


def pixel_errors(prediction: Tensor, truth: Tensor) -> Tensor:
    """Both (n,) metres, positive. (7, n): squared, squared log, relative, squared relative error, three δ hits."""
    difference = prediction - truth
    logs = prediction.log() - truth.log()
    ratio = logs.abs().exp()
    hits = [(ratio < 1.25**power).to(truth.dtype) for power in (1, 2, 3)]
    return torch.stack([difference**2, logs**2, difference.abs() / truth, difference**2 / truth, *hits])


class DepthError(Metric):
    """RMSE in metres, log-RMSE, AbsRel, SqRel and δ shares (percent), pooled over all valid pixels of the set; and the
    same under ``aligned ...`` after each image was scaled by the ratio of medians, averaged over images."""

    key: ClassVar[str] = "RMSE"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, least: float = 1e-3) -> None:
        self.least = least  # metres; a prediction below counts as this, so that its logarithm exists
        self.state = torch.zeros(16, dtype=torch.float64)  # 7 sums, pixels, 7 sums of image figures, images

    def update(self, value: Tensor, target: Target) -> None:
        size = value.shape[-3:]
        images = zip(
            value.reshape(-1, *size), target.value.reshape(-1, *size), target.valid.reshape(-1, *size), strict=True
        )
        for prediction, truth, valid in images:
            if not valid.any():
                continue
            seen, known = prediction[valid].double().clamp_min(self.least), truth[valid].double()
            self.state[:7] += pixel_errors(seen, known).sum(1).cpu()
            self.state[7] += known.numel()
            aligned = pixel_errors(seen * (known.median() / seen.median()), known).mean(1)
            aligned[:2] = aligned[:2].sqrt()
            self.state[8:15] += aligned.cpu()
            self.state[15] += 1

    def compute(self) -> dict[str, float]:
        pooled, aligned = self.state[:7] / self.state[7], self.state[8:15] / self.state[15]
        pooled[:2] = pooled[:2].sqrt()
        pooled[4:] *= 100
        aligned[4:] *= 100
        plain = dict(zip(FIGURES, pooled.tolist(), strict=True))
        return plain | {f"aligned {name}": figure for name, figure in zip(FIGURES, aligned.tolist(), strict=True)}
