"""Balancing by gradients: each task is differentiated on its own, and torchjd joins them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polyscene.balancing.base import Balancing
from polyscene.ranges import Amount
from polyscene.training import distributed
from polyscene.types import Report


class Aggregating(Balancing):
    """Methods that join the tasks' gradients, by torchjd (extra: jd).

    Each task is differentiated on its own, one after the other: joint differentiation fails through custom kernels and
    is slower. Parameters that two or more tasks reach get the joint gradient, the others their task's. Of a step with
    several batches each is joined by itself. A task without gradient, such as one without labels, is left out. Of
    several ranks, their mean gradients are joined.
    """

    by_task = True
    aggregator: ClassVar[str]  # in torchjd.aggregation

    def __init__(self, tasks: Sequence[str], **options: Any) -> None:
        super().__init__(tasks)
        self.options = options
        self._made: dict[int, Any] = {}
        self._of(len(self.tasks))  # what is not installed is told now

    def backward(self, report: Report, scaled: Callable[[Tensor], Tensor], trained: Sequence[nn.Parameter]) -> None:
        rows: list[tuple[Tensor | None, ...]] = []
        losses = [loss for loss in report.shares.values() if loss.requires_grad]
        for place, loss in enumerate(losses, 1):
            more = place < len(losses) or report.others is not None  # the last one may free the graph
            row = distributed.averaged(torch.autograd.grad(scaled(loss), trained, retain_graph=more, allow_unused=True))
            rows += [row] if _length(row) != 0 else []
        if report.others is not None:
            scaled(report.others).backward()
        shared = []
        for place, parameter in enumerate(trained):
            found = [part for row in rows if (part := row[place]) is not None]
            if len(found) == 1:
                _add(parameter, found[0])
            elif found:
                shared.append(place)
        if shared:
            parameters = [trained[place] for place in shared]
            matrix = torch.stack([_flat([row[place] for place in shared], parameters) for row in rows])
            joint = self._joint(matrix, scaled(matrix.new_ones(())))
            distributed.as_first([joint])  # some methods draw
            for parameter, part in zip(parameters, joint.split([each.numel() for each in parameters]), strict=True):
                _add(parameter, part.view(parameter.shape))

    def _joint(self, matrix: Tensor, scale: Tensor) -> Tensor:
        """Of gradients that are ``scale`` times too long, as fp16 has them: some methods bound the length of theirs.
        Where fp16 has overflowed, the plain sum, at which the scaler lets the step out."""
        if not matrix.isfinite().all():
            return matrix.sum(0)
        return self._of(len(matrix))(matrix / scale) * scale

    def _of(self, count: int) -> Any:
        """The aggregator of ``count`` gradients."""
        if count not in self._made:
            try:
                from torchjd import aggregation

                self._made[count] = self.make(aggregation, count)
            except ImportError as error:
                raise ValueError(
                    f"training.balancing {type(self).__name__} needs {error.name}: pip install 'polyscene[jd]'"
                ) from None
        return self._made[count]

    def make(self, aggregation: Any, count: int) -> Any:
        """It, of torchjd's module ``aggregation``."""
        return getattr(aggregation, self.aggregator)(**self.options)


class PCGrad(Aggregating):
    """Conflicting gradients projected onto each other's normal planes, in random order (Yu et al., NeurIPS 2020)."""

    aggregator = "PCGrad"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)


class CAGrad(Aggregating):
    """The direction within ``c`` times the mean gradient's length of it that helps the worst-off task most (Liu et al.,
    NeurIPS 2021)."""

    aggregator = "CAGrad"

    def __init__(self, tasks: Sequence[str], c: Amount = 0.4) -> None:
        super().__init__(tasks, c=c)


class MGDA(Aggregating):
    """The shortest vector in the gradients' convex hull (Désidéri 2012; Sener and Koltun, NeurIPS 2018)."""

    aggregator = "MGDA"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)


class NashMTL(Aggregating):
    """The Nash bargaining solution (Navon et al., ICML 2022). The solver starts anew at every update, so that a resumed
    run goes on as it would have."""

    aggregator = "NashMTL"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)

    def make(self, aggregation: Any, count: int) -> Any:
        made = aggregation.NashMTL(n_tasks=count)

        def solve(matrix: Tensor) -> Tensor:
            made.reset()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP")
                return made(matrix)

        return solve


class AlignedMTL(Aggregating):
    """The gradient matrix with all its singular values made equal (Senushkin et al., CVPR 2023)."""

    aggregator = "AlignedMTL"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)


class UPGrad(Aggregating):
    """Every gradient projected onto the cone that conflicts with none, then averaged (Quinton and Rey, 2024)."""

    aggregator = "UPGrad"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)


def _length(row: Sequence[Tensor | None]) -> float:
    """The sum of the lengths of a gradient's parts."""
    found = [part for part in row if part is not None]
    return float(torch.stack(list(torch._foreach_norm(found))).sum()) if found else 0.0


def _flat(parts: Sequence[Tensor | None], like: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat(
        [
            parameter.new_zeros(parameter.numel()) if part is None else part.reshape(-1)
            for part, parameter in zip(parts, like, strict=True)
        ]
    )


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    parameter.grad = gradient.to(parameter) if parameter.grad is None else parameter.grad + gradient
