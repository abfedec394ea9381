"""Runs side by side, on hand-made runs with figures that can be worked out by head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from tests import walls

from polyscene import cli, comparison, weights
from polyscene.metrics.delta import delta
from polyscene.model import create_model
from polyscene.necks import matching
from polyscene.training import loop


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


def test_folders_are_searched_and_what_is_not_judged_is_left_out(tmp_path: Path) -> None:
    named = make(tmp_path / "elsewhere", "named", 0, 40.0, 2.0)
    found = [make(tmp_path / "runs", name, seed, 40.0, 2.0) for name in ("a", "b") for seed in range(2)]
    begun = tmp_path / "runs" / "c" / "seed0"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text("name: c")
    assert comparison.find([named, tmp_path / "runs", found[0]]) == ([named, *found], [begun])
    assert comparison.find([begun]) == ([begun], []), "what is named is meant"
    with pytest.raises(ValueError, match="was never judged"):
        comparison.compare([begun])
    with pytest.raises(ValueError, match="holds none"):
        comparison.find([tmp_path / "nowhere"])


def test_report_is_one_page_of_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matching, "DEPTH", 2)
    monkeypatch.setenv("COLUMNS", "100")
    runs, volume = tmp_path / "runs", {"name": "triplane", "samples": 4, "channels": 4}
    for seed in range(2):
        loop.train(walls.config(runs / f"base{seed}", "base", seed))
    loop.train(walls.config(runs / "both", "both", neck={"name": "cross_view", "planes": 8}, regularizer=volume))
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    torch.manual_seed(0)
    out, table = tmp_path / "deep" / "page.html", tmp_path / "table.md"
    assert cli.main(["report", str(runs), "--out", str(out), "--markdown", str(table)]) == 0
    told, page = capsys.readouterr().out, out.read_text()

    assert "depth RMSE ↓" in told and str(out) in told
    assert "| base | 2 |" in table.read_text() and " ± " in table.read_text()
    figures = re.findall(r"<figure><img [^>]*><figcaption>(.*?)</figcaption></figure>", page)
    each = ["picture", "true depth", "predicted", "predicted", "best plane", "triplane"]
    assert figures == each * len(walls.DEPTHS)
    assert "wall at 1.5 m" in page and "3 runs in all" in page
    style, sources = re.search(r"<style>(.*?)</style>", page, re.S), re.findall(r'src="(.*?)"', page)
    assert style and "url(" not in style[1]
    assert len([each for each in sources if each.startswith("data:image/webp;base64,")]) == len(figures)
    assert not re.search(r'(href|src)="(https?:)?//', page.partition("<script>")[0])
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*")}, "looking changes nothing"

    assert cli.main(["report", str(runs / "both"), "--base", "none", "--out", str(out)]) == 2
    assert "'none' is none of the runs' names: both" in capsys.readouterr().err
