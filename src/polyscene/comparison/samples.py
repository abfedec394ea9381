"""The samples that networks find easiest and hardest: what they see there, and how wrong it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyscene import config as configuration
from polyscene import panels, scenes, transforms, weights
from polyscene.comparison import Comparison
from polyscene.data import sources
from polyscene.model import MultiTaskModel
from polyscene.scene import Scene
from polyscene.tasks import Task
from polyscene.types import Batch, Target, collate


@dataclass(frozen=True)
class Sample:
    """The labels of a sample's first view; by arm, the scene that its first run sees there."""

    truth: Mapping[str, Target]
    seen: Mapping[str, Scene]

    @property
    def first(self) -> Scene:
        return next(iter(self.seen.values()))

    def error(self, arm: str, task: str) -> Tensor:
        """(1, h, w), in the task's unit."""
        scene = self.seen[arm]
        return scene.tasks[task].error(panels.as_tensor(scene.values[task]), self.truth[task].value)

    def errors(self, arm: str) -> dict[str, float]:
        """The mean error of each task that is labelled here."""
        return {
            name: float(self.error(arm, name)[target.valid].mean())
            for name, target in self.truth.items()
            if target.valid.any() and name in self.seen[arm].values
        }


@dataclass(frozen=True)
class Extremes:
    """``best`` and ``worst`` of ``judged`` samples, by the mean over tasks of the base's error over its usual one."""

    tasks: Mapping[str, Task]
    judged: int
    best: tuple[Sample, ...]
    worst: tuple[Sample, ...]


def extremes(comparison: Comparison, most: int = 60, shown: int = 2) -> Extremes | None:
    """Of ``most`` evenly spaced samples of the base's first evaluation source. None where that names no source."""
    run = comparison.base.runs[0]
    config = configuration.load(run / "config.yaml")
    models = {arm.name: weights.load(arm.runs[0])[0] for arm in comparison.arms}
    base = models[comparison.base.name]
    for name, source in config.data.evaluate.items():
        dataset, _ = sources.join(sources.make(source.dataset), base.tasks, source, name)
        break
    else:
        return None
    dataset.prepare()
    resize, chance = transforms.testing(config.data, "network"), torch.Generator()
    chosen = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int).tolist()
    found = [_look(models, collate([resize(dataset.read(index), base.tasks, chance)])) for index in chosen]
    hardness = _hardness([sample.errors(comparison.base.name) for sample in found])
    order = np.argsort(hardness, kind="stable")
    shown = min(shown, len(found) // 2)
    best, worst = order[:shown], order[::-1][:shown]
    return Extremes(dataset.tasks, len(found), *(tuple(found[i] for i in part) for part in (best, worst)))


@torch.inference_mode()
def _look(models: Mapping[str, MultiTaskModel], batch: Batch) -> Sample:
    truth = {name: target.map(lambda tensor: tensor[0, 0]) for name, target in batch.targets.items()}
    seen = {}
    for arm, model in models.items():
        values = model.infer(batch.images, batch.camera, batch.present)
        seen[arm] = scenes.of_views(batch, {name: values[name] for name in truth if name in values}, model.tasks)[0]
    return Sample(truth, seen)


def _hardness(errors: list[dict[str, float]]) -> np.ndarray:
    """(n,) the mean over a sample's tasks of its error over the mean of all samples."""
    names = sorted({name for row in errors for name in row})
    table = np.ma.masked_invalid([[row.get(name, np.nan) for name in names] for row in errors])
    return (table / table.mean(0)).mean(1).filled(1.0)
