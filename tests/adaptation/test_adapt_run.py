"""The experiments of adaptation can be run as they stand, and their table says what runs reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from tests.data.archives import driving

from polyscene import tables
from polyscene.config import check, load
from polyscene.data import sources
from polyscene.model import create_model
from polyscene.training import schedule, suite, tasks
from polyscene.training.loop import make_step

ADAPT = Path(__file__).resolve().parents[2] / "experiments" / "adapt"
ARMS: dict[str, dict[str, Any]] = yaml.safe_load((ADAPT / "arms.yaml").read_text())
PUBLISHED = ("synthia_to_cityscapes.yaml", "vkitti2_to_cityscapes.yaml")
SMALL = ["--data.size", "[32, 64]", "--data.workers", "0", "--model.pretrained", "false", "--method.channels", "4"]


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    loader = SourceFileLoader("adapt_run", str(ADAPT / "run"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "adapt_run", module)
        loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with driving(tmp_path_factory.mktemp("archives")):
        yield


@pytest.mark.usefixtures("archives")
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_step_of_the_published_settings(name: str) -> None:
    encoder = '{"name": "test_resnet", "out_indices": [0, 1, 2, 3]}'
    config = load(ADAPT / name, [*SMALL, "--model.encoder", encoder], trains=True)
    chosen = tasks.choose(config)
    built = sources.build(config.data, chosen, 0)
    torch.manual_seed(0)
    parts: dict[str, Any] = {**config.model.model_dump(), "decoder": {"name": "dense_mtl", "channels": [4, 8, 8, 16]}}
    model = create_model(chosen, **parts).train()
    step = make_step(config.method, chosen)
    step.attach(model)
    batches = {source: next(loader.batches()) for source, loader in {**built.train, **built.target}.items()}
    assert [len(batch.images) for batch in batches.values()] == [2, 2] and batches["pictures"].targets == {}
    report = step(model, batches)
    report.total.backward()
    assert report.total.isfinite()
    assert sum(part.startswith("discriminator ") for part in report.parts) == 4, "two tasks, two scales"
    assert "aligned AbsRel" in chosen["depth"].metric().compute()


@pytest.mark.usefixtures("archives")
@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_of_the_published_settings(name: str) -> None:
    config = load(ADAPT / name, trains=True)
    settings = config.training
    rates = [settings.optimiser.lr * schedule.factor(settings.schedule, step, 90_000) for step in (0, 45_000, 89_999)]
    assert rates == pytest.approx([2.5e-4] * 3) and settings.steps == 90_000 and settings.optimiser.clip is None
    assert settings.optimiser.lr * settings.optimiser.groups[0].lr_scale == pytest.approx(1.5e-5)
    assert settings.optimiser.betas == (0.9, 0.98) and config.data.size == (512, 1024)
    step = make_step(config.method, tasks.choose(config))
    assert (step.weight, step.settings) == (0.005, (64, 1e-4, (0.9, 0.99), 0.9))


@pytest.mark.parametrize(("on", "arm"), [(on, arm) for on, arms in ARMS.items() for arm in arms])
def test_arms(on: str, arm: str, runner: ModuleType, real_data: Path) -> None:
    config = suite.load(ADAPT / f"{on}.yaml", {"name": arm, "training.steps": 1, **runner.from_here(ARMS[on][arm])})
    chosen = tasks.choose(config)
    check(config, chosen)
    make_step(config.method, chosen)
    adapts = arm not in (runner.FIRST, runner.LAST)
    assert bool(config.data.target) == adapts
    pictures = [source.batch * source.dataset.options.get("views", 1) for source in config.data.trained_on.values()]
    assert sum(pictures) == 8, "as many a step"
    rendered = {"streets", "rooms"}
    if arm != runner.LAST:
        assert set(config.data.train) <= rendered, "no label of the target"
    judged = {figure.task for figure in runner.SETTINGS[on].figures}
    assert judged <= set(chosen) and {s for f in runner.SETTINGS[on].figures for s in f.sources} == set(
        config.data.evaluate
    )


def test_the_table(tmp_path: Path, runner: ModuleType) -> None:
    """30 and 60 % are the ends: 45 closes half of the gap."""
    done: dict[str, list[Path]] = {}
    for arm, values in {"source only": (28.0, 32.0), "DenseMTL": (33.0,), "best": (45.0,), "oracle": (60.0,)}.items():
        for seed, value in enumerate(values):
            run = tmp_path / arm / str(seed)
            run.mkdir(parents=True)
            figures = {"camvid": {"semseg": {"mIoU": value}}}
            record = {"kind": "evaluate", "step": 1, "score": 0, "figures": figures}
            (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")
            done.setdefault(arm, []).append(run)
    table = runner.table("streets_to_camvid", runner.SETTINGS["streets_to_camvid"], done, 100, 50)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["source only"] == ["2", "30.00 ± 2.83", ""]
    assert rows["DenseMTL"][-1] == "10" and rows["best"][-1] == "50" and rows["oracle"][-1] == ""
    assert "**45.00**" in tables.markdown(table) and "**60.00**" not in tables.markdown(table)
