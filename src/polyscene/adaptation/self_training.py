"""Self-training: the network learns from what its own average says of unlabelled pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from polyscene.adaptation import colour
from polyscene.adaptation.mixing import half_of_the_classes
from polyscene.adaptation.norms import forgetting
from polyscene.adaptation.self_supervised_depth import SelfSupervisedDepth
from polyscene.adaptation.teacher import Labels, Teacher
from polyscene.model import MultiTaskModel
from polyscene.objective import Objective
from polyscene.ranges import Amount, Count, Decay, Share
from polyscene.tasks import Task
from polyscene.training.step import Step, average, divide, merge, portions
from polyscene.types import Batch, Predictions, Report, Target


class SelfTraining(Step):
    """The labels of labelled sources, and ``weight`` times those that a teacher gives to pictures of unlabelled ones:
    the moving average of the network (``decay`` an update), which sees them as they are, and with ``mirror`` their
    mirror images too. The network sees them disturbed by ``strength``. A pixel counts with the probability of the
    teacher's confidence, and not at all below ``threshold``.

    ``mix``: a half of the classes of a labelled picture is pasted onto each, with all labels (Tranheden et al., DACS,
    WACV 2021), in the share ``small`` of the pictures that of which least is seen. ``align``: the share of labelled
    pictures that are given the colours of an unlabelled one first. ``ramp``: the share of the training in which
    ``weight`` grows from zero. ``norms``: batch norms see labelled and unlabelled pictures ``joint`` (where
    samples of both have as many views) or ``apart``; with ``target``, apart, and remember those of unlabelled pictures
    alone. ``video``: besides, depth must explain one view
    of an unlabelled sample by another, where cameras are known; ``octaves``, ``dark``: see ``SelfSupervisedDepth``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        weight: Amount = 1.0,
        decay: Decay = 0.99,
        mirror: bool = True,
        strength: Share = 1.0,
        threshold: Share = 0.0,
        mix: bool = True,
        small: Share = 0.5,
        align: Share = 0.5,
        ramp: Share = 0.0,
        norms: Literal["joint", "apart", "target"] = "joint",
        video: Amount = 0.0,
        octaves: Count = 3,
        dark: Amount = 0.0,
    ) -> None:
        self.tasks, self.objective = dict(tasks), Objective(tasks)
        self.weight, self.decay, self.mirror, self.strength = weight, decay, mirror, strength
        self.threshold, self.mix, self.small, self.align = threshold, mix, small, align
        self.ramp, self.norms = ramp, norms
        self.views = SelfSupervisedDepth(tasks, photometric=video, octaves=octaves, dark=dark) if video else None
        self.teacher: Teacher | None = None

    def attach(self, model: MultiTaskModel) -> None:
        self.teacher = Teacher(model, self.decay, self.mirror)

    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report:
        assert self.teacher is not None, "the trainer attaches the network first"
        labelled, unlabelled = (merge(part.values()) for part in divide(batches))
        if not labelled or not unlabelled:
            raise ValueError("method self_training: name sources under data.train and under data.target")
        known = [self._recoloured(self._canonical(model, batch), unlabelled) for batch in labelled]
        own = [self._own(batch, self.teacher.label(batch), known) for batch in unlabelled]
        supervised, taught = self._losses(model, known, own)
        if self.views is not None:
            between = self.views(model, {str(place): batch for place, batch in enumerate(unlabelled)})
            supervised = _with(supervised, between)
        return self._sum(supervised, taught, self._shares(own), self.weight * self._grown(model))

    def updated(self, model: MultiTaskModel, done: float) -> None:
        assert self.teacher is not None
        self.teacher.update(model)

    def state_dict(self) -> dict[str, Any]:
        return self.teacher.state() if self.teacher else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.teacher is not None
        self.teacher.restore(state)

    # -- what is learnt from -------------------------------------------------------------------------------------------
    def _canonical(self, model: MultiTaskModel, batch: Batch) -> Batch:
        """Labels as the network knows them."""
        scale = model.focal_scale(batch.camera, batch.images.shape[-1])
        return replace(batch, targets={name: self.tasks[name].zoom(one, scale) for name, one in batch.targets.items()})

    def _recoloured(self, batch: Batch, unlabelled: list[Batch]) -> Batch:
        if self.align == 0:
            return batch
        pool = torch.cat([other.images.flatten(0, 1) for other in unlabelled])
        pictures = batch.images.flatten(0, 1)
        like = pool[torch.randint(len(pool), (len(batch.images),)).repeat_interleave(batch.images.shape[1])]
        chosen = (torch.rand(len(batch.images)) < self.align).repeat_interleave(batch.images.shape[1])
        changed = torch.where(
            chosen.to(pictures.device)[:, None, None, None], colour.align(pictures, like), pictures
        )  # fmt: skip
        return replace(batch, images=changed.unflatten(0, batch.images.shape[:2]))

    def _own(self, batch: Batch, labels: Labels, known: list[Batch]) -> Batch:
        """Unlabelled pictures, disturbed, with labels where the teacher is sure of them."""
        targets = {}
        for name, (value, confidence) in labels.items():
            sure = torch.rand(confidence.shape).to(confidence.device) < confidence
            seen = batch.present[..., None, None, None]
            targets[name] = Target(value, sure & (confidence >= self.threshold) & seen)
        batch = replace(batch, targets=targets)
        if self.mix:
            batch = self._mixed(batch, known)
        disturbed = colour.disturb(batch.images.flatten(0, 1), self.strength) if self.strength else batch.images
        return replace(batch, images=disturbed.reshape(batch.images.shape))

    def _mixed(self, batch: Batch, known: list[Batch]) -> Batch:
        """Every view with a part of some view of a labelled picture."""
        donors = known[int(torch.randint(len(known), ()))]
        count = batch.images.shape[0] * batch.images.shape[1]
        pool = donors.images.flatten(0, 1)
        picked = torch.cat([torch.randperm(len(pool)) for _ in range(-(-count // len(pool)))])[:count].to(pool.device)
        given = {
            name: Target(target.value.flatten(0, 1)[picked], target.valid.flatten(0, 1)[picked])
            for name, target in donors.targets.items()
            if name in batch.targets
        }
        mask = half_of_the_classes(self.tasks, given, self.small).unflatten(0, batch.images.shape[:2])

        def pasted(over: Tensor, under: Tensor) -> Tensor:
            return torch.where(mask, over.unflatten(0, batch.images.shape[:2]), under)

        def label(name: str, target: Target) -> Target:
            if name not in given:
                return Target(target.value, target.valid & ~mask)
            return Target(pasted(given[name].value, target.value), pasted(given[name].valid, target.valid))

        targets = {name: label(name, target) for name, target in batch.targets.items()}
        return replace(batch, images=pasted(pool[picked], batch.images), targets=targets)

    # -- losses --------------------------------------------------------------------------------------------------------
    def _losses(self, model: MultiTaskModel, known: list[Batch], own: list[Batch]) -> tuple[Report, Report]:
        if self.norms == "joint" and [one.images.shape[1] for one in known] == [one.images.shape[1] for one in own]:
            pairs = [self._together(model, one, other) for one, other in zip(known, own, strict=True)]
            return tuple(
                average(list(reports), portions(batches))
                for reports, batches in zip(zip(*pairs, strict=True), (known, own), strict=True)
            )  # type: ignore[return-value]
        if self.norms == "target":
            with forgetting(model):
                supervised = [self._one(model, batch) for batch in known]
        else:
            supervised = [self._one(model, batch) for batch in known]
        return average(supervised, portions(known)), average([self._one(model, batch) for batch in own], portions(own))

    def _one(self, model: MultiTaskModel, batch: Batch) -> Report:
        return self.objective(model(batch.images, batch.camera, batch.present), batch)

    def _together(self, model: MultiTaskModel, known: Batch, own: Batch) -> tuple[Report, Report]:
        (both,) = merge([replace(known, targets={}), replace(own, targets={})])
        predictions, count = model(both.images, both.camera, both.present), len(known.images)
        first, second = _slice(predictions, slice(0, count)), _slice(predictions, slice(count, None))
        return self.objective(first, known), self.objective(second, own)

    def _grown(self, model: MultiTaskModel) -> float:
        return min(1.0, model.progress / self.ramp) if self.ramp else 1.0

    def _shares(self, own: list[Batch]) -> dict[str, Tensor]:
        """Of the pixels, those that a task learns from."""
        sums: dict[str, list[Tensor]] = {}
        for batch in own:
            for name, target in batch.targets.items():
                sums.setdefault(name, []).append(target.valid.float().mean())
        return {name: torch.stack(shares).mean() for name, shares in sums.items()}

    def _sum(self, supervised: Report, taught: Report, sure: Mapping[str, Tensor], weight: float) -> Report:
        """A task that the teacher is less sure of counts less."""
        added = {name: weight * sure[name] * loss for name, loss in taught.shares.items()}
        parts = {f"self-taught {name}": loss for name, loss in taught.by_task.items()}
        parts |= {f"sure of {name}": share for name, share in sure.items()}
        return Report(
            supervised.total + torch.stack(list(added.values())).sum(),
            supervised.by_task,
            supervised.parts | parts,
            added | {name: share + added.get(name, 0) for name, share in supervised.shares.items()},
            supervised.others,
        )


def _with(supervised: Report, between: Report) -> Report:
    """And what views of a sample say of each other."""
    others = [each.others for each in (supervised, between) if each.others is not None]
    return replace(
        supervised,
        total=supervised.total + between.total,
        parts=supervised.parts | between.parts,
        others=torch.stack(others).sum() if others else None,
    )


def _slice(predictions: Predictions, part: slice) -> Predictions:
    auxiliary = [
        replace(
            one,
            maps={name: raw[part] for name, raw in one.maps.items()},
            valid=None if one.valid is None else one.valid[part],
        )
        for one in predictions.auxiliary
    ]
    return replace(predictions, final={name: raw[part] for name, raw in predictions.final.items()}, auxiliary=auxiliary)
