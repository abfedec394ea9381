"""The mixture of data sets that a configuration names, joined to the model's tasks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from polyscene import parts, transforms
from polyscene.config import Data, Part, Source
from polyscene.data import DATASETS
from polyscene.data.base import Dataset
from polyscene.data.loader import Loader, Transform
from polyscene.tasks import Task
from polyscene.types import Sample, Target


@dataclass(frozen=True)
class Sources:
    """Loaders by source name; those of ``target`` read no labels. ``notes`` say in words what of the labels goes
    unused."""

    train: dict[str, Loader]
    target: dict[str, Loader]
    evaluate: dict[str, Loader]
    notes: list[str] = field(default_factory=list)


class Joined(Dataset):
    """A data set seen with the model's tasks: labels that the model lacks are not read, class ids are the model's.

    ``ids`` holds, for tasks whose classes differ, the model's id of each of the data set's classes, -1 for none.
    """

    def __init__(self, dataset: Dataset, tasks: Mapping[str, Task], ids: Mapping[str, Tensor]) -> None:
        self.name, self.dataset, self.tasks, self.ids = dataset.name, dataset.only(tasks), tasks, ids
        self.groups, self.window = dataset.groups, dataset.window

    def __len__(self) -> int:
        return len(self.dataset)

    def prepare(self) -> None:
        self.dataset.prepare()

    def expect(self, index: int) -> None:
        self.dataset.expect(index)

    def read(self, index: int) -> Sample:
        sample = self.dataset.read(index)
        return replace(sample, targets={name: self._renamed(name, sample.targets[name]) for name in self.tasks})

    def _renamed(self, name: str, target: Target) -> Target:
        if name not in self.ids:
            return target
        ids = self.ids[name][torch.where(target.valid, target.value, 0)]
        return Target(ids.clamp_min(0), target.valid & (ids >= 0))


class Drawn(Dataset):
    """``limit`` samples of a data set that has more, drawn by ``seed``; of a smaller limit, some of these."""

    def __init__(self, dataset: Dataset, limit: int, seed: int) -> None:
        self.name, self.dataset, self.tasks = dataset.name, dataset, dataset.tasks
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
        chosen = order[:limit].sort().values
        self.chosen = chosen.tolist()
        self.groups, self.window = None if dataset.groups is None else dataset.groups[chosen], dataset.window

    def __len__(self) -> int:
        return len(self.chosen)

    def prepare(self) -> None:
        self.dataset.prepare()

    def expect(self, index: int) -> None:
        self.dataset.expect(self.chosen[index])

    def read(self, index: int) -> Sample:
        return self.dataset.read(self.chosen[index])


def make(part: Part) -> Dataset:
    """The data set that a configuration names. ``ValueError`` names unknown parts and keywords."""
    maker = parts.load(DATASETS, part.name, "data set")
    try:
        return maker(**part.options)
    except TypeError as error:
        raise ValueError(f"data set {part.name}: {error}") from None


def join(dataset: Dataset, tasks: Mapping[str, Task], source: Source, name: str) -> tuple[Joined, list[str]]:
    """The data set with the model's tasks, and notes on what of it goes unused."""
    if unknown := set(source.tasks or ()) - set(dataset.tasks):
        raise ValueError(f"{name}: {parts.unknown(min(unknown), dataset.tasks, 'label')}")
    wanted = [task for task in dataset.tasks if source.tasks is None or task in source.tasks]
    notes = [f"{name}: the model has no task {task!r}; its labels are not used" for task in wanted if task not in tasks]
    shared = {task: tasks[task].as_labelled(dataset.tasks[task]) for task in wanted if task in tasks}
    if not shared:
        has, does = ", ".join(wanted), ", ".join(tasks)
        raise ValueError(f"{name}: none of its labels ({has}) is a task of the model ({does})")
    _check_map(source.classes or {}, dataset, shared, name)
    ids: dict[str, Tensor] = {}
    for task, model_task in shared.items():
        own = dataset.tasks[task].classes
        if own == model_task.classes:
            continue
        called = [(source.classes or {}).get(label, label) for label in own]
        known = {label: number for number, label in enumerate(model_task.classes)}
        ids[task] = torch.tensor([known.get(label, -1) for label in called])
        lost = [label for label, number in zip(own, ids[task].tolist(), strict=True) if number < 0]
        if len(lost) == len(own):
            raise ValueError(f"{name}: no class of {task} is one of the model's; give a `classes` map")
        if lost:
            notes.append(f"{name}: {task} classes without counterpart in the model are ignored: {', '.join(lost)}")
    return Joined(dataset, shared, ids), notes


def _check_map(classes: Mapping[str, str], dataset: Dataset, shared: Mapping[str, Task], name: str) -> None:
    """A name on either side of a ``classes`` map that no class has is a slip, not a class to ignore."""
    own = [label for task in shared for label in dataset.tasks[task].classes]
    models = [label for task in shared.values() for label in task.classes]
    wrong = [parts.unknown(label, own, "class of the data set") for label in classes if label not in own]
    wrong += [parts.unknown(label, models, "class of the model") for label in classes.values() if label not in models]
    if wrong:
        raise ValueError("\n".join(f"{name}: classes: {problem}" for problem in wrong))


def build(
    data: Data, tasks: Mapping[str, Task], seed: int, relative: bool = False, part: tuple[int, int] = (0, 1)
) -> Sources:
    """Data sets made, prepared and joined; every source draws from a random stream of its own. ``relative``: the
    network learns depth relative to the focal length. ``part``: of the training batches (``Loader``)."""
    notes: list[str] = []
    plain = transforms.testing(data)

    def augment(source: Source) -> Transform:
        return transforms.training(data.model_copy(update={"augment": source.augment or data.augment}), relative)

    def loader(name: str, source: Source, transform: Transform, shuffle: bool, labels: bool = True) -> Loader:
        dataset = make(source.dataset)
        joined, remarks = join(dataset, tasks, source, name) if labels else (Joined(dataset, {}, {}), [])
        joined.prepare()
        notes.extend(remark for remark in (*remarks, *dataset.notes) if remark not in notes)
        stream = zlib.crc32(name.encode()) ^ seed
        chosen = Drawn(joined, source.limit, stream if shuffle else 0) if source.limit else joined
        if source.limit and len(joined) < source.limit:
            notes.append(f"{name}: has {len(joined)} samples, fewer than its limit of {source.limit}")
        rare = source.rare if shuffle else 0.0
        own = part if shuffle else (0, 1)
        return Loader(
            chosen, tasks, source.batch, transform, stream, shuffle, data.workers, data.on_bad_sample, rare, own
        )

    train = {name: loader(name, source, augment(source), True) for name, source in data.train.items()}
    target = {name: loader(name, source, augment(source), True, labels=False) for name, source in data.target.items()}
    evaluate = {name: loader(name, source, plain, False) for name, source in data.evaluate.items()}
    for task in tasks:
        if train and not any(task in source.dataset.tasks for source in train.values()):
            notes.append(f"no training source labels {task!r}")
    return Sources(train, target, evaluate, notes)
