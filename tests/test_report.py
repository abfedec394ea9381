"""The report is one page that needs nothing else and says honestly what was reached."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from polyscene import report as reports
from polyscene.report import Comparison, Curve, Goal, Report, Result, Table
from polyscene.scene import Scene
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

RNG = np.random.default_rng(0)
TASKS = {task.name: task for task in (SemanticSegmentation(classes=("floor", "<wall>")), Depth(), Normals(), Edges())}
MISSED = Result("semseg", "mIoU", 31.2, {"constant": 4.0}, True, "%", Goal(bound=35.0, ratio=8.0), headline=True)
MET = Result("depth", "RMSE", 0.41, {"constant": 1.0, "pixel mean": 0.8}, False, "m", Goal(ratio=0.45))


def values(size: tuple[int, int] = (24, 32)) -> dict[str, np.ndarray]:
    normals = RNG.normal(size=(*size, 3)).astype(np.float32)
    return {
        "semseg": RNG.integers(0, 2, size),
        "depth": RNG.uniform(1, 1.02, size).astype(np.float32),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "edges": RNG.uniform(0, 1, size).astype(np.float32),
    }


def scene(name: str = "a <b>") -> Scene:
    image = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    matrix = np.array([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]], np.float32)
    return Scene(image, values(), TASKS, matrix, name=name)


@pytest.fixture(scope="module")
def page() -> str:
    truth = {name: (value, np.ones((24, 32), bool)) for name, value in values().items() if name != "edges"}
    truth["depth"][1][:5] = False
    return reports.page(
        Report(
            title="A title",
            lead="What & how",
            tables=[Table("Unseen", "beside floors", [MISSED, MET]), Table("Real", "skipped: no data")],
            curves=[Curve("loss", np.arange(100.0).tolist(), RNG.uniform(size=100).tolist())],
            comparisons=[Comparison(scene(), truth)] * 2,
            photos=[scene("</script>cat")],
            clouds=[("a room", scene().figure(limit=100))],
            command="polyscene demo --minutes 3",
            facts={"seed": "0"},
            config="seed: 0",
        )
    )


class Outside(HTMLParser):
    """Collects what a browser would fetch, and the text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.text.append(data)


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    outside = Outside()
    outside.feed(page)
    assert outside.fetched and all(source.startswith("data:image/webp;base64,") for source in outside.fetched)
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_the_numbers_stand_beside_their_floors_and_goals(page: str) -> None:
    outside = Outside()
    outside.feed(page)
    text = " ".join(outside.text)
    for part in (
        "31.2%",
        "4.00",
        "7.8×",
        "≥ 35% and ≥ 8× floor",
        "✗ missed",
        "0.410 m",
        "0.41×",
        "✓ met",
        "pixel mean",
    ):
        assert part in text, part
    assert "skipped: no data" in text and "polyscene demo --minutes 3" in text and "<wall>" in text


def test_what_is_no_better_than_a_floor_is_said() -> None:
    worse = Result("depth", "AbsRel", 0.26, {"constant": 0.3, "per-pixel mean": 0.25}, False)
    better = Result("normals", "mean", 20.0, {"constant": 50.0}, False)
    told = [reports.page(Report("t", "l", [Table("Real", "", [result])])) for result in (worse, better)]
    assert "no better than per-pixel mean" in told[0] and "no better than" not in told[1]


def test_without_a_floor_the_tile_says_so() -> None:
    alone = Result("semseg", "mIoU", 31.2, {"constant": math.nan}, True, headline=True)
    page = reports.page(Report("t", "l", [Table("Unseen", "", [alone])]))
    assert "no floor" in page and "&lt;span" not in page


def test_names_cannot_break_the_page(page: str) -> None:
    assert "</script>cat" not in page and "&lt;/script&gt;cat" in page
    assert page.count("<script>") == page.count("</script>") == 2


def test_without_plots_plotly_is_left_out(tmp_path: Path) -> None:
    path = reports.write(Report("t", "l", [Table("Unseen", "", [MET])]), tmp_path / "deep" / "report.html")
    assert path.stat().st_size < 20_000 and "<script" not in path.read_text()


@pytest.mark.parametrize(
    ("value", "higher", "goal", "met"),
    [
        (36.0, True, Goal(35.0, 8.0), True),
        (36.0, True, Goal(35.0, 10.0), False),
        (34.0, True, Goal(35.0), False),
        (1.7, False, Goal(ratio=0.45), True),
        (1.9, False, Goal(ratio=0.45), False),
        (math.nan, False, Goal(ratio=0.45), False),
        (36.0, True, None, None),
    ],
)
def test_a_goal_is_met_only_if_all_of_it_is(value: float, higher: bool, goal: Goal | None, met: bool | None) -> None:
    assert Result("t", "f", value, {"constant": 4.0}, higher, goal=goal).met is met


def test_pictures_of_one_section_share_their_colours(page: str) -> None:
    near, far = values(), values()
    far["depth"] = far["depth"] * 5
    mask = np.ones((24, 32), bool)
    pair = [Comparison(scene(), {"depth": (one["depth"], mask)}) for one in (near, far)]
    limits = reports._shared_limits(pair)
    assert limits["depth"]["low"] < 1.1 and limits["depth"]["high"] > 4.9
