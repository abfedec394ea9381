"""Learning new tasks without forgetting those that no source labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from polyscene.adaptation.supervised import Supervised
from polyscene.model import MultiTaskModel
from polyscene.tasks import Task
from polyscene.types import Batch, Predictions, Report, Target


class Retaining(Supervised):
    """Supervised where there are labels; tasks that no source labels learn what the network said of the same pictures
    before it was trained (``training.init`` says where that came from). Li and Hoiem, "Learning without Forgetting",
    2016, with each task's own loss."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__(tasks)
        self.before: MultiTaskModel | None = None

    def attach(self, model: MultiTaskModel) -> None:
        self.before = copy.deepcopy(model).requires_grad_(False).eval()

    def judge(self, model: MultiTaskModel, predictions: Predictions, batch: Batch) -> Report:
        assert self.before is not None
        said = self.before.infer(batch.images, batch.camera, batch.present)
        sure = batch.present[..., None, None, None].expand(*batch.images.shape[:2], 1, *batch.images.shape[-2:])
        kept = {name: Target(value, sure) for name, value in said.items() if name not in batch.targets}
        return super().judge(model, predictions, replace(batch, targets={**batch.targets, **kept}))

    def state_dict(self) -> dict[str, Any]:
        return {} if self.before is None else {"before": self.before.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.before is not None
        self.before.load_state_dict(state["before"])
