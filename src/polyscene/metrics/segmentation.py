from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from polyscene.metrics.base import Metric
from polyscene.types import Target


def confusion(prediction: Tensor, truth: Tensor, valid: Tensor, classes: int) -> Tensor:
    """(classes, classes) counts, truth by rows, over ``valid`` pixels of ids of one shape."""
    pairs = truth[valid].long() * classes + prediction[valid].long()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(counts: Tensor) -> Tensor:
    """(classes,) intersection over union; NaN for a class that neither occurs nor is predicted."""
    hit = counts.diagonal().double()
    return hit / (counts.sum(0) + counts.sum(1) - counts.diagonal()).double()


class MeanIoU(Metric):
    """mIoU over the whole set, in percent, over the classes that occur in it; pixel accuracy and each class besides."""

    key: ClassVar[str] = "mIoU"
    higher_is_better: ClassVar[bool] = True

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.state = torch.zeros(len(classes) ** 2, dtype=torch.float64)

    def update(self, value: Tensor, target: Target) -> None:
        counts = confusion(value, target.value, target.valid, len(self.classes))
        self.state += counts.flatten().to(self.state)

    def compute(self) -> dict[str, float]:
        counts = self.state.reshape(len(self.classes), -1)
        occurring = counts.sum(1) > 0
        each = iou(counts) * 100
        named = {f"IoU {name}": float(each[i]) for i, name in enumerate(self.classes) if occurring[i]}
        accuracy = counts.diagonal().sum() / counts.sum() * 100
        return {"mIoU": float(each[occurring].mean()), "accuracy": float(accuracy), **named}
