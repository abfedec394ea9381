"""How auxiliary maps enter the objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from polyscene.objective import Objective
from polyscene.tasks import Depth, Edges, Task
from polyscene.types import Auxiliary, Camera, Features, Predictions, Sample, Target

TASKS: dict[str, Task] = {"depth": Depth(encoding="metres"), "edges": Edges(weight=50.0)}


def scene() -> tuple[Predictions, Sample]:
    """Two views of 4x8, of which the second is judged nowhere; the auxiliary maps are at half the size."""
    torch.manual_seed(0)
    everywhere = torch.ones(1, 2, 1, 4, 8, dtype=torch.bool)
    targets = {
        "depth": Target(torch.rand(1, 2, 1, 4, 8) + 1, everywhere),
        "edges": Target(torch.rand(1, 2, 1, 4, 8).round(), everywhere),
    }
    present = torch.ones(1, 2, dtype=torch.bool)
    camera = Camera(torch.eye(3).expand(1, 2, 3, 3), torch.eye(4).expand(1, 2, 4, 4), present)
    maps = {name: torch.rand(1, 2, 1, 2, 4, requires_grad=True) for name in TASKS}
    valid = torch.zeros(1, 2, 1, 2, 4, dtype=torch.bool)
    valid[:, 0, :, :, 1:3] = True
    auxiliary = Auxiliary(maps, TASKS, 0.5, "extra", valid)
    final = {name: torch.rand(1, 2, 1, 4, 8) for name in TASKS}
    return Predictions(final, [auxiliary], Features([])), Sample(
        torch.rand(1, 2, 3, 4, 8), targets, camera, present, ""
    )


def test_an_auxiliary_is_judged_where_it_is_valid() -> None:
    predictions, batch = scene()
    (auxiliary,) = predictions.auxiliary
    report = Objective(TASKS)(predictions, batch)
    report.total.backward()
    for name, raw in auxiliary.maps.items():
        assert raw.grad is not None and raw.grad[:, 0, :, :, 1:3].abs().sum() > 0, name
        assert raw.grad[:, 1].abs().sum() == 0, name
    assert auxiliary.valid is not None
    wide = auxiliary.valid.repeat_interleave(2, -1).repeat_interleave(2, -2)
    limited = {name: Target(target.value, target.valid & wide) for name, target in batch.targets.items()}
    plain = Predictions(predictions.final, [replace(auxiliary, valid=None)], predictions.shared)
    same = Objective(TASKS)(plain, replace(batch, targets=limited))
    for name in TASKS:
        torch.testing.assert_close(report.parts[f"extra.{name}"], same.parts[f"extra.{name}"])
    assert not torch.equal(report.by_task["depth"], same.by_task["depth"])  # final maps are judged everywhere


def test_an_auxiliary_that_is_valid_nowhere_costs_nothing() -> None:
    predictions, batch = scene()
    (auxiliary,) = predictions.auxiliary
    assert auxiliary.valid is not None
    nowhere = replace(auxiliary, valid=torch.zeros_like(auxiliary.valid))
    report = Objective(TASKS)(Predictions(predictions.final, [nowhere], predictions.shared), batch)
    report.total.backward()
    assert all(float(loss.detach()) == 0 for loss in report.parts.values())
    assert all(raw.grad is not None and not raw.grad.any() for raw in auxiliary.maps.values())


def test_shares_multiply_the_weight_of_their_task() -> None:
    predictions, batch = scene()
    (auxiliary,) = predictions.auxiliary
    shared = replace(auxiliary, shares={"depth": 3.0})
    totals = [
        Objective(TASKS)(Predictions(predictions.final, [each], predictions.shared), batch).total.item()
        for each in (auxiliary, shared)
    ]
    extra = Objective(TASKS)(predictions, batch).parts["extra.depth"].item()
    assert totals[1] - totals[0] == pytest.approx(0.5 * 2 * extra, rel=1e-3)
