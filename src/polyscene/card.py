"""A network's model card: what it sees, what it learnt from, how good it is, under which licence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FILE = "README.md"
SHOWN = 2  # figures of a task


def write(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Markdown with the header that model hubs read. ``model``: ``MultiTaskModel.describe()``; ``facts``: what
    ``weights.save`` keeps, of which ``name``, ``about``, ``licence``, ``size``, ``data``, ``recipe``, ``metrics`` with
    ``floors``, ``judged`` (see ``judged``) and ``limits`` (lines on what it is not for) are told."""
    name = facts.get("name", "network")
    parts = [
        _header(model, facts),
        f"# {name}",
        facts.get("about", "A network of Polyscene: one look at a picture gives every facet below."),
        "## What it sees",
        _table(("task", "value", "classes"), map(_task, model["tasks"])),
        _structure(model, facts),
        _use(name),
        "## What it learnt from",
        _learnt(facts),
    ]
    if facts.get("judged") or facts.get("metrics"):
        parts += ["## How good it is", *map(judged, facts.get("judged", ())), *_metrics(facts)]
    if facts.get("limits"):
        parts += ["## What it is not for", "\n".join(f"- {line}" for line in facts["limits"])]
    parts += ["## Licence", _licence(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def judged(test: Mapping[str, Any]) -> str:
    """``{"on": what was judged and how, "rows": [{"who": ..., figure: number}]}`` as a heading and a table."""
    rows: Sequence[Mapping[str, Any]] = test["rows"]
    figures = list(dict.fromkeys(figure for row in rows for figure in row))
    body = ([_told(row.get(figure)) for figure in figures] for row in rows)
    return f"{test['on']}:\n\n" + _table(["" if figure == "who" else figure for figure in figures], body)


def _header(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    tags = ["polyscene", "multi-task-learning", *(task["name"] for task in model["tasks"])]
    licence = str(facts.get("licence", "other")).lower()
    return "\n".join(["---", f"license: {licence}", "library_name: polyscene", f"tags: [{', '.join(tags)}]", "---"])


def _task(task: Mapping[str, Any]) -> tuple[str, str, str]:
    from polyscene.tasks import build

    return task["name"], build(dict(task)).unit, ", ".join(task.get("classes") or ()) or "–"


def _structure(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    told = [f"{kind} `{model[kind]['name']}`" for kind in ("encoder", "neck", "decoder") if model.get(kind)]
    if facts.get("parameters"):
        told.append(f"{facts['parameters'] / 1e6:.2f} M parameters")
    if size := facts.get("size"):
        told.append(f"trained at {size[0]}x{size[1]} (height x width)")
    if model.get("canonical_focal"):
        told.append("depth by the focal length of the camera, where that is known")
    line = "; ".join(told)
    return f"{line[0].upper()}{line[1:]}."


def _use(name: str) -> str:
    where = name if name == "starter" else "FOLDER"
    return f"""```python
import polyscene

scene = polyscene.load("{where}")("photo.jpg")
scene.show()
```"""


def _learnt(facts: Mapping[str, Any]) -> str:
    sources = [f"- `{name}`: {_source(source)}" for name, source in (facts.get("data") or {}).items()]
    return "\n\n".join(part for part in ("\n".join(sources) or "Not stated.", facts.get("recipe")) if part)


def _source(source: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in source.get("options", {}).items())
    return source["name"] + (f" ({options})" if options else "")


def _metrics(facts: Mapping[str, Any]) -> Iterable[str]:
    for source, tasks in (facts.get("metrics") or {}).items():
        floors = (facts.get("floors") or {}).get(source, {})
        rows = [
            (task, figure, _told(value), _told(floors.get(task, {}).get(figure)))
            for task, figures in tasks.items()
            for figure, value in list(figures.items())[:SHOWN]
        ]
        yield f"On {source}, held out:\n\n" + _table(("task", "figure", "network", "constant"), rows)


def _licence(facts: Mapping[str, Any]) -> str:
    licence = facts.get("licence")
    return f"{licence}." if licence else "Not stated; ask whoever gave you these weights."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:.3g}"
