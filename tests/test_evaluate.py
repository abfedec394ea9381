import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import evaluate as evaluation
from polyscene import transforms, verdict, weights
from polyscene.config import Part, Source
from polyscene.data import sources
from polyscene.data.base import Dataset
from polyscene.data.loader import Loader
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.model import create_model
from polyscene.tasks import Depth, Normals, SemanticSegmentation, Task
from polyscene.types import Camera, Features, Predictions, Sample, Target

SIZE = 32, 32
TASKS: dict[str, Task] = {
    "semseg": SemanticSegmentation(classes=("a", "b", "c")),
    "depth": Depth(encoding="metres"),
    "normals": Normals(),
}


class Shades(Dataset):
    """Pictures whose red channel is depth / 10 and whose green channel is the class / 2; the left half is ``near``
    metres away, the right twice as far; normals face the camera."""

    name = "shades"

    def __init__(self, nears: tuple[float, ...], classes: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.nears = nears
        self.tasks = {**TASKS, "semseg": SemanticSegmentation(classes=classes)}

    def __len__(self) -> int:
        return len(self.nears)

    def read(self, index: int) -> Sample:
        depth = torch.full((1, 1, *SIZE), self.nears[index])
        depth[..., 16:] *= 2
        ids = torch.zeros(1, 1, *SIZE, dtype=torch.long)
        ids[..., 8:] = 1
        images = torch.cat([depth / 10, ids / 2, torch.zeros_like(depth)], 1)
        valid = torch.ones(1, 1, *SIZE, dtype=torch.bool)
        normals = torch.tensor([0.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, *SIZE)
        camera = Camera(assumed_intrinsics(*SIZE)[None], torch.eye(4)[None], torch.ones(1, dtype=torch.bool))
        targets = {"depth": Target(depth, valid), "semseg": Target(ids, valid), "normals": Target(normals, valid)}
        return Sample(images, targets, camera, torch.ones(1, dtype=torch.bool), self.name, (str(index),))


def loader(dataset: Dataset, tasks: dict[str, Task] = TASKS, size: tuple[int, int] = SIZE) -> Loader:
    return Loader(dataset, tasks, 2, transforms.Centre(size), seed=0, shuffle=False, workers=0)


class Oracle(torch.nn.Module):
    """Reads the labels off the picture."""

    def __init__(self, tasks: dict[str, Task], canonical_focal: float | None = None) -> None:
        super().__init__()
        self.tasks, self.canonical_focal = tasks, canonical_focal

    def focal_scale(self, camera: Camera, width: int) -> Tensor:
        focal = camera.intrinsics[..., 0, 0]
        return torch.ones_like(focal) if self.canonical_focal is None else focal / (self.canonical_focal * width)

    def forward(self, images: Tensor, camera: Camera, present: Tensor) -> Predictions:
        assert not self.training
        scale = self.focal_scale(camera, images.shape[-1])[..., None, None, None]
        ids = (images[:, :, 1] * 2).round().long()
        raw = {
            "depth": images[:, :, :1] * 10 / scale,
            "semseg": F.one_hot(ids, 3).movedim(-1, 2).float(),
            "normals": torch.tensor([0.0, 0.0, -3.0])[:, None, None].expand_as(images),
        }
        return Predictions({name: raw[name] for name in self.tasks}, [], Features([]))


@pytest.mark.parametrize("focal", [None, 0.7])
def test_a_network_that_knows_the_truth_is_judged_perfect(focal: float | None) -> None:
    model = Oracle(TASKS, focal).train()
    found = evaluation.evaluate(model, loader(Shades((1.0, 2.0, 3.0))))  # type: ignore[arg-type]
    assert found["semseg"]["mIoU"] == 100 and set(found) == set(TASKS)
    assert found["depth"]["RMSE"] == pytest.approx(0, abs=1e-5)
    assert found["normals"]["mean"] == pytest.approx(0, abs=1e-3)
    assert model.training, "the mode it was in is given back"


def test_labels_keep_their_own_size() -> None:
    found = evaluation.evaluate(Oracle(TASKS), loader(Shades((1.0,)), size=(16, 16)))  # type: ignore[arg-type]
    assert found["semseg"]["mIoU"] == 100 and 0 < found["depth"]["RMSE"] < 0.3  # only the step in depth is blurred


def test_only_what_is_in_common_is_judged() -> None:
    depth_only = {"depth": TASKS["depth"]}
    found = evaluation.evaluate(Oracle(depth_only), loader(Shades((1.0,)), depth_only))  # type: ignore[arg-type]
    assert set(found) == {"depth"}
    other: dict[str, Task] = {"saliency": TASKS["depth"]}
    with pytest.raises(ValueError, match="labels none of the network's tasks"):
        evaluation.evaluate(Oracle(other), loader(Shades((1.0,))))  # type: ignore[arg-type]


def test_the_limit_counts_batches_and_progress_follows() -> None:
    seen: list[tuple[int, int]] = []
    data = loader(Shades((1.0, 1.0, 4.0, 4.0)))
    evaluation.evaluate(Oracle(TASKS), data, 1, progress=lambda *step: seen.append(step))  # type: ignore[arg-type]
    assert seen == [(1, 1)]
    known = loader(Shades((1.0,)))
    assert evaluation.floors(known, data, TASKS, 1)["depth"]["RMSE"] == pytest.approx(0.5)


def test_floors_of_constants() -> None:
    found = evaluation.floors(loader(Shades((1.0, 3.0))), loader(Shades((2.0,))), TASKS)
    assert found["depth"]["RMSE"] == pytest.approx(1.0)  # the mean of 1, 2, 3 and 6 is 3; truth is 2 and 4
    assert found["semseg"]["mIoU"] == pytest.approx(75 / 2) and found["semseg"]["accuracy"] == 75
    assert found["normals"]["mean"] == pytest.approx(0, abs=1e-3)


def test_floors_that_know_the_place() -> None:
    found = evaluation.position_floors(loader(Shades((1.0, 3.0))), loader(Shades((2.0, 4.0))), TASKS)
    assert set(found) == {"depth", "normals"}
    assert found["depth"]["RMSE"] == pytest.approx(math.sqrt((0 + 2**2 + 0 + 4**2) / 4))
    assert found["depth"]["aligned AbsRel"] == pytest.approx(0, abs=1e-6)


def test_classes_are_joined_by_name() -> None:
    part = Source(dataset=Part(name="folder"))
    joined, _ = sources.join(Shades((1.0,), classes=("b", "a", "z")), TASKS, part, "shades")
    found = evaluation.evaluate(Oracle(TASKS), loader(joined))  # type: ignore[arg-type]
    assert found["semseg"]["accuracy"] == 0  # it says a and b where the names say b and a


def test_the_command_prints_floors_and_protocol_and_writes_json(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = create_model(["depth", "normals"], encoder="resnet18", decoder={"name": "multi_head", "channels": 8})
    weights.save(model, tmp_path / "net", size=[32, 64])
    about = tmp_path / "kitchen.yaml"
    about.write_text(
        f"name: kitchen\nroot: {real_data / 'kitchen_rgbd'}\nimages: rgb/{{id}}.jpg\n"
        "tasks: {depth: {path: 'depth/{id}.png', scale: 0.001, invalid: 0}}\nsplits: {val: {last: 0.05}}\n"
    )
    verdict.run(tmp_path / "net", str(about), split="val", limit=1, device="cpu")
    told = capsys.readouterr().out
    assert "place only" in told and "32x64" in told and "ratio of medians" in told
    found = json.loads((tmp_path / "net" / "metrics.json").read_text())["sources"]["kitchen"]
    assert found["floors"]["constant"]["depth"]["RMSE"] > 0 and set(found["figures"]) == {"depth"}


class Blind(Shades):
    """The same, with no depth known anywhere."""

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        depth = sample.targets["depth"]
        return replace(sample, targets={**sample.targets, "depth": replace(depth, valid=torch.zeros_like(depth.valid))})


def test_a_task_without_a_single_label_has_a_floor_of_nan() -> None:
    data = loader(Blind((1.0, 2.0)))
    floor = evaluation.floors(data, data, TASKS)
    judged = evaluation.evaluate(create_model(TASKS, "test_resnet"), data)
    assert floor.keys() == judged.keys() == TASKS.keys()
    assert math.isnan(floor["depth"]["RMSE"]) and floor["normals"]["mean"] < 1e-3
