"""What a network got, how that was counted and on how much. Importing this imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyscene.metrics.delta import delta
from polyscene.tables import Table

Figures = Mapping[str, Mapping[str, float]]  # by task, by figure
FILE = "metrics.json"
DELTA = "Δ_MTL"
VIEWS = "cross-view "  # how the figures of consistency begin
UNDEFINED = "undefined"  # what is told of a figure that nothing defines


@dataclass(frozen=True)
class Judged:
    """One task: its ``figures``, of which ``headline`` stands for it; ``words`` say how they were counted. ``images``
    and valid ``pixels`` they are of, where that is known."""

    figures: Mapping[str, float]
    headline: str
    higher_is_better: bool
    words: str
    images: int | None = None
    pixels: int | None = None

    @property
    def value(self) -> float:
        return self.figures.get(self.headline, math.nan)

    def title(self, figure: str) -> str:
        """The headline points to where it is better."""
        return f"{figure} {'↑' if self.higher_is_better else '↓'}" if figure == self.headline else figure


@dataclass(frozen=True)
class Judgement:
    """One source of labelled data, by task, under the ``protocol`` of that name.

    ``view``: what of which samples the network saw. ``floors``: figures of predictions that do not look at the image,
    by what these are. ``baseline``: the headline of networks of one task alone, by task.
    """

    tasks: Mapping[str, Judged]
    protocol: str
    of: str = ""
    split: str = ""
    samples: int | None = None
    view: str = ""
    notes: tuple[str, ...] = ()
    floors: Mapping[str, Figures] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        return {name: dict(task.figures) for name, task in self.tasks.items()}

    @property
    def delta(self) -> float:
        """Δ_MTL against the baseline, over the tasks it has; NaN where one of these is undefined, or there are none."""
        shared = [name for name in self.tasks if name in self.baseline]
        values = {name: self.tasks[name].value for name in shared}
        alone = {name: self.baseline[name] for name in shared}
        if not shared or any(map(math.isnan, (*values.values(), *alone.values()))):
            return math.nan
        return delta(values, alone, {name: self.tasks[name].higher_is_better for name in shared})

    def words(self) -> list[str]:
        """What must be told with the figures."""
        by = f"protocol {self.protocol}" + (f" ({self.of})" if self.of else "")
        told = [by, *([self.view] if self.view else []), *self.notes]
        if self.baseline:
            shared = [name for name in self.tasks if name in self.baseline]
            over = ", ".join(shared) or "no task: the baseline has none of these"
            told.append(f"{DELTA} {number(self.delta, '+.2f')} % against single tasks, over {over}")
        return told + [f"{name}: {task.words}" for name, task in self.tasks.items()]

    def headlines(self, title: str) -> Table:
        """A row a task, and what must be told with it."""
        alone = ["single task"] if self.baseline else []
        head = ["task", "figure", "network", *alone, *self.floors, "images", "valid pixels"]
        rows = []
        for name, task in self.tasks.items():
            beside = [number(self.baseline.get(name))] if alone else []
            beside += [number(by.get(name, {}).get(task.headline)) for by in self.floors.values()]
            seen = ["" if count is None else f"{count:,}" for count in (task.images, task.pixels)]
            rows.append([name, task.title(task.headline), number(task.value), *beside, *seen])
        split = f" ({self.split})" if self.split else ""
        return Table(f"{title}{split}", head, rows, 2, notes=self.words())

    def every_figure(self) -> Table:
        """A row a figure, the headlines bold."""
        rows: list[list[str]] = []
        bold: set[tuple[int, int]] = set()
        for name, task in self.tasks.items():
            for figure, value in task.figures.items():
                leads = figure == task.headline
                bold |= {(len(rows), 1), (len(rows), 2)} if leads else set()
                beside = (number(by.get(name, {}).get(figure)) for by in self.floors.values())
                rows.append([name if leads else "", task.title(figure), number(value), *beside])
        return Table("every figure", ["task", "figure", "network", *self.floors], rows, 2, frozenset(bold))

    def facts(self) -> dict[str, Any]:
        """JSON; null stands for what is undefined."""
        known = {
            name: {key: getattr(task, key) for key in ("headline", "higher_is_better", "words", "images", "pixels")}
            for name, task in self.tasks.items()
        }
        facts = {
            "split": self.split,
            "samples": self.samples,
            "protocol": {"name": self.protocol, "of": self.of, "view": self.view, "notes": list(self.notes)},
            "tasks": known,
            "figures": self.figures,
            "floors": self.floors,
        }
        return finite(facts | ({"baseline": self.baseline, "delta": self.delta} if self.baseline else {}))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Judgement:
        told, split, samples = facts["protocol"], facts["split"], facts["samples"]
        tasks = {
            name: Judged({key: _nan(value) for key, value in facts["figures"][name].items()}, **known)
            for name, known in facts["tasks"].items()
        }
        return cls(tasks, told["name"], told["of"], split, samples, told["view"], tuple(told["notes"]))


def number(value: float | None, form: str = "#.4g") -> str:
    return "" if value is None else UNDEFINED if math.isnan(value) else format(float(value), form).rstrip(".")


def finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def of_evaluation(place: Path | str) -> dict[str, Judgement]:
    """By source, what ``polyscene eval`` wrote into a run, or into the file ``place``; empty if it never did."""
    file = Path(place) if Path(place).is_file() else Path(place) / FILE
    if not file.is_file():
        return {}
    try:
        sources = json.loads(file.read_text(encoding="utf-8"))["sources"]
        return {name: Judgement.from_facts(facts) for name, facts in sources.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is none that this version wrote ({error!r}); run polyscene eval again") from None


def of_training(run: Path | str) -> dict[str, Judgement]:
    """By source, what the run's own evaluation found in the course of training; empty before there was one."""
    from polyscene import tasks, weights

    if not any((Path(run) / kind / "model.safetensors").is_file() for kind in ("best", "last")):
        return {}
    card = weights.read_card(run)
    metrics = {task.name: task.metric() for task in map(tasks.build, card["model"]["tasks"])}

    def judged(table: Mapping[str, Mapping[str, float | None]]) -> Iterable[tuple[str, Judged]]:
        for name, row in table.items():
            figures, metric = {key: _nan(value) for key, value in row.items()}, metrics[name]
            yield name, Judged(figures, metric.key, metric.higher_is_better, metric.words())

    found = card["facts"].get("metrics", {})
    return {source: Judgement(dict(judged(table)), "polyscene", "ours") for source, table in found.items()}


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
