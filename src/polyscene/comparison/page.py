"""Runs side by side as one page that needs nothing else: tables, bars, curves, the samples they find easiest and
hardest, depth as each of them sees it, and points to turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

import polyscene
from polyscene import config as configuration
from polyscene import depths, panels, report, tables
from polyscene.comparison import Arm, Comparison
from polyscene.comparison.samples import Extremes, Sample
from polyscene.panels import Facet
from polyscene.report import Curve
from polyscene.tasks import Depth
from polyscene.training import records
from polyscene.types import Batch, Target

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SCENES = 3
CLOUDS, POINTS = 2, 16_000
WRONG = (196, 38, 46)
NOTES = {
    "best plane": "Best plane: the depth at which a view matches its neighbours best in the cost volume, before the "
    "decoder makes anything of it; grey where no neighbour looks.",
    "triplane": "Triplane: depth rendered from the volume that only training has.",
}
IOU = "IoU "  # how the figures of single classes begin
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


def page(comparison: Comparison, pictures: Gallery | None, extremes: Extremes | None = None, command: str = "") -> str:
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
        _bars(comparison, plots),
        _extremes(extremes, comparison) if extremes else "",
        _clouds(extremes, comparison, plots) if extremes else "",
        _gallery(pictures) if pictures else "",
        _curves(arms, plots),
        report.footer(command, {arm.name: ", ".join(map(str, arm.runs)) for arm in arms}),
    ]
    return report.document(title, sections, plots)


def _coloured(arms: Sequence[Arm]) -> list[tuple[Arm, str]]:
    return [(arm, COLOURS[number % len(COLOURS)]) for number, arm in enumerate(arms)]


def _legend(arms: Sequence[Arm]) -> str:
    named = (f'<span><i style="background:{colour}"></i>{escape(arm.name)}</span>' for arm, colour in _coloured(arms))
    return f'<div class="legend">{"".join(named)}</div>'


def _bars(comparison: Comparison, plots: report.Plots) -> str:
    """Every class of every task that has figures of them."""
    drawn = []
    for source in comparison.sources:
        for name, judged in comparison.judgement(source).tasks.items():
            if classes := [figure for figure in judged.figures if figure.startswith(IOU)]:
                heading = f"<h3>{escape(source)}: {escape(name)}</h3>"
                drawn.append(heading + plots.place(_class_bars(comparison, source, name, classes)))
    if not drawn:
        return ""
    note = "Intersection over union, %; whiskers are the standard deviation over seeds."
    head = f'<h2>Class by class</h2><p class="note">{note}</p>{_legend(comparison.arms)}'
    return f"<section>{head}{''.join(drawn)}</section>"


def _class_bars(comparison: Comparison, source: str, task: str, figures: Sequence[str]) -> Figure:
    from plotly import graph_objects as go

    base = comparison.judgement(source).tasks[task].figures
    figures = sorted(figures, key=lambda figure: -base[figure])
    drawn = go.Figure()
    for arm, colour in _coloured(comparison.arms):
        found = [[run[source].tasks[task].figures.get(figure, 0.0) for run in arm.judged] for figure in figures]
        drawn.add_bar(
            name=arm.name,
            x=[figure.removeprefix(IOU) for figure in figures],
            y=[round(mean(values), 2) for values in found],
            error_y={"array": [round(stdev(values), 2) for values in found], "thickness": 1}
            if len(arm.runs) > 1
            else None,
            marker={"color": colour, "line": {"width": 0}},
        )
    axis = {"gridcolor": "rgba(128,134,139,.18)", "zeroline": False}
    return drawn.update_layout(
        height=280,
        margin={"l": 36, "r": 6, "t": 10, "b": 60},
        showlegend=False,
        barmode="group",
        bargap=0.35,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#80868b", "size": 12},
        xaxis={**axis, "showgrid": False},
        yaxis={**axis, "nticks": 6},
    )


def _extremes(extremes: Extremes, comparison: Comparison) -> str:
    """Worst first: that is where there is something to learn."""
    shown = [*(("hard", sample) for sample in extremes.worst), *(("easy", sample) for sample in extremes.best)]
    if not shown:
        return ""
    ranges = ", ".join(
        f"{name} 0 to {task.worst:g} ({task.error_unit})" for name, task in extremes.tasks.items() if task.worst != 1
    )
    note = (
        f"Of {extremes.judged} samples that are judged, evenly spaced, those that {comparison.base.name} finds hardest "
        "and easiest, by the mean of each task's error over its usual one. Errors are drawn from none (clear) to "
        f"wrong (red){f': {ranges}' if ranges else ''}; grey is unlabelled."
    )
    blocks = "".join(_sample(kind, sample, extremes, comparison) for kind, sample in shown)
    return f'<section><h2>Hardest and easiest</h2><p class="note">{escape(note)}</p>{blocks}</section>'


def _sample(kind: str, sample: Sample, extremes: Extremes, comparison: Comparison) -> str:
    tasks = {name: task for name, task in extremes.tasks.items() if name in sample.truth}
    arrays = {name: (_array(target.value), _array(target.valid) > 0) for name, target in sample.truth.items()}
    limits = {
        name: tasks[name].limits(panels.as_tensor(value[valid][:, None])) if valid.any() else None
        for name, (value, valid) in arrays.items()
    }
    truth = [panels.facet(tasks[name], arrays[name][0], name, limits[name], arrays[name][1]) for name in tasks]
    rows = [("truth", [Facet("picture", sample.first.image), *truth])]
    blank = Facet("", np.zeros((*sample.first.image.shape[:2], 0), np.uint8))
    for arm in comparison.arms:
        values, wrong = sample.seen[arm.name].values, sample.errors(arm.name)
        seen = [panels.facet(tasks[name], values[name], name, limits[name]) for name in tasks if name in values]
        errors = [
            Facet(f"{name} error {wrong[name]:.3g}", _error(sample, arm.name, name)) for name in tasks if name in wrong
        ]
        if len(tasks) <= 2:
            rows.append((arm.name, [blank, *seen, *errors]))
        else:
            rows += [(arm.name, [blank, *(Facet("", facet.picture) for facet in seen)]), ("", [blank, *errors])]
    columns = max(4, *(len(facets) for _, facets in rows))
    body = "".join(
        f'<div class="pair"><span>{escape(title)}</span>{report.strip(facets, columns=columns)}</div>'
        for title, facets in rows
    )
    return f"<h3>{kind}: {escape('/'.join(Path(sample.first.name).parts[-2:]))}</h3>{body}"


def _array(tensor: Tensor) -> np.ndarray:
    """(c, h, w) as (h, w) or (h, w, c)."""
    array = tensor.movedim(0, -1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def _error(sample: Sample, arm: str, name: str) -> np.ndarray:
    """(h, w, 3): the faded picture, reddened by how wrong it is."""
    scene, target = sample.seen[arm], sample.truth[name]
    share = (sample.error(arm, name) / scene.tasks[name].worst).clamp(0, 1)[0, ..., None].numpy()
    grey = 255 - (255 - scene.image.mean(-1, keepdims=True).repeat(3, -1)) * 0.35
    red = grey * (1 - share) + np.array(WRONG) * share
    return np.where(target.valid[0, ..., None].numpy(), red, panels.UNLABELLED).astype(np.uint8)


def _clouds(extremes: Extremes, comparison: Comparison, plots: report.Plots) -> str:
    """One easy sample as each of the first networks sees it."""
    arms = comparison.arms[:CLOUDS] if extremes.best else ()
    scenes = {arm.name: extremes.best[0].seen[arm.name] for arm in arms}
    return report.clouds(
        [(arm, scene.figure(POINTS, 420)) for arm, scene in scenes.items() if "depth" in scene.values], plots
    )


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
    coloured = _coloured(arms)

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
    return (
        '<section><h2>Training</h2><p class="note">By step, a line a run, smoothed.</p>'
        f'{_legend(arms)}<div class="curves">{drawn}</div></section>'
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
