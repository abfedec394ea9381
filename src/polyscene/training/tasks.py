"""What a run learns: the configuration's ``tasks`` as Task objects, their classes taken from the training data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polyscene import parts, tasks
from polyscene.config import Config
from polyscene.data import sources
from polyscene.tasks import Task


def choose(config: Config) -> dict[str, Task]:
    """The name of a training source or of its data set means all its tasks. A task's name means that task as the first
    training source that labels it declares it, a mapping ``{type: ..., ...}`` the same with other keywords."""
    declared = {name: dict(sources.make(source.dataset).tasks) for name, source in config.data.train.items()}
    if isinstance(config.tasks, str):
        chosen = list(_all_of(config.tasks, config, declared).values())
    else:
        chosen = [_one(item, declared) for item in config.tasks]
    named = {task.name: task for task in chosen}
    if unknown := [name for name in config.weights if name not in named]:
        raise ValueError("\n".join(f"weights: {parts.unknown(name, named, 'task')}" for name in unknown))
    return {name: replace(task, weight=config.weights.get(name, task.weight)) for name, task in named.items()}


def _all_of(name: str, config: Config, declared: dict[str, dict[str, Task]]) -> dict[str, Task]:
    by_dataset = {source.dataset.name: declared[key] for key, source in reversed(config.data.train.items())}
    known = by_dataset | declared
    if name not in known:
        raise ValueError(f"tasks: {parts.unknown(name, known, 'training source')}")
    return known[name]


def _one(item: str | dict[str, Any], declared: dict[str, dict[str, Task]]) -> Task:
    if isinstance(item, str):
        found = next((own[item] for own in declared.values() if item in own), None)
        if found is None:
            labelled = sorted({name for own in declared.values() for name in own})
            raise ValueError(f"tasks: no training source labels it: {parts.unknown(item, labelled, 'task')}")
        return found
    kind = item.get("type")
    like = next(
        (
            task
            for own in declared.values()
            for task in own.values()
            if type(task).__name__ == kind and item.get("name", task.name) == task.name
        ),
        None,
    )
    return tasks.build({**(like.describe() if like else {}), **item})
