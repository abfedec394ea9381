"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]  # keys from the top of the file down
NOTHING: Any = object()


@dataclass(frozen=True)
class Problem:
    """``place`` in the configuration, ``message`` with the remedy, and the ``value`` found there, if that helps."""

    place: Place
    message: str
    value: Any = NOTHING

    def __str__(self) -> str:
        where = ".".join(map(str, self.place)) or "configuration"
        value = "" if self.value is NOTHING else f" = {_short(self.value)}"
        return f"{where}{value}: {self.message}"


class ConfigError(ValueError):
    """All that is wrong, one line each. ``lines`` says where in the ``file`` a place is written; what it does not know
    came from the command line if ``overridden`` says so."""

    def __init__(
        self,
        problems: Iterable[Problem],
        file: str = "",
        lines: Mapping[Place, int] | None = None,
        overridden: Iterable[Place] = (),
    ) -> None:
        self.problems = sorted(problems, key=lambda problem: _line(problem.place, lines or {}))
        typed = set(overridden)
        told = []
        for problem in self.problems:
            line = _line(problem.place, lines or {})
            source = "command line" if problem.place in typed else f"{file}:{line}" if line else file
            told.append(f"{source}: {problem}" if source else str(problem))
        count = f"{len(told)} problems" if len(told) > 1 else "a problem"
        super().__init__("\n".join([f"{count} in the configuration", *(f"  {line}" for line in told)]))


def _line(place: Place, lines: Mapping[Place, int]) -> int:
    """Of the place, or of the nearest one that holds it; 0 if it is not in the file."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)


def _short(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
