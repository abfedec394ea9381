"""Losses of several tasks made into one gradient."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from polyscene import config, parts
from polyscene.adaptation.supervised import Supervised
from polyscene.balancing import BALANCERS
from polyscene.balancing.base import make
from polyscene.balancing.weighing import DynamicWeightAverage, Uncertainty
from polyscene.config import Config, Part, Schedule, Training
from polyscene.model import create_model
from polyscene.training import cost, tasks
from polyscene.training.trainer import Trainer
from polyscene.types import Camera, Report, collate

from .toy import Toy

AGGREGATING = [name for name, target in BALANCERS.items() if ".aggregating:" in target]


class Two:
    """A shared vector of three, seen by two tasks that pull it apart, and a scalar of each one's own."""

    def __init__(self) -> None:
        self.shared = nn.Parameter(torch.tensor([1.0, 2.0, -1.0]))
        self.own = {"depth": nn.Parameter(torch.tensor(0.5)), "edges": nn.Parameter(torch.tensor(2.0))}
        self.jacobian = torch.tensor([[4.0, 0.0, 1.0], [-2.0, 1.0, 1.0]])

    @property
    def trained(self) -> list[nn.Parameter]:
        return [self.shared, *self.own.values()]

    def report(self, *unlabelled: str) -> Report:
        rows = dict(zip(self.own, self.jacobian, strict=True))
        shares = {
            name: (row @ self.shared + self.own[name] ** 2) * (0.0 if name in unlabelled else 1.0)
            for name, row in rows.items()
        }
        return Report(torch.stack(list(shares.values())).sum(), dict(shares), {}, shares)


def same(loss: torch.Tensor) -> torch.Tensor:
    return loss


@pytest.mark.parametrize("name", AGGREGATING)
def test_shared_parameters_get_the_joint_gradient_and_others_their_own(name: str) -> None:
    aggregation = pytest.importorskip("torchjd").aggregation
    two, method = Two(), make(Part(name=name), ["depth", "edges"])
    torch.manual_seed(0)
    method.backward(two.report(), same, two.trained)
    kind = parts.load(BALANCERS, name, "balancing").aggregator
    reference = getattr(aggregation, kind)(**{"CAGrad": {"c": 0.4}, "NashMTL": {"n_tasks": 2}}.get(kind, {}))
    torch.manual_seed(0)
    torch.testing.assert_close(two.shared.grad, reference(two.jacobian))
    assert (two.jacobian @ two.shared.grad > -1e-4).all(), "a step down it harms neither"
    assert [float(own.grad) for own in two.own.values()] == [1.0, 4.0]


@pytest.mark.parametrize("name", AGGREGATING)
def test_a_task_without_labels_is_left_out(name: str) -> None:
    pytest.importorskip("torchjd")
    two = Two()
    make(Part(name=name), ["depth", "edges"]).backward(two.report("edges"), same, two.trained)
    torch.testing.assert_close(two.shared.grad, two.jacobian[0])
    assert not two.own["edges"].grad


def test_what_no_task_owns_is_added() -> None:
    pytest.importorskip("torchjd")
    two = Two()
    report = two.report()
    plain = Two()
    make(Part(name="upgrad"), ["depth", "edges"]).backward(plain.report(), same, plain.trained)
    others = two.shared.sum()
    extended = Report(report.total + others, report.by_task, {}, report.shares, others)
    make(Part(name="upgrad"), ["depth", "edges"]).backward(extended, same, two.trained)
    torch.testing.assert_close(two.shared.grad, plain.shared.grad + 1)


def test_the_gradient_grows_with_the_scale_of_the_losses() -> None:
    """As fp16 scales them; Nash's gradient has a bounded length."""
    pytest.importorskip("torchjd")
    for name in AGGREGATING:
        small, large = Two(), Two()
        for two, scale in ((small, 1.0), (large, 512.0)):
            torch.manual_seed(0)
            make(Part(name=name), ["depth", "edges"]).backward(
                two.report(), lambda loss, scale=scale: loss * scale, two.trained
            )
        torch.testing.assert_close(large.shared.grad / 512, small.shared.grad, rtol=1e-4, atol=1e-4)


def test_fixed_is_the_plain_sum() -> None:
    two = Two()
    make(Part(name="fixed"), ["depth", "edges"]).backward(two.report(), same, two.trained)
    torch.testing.assert_close(two.shared.grad, two.jacobian.sum(0))


def test_learned_uncertainty() -> None:
    two, method = Two(), Uncertainty(["depth", "edges"])
    with torch.no_grad():
        method.log_variance["depth"].fill_(0.7)
    method.backward(two.report("edges"), same, [*two.trained, *method.parameters().values()])
    depth = float(two.report().shares["depth"].detach())
    torch.testing.assert_close(two.shared.grad, two.jacobian[0] * torch.exp(torch.tensor(-0.7)))
    torch.testing.assert_close(method.log_variance["depth"].grad, 1 - torch.exp(torch.tensor(-0.7)) * depth)
    assert float(method.log_variance["edges"].grad) == 0, "a task without labels is not thought certain"


def test_dynamic_weights_favour_the_loss_that_falls_slowly() -> None:
    method = DynamicWeightAverage(["depth", "edges"], temperature=2.0, period=2)

    def update(depth: float, edges: float) -> torch.Tensor:
        shares = {"depth": torch.tensor(depth), "edges": torch.tensor(edges)}
        return method.weighed(Report(torch.tensor(depth + edges), shares, {}, shares))

    for losses in ((4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (2.0, 1.0)):  # means 3, 1, then 1.5, 1
        assert float(update(*losses)) == sum(losses), "weights are 1 until two periods are over"
    wanted = 2 * torch.softmax(torch.tensor([0.5, 1.0]) / 2, 0)
    torch.testing.assert_close(method.weights(), wanted)
    copied = DynamicWeightAverage(["depth", "edges"], period=2)
    copied.load_state_dict(copy.deepcopy(method.state_dict()))
    torch.testing.assert_close(update(3.0, 5.0), 3 * wanted[0] + 5 * wanted[1])
    torch.testing.assert_close(copied.weights(), wanted)


def test_unknown_methods_and_keywords_are_told() -> None:
    with pytest.raises(ValueError, match="did you mean 'cagrad'"):
        make(Part(name="cagrade"), ["depth"])
    with pytest.raises(ValueError, match="balancing dwa"):
        make(Part(name="dwa", options={"heat": 1}), ["depth"])


FILE = """
tasks: [depth, normals]
data: {size: [64, 96], train: {rooms: {dataset: {name: rooms, scenes: 1, views: 2}, batch: 1}}}
model: {encoder: test_resnet, neck: cross_view, regularizer: triplane}
training: {steps: 1, optimiser: {clip: null}, balancing: BALANCING}
"""


def read(folder: Path, balancing: str) -> Config:
    (folder / "run.yaml").write_text(FILE.replace("BALANCING", balancing))
    return config.load(folder / "run.yaml")


def test_a_file_names_it(tmp_path: Path) -> None:
    chosen = read(tmp_path, "{name: cagrad, c: 0.3}").training.balancing
    assert chosen == Part(name="cagrad", options={"c": 0.3})
    assert read(tmp_path, "dwa").training.balancing == Part(name="dwa")
    wrongs = {"cagrat": "did you mean 'cagrad'", "{name: cagrad, d: 1}": r"balancing\.d = 1: unknown key"}
    for wrong, said in wrongs.items():
        with pytest.raises(config.ConfigError, match=said):
            read(tmp_path, wrong)


def test_through_kernels_of_our_own(tmp_path: Path) -> None:
    """Those of the cost volume and of the triplane, which are differentiated once a task; what only one task reaches
    gets the gradient that it gets of the plain sum."""
    pytest.importorskip("torchjd")
    found = {}
    for name in ("fixed", "pcgrad"):
        torch.manual_seed(0)
        chosen = read(tmp_path, name)
        wanted = tasks.choose(chosen)
        batch = cost.random_batch(wanted, 1, *chosen.data.size, views=2)
        intrinsics = torch.tensor([[80.0, 0.0, 47.5], [0.0, 80.0, 31.5], [0.0, 0.0, 1.0]]).expand(1, 2, 3, 3)
        poses = torch.eye(4).repeat(1, 2, 1, 1)
        poses[:, 1, 0, 3] = 0.1
        batch = dataclasses.replace(batch, camera=Camera(intrinsics, poses, batch.present))
        model = create_model(wanted, **chosen.model.model_dump(exclude={"pretrained"}))
        trainer = Trainer(model, Supervised(wanted), chosen.training, torch.device("cpu"), seed=0)
        trainer.optimiser.step = lambda *_, **__: None
        trainer.optimiser.zero_grad = lambda *_, **__: None
        trainer.update(1, 2, [{"rooms": batch}])
        found[name] = {key: parameter.grad for key, parameter in model.named_parameters()}
    for key, plain in found["fixed"].items():
        assert found["pcgrad"][key].isfinite().all(), key
        if ".depth." in key or ".normals." in key:
            torch.testing.assert_close(found["pcgrad"][key], plain)


@pytest.mark.parametrize("name", AGGREGATING)
def test_what_overflows_stays_infinite(name: str) -> None:
    """So that the scaler of fp16 sees it; no solver is asked."""
    pytest.importorskip("torchjd")
    two = Two()
    two.jacobian[0, 0] = torch.inf
    make(Part(name=name), ["depth", "edges"]).backward(two.report(), same, two.trained)
    assert not two.shared.grad.isfinite().all()


@pytest.mark.parametrize("name", ["uncertainty", "dwa", "upgrad", "nash_mtl"])
def test_training_goes_on_where_it_was(name: str) -> None:
    if name in AGGREGATING:
        pytest.importorskip("torchjd")
    options = {"period": 1} if name == "dwa" else {}

    def trainer() -> Trainer:
        torch.manual_seed(0)
        tasks = dict(Toy().tasks)
        settings = Training(schedule=Schedule(name="constant", warmup=0), balancing=Part(name=name, options=options))
        model = create_model(tasks, "test_efficientnet")
        return Trainer(model, Supervised(tasks), settings, torch.device("cpu"), seed=0)

    def batch(*indices: int) -> dict:
        return {"toy": collate([Toy().read(index) for index in indices])}

    one, two = trainer(), trainer()
    for step in range(2):
        one.update(step, 10, [batch(step, step + 1)])
    two.restore(copy.deepcopy(one.state()))
    before = [parameter.detach().clone() for parameter in one.model.parameters()]
    for each in (one, two):
        each.update(2, 10, [batch(2, 3)])
    after = list(one.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for a, b in zip(after, two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(one.balancing.parameters().values(), two.balancing.parameters().values(), strict=True):
        assert torch.equal(a, b) and float(a.detach()) != 0
