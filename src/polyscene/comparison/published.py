"""Figures that papers report, to stand beside one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyscene import document, parts
from polyscene.metrics.protocols import PROTOCOLS

PAPERS = Path(__file__).with_name("papers")
ROW = {"model", "encoder", "protocol", "source"}


@dataclass(frozen=True)
class Row:
    """One network: its headline by task; ``figures`` names what is counted, by task."""

    name: str
    protocol: str
    source: str
    values: Mapping[str, float]
    figures: Mapping[str, str]

    def figure(self, task: str, figure: str) -> float | None:
        return self.values.get(task) if self.figures.get(task) == figure else None


@dataclass(frozen=True)
class Published:
    """``rows`` on one set of ``data`` ("": any), and what they are ``about``."""

    about: str
    data: str
    rows: tuple[Row, ...]


def read(name: str | Path) -> Published:
    """A table of the package by its name (``nyuv2``, ``pascal_context``), or a YAML file with ``about``, ``data`` (the
    name of the evaluation source), ``figures`` (by task, which is counted) and ``rows``, each of ``model``,
    ``encoder``, ``protocol``, ``source`` and a number a task. ``ValueError`` names what is wrong."""
    file = Path(name)
    if not file.is_file():
        known = sorted(each.stem for each in PAPERS.glob("*.yaml"))
        if str(name) not in known:
            raise ValueError(f"{name} is no file, nor one of the published tables: {', '.join(known)}")
        file = PAPERS / f"{name}.yaml"
    try:
        keys = document.from_yaml(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, document.BadText) as error:
        raise ValueError(f"{file} is no YAML: {error}") from None
    if not isinstance(keys, dict) or not {"about", "figures", "rows"} <= keys.keys():
        raise ValueError(f"{file} needs `about`, `figures` and `rows`; see those in polyscene/comparison/papers")
    rows = []
    for number, row in enumerate(keys["rows"], 1):
        where = f"{file}, row {number}"
        if missing := sorted(ROW - row.keys()):
            raise ValueError(f"{where} lacks {', '.join(missing)}")
        if row["protocol"] not in PROTOCOLS:
            raise ValueError(f"{where}: {parts.unknown(row['protocol'], PROTOCOLS, 'protocol')}")
        values = {task: value for task, value in row.items() if task not in ROW}
        for task, value in values.items():
            if task not in keys["figures"] or isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{where}: {task}: {value!r} is no number of {', '.join(keys['figures'])}")
        name = f"{row['model']}, {row['encoder']}"
        rows.append(Row(name, row["protocol"], row["source"], values, keys["figures"]))
    return Published(str(keys["about"]), str(keys.get("data") or ""), tuple(rows))
