"""Line drawings as SVG whose colours are those of the page they stand in, light or dark."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "figures"
Point = tuple[float, float]
LIGHT = (
    "--f-ink:#1f2328;--f-soft:#5d666f;--f-line:#8b949e;--f-card:#f6f7f9;"
    "--f-a:#2f6fdb;--f-b:#b4540a;--f-c:#1a7f4b;--f-paper:#fff"
)
DARK = (
    "--f-ink:#e7eaee;--f-soft:#a3acb5;--f-line:#7b848d;--f-card:#1c2024;"
    "--f-a:#7aa7ff;--f-b:#ffab70;--f-c:#5bc98c;--f-paper:#14171a"
)
COLOURS = f"""
.figure{{{LIGHT}}}
@media (prefers-color-scheme:dark){{.figure{{{DARK}}}}}
[data-md-color-scheme=default] .figure{{{LIGHT}}}
[data-md-color-scheme=slate] .figure{{{DARK}}}
"""
STYLE = """
.figure text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.figure text{fill:var(--f-ink);text-anchor:middle;dominant-baseline:central}
.figure text.s{font-size:11.5px;fill:var(--f-soft)}
.figure text.left{text-anchor:start} .figure text.right{text-anchor:end}
.figure .k{--f-k:var(--f-line)} .figure .a{--f-k:var(--f-a)}
.figure .b{--f-k:var(--f-b)} .figure .c{--f-k:var(--f-c)}
.figure .shape{fill:color-mix(in srgb,var(--f-k) 13%,var(--f-paper));stroke:var(--f-k);stroke-width:1.3}
.figure .shape.k{fill:var(--f-card)} .figure .early{stroke-dasharray:4 3}
.figure .way{fill:none;stroke:var(--f-k);stroke-width:1.4} .figure .way.dash{stroke-dasharray:4 3}
.figure .head{fill:var(--f-k);stroke:none}
.figure text.a{fill:var(--f-a)} .figure text.b{fill:var(--f-b)} .figure text.c{fill:var(--f-c)}
"""


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    w: float
    h: float

    def at(self, side: str, share: float = 0.5) -> Point:
        """A point of a side (l, r, t, b), ``share`` of the way down or right."""
        if side in "lr":
            return self.x + (self.w if side == "r" else 0), self.y + share * self.h
        return self.x + share * self.w, self.y + (self.h if side == "b" else 0)


class Figure:
    """Elements in the order in which they are drawn; ``kind`` is k (shared by tasks), a, b or c (a task's own)."""

    def __init__(self, name: str, width: int, height: int) -> None:
        self.name, self.size, self.parts = name, (width, height), list[str]()

    def box(self, x: float, y: float, w: float, h: float, text: str = "", kind: str = "k", early: bool = False) -> Rect:
        dashes = " early" if early else ""
        self.parts.append(
            f'<rect class="shape {kind}{dashes}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="5"/>'
        )
        lines = text.split("\n") if text else []
        for index, line in enumerate(lines):
            self.text(x + w / 2, y + h / 2 + 16 * (index - (len(lines) - 1) / 2), line)
        return Rect(x, y, w, h)

    def bars(self, x: float, y: float, heights: Sequence[float], kind: str = "k", gap: float = 8) -> list[Rect]:
        """Maps of a pyramid, centred on ``y``."""
        found = []
        for index, height in enumerate(heights):
            left = x + index * (12 + gap)
            top = y - height / 2
            self.parts.append(
                f'<rect class="shape {kind}" x="{left:g}" y="{top:g}" width="12" height="{height:g}" rx="2"/>'
            )
            found.append(Rect(left, top, 12, height))
        return found

    def disc(self, x: float, y: float, text: str = "", kind: str = "k", r: float = 10) -> Rect:
        self.parts.append(f'<circle class="shape {kind}" cx="{x:g}" cy="{y:g}" r="{r:g}"/>')
        if text:
            self.text(x, y, text)
        return Rect(x - r, y - r, 2 * r, 2 * r)

    def shape(self, points: Sequence[Point], kind: str = "k", early: bool = False) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<polygon class="shape {kind}{" early" if early else ""}" points="{path}"/>')

    def text(self, x: float, y: float, text: str, style: str = "") -> None:
        self.parts.append(f'<text class="{style}" x="{x:g}" y="{y:g}">{html.escape(text)}</text>')

    def line(self, points: Sequence[Point], kind: str = "k", dash: bool = False) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<polyline class="way {kind}{" dash" if dash else ""}" points="{path}"/>')

    def arrow(self, *points: Point, kind: str = "k", dash: bool = False) -> None:
        """Through the points, with a head at the last."""
        (x0, y0), (x1, y1) = points[-2], points[-1]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        u, v = (x1 - x0) / length, (y1 - y0) / length
        back = x1 - 7 * u, y1 - 7 * v
        self.line([*points[:-1], back], kind, dash)
        corners = [(x1, y1), (back[0] - 3.4 * v, back[1] + 3.4 * u), (back[0] + 3.4 * v, back[1] - 3.4 * u)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.parts.append(f'<polygon class="head {kind}" points="{path}"/>')

    def elbow(self, start: Point, end: Point, kind: str = "k", turn: float | None = None, dash: bool = False) -> None:
        """Across, up or down at ``turn`` (half way unless given), across."""
        if abs(start[1] - end[1]) < 0.5:
            return self.arrow(start, end, kind=kind, dash=dash)
        x = (start[0] + end[0]) / 2 if turn is None else turn
        return self.arrow(start, (x, start[1]), (x, end[1]), end, kind=kind, dash=dash)

    def svg(self) -> str:
        width, height = self.size
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" viewBox="0 0 {width} {height}">'
        return "\n".join([head, f"<style>{COLOURS}{STYLE}</style>", *self.parts, "</svg>\n"])

    def save(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{self.name}.svg").write_text(self.svg())
