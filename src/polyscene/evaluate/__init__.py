"""Judging a network on labelled data, beside predictions that do not look at the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from polyscene.evaluate.judgement import Judged

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from polyscene.data.loader import Loader
    from polyscene.metrics import Consistency, Metric
    from polyscene.metrics.protocols import Protocol
    from polyscene.model import MultiTaskModel
    from polyscene.tasks import Task
    from polyscene.types import Batch, Target

Figures = dict[str, dict[str, float]]  # by task, by figure
Predict = Callable[["Batch", str, "Target"], "Tensor"]
Pace = Callable[[Iterator["Batch"]], Iterator["Batch"]]

GRID = 48, 64  # labels are looked at in this many rows and columns to find the floors
TRAINING_BATCHES, TRAINING_SAMPLES = 64, 4096  # of them at most


def evaluate(
    model: MultiTaskModel,
    loader: Loader,
    limit: int | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    protocol: Protocol | str = "polyscene",
    workers: int | None = None,
    ranks: bool = False,
    pace: Pace = iter,
) -> Figures:
    """The figures that ``judge`` finds, by task."""
    found = judge(model, loader, limit, device, progress, protocol, workers, ranks, pace)
    return {name: dict(task.figures) for name, task in found.items()}


def judge(
    model: MultiTaskModel,
    loader: Loader,
    limit: int | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    protocol: Protocol | str = "polyscene",
    workers: int | None = None,
    ranks: bool = False,
    pace: Pace = iter,
) -> dict[str, Judged]:
    """Every task that network and data have in common, over ``loader.once()`` or its first ``limit`` batches, counted
    as the ``protocol`` says (one, or a name in ``PROTOCOLS``). Where samples have several views of known camera and
    true depth, figures "cross-view ..." say besides how far predictions of different views agree (``Consistency``). Raw
    outputs are brought to the size of the labels, then read. The network must be on ``device``; it comes back in the
    mode it was in. ``progress(done, all)`` counts batches; ``workers`` processes, if any, help with what is slow to
    count, such as exact boundaries. ``ranks``: all ranks of a distributed run call this at once; each looks at its
    part, all get the figures of the whole. ``pace`` hands the batches on, and may end it between any two.
    ``ValueError`` if nothing is in common, and where a prediction cannot be judged.
    """
    import torch

    common = shared(model.tasks, loader)
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
            part = _part(ranks)
            batches = (look(batch) for batch in pace(_counted(loader, limit, progress, part)))

            def predict(_: Batch, name: str, target: Target) -> Tensor:
                return _value(model.tasks[name], raw[name], target, scale)

            return _judged(batches, common, predict, protocol, workers, ranks)
    finally:
        model.train(was_training)


def shared(tasks: Mapping[str, Task], loader: Loader) -> dict[str, Task]:
    """The tasks that network and data have in common; ``ValueError`` if there are none."""
    own = loader.dataset.tasks
    found = {name: task.as_labelled(own[name]) for name, task in tasks.items() if name in own}
    if not found:
        has, does = ", ".join(loader.dataset.tasks), ", ".join(tasks)
        raise ValueError(f"{loader.dataset.name} labels none of the network's tasks: {has}, not {does}")
    return found


def floors(
    train: Loader,
    evaluate: Loader,
    tasks: Mapping[str, Task],
    limit: int | None = None,
    protocol: Protocol | str = "polyscene",
    ranks: bool = False,
) -> Figures:
    """The same figures for the best constant, found in the training labels: the commonest class, the mean depth, the
    mean normal, edges everywhere; NaN where no label is found. ``limit``: batches of ``evaluate``. ``ranks``: all ranks
    call this at once, the first one looks for the constant, each judges it on its part."""

    def find() -> dict[str, Tensor]:
        return {name: tasks[name].constant(targets) for name, targets in _known(train, evaluate, tasks).items()}

    found = _of_first(find) if ranks else find()
    blank = {name: task.metric(protocol).compute() for name, task in tasks.items() if name in evaluate.dataset.tasks}
    maps = {name: value[:, None, None] for name, value in found.items()}
    return blank | _of_maps(evaluate, tasks, maps, limit, protocol, ranks)


def position_floors(
    train: Loader,
    evaluate: Loader,
    tasks: Mapping[str, Task],
    limit: int | None = None,
    protocol: Protocol | str = "polyscene",
    ranks: bool = False,
) -> Figures:
    """The same for the best prediction that knows a pixel's place but not the picture, for tasks that have one: the
    mean depth and the mean normal of each place."""

    def find() -> dict[str, Tensor]:
        found = {name: tasks[name].constant_map(targets) for name, targets in _known(train, evaluate, tasks).items()}
        return {name: value for name, value in found.items() if value is not None}

    return _of_maps(evaluate, tasks, _of_first(find) if ranks else find(), limit, protocol, ranks)


def _of_first(find: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the first rank finds, to the bit."""
    import torch

    from polyscene.training import distributed

    told: dict[str, list[Any]] = distributed.of_first(
        lambda: {name: [str(value.dtype).split(".")[1], value.tolist()] for name, value in find().items()}
    )
    return {name: torch.tensor(value, dtype=getattr(torch, kind)) for name, (kind, value) in told.items()}


def _part(ranks: bool) -> tuple[int, int]:
    from polyscene.training import distributed

    return (distributed.rank(), distributed.count()) if ranks else (0, 1)


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
    few = min(len(loader), TRAINING_BATCHES, -(-TRAINING_SAMPLES // loader.batch))
    for batch in islice(loader.batches(), few):
        for name, target in batch.targets.items():
            if name in tasks and target.valid.any():
                found.setdefault(name, []).append(tasks[name].resize(target, GRID))
    return found


def _of_maps(
    loader: Loader,
    tasks: Mapping[str, Task],
    maps: Mapping[str, Tensor],
    limit: int | None,
    protocol: Protocol | str,
    ranks: bool = False,
) -> Figures:
    """Figures of one (c, h, w) prediction a task, the same for every image."""

    def predicted(batch: Batch, name: str, target: Target) -> Tensor:
        size = target.value.shape[-2], target.value.shape[-1]
        value = tasks[name].evaluate_at(maps[name], size)
        return value.to(target.value.device).expand(*target.value.shape[:-3], *value.shape)

    batches = _counted(loader, limit, part=_part(ranks))
    found = _judged(batches, {name: tasks[name] for name in maps}, predicted, protocol, ranks=ranks)
    return {name: dict(task.figures) for name, task in found.items()}


def _judged(
    batches: Iterable[Batch],
    tasks: Mapping[str, Task],
    predict: Predict,
    protocol: Protocol | str,
    workers: int | None = None,
    ranks: bool = False,
) -> dict[str, Judged]:
    from polyscene.metrics import Consistency

    meters: dict[str, Metric] = {}
    across = Consistency(tasks)
    for batch in batches:
        for name, target in batch.targets.items():
            if name in tasks:
                if name not in meters:
                    meters[name] = tasks[name].metric(protocol)
                    meters[name].share(workers)
                try:
                    meters[name].update(predict(batch, name, target), target)
                except ValueError as error:
                    raise ValueError(f"{name} in {', '.join(batch.meta)}: {error}") from error
        depth = in_metres(batch.targets, tasks) if batch.images.shape[1] > 1 else None
        if depth is not None:
            size = batch.images.shape[-2], batch.images.shape[-1]
            values = {name: predict(batch, name, depth) for name in tasks}
            across.update(values, depth, batch.camera, size, batch.present)
    if ranks:
        _add_up(meters, across, tasks, protocol)
    between = across.compute()
    return {
        name: Judged(
            meters[name].compute() | between.get(name, {}),
            meters[name].key,
            meters[name].higher_is_better,
            meters[name].words(),
            *meters[name].seen,
        )
        for name in tasks
        if name in meters
    }


def _add_up(
    meters: dict[str, Metric], across: Consistency, tasks: Mapping[str, Task], protocol: Protocol | str
) -> None:
    """Over ranks, some of which may have seen nothing of a task."""
    from polyscene.training import distributed

    seen = {name for names in distributed.gather(list(meters)) for name in names}
    for name in tasks:
        if name in seen and name not in meters:
            meters[name] = tasks[name].metric(protocol)
    distributed.add_up([meters[name].state for name in tasks if name in meters])
    across.take(distributed.gather(across.told()))


def in_metres(targets: Mapping[str, Target], tasks: Mapping[str, Task]) -> Target | None:
    """The depth among the tasks' values, if there is one."""
    found = (tasks[name].metres(target) for name, target in targets.items() if name in tasks)
    return next((target for target in found if target is not None), None)


def _counted(
    loader: Loader,
    limit: int | None,
    progress: Callable[[int, int], None] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    total = len(loader) if limit is None else min(limit, len(loader))
    for done, batch in enumerate(islice(loader.once(part), limit), 1):
        yield batch
        if progress:
            progress(done, max(done, total))
