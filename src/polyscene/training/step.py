"""The contract of a training step, and what steps need to join batches and reports. The steps are in ``adaptation``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from polyscene.model import MultiTaskModel
from polyscene.types import Batch, Camera, Report, Target


class Step(ABC):
    """``step(model, batches)`` computes the losses of one batch a source; the loop differentiates ``total``.

    The first argument of the constructor is the tasks by name, the others are the keywords of ``method`` in a
    configuration. A step owns whatever else it trains (discriminators, teacher, pose network): ``parameters`` go to the
    optimiser under the prefix ``step.``, ``state_dict`` into the checkpoint. Batches of unlabelled sources have no
    ``targets``. Torch is seeded before each call, so that what a step draws is the same after a resume.
    """

    @abstractmethod
    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report: ...

    def attach(self, model: MultiTaskModel) -> None:  # noqa: B027  (most steps need nothing of the network)
        """Called once, with the network on its device and before anything is trained or restored."""

    def updated(self, model: MultiTaskModel, done: float) -> None:  # noqa: B027
        """Called after every update of the network; ``done`` is the share of the training that is behind."""

    def parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def remarks(self) -> Iterable[str]:
        """What a user should know when the run has ended."""
        return ()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, the checkpoint holds {', '.join(state)}")


def divide(batches: dict[str, Batch]) -> tuple[dict[str, Batch], dict[str, Batch]]:
    """Those of labelled and of unlabelled sources."""
    labelled = {name: batch for name, batch in batches.items() if batch.targets}
    return labelled, {name: batch for name, batch in batches.items() if name not in labelled}


def portions(batches: Sequence[Batch]) -> list[float]:
    """Of all their pictures, those of each."""
    sizes = [batch.images.shape[0] * batch.images.shape[1] for batch in batches]
    return [size / sum(sizes) for size in sizes]


def merge(batches: Iterable[Batch]) -> list[Batch]:
    """One batch for each number of views. Labels that a source lacks are invalid in its part."""
    by_views: dict[int, list[Batch]] = {}
    for batch in batches:
        by_views.setdefault(batch.images.shape[1], []).append(batch)
    return [_joined(group) for group in by_views.values()]


def _joined(group: list[Batch]) -> Batch:
    if len(group) == 1:
        return group[0]
    likes = {name: target for batch in group for name, target in batch.targets.items()}

    def label(batch: Batch, name: str) -> Target:
        if name in batch.targets:
            return batch.targets[name]
        lead, like = batch.images.shape[:2], likes[name]
        return Target(
            like.value.new_zeros(*lead, *like.value.shape[2:]), like.valid.new_zeros(*lead, *like.valid.shape[2:])
        )

    def both(pick: list[Target]) -> Target:
        return Target(torch.cat([each.value for each in pick]), torch.cat([each.valid for each in pick]))

    cameras = [batch.camera for batch in group]
    return replace(
        group[0],
        images=torch.cat([batch.images for batch in group]),
        targets={name: both([label(batch, name) for batch in group]) for name in likes},
        camera=Camera(
            torch.cat([camera.intrinsics for camera in cameras]),
            torch.cat([camera.world_from_camera for camera in cameras]),
            torch.cat([camera.known for camera in cameras]),
        ),
        present=torch.cat([batch.present for batch in group]),
        source="+".join(batch.source for batch in group),
        meta=tuple(name for batch in group for name in batch.meta),
    )


def average(reports: list[Report], shares: list[float]) -> Report:
    """Weighted by ``shares``; a loss that only some report counts with their shares alone."""
    if len(reports) == 1:
        return reports[0]

    def added(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for part, share in zip(losses, shares, strict=True):
            sums |= {name: sums.get(name, 0) + loss * share for name, loss in part.items()}
        return sums

    def mean(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        names = {name: None for part in losses for name in part}
        means = {}
        for name in names:
            found = [(part[name], share) for part, share in zip(losses, shares, strict=True) if name in part]
            weighted = torch.stack([loss * share for loss, share in found]).sum()
            means[name] = weighted / sum(share for _, share in found)
        return means

    total = torch.stack([report.total * share for report, share in zip(reports, shares, strict=True)]).sum()
    others = [report.others * share for report, share in zip(reports, shares, strict=True) if report.others is not None]
    return Report(
        total,
        mean([report.by_task for report in reports]),
        mean([report.parts for report in reports]),
        added([report.shares for report in reports]),
        torch.stack(others).sum() if others else None,
    )
