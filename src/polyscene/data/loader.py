"""From a data set to batches. A training batch is a pure function of (seed, its number), so that resuming a run is
starting at that number; threads read ahead."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from copy import copy
from dataclasses import replace
from functools import lru_cache, partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from polyscene.data.base import BadSample, Dataset
from polyscene.data.order import together, turn
from polyscene.data.rare import RareClasses
from polyscene.data.threads import single_threaded_pool
from polyscene.tasks import Task
from polyscene.types import Batch, Sample, collate

Transform = Callable[[Sample, Mapping[str, Task], Generator], Sample]
Item = TypeVar("Item")
ORDER, DRAW, RARE = 0, 1, 2  # what a random stream is for


class LoadError(RuntimeError):
    """Reading or transforming a sample failed in an unforeseen way; names the sample."""


class Loader:
    """Batches of ``batch`` samples of ``dataset``, with the labels that ``tasks`` names.

    ``transform(sample, tasks, generator)`` draws from the sample's own generator. ``workers`` threads read ahead.
    A ``BadSample`` is raised where the batch is asked for, or (``on_bad_sample="skip"``) replaced by the next good one
    in the data set and noted in ``bad``, by file. The share ``rare`` of training samples is drawn by ``RareClasses``
    instead of in order. ``part`` (k, n): this is the k-th of n processes; it makes the k-th of n pieces, each of
    ``batch`` samples, of every training batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        tasks: Mapping[str, Task],
        batch: int,
        transform: Transform,
        seed: int,
        shuffle: bool = True,
        workers: int = 1,
        on_bad_sample: Literal["error", "skip"] = "error",
        rare: float = 0.0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if len(dataset) == 0:
            raise ValueError(f"{dataset.name} has no samples")
        self.dataset, self.tasks, self.batch, self.transform, self.seed = dataset, tasks, batch, transform, seed
        self.shuffle, self.workers, self.on_bad_sample = shuffle, workers, on_bad_sample
        self.part = part
        self.bad: dict[str, str] = {}
        self.rare, self._rare_classes = rare, RareClasses(dataset) if rare else None
        self._order = lru_cache(maxsize=4)(self._permutation)
        groups = dataset.groups
        self._group = 0 if groups is None else -(-len(groups) // len(groups.unique()))  # samples a group, about

    @property
    def skipped(self) -> int:
        """How many samples were found unusable so far."""
        return len(self.bad)

    def __len__(self) -> int:
        """Batches that an epoch takes, of all processes together."""
        return -(-len(self.dataset) // (self.batch * self.part[1]))

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches number ``start``, ``start + 1``, ... without end."""
        return _ahead(self.number, itertools.count(start), self.workers)

    def number(self, index: int) -> Batch:
        """Training batch ``index``. Epochs follow on without a gap: a batch may hold the end of one and the beginning
        of the next."""
        own, processes = self.part
        first = (index * processes + own) * self.batch
        return collate([self._drawn(first + place) for place in range(self.batch)])

    def whole(self) -> Loader:
        """The same of one process that makes whole training batches."""
        one = copy(self)
        one.batch, one.part = self.batch * self.part[1], (0, 1)
        return one

    def once(self, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Every sample once, in order, for evaluation; of ``part`` (k, n) every n-th from the k-th on, or where samples
        lie together the k-th of n pieces. Batches are cut short where the size of the labels changes."""
        own, parts = part
        count = len(self.dataset)
        pieces = range(count * own // parts, count * (own + 1) // parts)
        mine = pieces if self._group else range(own, count, parts)
        plain = partial(self._plain, end=mine.stop)
        pending: list[Sample] = []
        for sample in _ahead(plain, iter(mine), self.workers, window=self.batch):
            if sample is None:
                continue
            if len(pending) == self.batch or (pending and _sizes(pending[0]) != _sizes(sample)):
                yield collate(pending)
                pending = []
            pending.append(sample)
        if pending:
            yield collate(pending)

    def _permutation(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.dataset))
        generator, groups = _generator(self.seed, ORDER, epoch), self.dataset.groups
        if groups is None:
            return torch.randperm(len(self.dataset), generator=generator)
        return together(groups, self.batch * self.part[1], self.dataset.window, epoch * len(groups), generator)

    def _place(self, position: int) -> int:
        """In the data set, of the sample at a position of the training stream."""
        epoch, place = divmod(position, len(self.dataset))
        return int(self._order(epoch)[place])

    def _drawn(self, position: int) -> Sample:
        first = self._place(position)
        if self._group:
            step = turn(self.batch * self.part[1], self.dataset.window)
            self.dataset.expect(self._place(position + -(-self._group * self.dataset.window // step) * step))
        chance = _generator(self.seed, RARE, position)
        if self._rare_classes is not None and float(torch.rand((), generator=chance)) < self.rare:
            first = self._rare_classes.draw(chance)
        for step in range(len(self.dataset)):
            index = (first + step) % len(self.dataset)
            sample = self._sample(index, _generator(self.seed, DRAW, position))
            if sample is not None:
                return sample
        raise BadSample(self.dataset.name, "no sample of it can be used", "`polyscene data verify` lists what is wrong")

    def _plain(self, index: int, end: int) -> Sample | None:
        if self._group:
            self.dataset.expect(min(index + self._group, end - 1))
        return self._sample(index, _generator(self.seed, DRAW, index))

    def _sample(self, index: int, generator: Generator) -> Sample | None:
        """None if the sample is bad and may be skipped."""
        try:
            sample = self.dataset.read(index)
            kept = {name: target for name, target in sample.targets.items() if name in self.tasks}
            return self.transform(replace(sample, targets=kept), self.tasks, generator)
        except BadSample as error:
            if self.on_bad_sample == "error":
                raise
            self.bad[error.file] = str(error)
            return None
        except BaseException as error:  # in a thread: a SystemExit there would end the run without a word
            raise LoadError(f"{self.dataset.name}, sample {index}: {type(error).__name__}: {error}") from error


def _generator(*key: int) -> Generator:
    """A stream of its own for every key."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


def _sizes(sample: Sample) -> dict[str, tuple[int, ...]]:
    return {name: tuple(target.value.shape[-2:]) for name, target in sample.targets.items()}


def _ahead(function: Callable[[int], Item], indices: Iterator[int], workers: int, window: int = 1) -> Iterator[Item]:
    """``function`` over ``indices``, in order, ``workers`` threads working up to ``workers + window`` items ahead;
    without workers each item is made when it is asked for, in a thread all the same, so that rounding agrees."""
    pool = single_threaded_pool(max(1, workers))
    ahead = workers + window if workers else 1
    queue: deque[Future[Item]] = deque()
    try:
        while True:
            while len(queue) < ahead and (index := next(indices, None)) is not None:
                queue.append(pool.submit(function, index))
            if not queue:
                return
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
