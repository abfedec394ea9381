"""Judging a network on labelled data, beside predictions that do not look at the image. Importing this imports no
torch."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscene import info

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from polyscene.config import Config
    from polyscene.data.loader import Loader
    from polyscene.metrics import Consistency, Metric
    from polyscene.model import MultiTaskModel
    from polyscene.tasks import Task
    from polyscene.types import Batch, Target

Figures = dict[str, dict[str, float]]  # by task, by figure
Predict = Callable[["Batch", str, "Target"], "Tensor"]

GRID = 48, 64  # labels are looked at in this many rows and columns to find the floors
TRAINING_BATCHES = 64  # of them at most


def evaluate(
    model: MultiTaskModel,
    loader: Loader,
    limit: int | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """The figures of every task that network and data have in common, over ``loader.once()`` or its first ``limit``
    batches. Where samples have several views of known camera and true depth, figures "cross-view ..." say besides how
    far predictions of different views agree (``Consistency``). Raw outputs are brought to the size of the labels, then
    read. The network must be on ``device``; it comes back in the mode it was in. ``progress(done, all)`` counts
    batches. ``ValueError`` if nothing is in common.
    """
    import torch

    shared = {name: task for name, task in model.tasks.items() if name in loader.dataset.tasks}
    if not shared:
        has, does = ", ".join(loader.dataset.tasks), ", ".join(model.tasks)
        raise ValueError(f"{loader.dataset.name} labels none of the network's tasks: {has}, not {does}")
    raw: dict[str, Tensor] = {}
    scale: Tensor = torch.ones(())

    def look(batch: Batch) -> Batch:
        nonlocal raw, scale
        batch = batch.to(device)
        raw = model(batch.images, batch.camera, batch.present).final
        scale = model.focal_scale(batch.camera, batch.images.shape[-1])
        return batch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batches = (look(batch) for batch in _counted(loader, limit, progress))
            return _figures(
                batches, shared, lambda _, name, target: _value(model.tasks[name], raw[name], target, scale)
            )
    finally:
        model.train(was_training)


def floors(train: Loader, evaluate: Loader, tasks: Mapping[str, Task], limit: int | None = None) -> Figures:
    """The same figures for the best constant, found in the training labels: the commonest class, the mean depth, the
    mean normal, edges everywhere; NaN where no label is found. ``limit``: batches of ``evaluate``."""
    found = {name: tasks[name].constant(targets) for name, targets in _known(train, evaluate, tasks).items()}
    blank = {name: task.metric().compute() for name, task in tasks.items() if name in evaluate.dataset.tasks}
    return blank | _of_maps(evaluate, tasks, {name: value[:, None, None] for name, value in found.items()}, limit)


def position_floors(train: Loader, evaluate: Loader, tasks: Mapping[str, Task], limit: int | None = None) -> Figures:
    """The same for the best prediction that knows a pixel's place but not the picture, for tasks that have one: the
    mean depth and the mean normal of each place."""
    found = {name: tasks[name].constant_map(targets) for name, targets in _known(train, evaluate, tasks).items()}
    return _of_maps(evaluate, tasks, {name: value for name, value in found.items() if value is not None}, limit)


def _value(task: Task, raw: Tensor, target: Target, scale: Tensor) -> Tensor:
    """Raw output (b, v, c, h, w) as a value of the size of its label, seen by the picture's own camera."""
    from torch.nn import functional as F

    from polyscene.types import Target

    size = target.value.shape[-2:]
    grown = raw.float() if raw.shape[-2:] == size else F.interpolate(raw.flatten(0, 1).float(), size, mode="bilinear")
    value = task.activate(grown.reshape(*raw.shape[:-2], *size))
    return task.zoom(Target(value, target.valid), 1 / scale).value


def _known(train: Loader, evaluate: Loader, tasks: Mapping[str, Task]) -> dict[str, list[Target]]:
    """Labels to find floors in: the training set's, or where it has none, the very ones that are judged on."""
    judged = {name: task for name, task in tasks.items() if name in evaluate.dataset.tasks}
    found = _labels(train, judged)
    rest = {name: task for name, task in judged.items() if name not in found}
    return found | (_labels(evaluate, rest) if rest else {})


def _labels(loader: Loader, tasks: Mapping[str, Task]) -> dict[str, list[Target]]:
    """Training labels on one small grid, by task; empty where a task has none."""
    found: dict[str, list[Target]] = {}
    for batch in islice(loader.batches(), min(len(loader), TRAINING_BATCHES)):
        for name, target in batch.targets.items():
            if name in tasks and target.valid.any():
                found.setdefault(name, []).append(tasks[name].resize(target, GRID))
    return found


def _of_maps(loader: Loader, tasks: Mapping[str, Task], maps: Mapping[str, Tensor], limit: int | None) -> Figures:
    """Figures of one (c, h, w) prediction a task, the same for every image."""

    def predicted(batch: Batch, name: str, target: Target) -> Tensor:
        size = target.value.shape[-2], target.value.shape[-1]
        value = tasks[name].evaluate_at(maps[name], size)
        return value.to(target.value.device).expand(*target.value.shape[:-3], *value.shape)

    return _figures(_counted(loader, limit), {name: tasks[name] for name in maps}, predicted)


def _figures(batches: Iterable[Batch], tasks: Mapping[str, Task], predict: Predict) -> Figures:
    from polyscene.metrics import Consistency

    meters: dict[str, Metric] = {}
    across = Consistency(tasks)
    for batch in batches:
        for name, target in batch.targets.items():
            if name in tasks:
                meter = meters.setdefault(name, tasks[name].metric())
                meter.update(predict(batch, name, target), target)
        depth = in_metres(batch.targets, tasks) if batch.images.shape[1] > 1 else None
        if depth is not None:
            size = batch.images.shape[-2], batch.images.shape[-1]
            values = {name: predict(batch, name, depth) for name in tasks}
            across.update(values, depth, batch.camera, size, batch.present)
    between = across.compute()
    return {name: meters[name].compute() | between.get(name, {}) for name in tasks if name in meters}


def in_metres(targets: Mapping[str, Target], tasks: Mapping[str, Task]) -> Target | None:
    """The depth among the tasks' values, if there is one."""
    found = (tasks[name].metres(target) for name, target in targets.items() if name in tasks)
    return next((target for target in found if target is not None), None)


def _counted(loader: Loader, limit: int | None, progress: Callable[[int, int], None] | None = None) -> Iterator[Batch]:
    total = len(loader) if limit is None else min(limit, len(loader))
    for done, batch in enumerate(islice(loader.once(), limit), 1):
        yield batch
        if progress:
            progress(done, max(done, total))


# -- the command -------------------------------------------------------------------------------------------------------
def run(
    weights: str | Path,
    data: str,
    split: str | None = None,
    out: Path | None = None,
    limit: int | None = None,
    with_floors: bool = True,
    device: str = "auto",
) -> dict[str, Any]:
    """``polyscene eval``: prints a table a source and its protocol, writes ``metrics.json`` into ``out`` (where the
    weights are, by default) and returns what it holds. ``data``: a configuration, whose ``evaluate`` sources are
    judged; a folder with a polyscene.yaml, or such a file; or the name of a data set that needs no path.
    """
    config = _configuration(data, split)  # mistakes in it are told before torch is imported
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit}: judge at least one batch")
    info.find(weights)
    from rich.console import Console
    from rich.progress import Progress

    from polyscene import devices
    from polyscene import weights as files
    from polyscene.data import sources
    from polyscene.metrics import Consistency

    place = devices.pick(device)
    model, facts = files.load(weights)
    model.to(place)
    section = config.data
    if not section.evaluate:
        raise ValueError(f"{data}: data.evaluate names no source to judge on")
    if "size" not in section.model_fields_set and facts.get("size"):
        section = section.model_copy(update={"size": tuple(facts["size"])})
    known = {name: source for name, source in section.train.items() if with_floors and name in section.evaluate}
    section = section.model_copy(update={"train": known})
    built = sources.build(section, model.tasks, config.seed)
    console = Console()
    for note in built.notes:
        console.print(note, highlight=False)
    result: dict[str, Any] = {"weights": str(info.find(weights)), "data": data, "sources": {}}
    for name, loader in built.evaluate.items():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            shown = bar.add_task(name)
            figures = evaluate(model, loader, limit, place, partial(_advance, bar, shown))
        beside: dict[str, Figures] = {}
        teacher = built.train.get(name, loader)
        if with_floors:
            beside["constant"] = floors(teacher, loader, model.tasks, limit)
            beside["place only"] = position_floors(teacher, loader, model.tasks, limit)
        known_from = "its training labels" if name in built.train else "these very labels, which flatters them"
        told = _protocol(section.size, section.labels, len(loader.dataset), limit, loader)
        told += [f"floors are found in {known_from}"] if with_floors else []
        told += [f"{key}: {_words(model.tasks[key].metric())}" for key in figures]
        if any(figure.startswith("cross-view") for row in figures.values() for figure in row):
            told.append(f"cross-view: {_words(Consistency(model.tasks))}")
        result["sources"][name] = {
            "figures": figures,
            "floors": beside,
            "protocol": told,
            "samples": len(loader.dataset),
            "skipped": loader.skipped,
        }
        _print(console, name, figures, beside, told)
    home = info.locate(weights)
    folder = out or (home if home.is_dir() else home.parent)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "metrics.json"
    file.write_text(json.dumps(_finite(result), indent=2, ensure_ascii=False))
    console.print(f"written: {file}", highlight=False, soft_wrap=True)
    return result


def _advance(bar: Any, shown: Any, done: int, total: int) -> None:
    bar.update(shown, completed=done, total=total)


def _configuration(data: str, split: str | None) -> Config:
    """What ``--data`` means, as a configuration with ``evaluate`` sources."""
    import yaml

    from polyscene import parts
    from polyscene.config import Config, load
    from polyscene.data import DATASETS
    from polyscene.data.description import FILE

    path = Path(data)
    if path.is_file() and path.name != FILE:
        try:
            keys = yaml.safe_load(path.read_text())
        except (UnicodeDecodeError, yaml.YAMLError):
            return load(path)  # says what is wrong
        if isinstance(keys, dict) and "images" not in keys:
            return load(path)
    part: dict[str, Any] = {"name": "folder", "path": data}
    if not path.exists():
        if data not in DATASETS or data == "folder":
            names = [name for name in DATASETS if name != "folder"]
            raise ValueError(f"--data {data!r} is no file or folder, and an {parts.unknown(data, names, 'data set')}")
        part = {"name": data, "scenes": 60, "split": split or "val"}
    elif split:
        part["split"] = split
    return Config.model_validate({"tasks": [], "data": {"evaluate": {path.stem or data: {"dataset": part}}}})


def _protocol(size: tuple[int, int], labels: str, samples: int, limit: int | None, loader: Loader) -> list[str]:
    some = f"the first {min(limit * loader.batch, samples)} of {samples}" if limit else f"all {samples}"
    where = (
        "labels at their own resolution, to which outputs are brought" if labels == "own" else "labels brought to it"
    )
    return [f"{some} samples; network input {size[0]}x{size[1]}, the largest centred field of view; {where}"]


def _words(metric: Metric | Consistency) -> str:
    """The first paragraph of a metric's docstring says how it counts."""
    return " ".join((inspect.getdoc(type(metric)) or "").partition("\n\n")[0].replace("``", "").split())


def _print(console: Any, name: str, figures: Figures, beside: Mapping[str, Figures], told: list[str]) -> None:
    from rich.table import Table

    table = Table("task", "figure", "network", *beside, title=name, title_justify="left")
    for task, row in figures.items():
        for figure, value in row.items():
            others = (by.get(task, {}).get(figure, math.nan) for by in beside.values())
            table.add_row(task, figure, *("" if math.isnan(number) else f"{number:.4g}" for number in (value, *others)))
    console.print(table)
    for line in told:
        console.print(line, highlight=False, markup=False, style="dim")


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
