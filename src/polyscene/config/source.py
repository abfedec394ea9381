"""The text of a configuration: YAML with line numbers, and overrides from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from polyscene import document
from polyscene.config.problems import Place, Problem
from polyscene.config.schema import Config, Data, Part, Strict, Training
from polyscene.config.words import unknown


@dataclass
class Text:
    """Plain ``data``, the line of each place in the file, the places typed on the command line, and what was wrong."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    overridden: dict[Place, str] = field(default_factory=dict)  # and the flag as it was typed
    problems: list[Problem] = field(default_factory=list)


def read(text: str) -> Text:
    """YAML, its keys each given once. ``document.BadText`` if it is none."""
    node, data = document.read_yaml(text)
    found = Text()
    if node is None:
        return found
    _note(node, (), found)
    if isinstance(data, dict):
        found.data = _by_name(data)
    else:
        found.problems.append(Problem((), "should hold `key: value` lines", data))
    return found


def _by_name(data: Any) -> Any:
    """The same with keys that are words or whole numbers; YAML knows dates and nothing at all as keys, too."""
    if isinstance(data, dict):
        return {key if isinstance(key, str | int) else str(key): _by_name(item) for key, item in data.items()}
    return [_by_name(item) for item in data] if isinstance(data, list) else data


def _note(node: yaml.Node, place: Place, found: Text) -> None:
    found.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note(item, (*place, index), found)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                message = f"given twice, in lines {seen[key.value]} and {line}; keep one"
                found.problems.append(Problem((*place, key.value), message))
            seen[key.value] = line
            found.lines[(*place, key.value)] = line
            _note(value, (*place, key.value), found)


def override(text: Text, flags: Sequence[str]) -> None:
    """``--section.key value`` and ``--section.key=value``, several values making a list and none meaning true, into
    the data; values are YAML. A key of ``training`` needs no section."""
    for flag, values in _grouped(flags, text):
        *_, last = keys = flag.split(".")
        if len(keys) == 1 and last not in Config.model_fields:
            if last not in Training.model_fields:
                deeper = [
                    path
                    for path in _paths(Data(), "data") + _paths(Training(), "training")
                    if path.endswith(f".{last}")
                ]
                hint = f"unknown key; did you mean --{' or --'.join(deeper)}?"
                message = hint if deeper else unknown(last, [*Config.model_fields, *Training.model_fields])
                text.problems.append(Problem((flag,), message))
                text.overridden[flag,] = flag
                continue
            keys = ["training", last]
        try:
            parsed = [_by_name(document.from_yaml(value)) for value in values]
        except document.BadText:
            parsed = list(values)
        _set(text, keys, True if not parsed else parsed[0] if len(parsed) == 1 else parsed)


def _paths(section: Strict, prefix: str) -> list[str]:
    """Every key below a section, dotted."""
    found: list[str] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        found += _paths(value, f"{prefix}.{name}") if isinstance(value, Strict) else [f"{prefix}.{name}"]
    return found


def _grouped(flags: Sequence[str], text: Text) -> list[tuple[str, list[str]]]:
    groups: list[tuple[str, list[str]]] = []
    for word in flags:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            groups.append((name, [value] if equals else []))
        elif groups:
            groups[-1][1].append(word)
        else:
            text.problems.append(Problem((), f"{word!r} belongs to no option; write --section.key {word}"))
    return groups


def _set(text: Text, keys: list[str], value: Any) -> None:
    current: Any = text.data
    place: Place = ()
    for depth, key in enumerate(keys):
        step: str | int = int(key) if isinstance(current, list) and key.isdigit() else key
        inside = step < len(current) if isinstance(step, int) else isinstance(current, dict)
        place = (*place, step)
        if not inside:
            text.problems.append(Problem(place, f"--{'.'.join(keys)} leads nowhere: there is no {key!r} to set"))
            return
        if depth == len(keys) - 1:
            current[step] = value
            text.overridden[place] = f"--{'.'.join(keys)}"
            return
        held = current[step] if isinstance(step, int) else current.get(step)
        if held is None:
            held = default_part(place) or {}
        current[step] = {"name": held} if isinstance(held, str) else held
        current = current[step]


def default_part(place: Place) -> dict[str, Any] | None:
    """The part that stands at a place of the configuration unless it says otherwise."""
    model: Any = Config
    for key in place:
        item = getattr(model, "model_fields", {}).get(str(key))
        if item is None:
            return None
        model = item.default if isinstance(item.default, Part) else type(item.default)
    return {"name": model.name} if isinstance(model, Part) else None
