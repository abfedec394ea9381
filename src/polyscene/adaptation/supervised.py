"""Learning from labels."""

from __future__ import annotations

from collections.abc import Mapping

from polyscene.model import MultiTaskModel
from polyscene.objective import Objective
from polyscene.tasks import Task
from polyscene.training.step import Step, average, merge, portions
from polyscene.types import Batch, Predictions, Report


class Supervised(Step):
    """Every labelled task of every source. Batches of as many views go through the network together, so that each
    task's loss is the mean over the labelled pixels of all of them and batch norms see the mixture; groups of another
    number of views are averaged by their images."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.objective = Objective(tasks)

    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report:
        groups = merge(batches.values())
        return average([self._one(model, batch) for batch in groups], portions(groups))

    def _one(self, model: MultiTaskModel, batch: Batch) -> Report:
        return self.judge(model, model(batch.images, batch.camera, batch.present), batch)

    def judge(self, model: MultiTaskModel, predictions: Predictions, batch: Batch) -> Report:
        return self.objective(predictions, batch, model.focal_scale(batch.camera, batch.images.shape[-1]))
