"""Curves of a run, drawn from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from polyscene.tasks import Task

COLUMNS = 4


def draw(records: list[dict[str, Any]], tasks: Mapping[str, Task], floors: Mapping[str, Any], path: Path) -> None:
    """Every loss, then every task's headline figure a source, its floor dashed, over the steps."""
    plots = [*_losses(records), *_metrics(records, tasks, floors)]
    if not plots:
        return
    rows = -(-len(plots) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3 * rows))
    edge = 0.3 / rows
    figure.subplots_adjust(left=0.03, right=0.99, bottom=edge / 3, top=1 - edge / 3, wspace=0.15, hspace=0.3)
    for index, (title, lines, dashed) in enumerate(plots):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2, marker="." if len(points) < 20 else "")
            if name in dashed:
                axes.axhline(dashed[name], linestyle="--", linewidth=0.8, color=axes.lines[-1].get_color())
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize=7)
    fresh = path.with_name(f"{path.stem}.new.png")
    figure.savefig(fresh, dpi=90)
    fresh.replace(path)


Plot = tuple[str, dict[str, list[tuple[int, float]]], dict[str, float]]  # title, lines by name, floors by line


def _losses(records: list[dict[str, Any]]) -> list[Plot]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        if record["kind"] == "train":
            for name, value in record["losses"].items():
                lines.setdefault(name, []).append((record["step"], value))
    return [(f"{name} (training)", {name: points}, {}) for name, points in lines.items()]


def _metrics(records: list[dict[str, Any]], tasks: Mapping[str, Task], floors: Mapping[str, Any]) -> list[Plot]:
    plots: list[Plot] = []
    for name, task in tasks.items():
        key = task.metric().key
        lines: dict[str, list[tuple[int, float]]] = {}
        for record in records:
            if record["kind"] == "evaluate":
                for source, by_task in record["figures"].items():
                    if name in by_task:
                        figure = by_task[name][key]
                        lines.setdefault(source, []).append((record["step"], math.nan if figure is None else figure))
        if lines:
            dashed = {source: floors[source][name][key] for source in lines}
            plots.append((f"{name} {key} (evaluation)", lines, dashed))
    return plots
