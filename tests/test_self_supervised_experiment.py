"""Every arm of self-supervised depth can be trained as it stands, and says what it is."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from polyscene.config import check
from polyscene.data import sources
from polyscene.training import suite, tasks

HERE = Path(__file__).resolve().parents[1] / "experiments/self_supervised"
ARMS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "arms.yaml").read_text())


@pytest.fixture(scope="module")
def run() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("self_supervised_run", str(HERE / "run"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("where", ["kitchen", "office", "streets"])
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm(where: str, arm: str, real_data: Path) -> None:
    config = suite.load(HERE / f"{where}.yaml", {**ARMS[arm], "training.steps": 5})
    chosen = tasks.choose(config)
    check(config, chosen)
    labelled, seen = bool(config.data.train), bool(config.data.target)
    assert (labelled, seen) == ("label" in arm, "view" in arm)
    assert (config.method.name == "self_supervised_depth") is seen
    assert [source.limit for source in config.data.train.values()] == (
        [] if not labelled else [5 if "5" in arm else None]
    )
    for source in config.data.target.values():
        assert source.dataset.options["views"] > 1
    depth = chosen["depth"].describe()
    start = suite.load(HERE / f"{where}.yaml", {})
    assert depth == tasks.choose(start)["depth"].describe(), "as it was before, whatever the sources declare"


def test_real_frames_are_judged_apart_from_those_trained_on(real_data: Path) -> None:
    for where in ("kitchen", "office"):
        config = suite.load(HERE / f"{where}.yaml", {})
        trained = {path for source in config.data.trained_on.values() for path in frames(source.dataset)}
        judged = {path for source in config.data.evaluate.values() for path in frames(source.dataset)}
        assert judged and not trained & judged


def frames(part: Any) -> set[Path]:
    return {frame.image for window in sources.make(part).windows for frame in window}  # type: ignore[attr-defined]


def test_table(run: ModuleType) -> None:
    def figures(error: float) -> dict[str, float]:
        return {"aligned AbsRel": error, "AbsRel": 2 * error, "aligned δ<1.25": 90.0}

    rows = {
        "as it began": [figures(0.2)],
        "labels": [figures(0.09), figures(0.11)],
        "views": [figures(0.12), figures(0.14)],
    }
    text = run.tables.markdown(run.table("office", rows))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["2.00", "1.00", "1.30"]
    assert "0.1000 ± 0.0141" in lines[3] and "| views |" in lines[4]
