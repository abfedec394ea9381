"""Δ_MTL: one number for what a change did to all tasks."""

from __future__ import annotations

from collections.abc import Mapping


def delta(figures: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """The mean over tasks of the change against the baseline, in percent of the baseline's figure, positive where it is
    better (Maninis et al., Attentive Single-Tasking of Multiple Tasks, CVPR 2019, eq. 4).

    One figure a task, by task. ``ValueError`` where the tasks differ or a baseline's figure is 0.
    """
    if figures.keys() != baseline.keys() or not figures:
        raise ValueError(f"figures are of {sorted(figures)} and the baseline's of {sorted(baseline)}; they must agree")
    if zero := [name for name, figure in baseline.items() if figure == 0]:
        raise ValueError(f"the baseline's figure of {', '.join(zero)} is 0: no change can be told in percent of it")
    changes = [
        (figures[name] - baseline[name]) / abs(baseline[name]) * (1 if higher_is_better[name] else -1)
        for name in figures
    ]
    return 100 * sum(changes) / len(changes)
