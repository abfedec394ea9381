"""Learning from labels, and from tasks that must agree where labels are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from polyscene.adaptation.consistency import PAIRS
from polyscene.adaptation.supervised import Supervised
from polyscene.model import MultiTaskModel
from polyscene.ranges import Amount
from polyscene.tasks import Task
from polyscene.types import Batch, Predictions, Report

Where = Literal["missing", "everywhere"]
Learns = Literal["unlabelled", "both", "first", "second"]
RAMP = 0.2  # of the training, over which the weights grow: first guesses have nothing to say


class Consistent(Supervised):
    """Supervised, plus the disagreement between depth and normals times ``depth_normals``, and between segmentation
    and edges times ``segmentation_edges``; for every such pair of tasks that the network has. Unlabelled sources take
    part.

    ``where``: at pixels that one of the two has no label for, or everywhere. ``learns``: which of the two gets the
    gradient: the ``unlabelled`` from the labelled where only one has a label (else both), always ``both``, or only the
    ``first`` or the ``second`` named.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        depth_normals: Amount = 0.1,
        segmentation_edges: Amount = 0.1,
        where: Where = "missing",
        learns: Learns = "unlabelled",
    ) -> None:
        super().__init__(tasks)
        self.tasks, self.where, self.learns = dict(tasks), where, learns
        weights = {"depth_normals": depth_normals, "segmentation_edges": segmentation_edges}
        self.pairs = [
            (one, other, PAIRS[name].disagreement, weight)
            for name, weight in weights.items()
            for one, other in PAIRS[name].among(tasks)
            if weight
        ]
        if not self.pairs:
            raise ValueError(
                f"no two of the tasks ({', '.join(tasks)}) say anything about each other; have depth and normals, or "
                "segmentation and edges, and a weight for them"
            )

    def judge(self, model: MultiTaskModel, predictions: Predictions, batch: Batch) -> Report:
        report = super().judge(model, predictions, batch)
        ramp = min(1.0, model.progress / RAMP)
        parts, extra = {}, torch.zeros_like(report.total)
        for one, other, disagreement, weight in self.pairs:
            labelled = _labelled(batch, one), _labelled(batch, other)
            teaches = self._teach(*labelled)
            first, second = (
                torch.where(stopped, value.detach(), value)
                for stopped, value in zip(teaches, self._soft(predictions, one, other), strict=True)
            )
            where = batch.present[..., None, None, None].expand_as(labelled[0])
            if self.where == "missing":
                where = where & ~(labelled[0] & labelled[1])
            loss = disagreement(first, second, batch.camera).mean(where)
            parts[f"consistency.{one}-{other}"] = loss
            extra = extra + weight * ramp * loss
        others = extra if report.others is None else report.others + extra
        return replace(report, total=report.total + extra, parts={**report.parts, **parts}, others=others)

    def _soft(self, predictions: Predictions, one: str, other: str) -> list[Tensor]:
        return [self.tasks[name].soft(predictions.final[name].float()) for name in (one, other)]

    def _teach(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Where the first and where the second gets no gradient."""
        match self.learns:
            case "unlabelled":
                return first & ~second, second & ~first
            case "first":
                return torch.zeros_like(first), torch.ones_like(second)
            case "second":
                return torch.ones_like(first), torch.zeros_like(second)
            case "both":
                return torch.zeros_like(first), torch.zeros_like(second)


def _labelled(batch: Batch, name: str) -> Tensor:
    if name in batch.targets:
        return batch.targets[name].valid
    return torch.zeros_like(batch.images[..., :1, :, :], dtype=torch.bool)
