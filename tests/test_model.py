from __future__ import annotations

import pytest
import torch

from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.tasks import Depth, Normals
from polyscene.tasks.sets import NYUV2_CLASSES, SETS, resolve
from polyscene.types import Camera, Features, Predictions, Sample, Target

SMALL = {"name": "multi_head", "channels": 8, "context": "none"}


def camera(focal: float, known: bool) -> Camera:
    intrinsics = torch.tensor([[focal, 0.0, 47.5], [0.0, focal, 31.5], [0.0, 0.0, 1.0]])
    return Camera(intrinsics.expand(1, 1, 3, 3), torch.eye(4).expand(1, 1, 4, 4), torch.tensor([[known]]))


@pytest.mark.parametrize("name", SETS)
def test_task_sets(name: str) -> None:
    assert resolve(name) == {task.name: task for task in SETS[name]}


def test_tasks_by_name_object_and_description() -> None:
    tasks = resolve(["semseg", Normals("facing", 2.0), {"type": "Depth", "encoding": "log_bins", "bins": 8}])
    assert list(tasks) == ["semseg", "facing", "depth"]
    assert tasks["semseg"].classes == NYUV2_CLASSES and len(set(NYUV2_CLASSES)) == 40
    assert resolve(tasks) == tasks
    assert resolve(["edges"])["edges"].weight == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tasks": "nyuv3"}, "nyuv2"),
        ({"tasks": ["dept"]}, "depth"),
        ({"tasks": ["depth", Depth()]}, "twice"),
        ({"tasks": []}, "no tasks"),
        ({"tasks": "rooms", "decoder": "multihead"}, "multi_head"),
        ({"tasks": "rooms", "encoder": "test_resnet", "decoder": {"name": "multi_head", "width": 3}}, "width"),
        ({"tasks": "rooms", "encoder": "test_resnet", "decoder": {"name": "multi_head", "depth": -1}}, "depth"),
    ],
)
def test_refusals_name_the_nearest(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create_model(**arguments)


@pytest.mark.parametrize("context", ["none", "pool", "attention"])
@pytest.mark.parametrize("fuse", ["fpn", "concat"])
def test_only_context_lets_far_corners_meet(fuse: str, context: str) -> None:
    torch.manual_seed(0)
    options = {"name": "multi_head", "channels": 8, "context_channels": 16, "fuse": fuse, "context": context}
    model = create_model(["depth"], "test_resnet", options).eval()
    levels = zip(model.encoder.channels, model.encoder.strides, strict=True)
    maps = [torch.randn(1, width, 512 // stride, 512 // stride) for width, stride in levels]
    moved = [level.clone() for level in maps]
    moved[-1][..., -1, -1] += 5
    with torch.no_grad():
        before, after = (model.decoder(Features(levels))[0]["depth"][..., 0, 0] for levels in (maps, moved))
    assert torch.equal(before, after) == (context == "none")


def test_depth_returns_from_the_canonical_camera() -> None:
    torch.manual_seed(0)
    model = create_model(["depth", "normals"], "test_resnet", SMALL, canonical_focal=1.0).eval()
    images = torch.rand(1, 1, 3, 64, 96)
    plain, twice, unknown = (model.infer(images, camera(192.0, known))["depth"] for known in (False, True, False))
    assert torch.allclose(twice, 2 * plain) and torch.equal(unknown, plain)
    assert model.focal_scale(camera(192.0, True), 96).tolist() == [[2.0]]
    assert torch.equal(model.infer(images)["depth"], plain)
    task, raw = model.tasks["depth"], torch.zeros(1, 1, 1, 64, 96)
    target = Target(2 * task.activate(raw), torch.ones(1, 1, 1, 64, 96, dtype=torch.bool))
    scale = model.focal_scale(camera(192.0, True), 96)
    assert float(task.loss(raw, task.zoom(target, scale))) == pytest.approx(0, abs=1e-3)


def test_an_image_alone_and_among_others_is_seen_the_same() -> None:
    torch.manual_seed(0)
    model = create_model("rooms", "test_resnet", SMALL).eval()
    images = torch.rand(2, 3, 3, 64, 96)
    together = model.infer(images)
    alone = model.infer(images[1:, 2:])
    assert torch.allclose(together["depth"][1:, 2:], alone["depth"], rtol=1e-4)
    assert model.describe()["decoder"] == SMALL


def labelled(predictions: Predictions, names: tuple[str, ...]) -> Sample:
    shape = next(iter(predictions.final.values())).shape
    blank = torch.ones(*shape[:2], 1, *shape[-2:], dtype=torch.bool)
    targets = {
        name: Target(torch.ones(*shape[:2], 3 if name == "normals" else 1, *shape[-2:]), blank) for name in names
    }
    return Sample(torch.rand(*shape[:2], 3, *shape[-2:]), targets, camera(96.0, True), blank[:, :, 0, 0, 0], "x")


def test_the_objective_weighs_and_forgives_missing_labels() -> None:
    torch.manual_seed(0)
    model = create_model(["depth", "normals"], "test_resnet", SMALL).train()
    predictions = model(torch.rand(2, 1, 3, 64, 96))
    both = Objective(model.tasks, {"depth": 3.0})(predictions, labelled(predictions, ("depth", "normals")))
    assert float(both.total) == pytest.approx(3 * float(both.by_task["depth"]) + float(both.by_task["normals"]))
    none = Objective(model.tasks)(predictions, labelled(predictions, ()))
    none.total.backward()
    assert float(none.total) == 0 and not none.by_task
    assert all(not parameter.grad.any() for parameter in model.heads.parameters())
    with pytest.raises(ValueError, match="dept"):
        Objective(model.tasks, {"dept": 1.0})


def test_labels_may_be_larger_than_the_prediction() -> None:
    task = Depth()
    raw = torch.zeros(1, 1, 1, 8, 12)
    target = Target(task.activate(torch.zeros(1, 1, 1, 16, 24)), torch.ones(1, 1, 1, 16, 24, dtype=torch.bool))
    predictions = Predictions({"depth": raw}, [], Features([]))
    batch = Sample(torch.rand(1, 1, 3, 8, 12), {"depth": target}, camera(12.0, True), torch.ones(1, 1).bool(), "x")
    assert float(Objective({"depth": task})(predictions, batch).total) == pytest.approx(0, abs=1e-3)
