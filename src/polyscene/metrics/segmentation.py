from __future__ import annotations

import torch
from torch import Tensor

from polyscene.metrics.base import Metric, choose
from polyscene.metrics.protocols import SegmentationRules


def confusion(prediction: Tensor, truth: Tensor, valid: Tensor, classes: int) -> Tensor:
    """(classes, classes) counts, truth by rows, over ``valid`` pixels of ids of one shape.

    Raises ``ValueError`` where one of these ids is negative or not below ``classes``.
    """
    prediction, truth = choose(valid, prediction, truth)
    for name, ids in (("prediction", prediction), ("truth", truth)):
        if ids.numel():
            low, high = (int(end) for end in ids.aminmax())
            if low < 0 or high >= classes:
                worst = low if low < 0 else high
                raise ValueError(
                    f"the {name} holds class id {worst}, beyond the {classes} classes; correct `classes` or `ignore`"
                )
    pairs = truth.long() * classes + prediction.long()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(counts: Tensor) -> Tensor:
    """(classes,) intersection over union; NaN for a class that neither occurs nor is predicted."""
    hit = counts.diagonal().double()
    return hit / (counts.sum(0) + counts.sum(1) - counts.diagonal()).double()


class MeanIoU(Metric):
    """mIoU in percent over the classes that ``rules`` say; pixel accuracy and each of these classes besides."""

    key = "mIoU"
    higher_is_better = True

    def __init__(self, classes: tuple[str, ...], rules: SegmentationRules | None = None) -> None:
        self.classes, self.rules = classes, rules or SegmentationRules()
        super().__init__(len(classes) ** 2 + 2)  # counts of the set; sums of images' mIoU and accuracy

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        counts = confusion(prediction, truth, valid, len(self.classes)).to(self.state)
        self.sums[:-2] += counts.flatten()
        self.sums[-2] += self._each(counts)[self._counted(counts)].mean()
        self.sums[-1] += counts.diagonal().sum() / counts.sum()

    def _counted(self, counts: Tensor) -> Tensor:
        match self.rules.absent:
            case "skip":
                return counts.sum(1) > 0
            case "skip unless predicted":
                return counts.sum(0) + counts.sum(1) > 0
        return torch.ones(len(counts), dtype=torch.bool)

    def _each(self, counts: Tensor) -> Tensor:
        return iou(counts).nan_to_num(0)

    def figures(self) -> dict[str, float]:
        counts = self.sums[:-2].reshape(len(self.classes), -1)
        each, counted = self._each(counts), self._counted(counts)
        whole = torch.stack([each[counted].mean(), counts.diagonal().sum() / counts.sum()])
        mean, accuracy = 100 * (whole if self.rules.pool == "pixels" else self.sums[-2:] / self.state[0])
        named = {f"IoU {name}": float(each[i]) * 100 for i, name in enumerate(self.classes) if counted[i]}
        return {"mIoU": float(mean), "accuracy": float(accuracy), **named}

    def words(self) -> str:
        return self.rules.words()
