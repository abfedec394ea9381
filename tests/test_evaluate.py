import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import cli, transforms, weights
from polyscene import evaluate as evaluation
from polyscene.config import Part, Source
from polyscene.data import DATASETS, sources
from polyscene.data.base import Dataset
from polyscene.data.loader import Loader
from polyscene.evaluate import command
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.metrics.boundary import BoundaryMetric
from polyscene.model import create_model
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation, Task
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
    command.run(tmp_path / "net", str(about), limit=1, device="cpu")
    told = capsys.readouterr().out
    assert "place only" in told and "32x64" in told and "ratio of medians" in told
    found = json.loads((tmp_path / "net" / "metrics.json").read_text())["sources"]["kitchen"]
    assert (
        found["split"] == "val"
        and found["floors"]["constant"]["depth"]["RMSE"] > 0
        and set(found["figures"]) == {"depth"}
    )


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


# -- the command -------------------------------------------------------------------------------------------------------
class Stored(Shades):
    """Of the field's kind: files at a root, in splits, which are all labelled alike but for some pixels."""

    def __init__(self, root: Path | None = None, split: Literal["train", "val", "test"] = "train") -> None:
        if not root or not (Path(root) / split).exists():
            raise ValueError(f"stored: nothing at {root}")
        super().__init__((1.0, 2.0, 3.0))
        self.tasks = {**self.tasks, "edges": Edges(max_dist=0.02)}

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        depth = sample.targets["depth"]
        valid = depth.valid.clone()
        valid[..., :8] = False
        edges = Target(torch.zeros(1, 1, *SIZE), depth.valid & (index > 0))
        edges.value[..., 16] = 1
        return replace(sample, targets={**sample.targets, "depth": replace(depth, valid=valid), "edges": edges})


class Unlabelled(Stored):
    def read(self, index: int) -> Sample:
        sample = super().read(index)
        depth = sample.targets["depth"]
        return replace(sample, targets={**sample.targets, "depth": replace(depth, valid=torch.zeros_like(depth.valid))})


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of four tasks, and the data sets ``stored`` and ``unlabelled``."""
    torch.manual_seed(0)
    monkeypatch.setitem(DATASETS, "stored", f"{__name__}:Stored")
    monkeypatch.setitem(DATASETS, "unlabelled", f"{__name__}:Unlabelled")
    for split in ("val", "test"):
        (tmp_path / "files" / split).mkdir(parents=True)
    model = create_model({**TASKS, "edges": Edges()}, "test_resnet", {"name": "multi_head", "channels": 4})
    weights.save(model, tmp_path / "net", size=list(SIZE))
    return tmp_path / "net"


def told(net: Path) -> dict[str, Any]:
    return next(iter(json.loads((net / "metrics.json").read_text())["sources"].values()))


def test_a_set_by_name_its_split_its_protocol_and_what_was_counted(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", str(net), "--data", "stored", "--root", str(net.parent / "files"), "--no-floors"]
    assert cli.main([*words, "--protocol", "invpt", "--edges", "quick"]) == 0
    found, printed, page = told(net), capsys.readouterr().out, (net / "metrics.md").read_text()
    assert (found["split"], found["samples"], found["protocol"]["name"]) == ("val", 3, "invpt")
    counts = {name: (task["images"], task["pixels"]) for name, task in found["tasks"].items()}
    assert counts == {"semseg": (3, 3072), "depth": (3, 2304), "normals": (3, 3072), "edges": (2, 2048)}
    for text in (printed, page):
        assert "protocol invpt (InvPT, TaskPrompter" in text and "2,304" in text and "stored (val)" in text
        assert "pictures as they are, padded or cut" in text, "the input of the protocol's recipe"
    assert found["tasks"]["semseg"]["words"] in page and "Δ_MTL" not in page and found["floors"] == {}

    assert cli.main([*words, "--protocol", "mtan", "--split", "test"]) == 0
    found = told(net)
    assert found["split"] == "test" and found["tasks"]["depth"]["headline"] == "AbsErr"


def test_exact_edges_take_the_reach_of_the_data_set(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(BoundaryMetric, "share", lambda self, workers: asked.append(workers))
    root = net.parent / "files"
    command.run(net, "stored", root=root, edges="exact", device="cpu", limit=1, workers=3)
    found = told(net)
    assert found["tasks"]["edges"]["headline"] == "odsF" and "within 0.02 of" in found["tasks"]["edges"]["words"]
    assert found["figures"]["edges"]["odsF"] >= 0 and asked == [3]
    assert found["floors"]["constant"].keys() == TASKS.keys(), "exact floors would take long and say little"


def test_what_nothing_defines_is_undefined(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (net.parent / "alone.yaml").write_text("depth: 0.5\nnormals: 20\n")
    command.run(net, "unlabelled", root=net.parent / "files", device="cpu", baseline=[net.parent / "alone.yaml"])
    found = told(net)
    assert found["figures"]["depth"]["RMSE"] is None and found["tasks"]["depth"]["pixels"] == 0
    assert found["delta"] is None and found["figures"]["normals"]["mean"] > 0
    assert "Δ_MTL undefined %" in capsys.readouterr().out
    assert "| depth | RMSE ↓ | undefined | 0.5000 | undefined |" in (net / "metrics.md").read_text()


def test_delta_against_single_tasks(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, alone = net.parent / "files", net.parent / "alone.json"
    command.run(net, "stored", root=root, device="cpu", with_floors=False)
    figures = told(net)["figures"]
    depth, normals = figures["depth"]["RMSE"], figures["normals"]["mean"]
    alone.write_text(json.dumps({"protocol": "polyscene", "depth": 2 * depth, "normals": normals / 1.1, "other": 1}))
    command.run(net, "stored", root=root, device="cpu", with_floors=False, baseline=[alone])
    found, printed = told(net), capsys.readouterr().out
    assert found["delta"] == pytest.approx((50 - 10) / 2) and "Δ_MTL +20.00 % against single tasks" in printed
    assert "over depth, normals" in printed and "single task" in printed

    command.run(net, "stored", root=root, device="cpu", with_floors=False, baseline=[net], out=net.parent / "again")
    assert told(net.parent / "again")["delta"] == pytest.approx(0), "a network against itself"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("depth: good", "depth: 'good' is no number"),
        ("depth: 0", "depth is 0, and no change"),
        ("- 1", "is no mapping"),
        ("{protocol: sak, depth: 1}", "of protocol 'sak', not 'polyscene'"),
        ('{"sources": {"val": 1}}', "run polyscene eval again"),
    ],
)
def test_baselines_that_say_nothing_are_refused(net: Path, text: str, problem: str) -> None:
    file = net.parent / "alone.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=problem):
        command.run(net, "stored", root=net.parent / "files", device="cpu", baseline=[file])


def test_baselines_counted_otherwise_are_refused(net: Path) -> None:
    root, out = net.parent / "files", net.parent / "out"
    command.run(net, "stored", root=root, device="cpu", with_floors=False, edges="exact", limit=1)
    with pytest.raises(ValueError, match=r"edges of baseline .* counted otherwise \(odsF .*quick F"):
        command.run(net, "stored", root=root, device="cpu", baseline=[net], out=out)
    quick = net.parent / "quick"
    command.run(net, "stored", root=root, device="cpu", with_floors=False, out=quick)
    with pytest.raises(ValueError, match="gives semseg a second time"):
        command.run(net, "stored", root=root, device="cpu", baseline=[quick, quick / "metrics.json"], out=out)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        command.run(net, "stored", root=root, device="cpu", baseline=[net / "none"], out=out)
    assert not out.exists()


def test_mistakes_of_the_command_are_told(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = net.parent / "config.yaml"
    config.write_text("tasks: [depth]\n")
    for words, problem in (
        (["--data", "stord"], "unknown data set 'stord'; did you mean 'stored'?"),
        (["--data", "stored"], "stored: nothing at None"),
        (["--data", str(net), "--root", "x"], "--root goes with a data set's name"),
        (["--data", "stored", "--protocol", "invp"], "unknown protocol 'invp'; did you mean 'invpt'?"),
        (["--data", "stored", "--workers", "0"], "--workers 0"),
        (["--data", str(config), "--split", "val"], "--split val: the sources of"),
    ):
        assert cli.main(["eval", str(net), *words]) == 2
        assert problem in capsys.readouterr().err


def test_a_prediction_that_is_no_number_names_task_and_sample() -> None:
    class Broken(Oracle):
        def forward(self, images: Tensor, camera: Camera, present: Tensor) -> Predictions:
            found = super().forward(images, camera, present)
            return replace(found, final={**found.final, "depth": found.final["depth"] * math.nan})

    with pytest.raises(ValueError, match="depth in 0, 1: the prediction is NaN or infinite at"):
        evaluation.evaluate(Broken(TASKS), loader(Shades((1.0, 2.0))))  # type: ignore[arg-type]
