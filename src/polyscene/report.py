"""A run as one page that needs nothing else: numbers beside floors, curves, pictures, points in 3D."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from polyscene import panels
from polyscene.panels import Facet
from polyscene.scene import Scene
from polyscene.tasks.base import Legend

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Goal:
    """What a figure should reach: ``bound`` itself, and ``ratio`` times its first floor. The direction is the
    figure's."""

    bound: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Result:
    """One figure of the network beside those of predictions that do not look at the image, by name."""

    task: str
    figure: str
    value: float
    floors: Mapping[str, float]
    higher_is_better: bool
    unit: str = ""
    goal: Goal | None = None
    headline: bool = False

    @property
    def ratio(self) -> float:
        """To the first floor."""
        floor = next(iter(self.floors.values()), math.nan)
        return self.value / floor if floor else math.nan

    def beats(self, floor: float) -> bool:
        return self.value > floor if self.higher_is_better else self.value < floor

    @property
    def met(self) -> bool | None:
        """None without a goal; a figure that is not a number meets none."""
        if self.goal is None:
            return None
        pairs = ((self.value, self.goal.bound), (self.ratio, self.goal.ratio))
        return all(
            got >= wanted if self.higher_is_better else got <= wanted for got, wanted in pairs if wanted is not None
        )


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Curve:
    """``smooth`` draws a running mean over the noise."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    smooth: bool = True
    colour: str = "#2f6fdb"


@dataclass(frozen=True)
class Comparison:
    """A prediction and the truth: by task, the value (h, w[, c]) and where it is valid (h, w)."""

    scene: Scene
    truth: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Report:
    title: str
    lead: str
    tables: Sequence[Table]
    over: str = "Polyscene"
    curves: Sequence[Curve] = ()
    comparisons: Sequence[Comparison] = ()
    comparisons_note: str = ""
    photos: Sequence[Scene] = ()
    photos_note: str = ""
    clouds: Sequence[tuple[str, Figure]] = ()
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    config: str = ""


def write(report: Report, path: str | Path) -> Path:
    """Writes the page, about 5 MB of which are plotly's script."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report), encoding="utf-8")
    return path


def page(report: Report) -> str:
    plots = Plots()
    sections = [
        _header(report),
        *(_table(table) for table in report.tables),
        _curves(report.curves, plots),
        _comparisons(report.comparisons, report.comparisons_note),
        _photos(report.photos, report.photos_note),
        clouds(report.clouds, plots),
        footer(report.command, report.facts, report.config),
    ]
    return document(report.title, sections, plots)


def document(title: str, sections: Iterable[str], plots: Plots) -> str:
    """A page of its own, with its style and scripts."""
    style = files("polyscene").joinpath("report.css").read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(sections)}</main>{plots.script()}</body></html>"
    )


def heading(over: str, title: str, lead: str) -> str:
    return f'<p class="over">{escape(over)}</p><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>'


class Plots:
    """Figures placed in the page; plotly's script goes in once, if at all."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def place(self, figure: Figure, **config: Any) -> str:
        drawn = json.loads(figure.to_json())
        drawn["layout"].pop("template", None)
        options = {"responsive": True, "displaylogo": False, "displayModeBar": False, **config}
        spelt = ", ".join(json.dumps(part).replace("</", "<\\/") for part in (drawn["data"], drawn["layout"], options))
        name, height = f"plot{len(self.calls)}", drawn["layout"].get("height", 450)
        self.calls.append(f'Plotly.newPlot("{name}", {spelt});')
        return f'<div id="{name}" style="height:{height}px"></div>'

    def script(self) -> str:
        if not self.calls:
            return ""
        from plotly.offline import get_plotlyjs

        return f"<script>{get_plotlyjs()}</script><script>{''.join(self.calls)}</script>"


def _header(report: Report) -> str:
    headlines = [result for table in report.tables[:1] for result in table.results if result.headline]
    hero = strip(_predictions(report.comparisons[0])) if report.comparisons else ""
    tiles = "".join(
        f'<div class="tile"><span class="what">{escape(result.task)} {escape(result.figure)}</span>'
        f"<b>{_number(result.value)}<small>{escape(result.unit)}</small></b><span>{_against(result)}</span></div>"
        for result in headlines
    )
    return f'<header>{heading(report.over, report.title, report.lead)}{hero}<div class="tiles">{tiles}</div></header>'


def _against(result: Result) -> str:
    name, floor = next(iter(result.floors.items()), ("", math.nan))
    known = f"{_ratio(result)} the floor of {_number(floor)}{_spaced(result.unit)} ({escape(name)})"
    return known if math.isfinite(floor) else "no floor"


def _table(table: Table) -> str:
    heading = f'<section><h2>{escape(table.title)}</h2><p class="note">{escape(table.note)}</p>'
    if not table.results:
        return heading + "</section>"
    floors = list(dict.fromkeys(name for result in table.results for name in result.floors))
    with_goal = any(result.goal for result in table.results)
    head = ['<th class="left">task</th>', '<th class="left">figure</th>', "<th>network</th>"]
    head += [f"<th>{escape(name)}</th>" for name in floors]
    head += ["<th>ratio to floor</th>", *(['<th class="left">goal</th>'] if with_goal else []), "<th></th>"]
    rows, before = [], None
    for result in table.results:
        arrow = "↑" if result.higher_is_better else "↓"
        cells = [
            f'<td class="task">{escape(result.task)}</td>',
            f'<td class="left">{escape(result.figure)} <span class="none">{arrow}</span></td>',
            f'<td class="value">{_number(result.value)}{_spaced(result.unit)}</td>',
            *(f"<td>{_number(result.floors[name]) if name in result.floors else ''}</td>" for name in floors),
            f"<td>{_ratio(result)}</td>",
            *([f'<td class="left">{_goal(result)}</td>'] if with_goal else []),
            f"<td>{_verdict(result)}</td>",
        ]
        rows.append(f"<tr{' class=follow' if result.task == before else ''}>{''.join(cells)}</tr>")
        before = result.task
    return f"{heading}<div class=scroll><table><tr>{''.join(head)}</tr>{''.join(rows)}</table></div></section>"


def _goal(result: Result) -> str:
    if result.goal is None:
        return ""
    sign = "≥" if result.higher_is_better else "≤"
    parts = [] if result.goal.bound is None else [f"{sign} {result.goal.bound:g}{_spaced(result.unit)}"]
    parts += [] if result.goal.ratio is None else [f"{sign} {result.goal.ratio:g}× floor"]
    return " and ".join(parts)


def _verdict(result: Result) -> str:
    if result.met is not None:
        return '<span class="met">✓ met</span>' if result.met else '<span class="missed">✗ missed</span>'
    beaten_by = [name for name, floor in result.floors.items() if not result.beats(floor)]
    return f'<span class="missed">no better than {escape(beaten_by[-1])}</span>' if beaten_by else ""


def _ratio(result: Result) -> str:
    return "–" if math.isnan(result.ratio) else f"{result.ratio:.{1 if result.ratio >= 2 else 2}f}×"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return '<span class="none">n/a</span>'
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3}f}"


def _spaced(unit: str) -> str:
    return "" if not unit else unit if unit in "°%" else f" {unit}"


def _curves(curves: Sequence[Curve], plots: Plots) -> str:
    if not curves:
        return ""
    drawn = "".join(f"<div><h3>{escape(curve.name)}</h3>{plots.place(draw_curves([curve]))}</div>" for curve in curves)
    return f'<section><h2>Training</h2><p class="note">By step.</p><div class="curves">{drawn}</div></section>'


def draw_curves(curves: Sequence[Curve]) -> Figure:
    """Curves over one axis; what a single one was smoothed from stands faintly behind it."""
    from plotly import graph_objects as go

    drawn = go.Figure()
    for curve in curves:
        steps, values = np.asarray(curve.steps, float), np.asarray(curve.values, float)
        window = max(1, len(values) // 25)
        if curve.smooth and window > 1:
            faint = {"color": "#9db7e6", "width": 1}
            if len(curves) == 1:
                drawn.add_scatter(
                    x=_short(steps), y=_short(values), mode="lines", line=faint, opacity=0.55, hoverinfo="skip"
                )
            values = np.convolve(np.pad(values, (window - 1, 0), mode="edge"), np.ones(window) / window, "valid")
        mode, line = "lines" if len(values) > 12 else "lines+markers", {"color": curve.colour, "width": 2}
        drawn.add_scatter(x=_short(steps), y=_short(values), mode=mode, line=line, name=curve.name)
    axis = {"gridcolor": "rgba(128,134,139,.18)", "zeroline": False, "nticks": 5}
    return drawn.update_layout(
        height=210,
        margin={"l": 42, "r": 6, "t": 10, "b": 30},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#80868b", "size": 11},
        hovermode="x",
        xaxis={**axis, "showgrid": False},
        yaxis=axis,
    )


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _comparisons(comparisons: Sequence[Comparison], note: str) -> str:
    if not comparisons:
        return ""
    shared = _shared_limits(comparisons)
    rows = []
    for number, one in enumerate(comparisons, 1):
        predicted = strip(_predictions(one, shared), titles=number == 1)
        rows.append(f'<div class="pair"><span>network</span>{predicted}</div>')
        rows.append(f'<div class="pair"><span>truth</span>{strip(_truths(one, shared), titles=False)}</div><h3></h3>')
    return (
        f'<section><h2>Prediction and truth</h2><p class="note">{escape(note)}</p>'
        f"{_key(comparisons, shared)}{''.join(rows)}</section>"
    )


def _shared_limits(comparisons: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """One range a task over all true values, so that pictures compare."""
    limits = {}
    for name, task in comparisons[0].scene.tasks.items():
        valid = [one.truth[name][0][one.truth[name][1]] for one in comparisons if name in one.truth]
        if valid:
            column = np.concatenate(valid)
            limits[name] = task.limits(panels.as_tensor(column[:, None] if column.ndim == 1 else column[:, None, :]))
    return limits


def _predictions(one: Comparison, limits: Mapping[str, dict[str, float]] | None = None) -> list[Facet]:
    scene = one.scene
    drawn = [
        panels.facet(scene.tasks[name], value, limits=(limits or _shared_limits([one])).get(name))
        for name, value in scene.values.items()
    ]
    return [Facet("photo", scene.image), *(Facet(item.title, item.picture) for item in drawn)]


def _truths(one: Comparison, limits: Mapping[str, dict[str, float]]) -> list[Facet]:
    facets = [Facet("", np.zeros((*one.scene.image.shape[:2], 0), np.uint8))]
    for name, task in one.scene.tasks.items():
        if name not in one.truth:
            facets.append(facets[0])
            continue
        value, valid = one.truth[name]
        facets.append(Facet(name, panels.facet(task, value, limits=limits.get(name), valid=valid).picture))
    return facets


def _key(comparisons: Sequence[Comparison], limits: Mapping[str, dict[str, float]]) -> str:
    """How to read the colours, once for all rows."""
    parts = []
    for name, task in comparisons[0].scene.tasks.items():
        seen = [one.scene.values[name] for one in comparisons] + [
            one.truth[name][0] for one in comparisons if name in one.truth
        ]
        flat = np.concatenate([value.reshape(-1, *value.shape[2:]) for value in seen])[:, None]
        legend = task.legend(panels.as_tensor(flat), **limits.get(name, {}))
        parts.append(f"<div><b>{escape(name)}</b>{draw_legend(legend)}</div>")
    return f'<div class="key">{"".join(parts)}</div>'


def _photos(photos: Sequence[Scene], note: str) -> str:
    if not photos:
        return ""
    strips = "".join(f"<h3>{escape(scene.name)}</h3>{strip(scene.facets(), legends=True)}" for scene in photos)
    return f'<section><h2>Photographs</h2><p class="note">{escape(note)}</p>{strips}</section>'


def strip(facets: Iterable[Facet], titles: bool = True, legends: bool = False, columns: int | None = None) -> str:
    """Pictures in a row."""
    facets = list(facets)
    figures = "".join(
        f"<figure>{f'<figcaption>{escape(item.title)}</figcaption>' if titles and item.title else ''}"
        f"{draw_picture(item)}{draw_legend(item.legend, 6) if legends else ''}</figure>"
        for item in facets
    )
    return f'<div class="strip" style="--columns:{columns or len(facets)}">{figures}</div>'


def draw_picture(item: Facet, width: int = 420) -> str:
    if not item.picture.size:
        return ""
    image = Image.fromarray(item.picture)
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=88, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(item.title)}" src="data:image/webp;base64,{data}">'


def draw_legend(legend: Legend, most: int | None = None) -> str:
    parts = []
    if legend.swatches:
        named = "".join(
            f'<span><i style="background:rgb{colour}"></i>{escape(name)}</span>'
            for name, colour in legend.swatches[:most]
        )
        more = len(legend.swatches) - (most or len(legend.swatches))
        parts.append(f'<div class="legend">{named}{f"<span>+{more}</span>" if more > 0 else ""}</div>')
    if legend.ramp is not None:
        colours = legend.ramp[0, :: max(1, legend.ramp.shape[1] // 16)].tolist()
        gradient = ", ".join(f"rgb{tuple(colour)}" for colour in colours)
        ticks = "".join(f'<span style="left:{place:.0%}">{escape(name)}</span>' for place, name in legend.ticks)
        parts.append(f'<div class="ramp" style="background:linear-gradient(90deg, {gradient})"></div>')
        parts.append(f'<div class="ticks">{ticks}</div>')
    return "".join(parts)


def clouds(figures: Sequence[tuple[str, Figure]], plots: Plots) -> str:
    if not figures:
        return ""
    drawn = "".join(
        f'<div class="cloud{" wide" if number == 0 and len(figures) % 2 else ""}">'
        f"{plots.place(figure, scrollZoom=True)}<p>{escape(caption)}</p></div>"
        for number, (caption, figure) in enumerate(figures)
    )
    return (
        '<section><h2>In three dimensions</h2><p class="note">Predicted depth, unprojected. Drag to turn, scroll to '
        f'come closer; the buttons choose the colours.</p><div class="clouds">{drawn}</div></section>'
    )


def footer(command: str, facts: Mapping[str, str], config: str = "") -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    typed = f"<pre><code>{escape(command)}</code></pre>" if command else ""
    whole = (
        f"<details><summary>The whole configuration</summary><pre><code>{escape(config)}</code></pre></details>"
        if config
        else ""
    )
    return f"<footer><h2>To do this again</h2>{typed}<dl>{listed}</dl>{whole}</footer>"
