"""Runs side by side as one page that needs nothing else: tables, curves, and depth as each of them sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import polyscene
from polyscene import config as configuration
from polyscene import depths, panels, report, tables
from polyscene.comparison import Arm, Comparison
from polyscene.panels import Facet
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
