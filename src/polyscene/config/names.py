"""Names and keywords of parts and tasks, checked against the tables and the sources of the parts, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from polyscene import parts, tasks
from polyscene.adaptation import METHODS
from polyscene.balancing import BALANCERS
from polyscene.config import words
from polyscene.config.problems import Place, Problem
from polyscene.data import DATASETS, LABELS, description
from polyscene.data.description import BadDescription
from polyscene.decoders import DECODERS
from polyscene.necks import NECKS
from polyscene.regularizers import REGULARIZERS

KINDS: dict[str, tuple[parts.Table, int]] = {  # table, and how many leading arguments the model fills in
    "decoder": (DECODERS, 3),
    "neck": (NECKS, 2),
    "regularizer": (REGULARIZERS, 3),
    "data set": (DATASETS, 0),
    "balancing": (BALANCERS, 1),
    "method": (METHODS, 1),
}


def examine(data: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with the names in a configuration's plain data, and with the parts' keywords, whose values are
    brought to their types in place. What has the wrong shape is left to the schema."""
    found: list[Problem] = []
    for place, kind, part in _parts(data):
        found += _part(place, kind, part)
    found += _descriptions(data)
    found += _tasks(data)
    return found


def wanting(data: Mapping[str, Any]) -> Iterator[Problem]:
    """What training needs and evaluation does not."""
    if data.get("tasks") == []:
        yield Problem(("tasks",), "names no task to train")
    section = data.get("data", {})
    if isinstance(section, dict) and not section.get("train") and not section.get("target"):
        yield Problem(("data", "train"), "names no source to train on")


def is_path(place: Place, value: str, data: Mapping[str, Any]) -> bool:
    """Whether the text at ``place`` is a path that the file gives relative to itself."""
    if place == ("model", "pretrained"):
        return value not in ("package", "hub")
    for part_place, kind, part in _parts(data):
        if place[: len(part_place)] != part_place or not isinstance(part, dict):
            continue
        keyword = _keywords(kind, part.get("name")).get(str(place[-1]))
        return keyword is not None and "Path" in str(keyword.annotation)
    return False


def _parts(data: Mapping[str, Any]) -> Iterator[tuple[Place, str, Any]]:
    model = data.get("model")
    for kind in ("decoder", "neck", "regularizer"):
        if isinstance(model, dict) and model.get(kind) is not None:
            yield ("model", kind), kind, model[kind]
    training = data.get("training")
    if isinstance(training, dict) and training.get("balancing") is not None:
        yield ("training", "balancing"), "balancing", training["balancing"]
    if data.get("method") is not None:
        yield ("method",), "method", data["method"]
    for use in ("train", "target", "evaluate"):
        for name, source in _sources(data, use).items():
            if isinstance(source, dict) and source.get("dataset") is not None:
                yield ("data", use, name, "dataset"), "data set", source["dataset"]


def _sources(data: Mapping[str, Any], use: str) -> dict[str, Any]:
    section = data.get("data")
    sources = section.get(use) if isinstance(section, dict) else None
    return sources if isinstance(sources, dict) else {}


def _keywords(kind: str, name: Any) -> dict[str, parts.Keyword]:
    table, filled = KINDS[kind]
    if not isinstance(name, str) or name not in table:
        return {}
    known = list((parts.keywords(table[name]) or {}).items())
    return dict(known[filled:])


def _part(place: Place, kind: str, part: Any) -> Iterator[Problem]:
    table, _ = KINDS[kind]
    name = part.get("name") if isinstance(part, dict) else part
    if not isinstance(name, str):
        return  # the schema says so
    if name not in table:
        where = (*place, "name") if isinstance(part, dict) else place
        yield Problem(
            where, parts.unknown(name, table, kind) if table else f"there is no {kind} yet; leave it out", name
        )
    elif parts.keywords(table[name]) is not None:
        inline = isinstance(part, dict) and set(part) == {"name", "options"}
        options = part["options"] if inline else part if isinstance(part, dict) else {}
        yield from _options((*place, "options") if inline else place, options, _keywords(kind, name))


def _options(place: Place, options: Any, known: Mapping[str, parts.Keyword], own: str = "name") -> Iterator[Problem]:
    """``own``: the key that says which part it is."""
    if not isinstance(options, dict):
        return
    for key, value in options.items():
        if key == own:
            continue
        if key not in known:
            yield Problem((*place, key), words.unknown(str(key), known), value)
        elif (kind := parts.simple_type(known[key])) is not None:
            try:
                options[key] = _plain(TypeAdapter(kind).validate_python(value))
            except ValidationError as error:
                yield from words.of(error, value, (*place, key))
    for key, keyword in known.items():
        if keyword.required and key not in options:
            yield Problem((*place, key), "is missing")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _tasks(data: Mapping[str, Any]) -> Iterator[Problem]:
    wanted = data.get("tasks")
    labels = {name: _labels(source) for name, source in _sources(data, "train").items()}
    called = {_dataset(source): labels[name] for name, source in _sources(data, "train").items()}
    if isinstance(wanted, str):
        known = {**called, **labels}
        if wanted in known:
            yield from _uses(data, known[wanted])
        else:
            message = parts.unknown(wanted, known, "training source")
            yield Problem(("tasks",), message if known else "there is no training source to take them from", wanted)
    elif isinstance(wanted, list):
        named: list[str] = []
        for index, item in enumerate(wanted):
            if isinstance(item, str):
                named.append(item)
                yield from _labelled(("tasks", index), item, list(labels.values()))
            elif isinstance(item, dict):
                yield from _task(("tasks", index), item, named)
        for name in sorted({name for name in named if named.count(name) > 1}):
            yield Problem(("tasks",), f"{name!r} is given twice", wanted)
        yield from _uses(data, named)


def _labelled(place: Place, task: str, labels: list[Sequence[str] | None]) -> Iterator[Problem]:
    """Whether some training source labels ``task``, as far as what they label is known."""
    if None in labels or not labels:
        if task not in tasks.NAMES and not labels:
            yield Problem(place, parts.unknown(task, tasks.NAMES, "task"), task)
        return
    known = {name for own in labels for name in own or ()}
    if task not in known:
        message = parts.unknown(task, known, "task")
        yield Problem(place, f"no training source labels it: {message}" if task in tasks.NAMES else message, task)


def _dataset(source: Any) -> str:
    part = source.get("dataset") if isinstance(source, dict) else None
    return str(part.get("name") if isinstance(part, dict) else part)


def _labels(source: Any) -> Sequence[str] | None:
    """The tasks that a source labels, where that can be known without reading data."""
    name = _dataset(source)
    path = source["dataset"].get("path") if name == "folder" and isinstance(source["dataset"], dict) else None
    if not isinstance(path, str):
        return LABELS.get(name)
    try:
        return tuple(description.load(path)[0].tasks)
    except BadDescription:
        return None  # told by ``_descriptions``


def _descriptions(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Descriptions of folders that cannot be read."""
    for place, kind, part in _parts(data):
        path = part.get("path") if kind == "data set" and isinstance(part, dict) else None
        if isinstance(path, str) and part.get("name") == "folder" and "${" not in path:
            try:
                description.load(path)
            except BadDescription as error:
                yield Problem((*place, "path"), str(error))


def _task(place: Place, item: dict[str, Any], named: list[str]) -> Iterator[Problem]:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in tasks.TASKS:
        message = parts.unknown(str(kind), tasks.TASKS, "task type")
        yield Problem((*place, "type"), message) if "type" in item else Problem(place, "lacks its `type`", item)
        return
    known = parts.keywords(tasks.TASKS[kind]) or {}
    yield from _options(place, item, {key: _optional(keyword) for key, keyword in known.items()}, own="type")
    named.append(str(item.get("name") or next(name for name, target in tasks.NAMES.items() if target == kind)))


def _optional(keyword: parts.Keyword) -> parts.Keyword:
    """A task takes what it is not told from the data set that labels it."""
    return parts.Keyword(keyword.name, keyword.annotation, False, keyword.module)


def _uses(data: Mapping[str, Any], named: Sequence[str] | None) -> Iterator[Problem]:
    """Where sources and weights speak of tasks that the model has not."""
    if named is None:
        return
    for use in ("train", "evaluate"):
        for name, source in _sources(data, use).items():
            kept = source.get("tasks") if isinstance(source, dict) else None
            for index, task in enumerate(kept if isinstance(kept, list) else []):
                if isinstance(task, str) and task not in named:
                    message = parts.unknown(task, named, "task of this model")
                    yield Problem(("data", use, name, "tasks", index), message, task)
    weights = data.get("weights")
    for task in weights if isinstance(weights, dict) else ():
        if task not in named:
            yield Problem(("weights", task), parts.unknown(str(task), named, "task of this model"))
