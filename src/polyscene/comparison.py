"""Runs side by side: mean and spread over seeds, and what each change did to all tasks at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from polyscene import tasks, weights
from polyscene.metrics.delta import delta
from polyscene.tasks import Task

Figures = Mapping[str, Mapping[str, float]]  # by task, by figure
FREE = {"seed", "out", "name"}  # what the runs of one arm may differ in
DELTA = "Δ_MTL %"
VIEWS = "cross-view "  # how the figures of consistency begin


@dataclass(frozen=True)
class Column:
    """One figure: of which evaluation source and task, and which way is better."""

    source: str
    task: str
    figure: str
    higher_is_better: bool

    @property
    def title(self) -> str:
        return f"{self.task} {self.figure} {'↑' if self.higher_is_better else '↓'}"

    @property
    def of_views(self) -> bool:
        return self.figure.startswith(VIEWS)


@dataclass(frozen=True)
class Arm:
    """The runs of one name, which differ in nothing but their seed; ``figures`` are those of each run."""

    name: str
    runs: tuple[Path, ...]
    figures: tuple[dict[str, Figures], ...]

    def values(self, column: Column) -> list[float]:
        table = [each.get(column.source, {}).get(column.task, {}) for each in self.figures]
        return [float(row[column.figure]) for row in table if row.get(column.figure) is not None]


@dataclass(frozen=True)
class Comparison:
    """``columns`` of every arm, and Δ_MTL of each evaluation source against the ``base`` arm."""

    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    base: Arm

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(column.source for column in self.columns))

    def of(self, source: str, of_views: bool = False) -> list[Column]:
        """The columns of one evaluation source: the tasks' headlines, or cross-view consistency."""
        return [column for column in self.columns if (column.source, column.of_views) == (source, of_views)]

    def delta(self, arm: Arm, source: str) -> list[float]:
        """Of each run of ``arm`` against the mean of the base's runs."""
        headlines = self.of(source)
        better = {column.task: column.higher_is_better for column in headlines}
        baseline = {column.task: mean(self.base.values(column)) for column in headlines}
        rows = zip(*(arm.values(column) for column in headlines), strict=True)
        return [delta(dict(zip(better, row, strict=True)), baseline, better) for row in rows]

    def tables(self) -> dict[str, list[list[str]]]:
        """By title, rows of cells: titles first, then an arm each, mean ± standard deviation over its runs."""
        tables = {}
        for source in self.sources:
            headlines = self.of(source)
            titles = ["", "runs", *(column.title for column in headlines), DELTA]
            body = [[*self._row(arm, headlines), spread(self.delta(arm, source), signed=True)] for arm in self.arms]
            tables[source] = [titles, *body]
            if views := self.of(source, of_views=True):
                titles = ["", "runs", *(column.title.replace(VIEWS, "") for column in views)]
                tables[f"{source}: do the views agree?"] = [titles, *(self._row(arm, views) for arm in self.arms)]
        return tables

    def markdown(self) -> str:
        parts = []
        for title, (titles, *body) in self.tables().items():
            lines = [titles, ["---", *("---:" for _ in titles[1:])], *body]
            parts.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
        return "\n".join(parts)

    def _row(self, arm: Arm, columns: Sequence[Column]) -> list[str]:
        return [arm.name, str(len(arm.runs)), *(spread(arm.values(column)) for column in columns)]


def compare(runs: Iterable[Path | str], base: str | None = None) -> Comparison:
    """Finished runs by their names; ``base`` names the arm that Δ_MTL refers to, the first by default.

    ``ValueError`` for a run without figures, runs of one name that differ in more than their seed, arms that were not
    judged alike, and an unknown ``base``.
    """
    arms = gather(runs)
    names = [arm.name for arm in arms]
    if base is not None and base not in names:
        raise ValueError(f"base {base!r} is none of the runs' names: {', '.join(names)}")
    judged = _tasks(arms[0].runs[0])
    columns = tuple(_columns(arms[0].figures[0], judged))
    for arm in arms:
        for column in columns:
            if len(arm.values(column)) != len(arm.runs):
                raise ValueError(
                    f"{arm.name} has no {column.source} {column.title}; compare runs that were judged alike"
                )
    return Comparison(tuple(arms), columns, arms[names.index(base) if base else 0])


def find(places: Iterable[Path | str]) -> tuple[list[Path], list[Path]]:
    """Runs in ``places``: each a run, or a folder to search for runs, by path. Then those of the found that were not
    judged yet, which are no mistake in a folder. ``ValueError`` for a place without runs."""
    judged: dict[Path, None] = {}
    waiting: dict[Path, None] = {}
    for place in map(Path, places):
        if (place / "config.yaml").is_file():
            judged[place] = None
            continue
        found = [file.parent for file in sorted(place.rglob("config.yaml"))]
        if not found:
            raise ValueError(f"{place} is no run and holds none: there is no config.yaml in it")
        for run in found:
            (judged if _figures(run) else waiting)[run] = None
    return list(judged), list(waiting)


def gather(runs: Iterable[Path | str]) -> list[Arm]:
    """Runs of one name together, in the order they are given."""
    found: dict[str, list[tuple[Path, dict[str, Any], dict[str, Figures]]]] = {}
    for run in map(Path, runs):
        file = run / "config.yaml"
        if not file.is_file():
            raise ValueError(f"{run} is no run: it has no config.yaml")
        settings = yaml.safe_load(file.read_text())
        figures = _figures(run)
        if not figures:
            raise ValueError(f"{run} was never judged; let it finish, with data.evaluate in its configuration")
        found.setdefault(settings["name"], []).append((run, settings, figures))
    if not found:
        raise ValueError("no runs are given")
    for name, members in found.items():
        first = members[0]
        for run, settings, _ in members[1:]:
            if other := sorted(key for key in settings if key not in FREE and settings[key] != first[1].get(key)):
                raise ValueError(f"{run} and {first[0]} are both {name!r} but differ in {', '.join(other)}; rename one")
    return [
        Arm(name, tuple(run for run, _, _ in members), tuple(figures for _, _, figures in members))
        for name, members in found.items()
    ]


def spread(values: Sequence[float], signed: bool = False) -> str:
    """Mean ± standard deviation of the sample, in as many digits as the mean deserves."""
    middle = mean(values)
    digits = max(0, 3 - len(str(int(abs(middle))))) if abs(middle) >= 1 else 3
    digits = 2 if signed else digits
    sign = "+" if signed else ""
    return f"{middle:{sign}.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def _figures(run: Path) -> dict[str, Figures]:
    """None before the run was judged."""
    if not any((run / kind / "model.safetensors").is_file() for kind in ("best", "last")):
        return {}
    figures: dict[str, Figures] = weights.read_card(run)["facts"].get("metrics", {})
    return figures


def _tasks(run: Path) -> dict[str, Task]:
    return {task.name: task for task in map(tasks.build, weights.read_card(run)["model"]["tasks"])}


def _columns(figures: Mapping[str, Figures], judged: Mapping[str, Task]) -> Iterable[Column]:
    for source, table in figures.items():
        for name, row in table.items():
            metric = judged[name].metric()
            yield Column(source, name, metric.key, metric.higher_is_better)
            for figure in row:
                if figure.startswith(VIEWS) and not figure.endswith("pixels"):
                    yield Column(source, name, figure, figure.endswith("agreement"))
