"""DenseMTL's files for streets can be trained as they stand: on tiny sets in the published layouts, at small size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data import test_cityscapes as cityscapes
from tests.data.archives import driving
from tests.data.streets import noise, save

from polyscene.config import Config, check, load
from polyscene.data import sources
from polyscene.model import create_model
from polyscene.training import optim, schedule, tasks
from polyscene.training.loop import make_step

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
SUPERVISED = [
    f"{where}/dense_mtl_{kind}.yaml" for where in ("cityscapes", "synthia", "vkitti2") for kind in ("sd", "sdn")
]
SDE = "cityscapes/dense_mtl_sde.yaml"
SMALL = ["--data.size", "[32, 64]", "--data.workers", "0", "--model.pretrained", "false"]


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("archives")
    with driving(root):
        for number in range(16, 24):
            frame = f"train/zurich/zurich_000003_{number:06d}_leftImg8bit.png"
            save(root / "cityscapes" / "leftImg8bit_sequence" / frame, noise(number))
        yield


def read(name: str, *words: str) -> Config:
    return load(EXPERIMENTS / name, words, trains=True)


@pytest.mark.parametrize("name", [*SUPERVISED, SDE])
def test_one_step(name: str) -> None:
    """Of the file's method, tasks, decoder and sources; small pictures, and an encoder of few channels."""
    encoder = '{"name": "test_resnet", "out_indices": [0, 1, 2, 3]}'
    weights = ["--method.pose_weights", "false"] if name == SDE else []
    config = read(name, *SMALL, "--model.encoder", encoder, *weights)
    chosen = tasks.choose(config)
    built = sources.build(config.data, chosen, 0)
    torch.manual_seed(0)
    parts: dict[str, Any] = {**config.model.model_dump(), "decoder": {"name": "dense_mtl", "channels": [4, 8, 8, 16]}}
    model = create_model(chosen, **parts).train()
    step = make_step(config.method, chosen)
    step.attach(model)
    batches = {source: next(loader.batches()) for source, loader in built.train.items()}
    report = step(model, batches)
    report.total.backward()
    assert report.total.isfinite() and all(head.project.weight.grad.any() for head in model.heads.values())
    labels = {"sd": {"semseg", "depth"}, "sdn": {"semseg", "depth", "normals"}, "sde": {"semseg"}}
    assert set(report.by_task) == labels[name.removesuffix(".yaml").rpartition("_")[2]]


@pytest.mark.parametrize("name", SUPERVISED)
def test_recipe(name: str) -> None:
    config = read(name)
    settings = config.training
    rates = [settings.optimiser.lr * schedule.factor(settings.schedule, step, 40_000) for step in (0, 29_999, 30_001)]
    first = 1e-4 if name.startswith("cityscapes") else 3e-4
    encoder = 1e-5 if name.startswith("cityscapes") else 2e-4
    assert rates == pytest.approx([first, first, first / 10]) and settings.steps == 40_000
    assert settings.optimiser.lr * settings.optimiser.groups[0].lr_scale == pytest.approx(encoder)
    assert settings.optimiser.betas == (0.9, 0.98) and settings.optimiser.clip == 10
    chosen = tasks.choose(config)
    weights = {"sd": (25, 0.5), "sdn": (50, 0.5, 50)}[name.removesuffix(".yaml").rpartition("_")[2]]
    assert tuple(task.weight for task in chosen.values()) == weights
    assert chosen["depth"].describe()["encoding"] == "inverse_linear"
    assert len(chosen["semseg"].classes) == (14 if name.startswith("vkitti2") else 16)
    assert config.data.size == ((320, 1024) if name.startswith("vkitti2") else (512, 1024))
    assert [source.batch for source in config.data.train.values()] == [2]


def test_recipe_without_depth_labels() -> None:
    config = read(SDE, "--method.pose_weights", "false")
    chosen = tasks.choose(config)
    step = make_step(config.method, chosen)
    names = {f"step.{name}": parameter for name, parameter in step.parameters().items()}
    groups = optim.groups({**names, "encoder.stem": torch.nn.Parameter(torch.ones(1))}, config.training.optimiser)
    scales = {group.lr_scale for group in config.training.optimiser.groups}
    assert groups and {round(5e-5 * scale, 9) for scale in scales} == {1e-5, 1e-6}
    depth = chosen["depth"].describe()
    assert (depth["encoding"], depth["near"], depth["far"]) == ("disparity", 0.1, 100)
    batch = next(sources.build(config.data, chosen, 0).train["cityscapes"].batches())
    assert tuple(batch.images.shape) == (1, 3, 3, 512, 512) or batch.images.shape[1:3] == (3, 3)
    assert "depth" not in batch.targets and batch.targets["semseg"].valid[:, 0].any()
    assert not batch.targets["semseg"].valid[:, 1:].any()
    focal = cityscapes.FX * 512 / cityscapes.SIZE[0]
    assert batch.camera.intrinsics[0, 0, 0, 0] == pytest.approx(focal, rel=0.03), "of the picture as it is now"


def test_the_whole_check_passes() -> None:
    config = read("synthia/dense_mtl_sd.yaml", "--model.pretrained", "false")
    check(config, tasks.choose(config))
