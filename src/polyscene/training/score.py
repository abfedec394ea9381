"""One number to choose the best checkpoint by."""

from __future__ import annotations

import math
from collections.abc import Mapping

from polyscene.tasks import Task

Figures = Mapping[str, Mapping[str, Mapping[str, float]]]  # source -> task -> figure -> value


def score(figures: Figures, floors: Figures, tasks: Mapping[str, Task]) -> float:
    """The share of the floor's error that the model takes away, averaged over tasks and sources; 1 is perfect, 0 no
    better than a prediction that does not look at the image.

    A task's error is its headline figure where less is better, and what is missing to 100 where more is. Figures that
    are NaN (nothing valid was seen) do not count; NaN if none does.
    """
    shares = []
    for source, by_task in figures.items():
        for name, measured in by_task.items():
            metric = tasks[name].metric()
            error, floor = (
                100 - table[metric.key] if metric.higher_is_better else table[metric.key]
                for table in (measured, floors[source][name])
            )
            share = 1 - error / floor if floor else math.nan
            if math.isfinite(share):
                shares.append(share)
    return sum(shares) / len(shares) if shares else math.nan
