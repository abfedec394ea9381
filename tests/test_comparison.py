"""Runs side by side, on hand-made runs with figures that can be worked out by head."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from polyscene import comparison, weights
from polyscene.metrics.delta import delta
from polyscene.model import create_model


def make(folder: Path, name: str, seed: int, miou: float, rmse: float, lr: float = 0.1) -> Path:
    run = folder / name / f"seed{seed}"
    model = create_model(["semseg", "depth"], "test_resnet", {"name": "multi_head", "channels": 4, "context": "none"})
    figures = {"val": {"semseg": {"mIoU": miou, "cross-view agreement": 80.0}, "depth": {"RMSE": rmse, "AbsRel": 1.0}}}
    weights.save(model, run / "best", metrics=figures)
    settings = {"name": name, "seed": seed, "out": str(run), "training": {"lr": lr}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    return run


def test_mean_spread_and_delta(tmp_path: Path) -> None:
    runs = [make(tmp_path, "base", seed, miou, 2.0) for seed, miou in enumerate((39.0, 41.0))]
    runs += [make(tmp_path, "new", seed, 44.0, 1.8) for seed in range(2)]
    found = comparison.compare(runs)
    base, new = found.arms
    assert found.delta(base, "val") == pytest.approx([-1.25, 1.25])
    assert found.delta(new, "val") == pytest.approx([10.0, 10.0])  # 10 % more mIoU, 10 % less error
    titles, first, second = found.tables()["val"]
    assert titles == ["", "runs", "semseg mIoU ↑", "depth RMSE ↓", "Δ_MTL %"]
    assert first == ["base", "2", "40.0 ± 1.4", "2.00 ± 0.00", "+0.00 ± 1.77"]
    assert second[-1] == "+10.00 ± 0.00"
    assert found.tables()["val: do the views agree?"][0] == ["", "runs", "semseg agreement ↑"]
    assert "| new | 2 | 44.0 ± 0.0 |" in found.markdown()
    assert comparison.compare(runs, base="new").delta(base, "val")[1] < 0


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    good = make(tmp_path, "good", 0, 40.0, 2.0)
    with pytest.raises(ValueError, match="no config"):
        comparison.compare([tmp_path])
    with pytest.raises(ValueError, match="differ in training"):
        comparison.compare([good, make(tmp_path, "good", 1, 40.0, 2.0, lr=0.2)])
    with pytest.raises(ValueError, match="'bad' is none of the runs' names: good"):
        comparison.compare([good], base="bad")
    with pytest.raises(ValueError, match="no runs"):
        comparison.compare([])


def test_delta_needs_the_same_tasks() -> None:
    with pytest.raises(ValueError, match="must agree"):
        delta({"depth": 1.0}, {"semseg": 1.0}, {"depth": False})
    with pytest.raises(ValueError, match="is 0"):
        delta({"depth": 1.0}, {"depth": 0.0}, {"depth": False})
