"""Each freedom the contracts give, used once."""

from __future__ import annotations

import pytest
import torch
from every_part import batch_for, install_doubles

from polyscene.model import create_model
from polyscene.objective import Objective


@pytest.fixture(autouse=True)
def _doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    install_doubles(monkeypatch)
    torch.manual_seed(0)


def test_a_neck_sees_the_other_views_that_are_present() -> None:
    model = create_model("rooms", "test_resnet", neck="double").eval()
    batch = batch_for(model.tasks, 1, 2)
    first = model(batch.images, batch.camera, batch.present)
    changed = batch.images.clone()
    changed[:, 1] = 0
    second = model(changed, batch.camera, batch.present)
    assert not torch.equal(first.final["depth"][:, 0], second.final["depth"][:, 0])
    alone = torch.tensor([[True, False]])
    hidden = [model(images, batch.camera, alone).final["depth"][:, 0] for images in (batch.images, changed)]
    assert torch.equal(*hidden)
    assert len(first.shared.maps) == len(model.encoder.channels) + 1


def test_a_stream_remembers_and_inference_does_not() -> None:
    model = create_model("rooms", "test_resnet", neck="double").eval()
    images = torch.rand(1, 1, 3, 64, 96)
    stream = model.stream()
    fresh, later = stream(images)["depth"], stream(images)["depth"]
    assert torch.equal(fresh, model.infer(images)["depth"])
    assert not torch.equal(fresh, later)


def test_a_regularizer_counts_by_its_schedule_and_only_in_training() -> None:
    model = create_model("rooms", "test_resnet", regularizer="double").train()
    batch = batch_for(model.tasks)
    weights = []
    for model.progress in (0.0, 0.1, 0.2, 1.0):
        (auxiliary,) = model(batch.images, batch.camera).auxiliary
        weights.append(auxiliary.weight)
    assert weights == pytest.approx([0, 0.25, 0.5, 0.5])
    assert not model.eval()(batch.images, batch.camera).auxiliary
    with pytest.raises(ValueError, match="camera"):
        model.train()(batch.images)


def test_initial_predictions_are_supervised_as_their_own_variant() -> None:
    model = create_model("rooms", "test_resnet", "initial_double").train()
    batch = batch_for(model.tasks)
    predictions = model(batch.images)
    (auxiliary,) = predictions.auxiliary
    assert auxiliary.maps["depth"].shape[2] == 8 and predictions.final["depth"].shape[2] == 1
    report = Objective(model.tasks)(predictions, batch)
    final = sum(task.weight * float(report.by_task[name]) for name, task in model.tasks.items())
    assert float(report.total) == pytest.approx(final + 0.25 * float(report.parts["initial.depth"]), rel=1e-5)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "test_mambaout"])
def test_a_method_between_the_stages(encoder: str) -> None:
    model = create_model("rooms", encoder, "stitch_double").train()
    batch = batch_for(model.tasks)
    predictions = model(batch.images)
    Objective(model.tasks)(predictions, batch).total.backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    assert set(predictions.shared.by_task) == set(model.tasks)


@pytest.mark.parametrize("encoder", ["hrnet_w18_small_v2", "test_vit"])
def test_encoders_without_a_chain_of_stages_are_refused_by_name(encoder: str) -> None:
    with pytest.raises(ValueError, match=encoder):
        create_model("rooms", encoder, "stitch_double")
