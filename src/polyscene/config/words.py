"""Pydantic's findings in our words, at the places where the file has them."""

from __future__ import annotations

import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from polyscene.config.problems import NOTHING, Place, Problem
from polyscene.config.schema import Config


def of(error: ValidationError, data: Any, within: Place = (), model: Any = Config) -> list[Problem]:
    """One problem a place. ``within``: where ``data`` stands in the whole."""
    found: dict[Place, tuple[list[str], Any]] = {}
    for item in error.errors(include_url=False):
        place = _place(item["loc"], data, item["type"])
        if item["type"] == "extra_forbidden":
            messages, value = [_unknown(place, model)], item["input"]
        elif item["type"] == "missing":
            messages, value = ["is missing"], NOTHING
        else:
            messages, value = [_said(item["msg"])], item["input"]
        if value is not NOTHING and isinstance(value, dict) and item["type"] != "extra_forbidden":
            value = NOTHING
        earlier = found.get(place, ([], value))[0]
        found[place] = ([*earlier, *(message for message in messages if message not in earlier)], value)
    return [Problem((*within, *place), _either(messages), value) for place, (messages, value) in found.items()]


def _said(message: str) -> str:
    if message.startswith("Input is not a valid path"):
        return "should be a path"
    if message.startswith("Input should be a valid dictionary"):
        return "should be a mapping of keys to values"
    return message.removeprefix("Value error, ").replace("Input should", "should")


def _either(messages: list[str]) -> str:
    rest = [message.removeprefix("should be ") for message in messages]
    return f"should be {' or '.join(rest)}" if len(messages) > 1 else messages[0]


def _place(loc: Iterable[str | int], data: Any, kind: str) -> Place:
    """The part of pydantic's location that the file knows: without the names of a union's members."""
    place: Place = ()
    steps = list(loc)
    for step in steps:
        listed = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if listed or (isinstance(data, dict) and step in data):
            place, data = (*place, step), data[step]
    return (*place, steps[-1]) if kind == "missing" else place


def _unknown(place: Place, model: Any) -> str:
    for key in place[:-1]:
        model = _inside(model, key)
    known = [name for member in _members(model) for name in getattr(member, "model_fields", ())]
    return unknown(str(place[-1]), known)


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is not among ``known``."""
    known = list(known)
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key{hint} (there are: {', '.join(sorted(known))})" if known else "takes no keys"


def _inside(annotation: Any, key: str | int) -> Any:
    """The type of what stands at a key of a model, dict or list; None where there is no such."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            if (item := member.model_fields.get(str(key))) is not None:
                return item.annotation
        elif arguments := get_args(member):
            return arguments[1] if get_origin(member) is dict else arguments[0]
    return None


def _members(annotation: Any) -> list[Any]:
    """The types that a union, or a type with validators, stands for."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return _members(get_args(annotation)[0]) if get_origin(annotation) is Annotated else [annotation]
