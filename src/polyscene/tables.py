"""One table, written for a terminal, a page, a paper or a note; the cells are the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "Δ": r"$\Delta$", "δ": r"$\delta$",
    "β": r"$\beta$", "²": "$^2$", "³": "$^3$", "°": r"$^\circ$", "≤": r"$\le$", "≥": r"$\ge$", "–": "--", "−": "$-$",
    "†": r"$\dagger$", "·": r"$\cdot$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """``rows`` of cells under ``head``, the first ``words`` columns of which are text; ``bold`` and ``faint`` are
    (row, column). ``notes`` stand below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    bold: frozenset[tuple[int, int]] = frozenset()
    faint: frozenset[tuple[int, int]] = frozenset()
    notes: Sequence[str] = ()


def console(table: Table) -> rich.table.Table:
    import rich.table
    from rich.text import Text

    columns = [
        rich.table.Column(name, justify="left" if number < table.words else "right", no_wrap=not number)
        for number, name in enumerate(table.head)
    ]
    drawn = rich.table.Table(*columns, title=table.title, title_justify="left")
    for row, cells in enumerate(table.rows):
        styles = ("bold" if (row, column) in table.bold else "" for column in range(len(cells)))
        drawn.add_row(*(Text(cell, style) for cell, style in zip(cells, styles, strict=True)))
    return drawn


def markdown(table: Table) -> str:
    def cell(row: int, column: int, text: str) -> str:
        text = text.replace("|", "\\|")
        return f"**{text}**" if text and (row, column) in table.bold else text

    lines = [
        list(table.head),
        ["---" if number < table.words else "---:" for number in range(len(table.head))],
        *([cell(row, column, text) for column, text in enumerate(cells)] for row, cells in enumerate(table.rows)),
    ]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"**{table.title}**\n\n{drawn}\n" + (f"{notes}\n" if notes else "")


def latex(table: Table) -> str:
    """A float with booktabs rules (``\\usepackage{booktabs}``); notes are its caption."""

    def cell(row: int, column: int, text: str) -> str:
        spelt = escape_latex(text)
        return rf"\textbf{{{spelt}}}" if text and (row, column) in table.bold else spelt

    body = [
        " & ".join(cell(row, column, text) for column, text in enumerate(cells)) + r" \\"
        for row, cells in enumerate(table.rows)
    ]
    told = " ".join(note if note.endswith((".", "?")) else f"{note}." for note in (table.title, *table.notes))
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape_latex(told)}}}",
            rf"\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.head) - table.words)}}}",
            r"\toprule",
            " & ".join(map(escape_latex, table.head)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    text = re.sub(r"(?<![\w.])-(?=[\d.])", "−", text)
    spelt = "".join(SPECIAL.get(letter, letter) for letter in text)
    return spelt.replace(r"$\Delta$\_MTL", r"$\Delta_{\mathrm{MTL}}$")


def html(table: Table) -> str:
    def kind(row: int, column: int) -> str:
        names = ["left"] * (column < table.words)
        names += ["task"] * (not column) + ["value"] * ((row, column) in table.bold)
        names += ["none"] * ((row, column) in table.faint)
        return f' class="{" ".join(names)}"' if names else ""

    head = "".join(
        f"<th{' class=left' if number < table.words else ''}>{escape(name)}</th>"
        for number, name in enumerate(table.head)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{kind(row, column)}>{escape(text)}</td>" for column, text in enumerate(cells)) + "</tr>"
        for row, cells in enumerate(table.rows)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    below = f'<ul class="notes">{notes}</ul>' if notes else ""
    drawn = f"<div class=scroll><table><tr>{head}</tr>{rows}</table></div>"
    return f"<section><h2>{escape(table.title)}</h2>{drawn}{below}</section>"
