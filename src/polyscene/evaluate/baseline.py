"""Figures of networks that do one task alone, against which Δ_MTL is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from polyscene import document
from polyscene.evaluate import judgement
from polyscene.evaluate.judgement import Judgement

HOW = "give a run, a metrics.json, or a YAML file of `task: figure` lines"


class Baseline:
    """Read from ``places``, which together name each task once: runs, files that ``polyscene eval`` wrote, or YAML or
    JSON files of ``task: figure`` and, if it is to be checked, ``protocol: NAME``. ``ValueError`` names what is wrong.
    """

    def __init__(self, places: Iterable[str | Path]) -> None:
        self.typed: dict[str, float] = {}
        self.judged: dict[Path, dict[str, Judgement]] = {}
        self.protocols: dict[str, Path] = {}
        for place in map(Path, places):
            if not place.exists():
                raise FileNotFoundError(f"baseline {place} does not exist; {HOW}")
            if place.is_dir():
                found = judgement.of_evaluation(place) or judgement.of_training(place)
                if not found:
                    raise ValueError(f"baseline {place} was never judged; {HOW}")
                self.judged[place] = found
                continue
            self._read(place)

    def _read(self, file: Path) -> None:
        try:
            keys = document.from_yaml(file.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, document.BadText):
            keys = None
        if not isinstance(keys, dict) or not keys:
            raise ValueError(f"baseline {file} is no mapping; {HOW}")
        if "sources" in keys:
            self.judged[file] = judgement.of_evaluation(file)
            return
        if (name := keys.pop("protocol", None)) is not None:
            self.protocols[str(name)] = file
        for task, figure in keys.items():
            if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
                raise ValueError(f"baseline {file}: {task}: {figure!r} is no number; {HOW}")
            _add(self.typed, str(task), float(figure), file)

    def of(self, source: str, protocol: str, words: Mapping[str, str]) -> dict[str, float]:
        """The headline by task, for figures of ``source``. ``ValueError`` where it was counted otherwise: under another
        protocol, or not as the ``words`` of the task say."""
        if wrong := {name: file for name, file in self.protocols.items() if name != protocol}:
            raise ValueError(_differ(*wrong.popitem(), protocol))
        found = dict(self.typed)
        for place, sources in self.judged.items():
            if source not in sources and len(sources) > 1:
                raise ValueError(f"baseline {place} was judged on {', '.join(sources)}, none of which is {source!r}")
            chosen = sources.get(source) or next(iter(sources.values()))
            if chosen.protocol != protocol:
                raise ValueError(_differ(chosen.protocol, place, protocol))
            for name, task in chosen.tasks.items():
                if words.get(name, task.words) != task.words:
                    raise ValueError(
                        f"{name} of baseline {place} was counted otherwise ({task.words}) than here ({words[name]}); "
                        "judge both alike"
                    )
                _add(found, name, task.value, place)
        return found


def _differ(name: str, place: Path, protocol: str) -> str:
    return f"baseline {place} is of protocol {name!r}, not {protocol!r}; judge both under one (--protocol)"


def _add(found: dict[str, float], task: str, figure: float, place: Path) -> None:
    if task in found:
        raise ValueError(f"baseline {place} gives {task} a second time; name every task once")
    if figure == 0:
        raise ValueError(f"baseline {place}: {task} is 0, and no change can be told in percent of it; leave it out")
    found[task] = figure
