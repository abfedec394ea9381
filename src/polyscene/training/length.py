"""How many steps a run takes. Found once and stored with the run, so that resuming it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from polyscene.config import Training

WARM, TIMED = 3, 6  # steps run before and while the clock counts
DEFAULT_EPOCHS = 10


@dataclass(frozen=True)
class Length:
    """``seconds`` a step and of one evaluation as measured, where the budget was one of time."""

    steps: int
    seconds_a_step: float | None = None
    seconds_an_evaluation: float | None = None


def stored(path: Path, find: Callable[[], Length]) -> Length:
    """The length in ``path``; else found now and stored there."""
    if path.exists():
        return Length(**json.loads(path.read_text()))
    length = find()
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(length)))
    fresh.replace(path)
    return length


def of_epochs(settings: Training, batches_an_epoch: int) -> Length:
    """From ``steps``, else ``epochs`` of the first source."""
    epochs = settings.epochs or DEFAULT_EPOCHS
    return Length(settings.steps or max(1, epochs * batches_an_epoch // settings.optimiser.accumulate))


def of_minutes(settings: Training, seconds_a_step: float, seconds_an_evaluation: float, spent: float) -> Length:
    """Steps that fit ``minutes`` beside what is ``spent`` already and the evaluations on the way and at the end."""
    assert settings.minutes is not None
    left = settings.minutes * 60 - spent - seconds_an_evaluation
    a_step = seconds_a_step + (seconds_an_evaluation / settings.evaluate_every if settings.evaluate_every else 0)
    return Length(max(1, int(left / a_step)), seconds_a_step, seconds_an_evaluation)


def seconds_a_step(durations: Iterable[float]) -> float:
    """The median of single steps' durations, the first ``WARM`` left out."""
    return median(list(durations)[WARM:])
