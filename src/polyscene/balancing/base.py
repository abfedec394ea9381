"""The contract of a balancing method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from polyscene import parts
from polyscene.balancing import BALANCERS
from polyscene.config import Part
from polyscene.types import Report


class Balancing(ABC):
    """Built from the names of the ``tasks``, and its own keywords. The tasks' weights scale their losses beforehand.

    ``parameters`` are trained with the network's, under the prefix ``balancing.``. ``by_task`` says that tasks are
    differentiated one by one, which needs whole weights.
    """

    by_task: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    @abstractmethod
    def backward(self, report: Report, scaled: Callable[[Tensor], Tensor], trained: Sequence[nn.Parameter]) -> None:
        """Adds the gradient of the losses, each of them ``scaled``, to ``grad`` of the ``trained`` parameters. Of
        several ranks, what each adds is averaged thereafter."""

    def parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, the checkpoint holds {', '.join(state)}")


def make(part: Part, tasks: Sequence[str]) -> Balancing:
    """The method that a configuration names. ``ValueError`` for unknown names and keywords, and what must be installed
    first."""
    kind = parts.load(BALANCERS, part.name, "balancing")
    try:
        return kind(tasks, **part.options)
    except TypeError as error:
        raise ValueError(f"balancing {part.name}: {error}") from None
