"""Balancing by weights: one sum is differentiated."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polyscene.balancing.base import Balancing
from polyscene.ranges import Count, Positive
from polyscene.training import distributed
from polyscene.types import Report


class Weighing(Balancing):
    """Methods that differentiate one weighted sum."""

    @abstractmethod
    def weighed(self, report: Report) -> Tensor:
        """The sum, from what each task adds to the total."""

    def backward(self, report: Report, scaled: Callable[[Tensor], Tensor], trained: Sequence[nn.Parameter]) -> None:
        scaled(self.weighed(report)).backward()


class Fixed(Weighing):
    """The tasks' own weights."""

    def weighed(self, report: Report) -> Tensor:
        return report.total


class Uncertainty(Weighing):
    """Learned log-variances s, one a task: the sum of exp(-s) L + s over tasks that are labelled in the batch (Kendall
    et al., CVPR 2018, section 3; the factors of 2 that tell regression from classification left out)."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.log_variance = {name: nn.Parameter(torch.zeros(())) for name in tasks}

    def parameters(self) -> dict[str, nn.Parameter]:
        return {f"log_variance.{name}": parameter for name, parameter in self.log_variance.items()}

    def weighed(self, report: Report) -> Tensor:
        total = report.total
        for name, loss in report.shares.items():
            variance = self.log_variance[name]
            labelled = (distributed.mean(loss.detach()) != 0).to(loss)
            total = total + (torch.exp(-variance) - 1) * loss + variance * labelled
        return total

    def state_dict(self) -> dict[str, Any]:
        return {name: parameter.detach() for name, parameter in self.log_variance.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self.log_variance.items():
                parameter.copy_(state[name])


class DynamicWeightAverage(Weighing):
    """More weight for losses that fall slowly: T softmax(r / ``temperature``), r the mean loss of the last ``period``
    batches over that of the ``period`` before; 1 until both are there (Liu et al., CVPR 2019, section 3.3, with a
    period for an epoch)."""

    def __init__(self, tasks: Sequence[str], temperature: Positive = 2.0, period: Count = 100) -> None:
        super().__init__(tasks)
        self.temperature, self.period = temperature, period
        self.means: deque[Tensor] = deque(maxlen=2)
        self.sums, self.seen, self.batches = torch.zeros(len(self.tasks)), torch.zeros(len(self.tasks)), 0

    def weights(self) -> Tensor:
        """(tasks,)"""
        if len(self.means) < 2:
            return torch.ones(len(self.tasks))
        last = self.means[1]
        before = self.means[0].to(last)
        rate = torch.where((before > 0) & (last > 0), last / before.clamp_min(1e-12), 1.0)
        return len(self.tasks) * torch.softmax(rate / self.temperature, 0)

    def weighed(self, report: Report) -> Tensor:
        nothing = torch.zeros_like(report.total)
        shares = [report.shares.get(name, nothing) for name in self.tasks]
        weights = self.weights().to(nothing)
        total = report.total + sum((weight - 1) * loss for weight, loss in zip(weights, shares, strict=True))
        losses = distributed.mean(torch.stack(shares).detach())
        self.sums, self.seen = self.sums.to(losses) + losses, self.seen.to(losses) + (losses != 0)
        self.batches += 1
        if self.batches == self.period:
            self.means.append(self.sums / self.seen.clamp_min(1))
            self.sums, self.seen, self.batches = torch.zeros_like(self.sums), torch.zeros_like(self.seen), 0
        return total

    def state_dict(self) -> dict[str, Any]:
        return {"means": list(self.means), "sums": self.sums, "seen": self.seen, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.means = deque(state["means"], maxlen=2)
        self.sums, self.seen, self.batches = state["sums"], state["seen"], state["batches"]
