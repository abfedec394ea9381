"""The samples that networks find easiest and hardest: what they see there, and how wrong it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from polyscene import config as configuration
from polyscene import transforms, weights
from polyscene.comparison import Comparison
from polyscene.data import sources
from polyscene.geometry import camera
from polyscene.model import MultiTaskModel
from polyscene.scene import Scene
from polyscene.tasks import Task
from polyscene.types import Batch, Target, collate

Values = Mapping[str, torch.Tensor]  # by task, (c, h, w)


@dataclass(frozen=True)
class Sample:
    """The first view of a sample: its picture (h, w, 3) uint8 and labels; by arm, what its first run sees there."""

    name: str
    picture: np.ndarray
    intrinsics: np.ndarray
    truth: Mapping[str, Target]
    seen: Mapping[str, Values]

    def errors(self, tasks: Mapping[str, Task], arm: str) -> dict[str, float]:
        """The mean error of each task that is labelled here."""
        found = {}
        for name, target in self.truth.items():
            if target.valid.any():
                wrong = tasks[name].error(self.seen[arm][name], target.value)
                found[name] = float(wrong[target.valid].mean())
        return found

    def scene(self, tasks: Mapping[str, Task], arm: str) -> Scene:
        values = {name: value.movedim(0, -1).numpy() for name, value in self.seen[arm].items()}
        flat = {name: value[..., 0] if value.shape[-1] == 1 else value for name, value in values.items()}
        return Scene(self.picture, flat, tasks, self.intrinsics, "known", self.name)


@dataclass(frozen=True)
class Extremes:
    """``best`` and ``worst`` of ``judged`` samples, by the mean over tasks of the base's error over its usual one."""

    tasks: Mapping[str, Task]
    judged: int
    best: tuple[Sample, ...]
    worst: tuple[Sample, ...]


def extremes(
    comparison: Comparison, most: int = 60, shown: int = 2, progress: Callable[[int, int], None] | None = None
) -> Extremes | None:
    """Of ``most`` evenly spaced samples of the base's first evaluation source. None where that names no source."""
    run = comparison.base.runs[0]
    config = configuration.load(run / "config.yaml")
    models = {arm.name: _trained(arm.runs[0]) for arm in comparison.arms}
    base = models[comparison.base.name]
    for name, source in config.data.evaluate.items():
        dataset, _ = sources.join(sources.make(source.dataset), base.tasks, source, name)
        break
    else:
        return None
    dataset.prepare()
    resize, chance = transforms.testing(config.data, "network"), torch.Generator()
    chosen = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int).tolist()
    found = []
    for done, index in enumerate(chosen, 1):
        found.append(_look(models, collate([resize(dataset.read(index), base.tasks, chance)])))
        if progress:
            progress(done, len(chosen))
    hardness = _hardness([sample.errors(dataset.tasks, comparison.base.name) for sample in found])
    order = np.argsort(hardness, kind="stable")
    shown = min(shown, len(found) // 2)
    best, worst = order[:shown], order[::-1][:shown]
    return Extremes(dataset.tasks, len(found), *(tuple(found[i] for i in part) for part in (best, worst)))


def _trained(run: Path) -> MultiTaskModel:
    return weights.load(run)[0]


@torch.inference_mode()
def _look(models: Mapping[str, MultiTaskModel], batch: Batch) -> Sample:
    targets = {name: target.map(lambda tensor: tensor[0, 0]) for name, target in batch.targets.items()}
    seen = {}
    for arm, model in models.items():
        values = model.infer(batch.images, batch.camera, batch.present)
        seen[arm] = {name: values[name][0, 0] for name in targets if name in values}
    picture = (batch.images[0, 0].movedim(0, -1) * 255).round().clamp(0, 255).byte().numpy()
    height, width = picture.shape[:2]
    known = bool(batch.camera.known[0, 0])
    matrix = batch.camera.intrinsics[0, 0] if known else camera.assumed_intrinsics(height, width)
    return Sample(batch.meta[0], picture, matrix.numpy(), targets, seen)


def _hardness(errors: list[dict[str, float]]) -> np.ndarray:
    """(n,) the mean over a sample's tasks of its error over the mean of all samples."""
    names = sorted({name for row in errors for name in row})
    table = np.ma.masked_invalid([[row.get(name, np.nan) for name in names] for row in errors])
    return (table / table.mean(0)).mean(1).filled(1.0)
