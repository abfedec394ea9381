"""Adversarial adaptation of all tasks' outputs, as DenseMTL's (Lopes et al., WACV 2023, section 3.4)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from polyscene.adaptation.discriminator import Opponent
from polyscene.decoders.blocks import resize
from polyscene.model import MultiTaskModel
from polyscene.objective import Objective
from polyscene.ranges import Amount, Count, Decay, Positive
from polyscene.tasks import Task
from polyscene.tasks.belief import evidence
from polyscene.training.step import Step, average, divide, merge, portions
from polyscene.types import Batch, Predictions, Report, Target

LOOKS = 50  # updates between looks at whether a discriminator has collapsed


class Adversarial(Step):
    """The labels of labelled sources, and ``weight`` times how well the predictions on unlabelled ones pass for
    predictions on labelled ones. A patch discriminator a task and scale judges (that of the final maps, and one for
    every set of early predictions that the decoder makes), from maps of ``tasks.belief.evidence``.

    Pictures of the two kinds go through the network one after the other, so that batch norms see them apart. The
    discriminators of width ``channels`` have an Adam of their own of rate ``lr``, which falls as (1 - t)^``poly``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        weight: Amount = 0.005,
        channels: Count = 64,
        lr: Positive = 1e-4,
        betas: tuple[Decay, Decay] = (0.9, 0.99),
        poly: Amount = 0.9,
    ) -> None:
        self.tasks, self.objective, self.weight = dict(tasks), Objective(tasks), weight
        self.settings = channels, lr, (betas[0], betas[1]), poly
        self.opponents: dict[str, Opponent] = {}
        self.collapsed: set[str] = set()  # of which it was told
        self.device = torch.device("cpu")

    def attach(self, model: MultiTaskModel) -> None:
        self.device = next(model.parameters()).device

    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report:
        labelled, unlabelled = (merge(part.values()) for part in divide(batches))
        if not labelled or not unlabelled:
            raise ValueError("method adversarial: name sources under data.train and under data.target")
        labels = self._labels(model, labelled)
        predicted = [model(batch.images, batch.camera, batch.present) for batch in labelled]
        reports = [
            self.objective(predictions, batch, _scale(model, batch))
            for predictions, batch in zip(predicted, labelled, strict=True)
        ]
        supervised = average(reports, portions(labelled))
        known = self._maps(predicted, labels)
        unknown = self._maps([model(batch.images, batch.camera, batch.present) for batch in unlabelled], labels)
        fooled, parts = [], dict(supervised.parts)
        for name, maps in unknown.items():
            opponent = self._opponent(name, maps)
            fooled.append(opponent.fooled(maps))
            opponent.learn(known[name], maps)
            accuracy, loss = opponent.figures
            parts |= {f"adversarial {name}": fooled[-1], f"discriminator {name}": loss, f"accuracy {name}": accuracy}
        adversarial = self.weight * torch.stack(fooled).mean()
        others = adversarial if supervised.others is None else supervised.others + adversarial
        return Report(supervised.total + adversarial, supervised.by_task, parts, supervised.shares, others)

    def updated(self, model: MultiTaskModel, done: float) -> None:
        for name, opponent in self.opponents.items():
            opponent.update(done)
            if opponent.updates % LOOKS == 0 and name not in self.collapsed and (wrong := opponent.collapse()):
                self.collapsed.add(name)
                warnings.warn(f"after {opponent.updates} updates the discriminator of {name} {wrong}", stacklevel=2)

    def remarks(self) -> Iterable[str]:
        for name, opponent in self.opponents.items():
            if wrong := opponent.collapse():
                yield f"the discriminator of {name} {wrong}; lower method.lr, or raise it where there is no signal"

    def state_dict(self) -> dict[str, Any]:
        return {name: opponent.state() for name, opponent in self.opponents.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.opponents = {}
        for name, kept in state.items():
            first = next(tensor for tensor in kept["network"].values() if tensor.ndim == 4)
            self.opponents[name] = Opponent(first.shape[1], *self.settings, self.device)
            self.opponents[name].restore(kept)

    def _opponent(self, name: str, maps: Tensor) -> Opponent:
        """Made when the first maps come: decoders say what they predict early only then."""
        if name not in self.opponents:
            self.opponents[name] = Opponent(maps.shape[1], *self.settings, maps.device)
        return self.opponents[name]

    def _labels(self, model: MultiTaskModel, labelled: list[Batch]) -> dict[str, Target]:
        """Of all pictures (b·v, c, h, w), as the network knows them."""
        found: dict[str, list[Target]] = {}
        for batch in labelled:
            for name, target in batch.targets.items():
                if name in self.tasks:
                    seen = self.tasks[name].zoom(target, _scale(model, batch))
                    found.setdefault(name, []).append(Target(seen.value.flatten(0, 1), seen.valid.flatten(0, 1)))
        return {
            name: Target(torch.cat([each.value for each in parts]), torch.cat([each.valid for each in parts]))
            for name, parts in found.items()
        }

    def _maps(self, predicted: list[Predictions], labels: Mapping[str, Target]) -> dict[str, Tensor]:
        """What discriminators see of all pictures, (b·v, c, h, w) at image size, by task and scale."""
        found: dict[str, list[Tensor]] = {}
        for predictions in predicted:
            size = next(iter(predictions.final.values())).shape[-2:]
            scales = [("", predictions.final, self.tasks)]
            scales += [(f" {one.name}", one.maps, one.tasks) for one in predictions.auxiliary]
            for scale, maps, tasks in scales:
                for name, raw in maps.items():
                    grown = resize(raw.flatten(0, 1).float(), size)
                    found.setdefault(f"{name}{scale}", []).append(evidence(tasks[name], grown, labels.get(name)))
        return {name: torch.cat(maps) for name, maps in found.items()}


def _scale(model: MultiTaskModel, batch: Batch) -> Tensor:
    return model.focal_scale(batch.camera, batch.images.shape[-1])
