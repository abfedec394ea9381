"""Runs side by side as one page that needs nothing else: tables, curves, and depth as each of them sees it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.console import Console

import polyscene
from polyscene import config as configuration
from polyscene import depths, panels, parts, report, tables
from polyscene.comparison import Arm, Comparison, compare, find
from polyscene.panels import Facet
from polyscene.published import read
from polyscene.report import Curve
from polyscene.tasks import Depth
from polyscene.training import records
from polyscene.types import Batch, Target

SCENES = 3
NOTES = {
    "best plane": "Best plane: the depth at which a view matches its neighbours best in the cost volume, before the "
    "decoder makes anything of it; grey where no neighbour looks.",
    "triplane": "Triplane: depth rendered from the volume that only training has.",
}
COLOURS = ("#2f6fdb", "#e07b22", "#1d9a6c", "#b5459c", "#c9a400", "#5aa9e6", "#d1483f", "#7a6ad8")  # of arms, in turn


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


@dataclass(frozen=True)
class Gallery:
    """Depth in ``scenes``: the labels, and by arm what its first run sees, by what it is."""

    scenes: Batch
    truth: Target
    seen: Mapping[str, Mapping[str, Target]]


def gallery(comparison: Comparison, count: int = SCENES) -> Gallery | None:
    """All arms look at the same scenes, those of the base's configuration. None where nothing labels depth."""
    first = comparison.base.runs[0]
    base = depths.trained(first)
    scenes = depths.scenes(configuration.load(first / "config.yaml"), base, count)
    if scenes is None:
        return None
    truth = depths.in_metres(scenes.targets, base.tasks)
    assert truth is not None
    seen = {
        arm.name: depths.seen(base if arm is comparison.base else depths.trained(arm.runs[0]), scenes)
        for arm in comparison.arms
    }
    return Gallery(scenes, truth, seen)


def page(comparison: Comparison, pictures: Gallery | None, command: str = "") -> str:
    plots = report.Plots()
    arms = comparison.arms
    title = " and ".join(arm.name for arm in arms) if len(arms) < 3 else f"{len(arms)} networks side by side"
    runs = sum(len(arm.runs) for arm in arms)
    told = f"Mean ± standard deviation over seeds, {runs} runs in all." if runs > len(arms) else "One run of each."
    lead = (
        f"{told} Δ_MTL is the mean relative gain over all tasks against {comparison.base.name}; more is better. The "
        "best of each column is bold."
    )
    sections = [
        f"<header>{report.heading(f'Polyscene {polyscene.__version__} · report', title, lead)}</header>",
        *map(tables.html, comparison.tables()),
        _gallery(pictures) if pictures else "",
        _curves(arms, plots),
        report.footer(command, {arm.name: ", ".join(map(str, arm.runs)) for arm in arms}),
    ]
    return report.document(title, sections, plots)


def _curves(arms: Sequence[Arm], plots: report.Plots) -> str:
    """The losses that every run has, but for totals, which add up different things."""
    told = {
        run: [record for record in records.read(run / "metrics.jsonl") if record["kind"] == "train"]
        for arm in arms
        for run in arm.runs
    }
    if not all(told.values()):
        return ""
    names = [name for name in next(iter(told.values()))[-1]["losses"] if name not in ("loss", "gradient norm")]
    names = [name for name in names if all(name in each[-1]["losses"] for each in told.values())]
    coloured = [(arm, COLOURS[number % len(COLOURS)]) for number, arm in enumerate(arms)]

    def curves(loss: str) -> Iterator[Curve]:
        for arm, colour in coloured:
            for run in arm.runs:
                kept = [record for record in told[run] if loss in record["losses"]]
                steps, values = [float(record["step"]) for record in kept], [record["losses"][loss] for record in kept]
                yield Curve(arm.name, steps, values, colour=colour)

    drawn = "".join(
        f"<div><h3>{escape(name)} loss</h3>{plots.place(report.draw_curves(list(curves(name))))}</div>"
        for name in names
    )
    key = "".join(f'<span><i style="background:{colour}"></i>{escape(arm.name)}</span>' for arm, colour in coloured)
    return (
        '<section><h2>Training</h2><p class="note">By step, a line a run, smoothed.</p>'
        f'<div class="legend">{key}</div><div class="curves">{drawn}</div></section>'
    )


def _gallery(pictures: Gallery) -> str:
    task = Depth()
    truth = pictures.truth.map(lambda tensor: tensor[:, 0])
    labelled = truth.value[truth.valid]
    limits = task.limits(labelled)
    legend = report.draw_legend(task.legend(labelled[None, None], **limits))

    def facet(target: Target, index: int, title: str) -> Facet:
        value, valid = (tensor[index, 0, 0].float().numpy() for tensor in (target.value, target.valid))
        return panels.facet(task, value, title, limits, valid > 0)

    rows = []
    for index, name in enumerate(pictures.scenes.meta):
        photo = (pictures.scenes.images[index, 0].movedim(0, -1) * 255).round().byte().numpy()
        shown = [_group(name, [Facet("picture", photo), facet(pictures.truth, index, "true depth")])]
        for arm, maps in pictures.seen.items():
            shown.append(_group(arm, [facet(target, index, title) for title, target in maps.items()]))
        rows.append(f'<div class="arms">{"".join(shown)}</div>')
    titles = {title for maps in pictures.seen.values() for title in maps}
    notes = "".join(f" {escape(note)}" for title, note in NOTES.items() if title in titles)
    return (
        '<section><h2>Depth</h2><p class="note">Scenes that are judged, taken evenly and not by how well they came '
        f"out, as the first run of each network sees them, in one range of colours.{notes}</p>"
        f'<div class="one key"><div>{legend}</div></div>{"".join(rows)}</section>'
    )


def _group(name: str, facets: Sequence[Facet]) -> str:
    figures = "".join(
        f"<figure>{report.draw_picture(item)}<figcaption>{escape(item.title)}</figcaption></figure>" for item in facets
    )
    return f'<div class="arm"><h3>{escape(name)}</h3><div>{figures}</div></div>'


FORMATS: Mapping[str, Callable[[Comparison, str], str]] = {
    "html": lambda comparison, command: page(comparison, gallery(comparison), command),
    "md": lambda comparison, _: comparison.markdown(),
    "tex": lambda comparison, _: comparison.latex(),
    "csv": lambda comparison, _: comparison.csv(),
}
