"""Rows of pixels as images, judged."""

import torch
from torch import Tensor

from polyscene.metrics import Metric
from polyscene.types import Target


def image(*numbers: float) -> Tensor:
    """(1, 1, 1, n)."""
    return torch.tensor(numbers)[None, None, None]


def target(value: Tensor, valid: Tensor | None = None) -> Target:
    return Target(value, torch.ones_like(value[..., :1, :, :], dtype=torch.bool) if valid is None else valid)


def judge(metric: Metric, *pairs: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Figures of predictions and truths, image by image."""
    for value, truth in pairs:
        metric.update(value, target(truth))
    return metric.compute()
