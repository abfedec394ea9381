"""The teacher of self-training: an average of the network that labels pictures, and says how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polyscene import transforms
from polyscene.model import MultiTaskModel
from polyscene.tasks import Task
from polyscene.tasks.belief import belief, consensus
from polyscene.training.ema import Ema
from polyscene.training.step import merge
from polyscene.types import Batch, Target

Labels = dict[str, tuple[Tensor, Tensor]]
"""By task: a value (b, v, c, h, w), as the network knows it (depth in its own camera), and a confidence (b, v, 1, h, w)
in [0, 1]."""


class Teacher:
    """``model`` starts as the network is and follows it, by ``decay`` an update. It looks at every picture and, with
    ``mirror``, at its mirror image; both together make the label, and where they differ it is less sure."""

    def __init__(self, model: MultiTaskModel, decay: float, mirror: bool = True) -> None:
        self.average, self.mirror = Ema(model, decay), mirror

    @property
    def model(self) -> MultiTaskModel:
        return self.average.model

    @torch.no_grad()
    def label(self, batch: Batch) -> Labels:
        looks = [replace(batch, targets={})]
        if self.mirror:
            with torch.autocast(batch.images.device.type, enabled=False):  # cameras would be rounded, too
                looks.append(transforms.hflip(looks[0], {}))
        (both,) = merge(looks)
        raw = self.model(both.images, both.camera, both.present).final
        found = {}
        for name, task in self.model.tasks.items():
            first, *others = belief(task, raw[name].float()).chunk(len(looks))
            found[name] = consensus(task, [first, *(_mirrored(task, other) for other in others)])
        return found

    def update(self, model: MultiTaskModel) -> None:
        self.average.update(model)

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.average.updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.updates = state["updates"]


def _mirrored(task: Task, value: Tensor) -> Tensor:
    return task.hflip(Target(value, torch.ones_like(value[..., :1, :, :], dtype=torch.bool))).value
