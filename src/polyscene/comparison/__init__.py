"""Runs side by side: mean and spread over seeds, and what each change did to all tasks at once."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from polyscene import document, tables
from polyscene.comparison.published import Published
from polyscene.evaluate import judgement
from polyscene.evaluate.judgement import DELTA, UNDEFINED, VIEWS, Judgement
from polyscene.metrics.delta import delta
from polyscene.tables import Table

FREE = {"seed", "out", "name"}  # what the runs of one arm may differ in
ANOTHER = "†"  # marks what was counted under another protocol


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
    """The runs of one name, which differ in nothing but their seed; ``judged`` is each run's, by source."""

    name: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    judged: tuple[Mapping[str, Judgement], ...]

    def values(self, column: Column) -> list[float]:
        """Of the runs that have it; NaN where it is undefined."""
        rows = (each[column.source].figures.get(column.task, {}) for each in self.judged if column.source in each)
        return [row[column.figure] for row in rows if column.figure in row]


@dataclass(frozen=True)
class Comparison:
    """``columns`` of every arm, and Δ_MTL of each evaluation source against the ``base`` arm. ``origin`` says who
    judged. ``published`` rows stand below those of the runs."""

    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    base: Arm
    origin: str
    published: Published | None = None

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(column.source for column in self.columns))

    def of(self, source: str, of_views: bool = False) -> list[Column]:
        """The columns of one evaluation source: the tasks' headlines, or cross-view consistency."""
        return [column for column in self.columns if (column.source, column.of_views) == (source, of_views)]

    def judgement(self, source: str) -> Judgement:
        """The base's; all were judged alike."""
        return self.base.judged[0][source]

    def delta(self, arm: Arm, source: str) -> list[float]:
        """Of each run of ``arm`` against the mean of the base's runs; NaN where a figure is undefined."""
        headlines = self.of(source)
        better = {column.task: column.higher_is_better for column in headlines}
        baseline = {column.task: mean(self.base.values(column)) for column in headlines}
        rows = [
            dict(zip(better, row, strict=True))
            for row in zip(*(arm.values(column) for column in headlines), strict=True)
        ]
        undefined = any(map(math.isnan, baseline.values()))
        return [
            math.nan if undefined or any(map(math.isnan, row.values())) else delta(row, baseline, better)
            for row in rows
        ]

    def tables(self) -> list[Table]:
        """A row an arm, mean ± standard deviation over its runs; the best of a column is bold. Below them published
        rows, those of another protocol marked."""
        return [table for source in self.sources for table in self._of(source)]

    def _of(self, source: str) -> Iterable[Table]:
        headlines, judged = self.of(source), self.judgement(source)
        notes = [f"Protocol {judged.protocol}; figures of {self.origin}"]
        notes += [judged.view] if judged.view else []
        notes += [f"{column.task}: {judged.tasks[column.task].words}" for column in headlines]
        rows = [[*self._row(arm, headlines), spread(self.delta(arm, source), signed=True)] for arm in self.arms]
        bold = best(rows, [*(column.higher_is_better for column in headlines), True])
        faint: set[tuple[int, int]] = set()
        if self.published and self.published.data in ("", source):
            for row in self.published.rows:
                cells = [_as_printed(row.figure(column.task, column.figure)) for column in headlines]
                if not any(cells):
                    continue
                mark = "" if row.protocol == judged.protocol else f" {ANOTHER}"
                faint |= {(len(rows), column) for column in range(len(cells) + 3)} if mark else set()
                rows.append([f"{row.name}{mark}", "", *(cell or "–" for cell in cells), "–"])
            sources = "; ".join(f"{row.name} ({row.source})" for row in self.published.rows)
            notes.append(f"Rows without a number of runs are published, {self.published.about}: {sources}")
            if faint:
                others = {row.protocol for row in self.published.rows} - {judged.protocol}
                notes.append(
                    f"{ANOTHER} counted under another protocol ({', '.join(sorted(others))}): does not compare"
                )
        head = ["", "runs", *(column.title for column in headlines), f"{DELTA} %"]
        split = f" ({judged.split})" if judged.split else ""
        yield Table(f"{source}{split}", head, rows, 1, bold, frozenset(faint), notes)
        if views := self.of(source, of_views=True):
            titles = ["", "runs", *(column.title.replace(VIEWS, "") for column in views)]
            body = [self._row(arm, views) for arm in self.arms]
            bold = best(body, [column.higher_is_better for column in views])
            yield Table(f"{source}{split}: do the views agree?", titles, body, 1, bold)

    def markdown(self) -> str:
        return "\n".join(map(tables.markdown, self.tables()))

    def latex(self) -> str:
        return "\n".join(map(tables.latex, self.tables()))

    def csv(self) -> str:
        """A row a figure of a run, in full precision: all figures, the headlines told apart by their direction."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("network", "run", "seed", "source", "split", "protocol", "task", "figure", "better", "value"))
        for arm in self.arms:
            for run, seed, judged in zip(arm.runs, arm.seeds, arm.judged, strict=True):
                for source, one in judged.items():
                    for name, task in one.tasks.items():
                        for figure, value in task.figures.items():
                            way = ("higher" if task.higher_is_better else "lower") if figure == task.headline else ""
                            told = UNDEFINED if math.isnan(value) else repr(float(value))
                            place = (arm.name, run, seed, source, one.split, one.protocol)
                            writer.writerow((*place, name, figure, way, told))
        return text.getvalue()

    def _row(self, arm: Arm, columns: Sequence[Column]) -> list[str]:
        return [arm.name, str(len(arm.runs)), *(spread(arm.values(column)) for column in columns)]


def compare(runs: Iterable[Path | str], base: str | None = None, published: Published | None = None) -> Comparison:
    """Finished runs by their names; ``base`` names the arm that Δ_MTL refers to, the first by default. Figures are
    those that ``polyscene eval`` wrote, if every run has such, else those of the trainings' own evaluation.

    ``ValueError`` for a run without figures, runs of one name that differ in more than their seed, arms that were not
    judged alike, and an unknown ``base``.
    """
    arms, origin = gather(runs)
    names = [arm.name for arm in arms]
    if base is not None and base not in names:
        raise ValueError(f"base {base!r} is none of the runs' names: {', '.join(names)}")
    columns = tuple(_columns(arms[0].judged[0]))
    _same_protocol(arms, columns)
    for arm in arms:
        for column in columns:
            if len(arm.values(column)) != len(arm.runs):
                raise ValueError(
                    f"{arm.name} has no {column.source} {column.title}; compare runs that were judged alike"
                )
    if published and published.data and published.data not in (sources := {column.source for column in columns}):
        raise ValueError(f"published figures are of {published.data!r}, the runs' of {', '.join(sorted(sources))}")
    return Comparison(tuple(arms), columns, arms[names.index(base) if base else 0], origin, published)


def find(places: Iterable[Path | str]) -> tuple[list[Path], list[Path]]:
    """Runs in ``places``: each a run, or a folder to search for runs, by path. Then those of the found that have no
    figures to compare yet, which are no mistake in a folder. ``ValueError`` for a place without runs."""
    named: dict[Path, None] = {}
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if (place / "config.yaml").is_file():
            named[place] = None
            continue
        inside = [file.parent for file in sorted(place.rglob("config.yaml"))]
        if not inside:
            raise ValueError(f"{place} is no run and holds none: there is no config.yaml in it")
        found |= dict.fromkeys(inside)
    every = list(named | found)
    judged = _judged(every)[0]
    waiting = [run for run in found if run not in named and not judged[run]]
    return [run for run in every if run not in waiting], waiting


def gather(runs: Iterable[Path | str]) -> tuple[list[Arm], str]:
    """Runs of one name together, in the order they are given; and who judged them."""
    places = list(dict.fromkeys(map(Path, runs)))
    if not places:
        raise ValueError("no runs are given")
    for run in places:
        if not (run / "config.yaml").is_file():
            raise ValueError(f"{run} is no run: it has no config.yaml")
    judged, origin = _judged(places)
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for run in places:
        if not judged[run]:
            raise ValueError(
                f"{run} was never judged; let it finish, with data.evaluate in its configuration, or judge all runs "
                "with polyscene eval"
            )
        settings = document.from_yaml((run / "config.yaml").read_text())
        found.setdefault(settings["name"], []).append((run, settings))
    for name, members in found.items():
        first = members[0]
        for run, settings in members[1:]:
            if other := sorted(key for key in settings if key not in FREE and settings[key] != first[1].get(key)):
                raise ValueError(f"{run} and {first[0]} are both {name!r} but differ in {', '.join(other)}; rename one")
    arms = [
        Arm(
            name,
            tuple(run for run, _ in members),
            tuple(int(settings.get("seed", 0)) for _, settings in members),
            tuple(judged[run] for run, _ in members),
        )
        for name, members in found.items()
    ]
    return arms, origin


def spread(values: Sequence[float], signed: bool = False) -> str:
    """Mean ± standard deviation of the sample; four digits of the mean, as papers print."""
    middle = mean(values)
    if math.isnan(middle):
        return UNDEFINED
    digits = 2 if signed else _digits(middle)
    sign = "+" if signed else ""
    told = round(middle, digits) + 0.0  # no -0.00
    return f"{told:{sign}.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def best(rows: Sequence[Sequence[str]], higher_is_better: Sequence[bool]) -> frozenset[tuple[int, int]]:
    """The cells (row, column) that tell the best mean of their column, from the third on; none where there is one row
    alone."""
    found: set[tuple[int, int]] = set()
    for column, higher in enumerate(higher_is_better, 2):
        means = {row: float(cells[column].split()[0]) for row, cells in enumerate(rows) if cells[column] != UNDEFINED}
        if len(means) > 1:
            top = max(means.values()) if higher else min(means.values())
            found |= {(row, column) for row, value in means.items() if value == top}
    return frozenset(found)


def _as_printed(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _digits(value: float) -> int:
    return max(0, 4 - len(str(int(abs(value))))) if abs(value) >= 1 else 4


def _judged(runs: Sequence[Path]) -> tuple[dict[Path, dict[str, Judgement]], str]:
    """Each run's judgements by source, and who made them."""
    by_eval = {run: judgement.of_evaluation(run) for run in runs}
    if all(by_eval.values()):
        return by_eval, "polyscene eval"
    return {run: judgement.of_training(run) for run in runs}, "the training's own evaluation"


def _same_protocol(arms: Sequence[Arm], columns: Sequence[Column]) -> None:
    first = arms[0]
    for arm in arms:
        for run, judged in zip(arm.runs, arm.judged, strict=True):
            for column in columns:
                one, other = first.judged[0].get(column.source), judged.get(column.source)
                if one is None or other is None or column.task not in other.tasks:
                    continue
                words, others = one.tasks[column.task].words, other.tasks[column.task].words
                if (one.protocol, words) != (other.protocol, others):
                    named = (one.protocol, other.protocol) if one.protocol != other.protocol else (words, others)
                    raise ValueError(
                        f"{column.source} {column.task} was judged under different protocols, which do not compare: "
                        f"{first.runs[0]}: {named[0]}; {run}: {named[1]}; judge both alike with polyscene eval "
                        "--protocol NAME"
                    )


def _columns(judged: Mapping[str, Judgement]) -> Iterable[Column]:
    for source, one in judged.items():
        for name, task in one.tasks.items():
            yield Column(source, name, task.headline, task.higher_is_better)
            for figure in task.figures:
                if figure.startswith(VIEWS) and not figure.endswith("pixels"):
                    yield Column(source, name, figure, figure.endswith("agreement"))
