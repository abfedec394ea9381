"""What every metric keeps to, of every task, under every protocol."""

import json
import math
import pickle
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyscene.metrics import Metric
from polyscene.metrics.base import UNDEFINED
from polyscene.metrics.protocols import PROTOCOLS, Protocol
from polyscene.tasks import Depth, Edges, Normals, Saliency, SemanticSegmentation, Task
from polyscene.types import Target

TASKS: dict[str, Task] = {
    "semseg": SemanticSegmentation(classes=("a", "b", "c")),
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
    "saliency": Saliency(),
}
BY = {
    f"{name}, {protocol.name}": (task, protocol.quick() if protocol.boundary.measure == "exact" else protocol)
    for name, task in TASKS.items()
    for protocol in PROTOCOLS.values()
}
every_metric = pytest.mark.parametrize(("task", "protocol"), BY.values(), ids=BY.keys())


def maps(task: Task, seed: int, images: int = 2) -> tuple[torch.Tensor, Target]:
    """Predictions and truths, (images, 1, c, 6, 7), some of the pixels invalid."""
    generator = torch.Generator().manual_seed(seed)
    value, truth = (task.activate(2 * torch.randn(images, 1, task.channels, 6, 7, generator=generator)) for _ in "ab")
    if isinstance(task, Edges | Saliency):
        truth = (truth > 0.5).float()
    return value, Target(truth, torch.rand(images, 1, 1, 6, 7, generator=generator) > 0.2)


def one_by_one(value: torch.Tensor, target: Target) -> Iterator[tuple[torch.Tensor, Target]]:
    for index in range(len(value)):
        yield value[index], Target(target.value[index], target.valid[index])


@every_metric
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), images=st.integers(1, 5), ranks=st.integers(1, 3))
def test_accumulators_of_several_processes_add_up(
    task: Task, protocol: Protocol, seed: int, images: int, ranks: int
) -> None:
    value, target = maps(task, seed, images)
    whole, parts = task.metric(protocol), [task.metric(protocol) for _ in range(ranks)]
    whole.update(value, target)
    for index, pair in enumerate(one_by_one(value, target)):
        parts[index % ranks].update(*pair)
    both = task.metric(protocol)
    both.state = torch.stack([part.state for part in parts]).sum(0)
    assert both.seen == whole.seen == (images, int(target.valid.sum()))
    assert both.compute() == pytest.approx(whole.compute(), rel=1e-5, nan_ok=True)
    assert both.state.dim() == 1 and both.state.dtype == torch.float64


@every_metric
def test_the_headline_is_among_the_figures(task: Task, protocol: Protocol) -> None:
    metric = task.metric(protocol)
    metric.update(*maps(task, 0))
    assert math.isfinite(metric.compute()[metric.key]) and isinstance(metric.higher_is_better, bool)
    assert len(metric.words()) > 20


@every_metric
def test_a_perfect_prediction_is_best(task: Task, protocol: Protocol) -> None:
    metric = task.metric(protocol)
    _, target = maps(task, 1)
    metric.update(target.value, target)
    best = 100 if metric.higher_is_better else 0
    if isinstance(task, SemanticSegmentation) and protocol.segmentation.pool == "images":
        assert set(target.value.unique().tolist()) == {0, 1, 2}
    tolerance = 0.5 if protocol.normals.eight_bits or protocol.normals.formula == "arccosine" else 1e-3
    assert metric.compute()[metric.key] == pytest.approx(best, abs=tolerance)


@every_metric
@pytest.mark.parametrize("updated", [False, True])
def test_without_a_valid_pixel_every_figure_is_undefined(task: Task, protocol: Protocol, updated: bool) -> None:
    metric = task.metric(protocol)
    value, target = maps(task, 0)
    if updated:
        metric.update(value, Target(target.value, torch.zeros_like(target.valid)))
    found = metric.compute()
    assert metric.seen == (0, 0) and metric.key in found
    assert all(figure is UNDEFINED for figure in found.values())


@every_metric
def test_different_sizes_are_refused(task: Task, protocol: Protocol) -> None:
    value, target = maps(task, 0)
    with pytest.raises(ValueError, match=r"prediction \(.*\) and truth \(.*\) differ in shape"):
        task.metric(protocol).update(value[..., :-1], target)


@every_metric
def test_nothing_is_changed_in_place(task: Task, protocol: Protocol) -> None:
    value, target = maps(task, 0)
    before = value.clone(), target.value.clone(), target.valid.clone()
    task.metric(protocol).update(value, target)
    assert all(torch.equal(a, b) for a, b in zip(before, (value, target.value, target.valid), strict=True))


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.channels < 40], ids=list(TASKS))
def test_nan_counts_only_where_it_is_valid(task: Task) -> None:
    value, target = maps(task, 0)
    if not value.is_floating_point():
        return
    hole = ~target.valid.expand_as(value)
    clean, spoilt = task.metric(), task.metric()
    clean.update(value, target)
    dirty = torch.where(hole, torch.nan, value)
    spoilt.update(dirty, Target(torch.where(hole, torch.nan, target.value), target.valid))
    assert spoilt.compute() == clean.compute()
    for name, pair in {
        "prediction": (torch.where(hole, value, torch.nan), target),
        "truth": (value, Target(torch.where(hole, target.value, torch.inf), target.valid)),
    }.items():
        with pytest.raises(ValueError, match=f"the {name} is NaN or infinite at .* valid pixels"):
            task.metric().update(*pair)


def test_undefined_says_so_and_is_a_nan_to_arithmetic() -> None:
    assert f"{UNDEFINED} {UNDEFINED:.3f} {UNDEFINED!r}" == "undefined undefined undefined"
    assert math.isnan(UNDEFINED) and math.isnan(UNDEFINED + 1) and not math.isfinite(UNDEFINED)
    assert math.isnan(pickle.loads(pickle.dumps(UNDEFINED)))
    with pytest.raises(ValueError, match="JSON"):
        json.dumps(UNDEFINED, allow_nan=False)


def test_half_precision_is_judged_in_single() -> None:
    task = TASKS["depth"]
    value, target = maps(task, 0)
    full, half = task.metric(), task.metric()
    full.update(value.bfloat16().float(), target)
    half.update(value.bfloat16(), target)
    assert half.compute() == full.compute()


def test_a_metric_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Metric(1)  # type: ignore[abstract]
