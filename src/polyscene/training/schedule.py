"""The learning rate over a run: a pure function of the step."""

from __future__ import annotations

import math

from polyscene.config import Schedule


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the base rate is multiplied by at ``step`` (from 0) of ``steps``.

    Linear warm-up over the first ``warmup`` share, reaching 1 at its last step. ``poly`` and ``cosine`` fall over what
    remains; the milestones of ``step`` are shares of all steps.
    """
    warm = round(schedule.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    match schedule.name:
        case "constant":
            return 1.0
        case "poly":
            return (1 - done) ** schedule.power
        case "step":
            return schedule.gamma ** sum(step >= milestone * steps for milestone in schedule.milestones)
        case "cosine":
            return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2
