"""Every experiment file can be trained as it stands: read, built, and run once in full size, without memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console
from tests.data import pascal
from torch import Tensor
from torch.nn import functional as F

from polyscene import encoders
from polyscene.comparison import Arm, Column, Comparison
from polyscene.config import Config, check, load
from polyscene.data import kinect, sources
from polyscene.decoders import DECODERS
from polyscene.encoders.base import Encoder
from polyscene.evaluate.judgement import Judged, Judgement
from polyscene.model import MultiTaskModel, create_model
from polyscene.objective import Objective
from polyscene.tasks import Task
from polyscene.training import cost, optim, schedule, suite, tasks
from polyscene.training.loop import make_step
from polyscene.training.meter import NonFinite
from polyscene.types import Batch, Camera, Features, Target

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
ELSEWHERE = ("adapt", "cityscapes", "synthia", "vkitti2", "self_supervised")  # tested in files of their own
FILES = [
    str(file.relative_to(EXPERIMENTS))
    for file in sorted(EXPERIMENTS.glob("*/*.yaml"))
    if file.parent.name not in ELSEWHERE
]
ARMS = "three_d/arms.yaml"  # of three_d/base.yaml
EQUAL = "equal_backbone/arms.yaml"  # of the base.yaml and real.yaml beside it
PLAIN = ("multi_head", "deeplab")  # what others are compared with
PUBLISHED = [name for name in FILES if name.startswith(("nyuv2/", "pascal_context/"))]
OTHERS = [name for name in DECODERS if name not in ("mti_net", "invpt", "vit_light", "dense_mtl", *PLAIN)]
WANTED = {
    *(f"{where}/{host}_{arm}.yaml" for where in ("nyuv2", "pascal_context")
      for host in ("mti_net", "invpt", "vit_light") for arm in ("base", "triplane", "cvm")),
    *(f"nyuv2/vit_light_{arm}_video.yaml" for arm in ("base", "triplane", "cvm")),
    *(f"nyuv2/dense_mtl_{exchanged}.yaml" for exchanged in ("sd", "sdn", "sdne")),
    *(f"{where}/{host}.yaml" for where in ("nyuv2", "pascal_context") for host in OTHERS),
}  # fmt: skip
SIZE = {"nyuv2": (425, 560), "pascal_context": (375, 500)}
FACING = (128, 128, 255)


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The archives' layouts, three grey frames each."""
    root = tmp_path_factory.mktemp("archives")
    with pytest.MonkeyPatch.context() as environment:
        for name, make in (("NYUV2", nyuv2), ("NYUV2_VIDEO", video), ("PASCAL_CONTEXT", pascal_context)):
            make(root / name)
            environment.setenv(f"POLYSCENE_{name}", str(root / name))
        yield


def nyuv2(root: Path) -> None:
    for frame in ("0001", "0002", "0003"):
        save(root / f"images/{frame}.png", (90, 90, 90), SIZE["nyuv2"])
        save(root / f"segmentation/{frame}.png", 40, SIZE["nyuv2"])
        save(root / f"normals/{frame}.png", FACING, SIZE["nyuv2"])
        save(root / f"edge/{frame}.png", 255, SIZE["nyuv2"])
        (root / "depth").mkdir(exist_ok=True)
        np.save(root / f"depth/{frame}.npy", np.full(SIZE["nyuv2"], 2.0, np.float32))
    listed(root / "gt_sets", "0001 0002", "0003")


def video(root: Path) -> None:
    frames = []
    for place in range(3):
        save(root / f"kitchen/rgb/kitchen_{place}.jpg", (90, 90, 90), SIZE["nyuv2"])
        save(root / f"kitchen/depth/kitchen_{place}.png", np.uint16(2000), SIZE["nyuv2"])
        pose = np.eye(4)
        pose[0, 3] = 0.1 * place
        frames.append({"id": f"kitchen_{place}", "T_world_cam": pose.tolist()})
    (fx, _, cx), (_, fy, cy), _ = kinect.intrinsics(SIZE["nyuv2"]).tolist()
    intrinsics = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    facts = {"image_size": {"height": 425, "width": 560}, "intrinsics": intrinsics, "frames": frames}
    (root / "cameras.json").write_text(json.dumps(facts))


def pascal_context(root: Path) -> None:
    for frame in ("2008_000002", "2008_000003", "2008_000004"):
        pascal.make_frame(root, frame, SIZE["pascal_context"])
    pascal.make_lists(root, "2008_000002 2008_000003", "2008_000004")


def save(path: Path, value: Any, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = value.dtype if isinstance(value, np.generic) else np.uint8
    Image.fromarray(np.full((*size, *np.shape(value)), value, kind)).save(path)


def listed(folder: Path, train: str, val: str) -> None:
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(train.replace(" ", "\n"))
    (folder / "val.txt").write_text(val)


def read(name: str) -> tuple[Config, dict[str, Task]]:
    config = load(EXPERIMENTS / name, trains=True)
    return config, tasks.choose(config)


@cache
def shapes_only(name: str, pretrained: bool, **options: Any) -> Encoder:
    encoder = built(name, pretrained, **options)
    encoder.forward = once_a_shape(encoder.forward)
    return encoder


built = encoders.build


def once_a_shape(forward: Callable[[Tensor], Features]) -> Callable[[Tensor], Features]:
    known: dict[torch.Size, Features] = {}
    return lambda images: known.get(images.shape) or known.setdefault(images.shape, forward(images))


def build_once(name: str, pretrained: bool, **options: Any) -> Encoder:
    return shapes_only(name, pretrained, **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def empty_of_size(
    tensor: Tensor, size: tuple[int, int] | None = None, scale_factor: float = 1, *_: object, **__: object
) -> Tensor:
    """``F.interpolate`` on ``meta``, where torch's own is slow."""
    height, width = size or (int(side * scale_factor) for side in tensor.shape[-2:])
    return tensor.new_empty(*tensor.shape[:2], height, width)


def model_of(config: Config, chosen: dict[str, Task]) -> MultiTaskModel:
    parts = config.model.model_dump(exclude={"pretrained"})
    with torch.device("meta"):
        return create_model(chosen, **parts).train()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "build", build_once)
    monkeypatch.setattr(F, "interpolate", empty_of_size)
    monkeypatch.setattr(torch, "batch_norm", lambda tensor, *_: torch.empty_like(tensor))


def labels(task: Task, lead: tuple[int, int], size: tuple[int, int]) -> Target:
    kind = torch.int64 if task.unit == "class id" else torch.float32
    return Target(
        torch.empty(*lead, task.value_channels, *size, dtype=kind, device="meta"),
        torch.ones(*lead, 1, *size, dtype=torch.bool, device="meta"),
    )


def test_there_is_a_file_for_every_published_network() -> None:
    assert set(PUBLISHED) == WANTED


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_step_in_full_size(name: str) -> None:
    """Of every source's batch, as it says how many and of how many views."""
    config, chosen = read(name)
    model, objective = model_of(config, chosen), Objective(chosen)
    assert optim.groups(dict(model.named_parameters()), config.training.optimiser)
    assert config.data.size == ((448, 576) if name.startswith("nyuv2") else (512, 512))
    for key, source in config.data.train.items():
        views = source.dataset.options.get("views", 1)
        lead = source.batch, views
        images = torch.empty(*lead, 3, *config.data.size, device="meta")
        eyes = (torch.empty(*lead, side, side, device="meta") for side in (3, 4))
        camera = Camera(*eyes, torch.ones(*lead, dtype=torch.bool, device="meta"))
        targets = {task: labels(chosen[task], lead, config.data.size) for task in source.tasks or chosen}
        predictions = model(images, camera)
        shapes = {task: tuple(raw.shape) for task, raw in predictions.final.items()}
        assert shapes == {task: (*lead, chosen[task].channels, *config.data.size) for task in chosen}
        batch = Batch(images, targets, camera, camera.known, key)
        report = objective(predictions, batch, model.focal_scale(camera, config.data.size[1]))
        assert report.total.shape == () and set(report.by_task) == set(targets)


@pytest.mark.parametrize("name", ["nyuv2/vit_light_cvm_video.yaml", "pascal_context/vit_light_base.yaml"])
def test_batches_come_in_the_archives_layout(name: str) -> None:
    """Padded, not stretched: labels everywhere inside the picture at its own size, and nowhere else."""
    config, chosen = read(name)
    where = name.partition("/")[0]
    small = config.model_copy(update={"data": config.data.model_copy(update={"workers": 0})})
    loaders = sources.build(small.data, chosen, 0)
    one = next(iter(loaders.evaluate[where].once()))
    assert tuple(one.images.shape[-2:]) == config.data.size
    height, width = SIZE[where]
    for target in one.targets.values():
        assert target.valid.sum() in (0, len(target.valid) * height * width)
    inside = one.targets["semseg"].valid
    assert inside.any() and not inside[..., 0, :].any()
    assert one.targets["normals"].value[0, 0, 2][inside[0, 0, 0]].max() < -0.99, "facing the camera"
    if where == "nyuv2":
        assert (one.targets["semseg"].value[inside] == 39).all() and (one.targets["depth"].value[inside] == 2).all()
        pairs = loaders.train["video"].number(0)
        assert tuple(pairs.images.shape) == (2, 2, 3, *config.data.size) and set(pairs.targets) == {"depth"}
        assert pairs.camera.known.all()
        zoom = float(pairs.camera.intrinsics[0, 0, 0, 0]) / 518.86
        model = model_of(config, chosen)
        assert model.focal_scale(pairs.camera, config.data.size[1])[0, 0] == pytest.approx(zoom, rel=1e-3)
    else:
        assert (one.targets["semseg"].value[inside] == 15).all() and not one.targets["human_parts"].valid.any()


def parameters(name: str) -> int:
    return sum(parameter.numel() for parameter in model_of(*read(name)).parameters())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "millions", "slack"),
    [  # counted in the public code
        ("nyuv2/mti_net_base.yaml", 165.4, 0.1),
        ("nyuv2/invpt_base.yaml", 402.1, 7),  # which holds convolutions that it does not use
        ("pascal_context/invpt_base.yaml", 422.9, 7),
        ("nyuv2/dense_mtl_sd.yaml", 87.40, 0.05),  # with 16 classes
        ("nyuv2/dense_mtl_sdne.yaml", 135.39, 0.05),
    ],
)
def test_networks_are_as_large_as_published(name: str, millions: float, slack: float) -> None:
    assert parameters(name) / 1e6 == pytest.approx(millions, abs=slack)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["nyuv2/vit_light_cvm.yaml", "nyuv2/vit_light_cvm_video.yaml"])
def test_the_cross_view_module_is_as_large_as_published(name: str) -> None:
    added = parameters(name) - parameters("nyuv2/vit_light_base.yaml")
    fusion, norms = (1024 + 256) * 1024 + 1024, 2 * 256  # of the features, and of the cost volume
    assert added == 1_049_120 + 3_150_336 + fusion + norms


SGD = ("sgd", 1e-3, 50), ("sgd", 5e-3, 20)
ATRC = ("sgd", 1e-2, None), ("sgd", 5e-3, None)
ADAM = ("adam", 1e-4, 100), ("adam", 1e-4, 100)
RECIPES = {  # optimiser, rate and epochs, of NYUv2 and of PASCAL-Context; None: 40,000 steps
    "mti_net": (("adam", 1e-4, None),) * 2,
    "invpt": (("adam", 2e-5, None),) * 2,
    "vit_light": (("adamw", 2e-5, None),) * 2,
    "dense_mtl": (("adam", 3e-4, None),),
    "taskprompter": (("adam", 1e-5, None), ("adam", 2e-5, None)),
    "single_task": (("adam", 1e-4, 100), ("sgd", 5e-3, 60)),
    "cross_stitch": SGD,
    "nddr": SGD,
    "mtan": (("adam", 1e-4, 100), ("sgd", 5e-3, 100)),
    "pad_net": ADAM,
    "atrc": ATRC,
    "pap": ATRC,
    "psd": ATRC,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes(name: str) -> None:
    """Rates at the first, a middle and the last of as many steps as 40,000."""
    config, chosen = read(name)
    settings, where = config.training, name.partition("/")[0]
    decoder = config.model.decoder.name
    optimiser, first, epochs = RECIPES[decoder][where == "pascal_context"]
    rates = [settings.optimiser.lr * schedule.factor(settings.schedule, step, 40_000) for step in (0, 20_000, 39_999)]
    falls = (1, 1, 0.1) if decoder == "dense_mtl" else (1, 0.5**0.9, 40_000**-0.9)
    assert (settings.steps, settings.epochs) == ((None, epochs) if epochs else (40_000, None))
    assert rates == pytest.approx([first * fall for fall in falls])
    assert settings.optimiser.name == optimiser
    weights = {task: chosen[task].weight for task in chosen}
    if decoder != "dense_mtl":
        others = {"depth": 1} if where == "nyuv2" else {"human_parts": 2, "saliency": 5}
        by_components = epochs is not None  # Vandenhende's code
        assert weights == {"semseg": 1, "normals": 10 if by_components else 30, "edges": 50, **others}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "name",
    [
        "nyuv2/dense_mtl_sd.yaml",
        *(name for name in FILES if name not in PUBLISHED and not name.endswith("arms.yaml")),
    ],
)
def test_the_whole_check_passes(name: str, request: pytest.FixtureRequest) -> None:
    if "real" in (EXPERIMENTS / name).read_text() + name:
        request.getfixturevalue("real_data")
    check(*read(name))


PARTIAL = yaml.safe_load((EXPERIMENTS / "partial_labels/arms.yaml").read_text())
NEW_TASK = yaml.safe_load((EXPERIMENTS / "new_task/arms.yaml").read_text())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((f"partial_labels/{on}.yaml", changes) for on, arms in PARTIAL.items() for changes in arms.values()),
        *((f"new_task/{on}.yaml", changes) for on in ("rooms", "camvid") for changes in NEW_TASK["alone"].values()),
        *(("new_task/rooms.yaml", changes) for changes in NEW_TASK["beside"].values()),
    ],
)
def test_arms_of_few_labels(name: str, changes: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if "real" in (EXPERIMENTS / name).read_text() + name:
        request.getfixturevalue("real_data")
    config = suite.load(EXPERIMENTS / name, changes)
    chosen = tasks.choose(config)
    check(config, chosen)
    make_step(config.method, chosen)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("host", "arm"),
    [(host, arm) for host, arms in yaml.safe_load((EXPERIMENTS / ARMS).read_text()).items() for arm in arms],
)
def test_arms_change_the_model_of_their_base(host: str, arm: str) -> None:
    changes = yaml.safe_load((EXPERIMENTS / ARMS).read_text())[host][arm]
    overrides = [word for key, value in changes.items() for word in (f"--model.{key}", json.dumps(value))]
    config = load(EXPERIMENTS / "three_d/base.yaml", overrides, trains=True)
    check(config, tasks.choose(config))


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoders_go_with_the_encoder_of_all(decoder: str) -> None:
    changes = {"decoder": decoder} | yaml.safe_load((EXPERIMENTS / EQUAL).read_text()).get(decoder, {})
    settings = {f"model.{part}": value for part, value in changes.items()}
    config = suite.load(EXPERIMENTS / "equal_backbone/base.yaml", settings)
    if decoder == "taskprompter":
        with pytest.raises(ValueError, match="plain ViT"):
            cost.count(config)
        return
    parameters, gmacs = cost.count(config)
    assert parameters > 3_000_000 and gmacs > 0.13, "the encoder alone"


@pytest.fixture
def equal_backbone() -> Any:
    """The suite's command, as a module."""
    loader = SourceFileLoader("equal_backbone_run", str(EXPERIMENTS / "equal_backbone/run"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    with pytest.MonkeyPatch.context() as patch:
        module = module_from_spec(spec)
        patch.setitem(sys.modules, loader.name, module)
        loader.exec_module(module)
        yield module


def test_a_run_that_diverges_is_told_and_the_suite_goes_on(
    equal_backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> Path:
        raise NonFinite("step 3: depth = nan; there was no checkpoint yet. Lower the rate")

    monkeypatch.setattr(suite, "train", diverge)
    command = equal_backbone.Suite(tmp_path, 1.5, "cpu", Console(quiet=True))
    assert command.train("rooms", "pad_net", 1) == []
    assert command.diverged == ["pad_net on rooms, seed 1, diverged: step 3: depth = nan"]
    with pytest.raises(NonFinite):
        command.train("rooms", "single_task", 0)

    judged = {"rooms": Judgement({"depth": Judged({"RMSE": 1.0}, "RMSE", False, "")}, "polyscene")}
    base = Arm("single_task", (tmp_path,), (0,), (judged,))
    found = Comparison((base,), (Column("rooms", "depth", "RMSE", False),), base, "")
    costs = dict.fromkeys(("pad_net", "single_task"), cost.Cost(1, 1.0, 1.0, 1.0))
    table = equal_backbone.gather({"rooms": found}, costs, command.diverged, 22)
    assert [row[:4] for row in table.rows] == [
        ["single_task", "1", "1.000", "+0.00"],
        ["pad_net", "diverged", "undefined", "undefined"],
    ]
    assert table.notes[-1] == command.diverged[0]
