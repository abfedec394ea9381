"""The contract of a converter: a reference's state dict in, ours out, and nothing lost on the way unseen.

converter = MtiNet({"tasks": ["semseg", "depth"], "channels": {"semseg": 40, "depth": 1}})
converted = convert(converter, torch.load("checkpoint.pth.tar", weights_only=True)["model"])
model = load(converter, converted)
outputs = raw(converter, model, images)  # under the reference's names
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from polyscene.model import MultiTaskModel
from polyscene.tasks import Task
from polyscene.tasks.probability import Probability
from polyscene.tasks.sets import SETS
from polyscene.types import Predictions

State = dict[str, Tensor]
NAMES = {"edge": "edges", "sal": "saliency"}  # what references call our tasks


class Source:
    """A reference's state dict while it is read: what is taken is gone, so what is left at the end was forgotten."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._left = dict(state)
        self.dropped: dict[str, str] = {}

    def take(self, key: str) -> Tensor:
        """One tensor. ``ValueError`` if the checkpoint has none of that name (any more)."""
        if key not in self._left:
            raise ValueError(f"the checkpoint has no tensor {key!r}; is it of this model, with these tasks?")
        return self._left.pop(key)

    def under(self, prefix: str) -> State:
        """All tensors whose names begin with ``prefix``, by the rest of their names. ``ValueError`` if none does."""
        found = {key.removeprefix(prefix): key for key in self._left if key.startswith(prefix)}
        if not found:
            raise ValueError(f"the checkpoint has no tensor under {prefix!r}; is it of this model, with these tasks?")
        return {rest: self._left.pop(key) for rest, key in found.items()}

    def drop(self, prefix: str, reason: str) -> None:
        """Leaves out what begins with ``prefix``, if anything does, and says why."""
        found = [key for key in self._left if key.startswith(prefix)]
        self.dropped |= {key: reason for key in found}
        for key in found:
            del self._left[key]

    def close(self) -> None:
        """``ValueError`` if something was neither taken nor dropped."""
        if self._left:
            first = ", ".join(list(self._left)[:5])
            raise ValueError(f"{len(self._left)} tensors of the checkpoint have no place in the model: {first}...")


@dataclass(frozen=True)
class Converted:
    """``state`` under our names; ``leftovers`` under the reference's, each with the reason why it is not needed."""

    state: State
    leftovers: dict[str, str]


class Converter(ABC):
    """One public model family. ``meta``: ``tasks`` (the reference's names, in its order), ``channels`` by task, and
    whatever else the family needs to be built, in ``config``."""

    normalised: ClassVar[bool] = True  # whether the reference takes images that are normalised already
    mark: ClassVar[str]  # how names begin that only this family has
    branch: ClassVar[str] = "heads."  # how names begin in which a task's name follows

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.meta = meta
        self.tasks = tasks_of({name: channels_of(meta["channels"][name]) for name in meta["tasks"]})

    @classmethod
    def guess(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """``meta`` from the tensors alone, for families whose names tell enough. ``ValueError`` for the others."""
        raise ValueError("these tensors cannot say which tasks they serve, and in what order; give --meta META.json")

    @property
    def ours(self) -> dict[str, str]:
        """Our task names by the reference's."""
        return {name: task.name for name, task in self.tasks.items()}

    @abstractmethod
    def build(self) -> MultiTaskModel:
        """The matching model, with fresh weights."""

    @abstractmethod
    def state(self, source: Source) -> State:
        """Our state dict from the reference's: a pure function of tensors, which are renamed, joined or split."""

    @abstractmethod
    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        """Maps (b, c, h, w) under the reference's names, in its sizes, of predictions for one view."""


def convert(converter: Converter, state: Mapping[str, Tensor]) -> Converted:
    """``ValueError`` if a tensor of ``state`` has no place in ours and is not listed as needless, or one is missing."""
    source = Source(state)
    try:
        ours = converter.state(source)
    except (KeyError, IndexError, RuntimeError) as error:  # tensors of other shapes than the family's
        raise ValueError(f"the checkpoint is not of this model, with these tasks ({error})") from error
    source.close()
    return Converted(ours, source.dropped)


def load(converter: Converter, converted: Converted) -> MultiTaskModel:
    """The matching model with the converted weights. ``ValueError`` if these do not fill it."""
    model = converter.build()
    wanted = model.state_dict()
    given = {key: wanted[key] for key in ("encoder.mean", "encoder.std") if key in wanted} | converted.state
    for key in wanted | given:
        _fits(key, given.get(key), wanted.get(key))
    model.load_state_dict(given)
    return model


def _fits(key: str, found: Tensor | None, wanted: Tensor | None) -> None:
    """``ValueError`` unless both are there, in one shape."""
    if found is None or wanted is None or found.shape != wanted.shape:
        shapes = (tuple(tensor.shape) if tensor is not None else "absent" for tensor in (found, wanted))
        told = "{} in the checkpoint, {} in the network that META.json describes".format(*shapes)
        raise ValueError(f"{key}, as we name it, is {told}; check `tasks`, `channels`, `backbone` and `config` there")


def raw(converter: Converter, model: MultiTaskModel, images: Tensor) -> dict[str, Tensor]:
    """The reference's outputs by its names, from its own network input (b, 3, h, w)."""
    if converter.normalised:
        images = images * model.encoder.std + model.encoder.mean
    return converter.outputs(model(images[:, None]))


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def joined(states: list[State]) -> State:
    """Parts of one kind as a single wider one: every tensor concatenated along its first axis, counters kept."""
    return {
        key: torch.cat([state[key] for state in states]) if tensor.ndim else tensor for key, tensor in states[0].items()
    }


def channels_of(given: int | Mapping[str, int]) -> int:
    """Of the final output, where a reference has others besides."""
    return given["final"] if isinstance(given, Mapping) else given


def tasks_of(channels: Mapping[str, int]) -> dict[str, Task]:
    """Our tasks by a reference's names: those of the data set that has most of them, with as many channels. Classes
    that no data set of ours has are numbered. ``ValueError`` if we have none with so many channels."""
    wanted = {NAMES.get(name, name): count for name, count in channels.items()}

    def shared(tasks: Iterable[Task]) -> int:
        return sum(1 + (wanted[task.name] == task.channels) for task in tasks if task.name in wanted)

    nearest = sorted(SETS.values(), key=shared, reverse=True)
    return {name: _task(name, count, nearest) for name, count in channels.items()}


def _task(name: str, channels: int, sets: Iterable[Iterable[Task]]) -> Task:
    known = [task for tasks in sets for task in tasks if task.name == NAMES.get(name, name)]
    for task in known:
        if task.channels == channels:
            return task
    if known and known[0].classes:
        numbered = tuple(f"class {number}" for number in range(channels))
        return dataclasses.replace(known[0], classes=numbered)
    if known and isinstance(known[0], Probability) and channels == 2:
        return dataclasses.replace(known[0], two_class=True)
    raise ValueError(f"task {name!r} with {channels} channels is none of ours")
