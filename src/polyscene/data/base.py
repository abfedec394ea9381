"""The contract of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from pathlib import Path

from torch import Tensor

from polyscene.data.description import Label
from polyscene.tasks import Task
from polyscene.types import Sample


class BadSample(ValueError):
    """A sample that cannot be used: which ``file``, what is the ``problem`` with it, and the ``remedy``. A set that
    cannot be opened may have ``others`` besides."""

    def __init__(self, file: Path | str, problem: str, remedy: str, others: Sequence[BadSample] = ()) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")
        self.file, self.problem, self.remedy, self.others = str(file), problem, remedy, others


class Dataset(ABC):
    """Samples by index, each a pure function of the index.

    ``tasks`` says what is labelled, by the names used in ``Sample.targets``; ``name`` becomes ``Sample.source``.
    ``read`` gives images and just these labels at the size they are stored in, on the CPU, and raises ``BadSample``
    rather than repair or skip; several threads may call it at once. Constructor keywords are the configuration.
    """

    name: str
    tasks: Mapping[str, Task]
    notes: Sequence[str] = ()  # what a user should know of the set before using it
    labels: Mapping[str, Label] = {}  # how labels are encoded in ``raw_files``, where it can be said so
    groups: Tensor | None = None  # (n,) numbers, equal for samples that lie together and are best read together
    window: int = 1  # groups that are mixed in training

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Sample: ...

    def only(self, names: Collection[str]) -> Dataset:
        """This set with these labels alone, so that others are not read."""
        seen = copy(self)
        seen.tasks = {name: task for name, task in self.tasks.items() if name in names}
        return seen

    def prepare(self) -> None:  # noqa: B027  (most data sets lie ready)
        """Whatever must happen once before ``read``: rendering, unpacking. Resumable, with a progress bar."""

    def expect(self, index: int) -> None:  # noqa: B027  (most data sets are all at hand)
        """A hint that ``read(index)`` will come. Returns at once."""

    def raw_files(self, index: int) -> Mapping[str, Sequence[Path]]:
        """Files that the sample is made of as they are, one a view: of its "image", and of labels in ``labels``. What
        is not named is made in other ways."""
        return {}
