from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders.blocks import resize
from polyscene.tasks import Task
from polyscene.types import Batch, Predictions, Report, Target


class Objective:
    """What is minimised: the tasks' losses times their weights, and the same of every auxiliary times its own."""

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float] | None = None) -> None:
        """``weights`` take the place of the tasks' own. ``ValueError`` if they name no task."""
        weights = weights or {}
        unknown = sorted(set(weights) - set(tasks))
        if unknown:
            raise ValueError(f"weights for {unknown}, which are no tasks of this network: {sorted(tasks)}")
        self.tasks = dict(tasks)
        self.weights = {name: float(weights.get(name, task.weight)) for name, task in tasks.items()}

    def __call__(self, predictions: Predictions, batch: Batch, scale: Float[Tensor, "b v"] | None = None) -> Report:
        """``scale``: focal length over the canonical one (``MultiTaskModel.focal_scale``), which the labels undergo.

        A task without labels in the batch counts zero, with gradient, and is left out of ``by_task``.
        """
        nothing = sum((raw.sum() * 0 for raw in predictions.final.values()), torch.zeros(()))
        by_task, parts = {}, {}
        shares: dict[str, Tensor] = {}
        penalties: list[Tensor] = []
        for name, raw in predictions.final.items():
            if name in batch.targets:
                by_task[name] = self._loss(self.tasks[name], raw, batch.targets[name], scale)
                shares[name] = self.weights[name] * by_task[name]
        for auxiliary in predictions.auxiliary:
            if auxiliary.penalty is not None:
                parts[f"{auxiliary.name}.penalty"] = auxiliary.penalty
                penalties.append(auxiliary.weight * auxiliary.penalty)
            for name, raw in auxiliary.maps.items():
                if name in batch.targets:
                    target = _where(auxiliary.valid, batch.targets[name])
                    loss = self._loss(auxiliary.tasks[name], raw, target, scale)
                    parts[f"{auxiliary.name}.{name}"] = loss
                    weight = self.weights.get(name, auxiliary.tasks[name].weight) * auxiliary.shares.get(name, 1.0)
                    shares[name] = shares.get(name, 0) + auxiliary.weight * weight * loss
                else:
                    nothing = nothing + raw.sum() * 0
        others = sum(penalties[1:], penalties[0]) if penalties else None
        total = sum(shares.values(), nothing) + (0 if others is None else others)
        return Report(total, by_task, parts, shares, others)

    @staticmethod
    def _loss(task: Task, raw: Tensor, target: Target, scale: Tensor | None) -> Tensor:
        if scale is not None:
            target = task.zoom(target, scale)
        flat = resize(raw.flatten(0, 1), target.value.shape[-2:])
        return task.loss(flat.unflatten(0, raw.shape[:2]), target)


def _where(valid: Bool[Tensor, "b v 1 _ _"] | None, target: Target) -> Target:
    """The label where an auxiliary's maps are to be judged."""
    if valid is None:
        return target
    judged = F.interpolate(valid.flatten(0, 1).float(), target.valid.shape[-2:], mode="nearest-exact") > 0.5
    return Target(target.value, target.valid & judged.unflatten(0, valid.shape[:2]))
