"""Tasks as choices among classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from polyscene.tasks import semseg
from polyscene.tasks.base import Task
from polyscene.tasks.classes import COUNT, DepthClasses, NormalClasses, as_classes
from polyscene.tasks.sets import NYUV2, SETS
from polyscene.types import Target


@pytest.mark.parametrize("task", [task for tasks in SETS.values() for task in tasks], ids=lambda task: task.name)
def test_every_task_has_classes(task: Task) -> None:
    told = as_classes(task)
    assert (told.name, told.weight, told.value_channels) == (task.name, task.weight, task.value_channels)
    assert told.channels == (len(task.classes) or told.channels)
    assert told.channels >= 2
    raw = torch.randn(1, 1, told.channels, 4, 6, requires_grad=True)
    value = torch.ones(1, 1, task.value_channels, 4, 6) if not task.classes else torch.ones(1, 1, 1, 4, 6).long()
    nothing = told.loss(raw, Target(value, torch.zeros(1, 1, 1, 4, 6, dtype=torch.bool)))
    assert nothing == 0
    assert torch.autograd.grad(nothing, raw)[0].abs().sum() == 0


def test_depth_classes_are_even_in_log_depth() -> None:
    task = as_classes(NYUV2[1])
    assert isinstance(task, DepthClasses)
    assert (task.near, task.far, task.channels) == (0.7, 10.0, COUNT)
    step = (10 / 0.7) ** (1 / COUNT)
    depth = torch.tensor([0.1, 0.7001, 0.7 * step**7.5, 9.99, 50.0])
    valid = torch.tensor([True, True, True, True, True])
    for place, wanted in enumerate([0, 0, 7, COUNT - 1, COUNT - 1]):
        raw = F.one_hot(torch.tensor(wanted), COUNT).float().mul(50)[None, None, :, None, None]
        label = Target(depth[place].view(1, 1, 1, 1, 1), valid[place].view(1, 1, 1, 1, 1))
        assert task.loss(raw, label) < 1e-6
        assert task.loss(-raw, label) > 1
    assert float(task.activate(raw)) == pytest.approx(0.7 * step ** (COUNT - 0.5), rel=1e-4)


def test_a_normals_class_is_the_nearest_direction() -> None:
    task = NormalClasses()
    directions = task.directions(torch.zeros(()))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(COUNT))
    assert (directions[:, 2] < 0).all()
    between = (directions @ directions.T - 2 * torch.eye(COUNT)).amax(1).acos().rad2deg()
    assert between.min() > 15, "even"
    assert between.max() < 30, "even"
    for place in (0, 17, COUNT - 1):
        raw = F.one_hot(torch.tensor(place), COUNT).float().mul(50)[None, None, :, None, None]
        near = F.normalize(directions[place] + 0.02 * torch.tensor([1.0, -1.0, 0.5]), dim=0).view(1, 1, 3, 1, 1)
        assert task.loss(raw, Target(near, torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))) < 1e-6
        torch.testing.assert_close(task.activate(raw).flatten(), directions[place])


def test_losses_are_cross_entropies() -> None:
    """The mean over valid pixels of the negative log likelihood; nothing else counts."""
    valid = torch.ones(1, 1, 1, 2, 2, dtype=torch.bool)
    valid[..., 0, 0] = False
    depth = torch.full((1, 1, 1, 2, 2), 2.0).masked_fill(~valid, math.nan)
    normals = torch.tensor([0.0, 0.0, -1.0])[:, None, None].expand(1, 1, 3, 2, 2).masked_fill(~valid, math.nan)
    for task, value in ((DepthClasses(), depth), (NormalClasses(), normals)):
        loss = task.loss(torch.zeros(1, 1, task.channels, 2, 2), Target(value, valid))
        assert float(loss) == pytest.approx(math.log(COUNT))


def test_others_are_refused() -> None:
    class Strange(Task):
        pass

    Strange.__abstractmethods__ = frozenset()
    with pytest.raises(ValueError, match=r"'strange' \(Strange\) .* register it in as_classes"):
        as_classes(Strange("strange"))


def test_a_class_has_its_colour_in_every_network() -> None:
    indoors, streets = semseg.palette(("wall", "bed")), semseg.palette(("sky", "wall", "thing", "other"))
    assert indoors[0].tolist() == streets[1].tolist() and streets[0, 2] > streets[0, 0]
    many = semseg.palette((*(f"class {number}" for number in range(40)), "bed"))
    assert len({tuple(colour) for colour in many.tolist()}) == 41
