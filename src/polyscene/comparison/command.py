"""``polyscene report``: runs found, compared, told and written down."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from polyscene import parts, tables
from polyscene.comparison import Comparison, compare, find
from polyscene.comparison.page import gallery, page
from polyscene.comparison.published import read
from polyscene.comparison.samples import extremes

FORMATS: Mapping[str, Callable[[Comparison, str], str]] = {
    "html": lambda comparison, command: page(comparison, gallery(comparison), extremes(comparison), command),
    "md": lambda comparison, _: comparison.markdown(),
    "tex": lambda comparison, _: comparison.latex(),
    "csv": lambda comparison, _: comparison.csv(),
}


def run(
    places: Sequence[Path],
    base: str | None,
    out: Path,
    formats: Sequence[str] = (),
    published: str | Path | None = None,
    console: Console | None = None,
) -> None:
    """Finds runs, prints their tables and writes ``out`` in each of ``formats``, names in ``FORMATS``; by default in
    that of its suffix."""
    formats = [name.strip().lower().lstrip(".") for name in formats] or [out.suffix.lstrip(".").lower() or "html"]
    for name in formats:
        if name not in FORMATS:
            raise ValueError(parts.unknown(name, FORMATS, "format of a report"))
    console = console or Console()
    runs, waiting = find(places)
    for each in waiting:
        console.print(f"{each} has no figures yet that the others have: left out", highlight=False, soft_wrap=True)
    comparison = compare(runs, base, read(published) if published else None)
    for table in comparison.tables():
        console.print(tables.console(table), highlight=False)
        for note in table.notes:
            console.print(note, highlight=False, markup=False, style="dim")
    words = ["polyscene", "report", *map(str, places), *(["--base", base] if base else []), "--out", str(out)]
    words += ["--published", str(published)] if published else []
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in formats:
        path = out.with_suffix(f".{name}")
        with console.status(f"writing {path.name}"):
            path.write_text(FORMATS[name](comparison, shlex.join(words)), encoding="utf-8")
        console.print(f"[bold]report[/] {path.resolve()}", highlight=False, soft_wrap=True)
