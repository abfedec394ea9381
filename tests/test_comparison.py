"""Runs side by side, on hand-made runs with figures that can be worked out by head."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from tests import walls

from polyscene import cli, comparison, tables, weights
from polyscene.comparison import page, published, samples
from polyscene.evaluate.judgement import Judged, Judgement
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
    headlines, views = found.tables()
    assert headlines.head == ["", "runs", "semseg mIoU ↑", "depth RMSE ↓", "Δ_MTL %"]
    assert headlines.rows[0] == ["base", "2", "40.00 ± 1.41", "2.000 ± 0.000", "+0.00 ± 1.77"]
    assert headlines.rows[1][-1] == "+10.00 ± 0.00" and headlines.bold == {(1, 2), (1, 3), (1, 4)}
    assert headlines.notes[0] == "Protocol polyscene; figures of the training's own evaluation"
    assert views.title == "val: do the views agree?" and views.head == ["", "runs", "semseg agreement ↑"]
    assert views.bold == {(0, 2), (1, 2)}, "equal figures are both the best"
    assert "| new | 2 | **44.00 ± 0.00** |" in found.markdown()
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
    out, table = tmp_path / "deep" / "page.html", tmp_path / "deep" / "page.md"
    assert cli.main(["report", str(runs), "--out", str(out), "--format", "html,md"]) == 0
    told, page = capsys.readouterr().out, out.read_text()

    assert "depth RMSE ↓" in told and str(out) in told
    assert "<td" in page and "Protocol polyscene" in page and "truth above 0 m" in page
    assert "| base | 2 |" in table.read_text() and " ± " in table.read_text()
    figures = re.findall(r"<figure><img [^>]*><figcaption>(.*?)</figcaption></figure>", page)
    each = ["picture", "true depth", "predicted", "predicted", "best plane", "triplane"]
    assert figures == each * len(walls.DEPTHS)
    assert "wall at 1.5 m" in page and "3 runs in all" in page
    style, sources = re.search(r"<style>(.*?)</style>", page, re.S), re.findall(r'src="(.*?)"', page)
    assert style and "url(" not in style[1]
    titles = re.findall(r"<figure><figcaption>(.*?)</figcaption>", page)
    assert [title for title in titles if "error" not in title] == ["picture", "depth", "depth", "depth"] * 2
    assert len([title for title in titles if re.fullmatch(r"depth error [\d.]+", title)]) == 2 * 2
    assert "hard: " in page and "easy: " in page and "of the depth" in page
    pictures = [each for each in sources if each.startswith("data:image/webp;base64,")]
    assert len(pictures) == len(figures) + len(titles)
    assert not re.search(r'(href|src)="(https?:)?//', page.partition("<script>")[0])
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*")}, "looking changes nothing"

    assert cli.main(["report", str(runs / "both"), "--base", "none", "--out", str(out)]) == 2
    assert "'none' is none of the runs' names: both" in capsys.readouterr().err


def test_hardest_is_what_the_base_gets_most_wrong(tmp_path: Path) -> None:
    run = tmp_path / "base"
    loop.train(walls.config(run, "base", 0))
    found = samples.extremes(comparison.compare([run]), shown=1)
    assert found and found.judged == 2
    (worst,), (best,) = found.worst, found.best
    wrong = {each.first.name: each.errors("base")["depth"] for each in (worst, best)}
    assert wrong[worst.first.name] > wrong[best.first.name]
    seen, truth = torch.from_numpy(worst.seen["base"].depth), worst.truth["depth"].value
    assert wrong[worst.first.name] == pytest.approx(float(((seen - truth).abs() / truth).mean()))


def test_classes_are_bars_of_all_arms(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, seed, 40.0 + seed, 2.0) for name in ("base", "new") for seed in range(2)]
    assert "Class by class" not in page.page(comparison.compare(runs), None)
    for run in runs:
        card = weights.read_card(run)
        card["facts"]["metrics"]["val"]["semseg"] |= {"IoU wall": 70.0, "IoU lamp": 10.0 + 4 * int(run.name[-1])}
        weights.save(weights.load(run)[0], run / "best", **card["facts"])
    drawn = page.page(comparison.compare(runs), None)
    assert "Class by class" in drawn and '"x": ["wall", "lamp"]' in drawn
    assert drawn.count('"y": [70.0, 12.0]') == 2 and '"array": [0.0, 2.83]' in drawn


def test_hardness_weighs_tasks_alike_and_skips_what_is_unlabelled() -> None:
    errors = [{"depth": 0.1, "normals": 30.0}, {"depth": 0.3, "normals": 10.0}, {"normals": 40.0}, {}]
    usual = {"depth": 0.2, "normals": 80 / 3}
    expected = [(0.5 + 30 / usual["normals"]) / 2, (1.5 + 10 / usual["normals"]) / 2, 40 / usual["normals"], 1.0]
    assert samples._hardness(errors).tolist() == pytest.approx(expected)


def judge(run: Path, protocol: str, miou: float | None, source: str = "val") -> None:
    """Writes what ``polyscene eval`` would."""
    semseg = Judged({"mIoU": math.nan if miou is None else miou}, "mIoU", True, f"as {protocol} counts", 3, 99)
    facts = Judgement({"semseg": semseg}, protocol, "someone", "test", 3, "all 3 samples").facts()
    (run / "metrics.json").write_text(json.dumps({"sources": {source: facts}}))


def test_figures_of_eval_are_taken_where_all_runs_have_them(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one", 0, 39.0, 2.0), make(tmp_path, "two", 0, 41.0, 2.0)
    judge(one, "invpt", 50.0)
    assert comparison.compare([one, two]).tables()[0].rows[0][2] == "39.00"
    judge(two, "invpt", None)
    table = comparison.compare([one, two]).tables()[0]
    assert table.title == "val (test)" and [row[2:] for row in table.rows] == [["50.00", "+0.00"], ["undefined"] * 2]
    assert table.notes == ["Protocol invpt; figures of polyscene eval", "all 3 samples", "semseg: as invpt counts"]
    assert not table.bold, "one figure alone is no best"


def test_figures_of_different_protocols_are_not_compared(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one", 0, 39.0, 2.0), make(tmp_path, "two", 0, 41.0, 2.0)
    judge(one, "invpt", 50.0)
    judge(two, "sak", 51.0)
    with pytest.raises(ValueError, match=r"val semseg .* different protocols.*one/seed0: invpt; .*two/seed0: sak"):
        comparison.compare([one, two])
    (two / "metrics.json").write_text('{"sources": {"val": {"figures": {}}}}')
    with pytest.raises(ValueError, match="run polyscene eval again"):
        comparison.compare([one, two])


def test_latex_is_escaped_and_csv_is_exact(tmp_path: Path) -> None:
    runs = [make(tmp_path, "b_50%", seed, miou, 2.0) for seed, miou in enumerate((1 / 3, 40.0))]
    runs.append(make(tmp_path, "new", 0, 44.0, 2.2))
    found = comparison.compare(runs)
    spelt = found.latex()
    assert "b\\_50\\% & 2 & 20.17 $\\pm$ 28.05 & \\textbf{2.000 $\\pm$ 0.000}" in spelt
    assert "\\begin{tabular}{lrrrr}" in spelt and "$\\Delta_{\\mathrm{MTL}}$ \\%" in spelt and "_MTL" not in spelt
    assert spelt.count("\\toprule") == spelt.count("\\end{table}") == 2
    rows = list(csv.DictReader(found.csv().splitlines()))
    assert len(rows) == 3 * 4
    headline = [row for row in rows if row["figure"] == "mIoU"]
    assert [float(row["value"]) for row in headline] == [1 / 3, 40.0, 44.0]
    assert {(row["protocol"], row["better"]) for row in headline} == {("polyscene", "higher")}
    assert [row["seed"] for row in headline] == ["0", "1", "0"]


@pytest.mark.parametrize("text", ["a & b", "50 %", "x_1", "{", "C:\\d", "#1 ~ ^"])
def test_special_characters_reach_latex(text: str) -> None:
    spelt = tables.escape_latex(text)
    assert not re.search(r"(?<!\\)[&%_#]", spelt) and spelt != text


PUBLISHED = """
about: made up
data: val
figures: {semseg: mIoU, depth: RMSE}
rows:
- {model: Known, encoder: ViT-L, protocol: invpt, source: its README, semseg: 45.678, depth: 0.5}
- {model: Other, encoder: ViT-B, protocol: polyscene, source: a table, semseg: 46.5}
"""


def test_published_rows_stand_below_and_those_of_another_protocol_are_marked(tmp_path: Path) -> None:
    run, file = make(tmp_path, "own", 0, 44.0, 2.0), tmp_path / "rows.yaml"
    file.write_text(PUBLISHED)
    table = comparison.compare([run], published=published.read(file)).tables()[0]
    assert table.rows[1] == ["Known, ViT-L †", "", "45.678", "0.5", "–"]
    assert table.rows[2] == ["Other, ViT-B", "", "46.5", "–", "–"]
    assert {row for row, _ in table.faint} == {1} and "(invpt): does not compare" in table.notes[-1]
    assert "Known, ViT-L (its README)" in table.notes[-2]

    file.write_text(PUBLISHED.replace("data: val", "data: nyuv2"))
    with pytest.raises(ValueError, match="of 'nyuv2', the runs' of val"):
        comparison.compare([run], published=published.read(file))
    for right, wrong, told in (
        ("protocol: invpt", "protocol: invp", "row 1: unknown protocol 'invp'"),
        ("source: a table, ", "", "row 2 lacks source"),
        ("0.5}", "half}", "depth: 'half' is no number"),
        ("figures:", "figure:", "needs `about`, `figures`"),
    ):
        file.write_text(PUBLISHED.replace(right, wrong))
        with pytest.raises(ValueError, match=told):
            published.read(file)


@pytest.mark.parametrize("name", [file.stem for file in published.PAPERS.glob("*.yaml")])
def test_rows_of_papers_are_read_by_name(name: str) -> None:
    found = published.read(name)
    assert found.data == name and all(row.source and row.values for row in found.rows)
    with pytest.raises(ValueError, match="published tables: nyuv2, pascal_context"):
        published.read("nyu")


def test_formats_are_checked_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path, "one", 0, 39.0, 2.0)
    assert cli.main(["report", str(run), "--out", str(tmp_path / "t.pdf")]) == 2
    assert "unknown format of a report 'pdf'" in capsys.readouterr().err
    assert cli.main(["report", str(run), "--out", str(tmp_path / "deep" / "t.tex")]) == 0
    assert "\\toprule" in (tmp_path / "deep" / "t.tex").read_text()
