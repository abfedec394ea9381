"""The network that ships with the package: small enough, whole, and no worse than its gate by its own card."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import polyscene
from polyscene import info, weights

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "src" / "polyscene" / "samples"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """experiments/starter/run."""
    loader = SourceFileLoader("starter_run", str(ROOT / "experiments" / "starter" / "run"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def card_rows() -> dict[str, dict[str, float]]:
    """Of the first table of figures, by who."""
    lines = (info.STARTER / "README.md").read_text().partition("## How good it is")[2].splitlines()
    table = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("| ")][:7]
    (head, _, *rows) = table
    return {name: dict(zip(head, map(float, figures), strict=True)) for name, *figures in rows}


def test_the_card_is_above_the_gate_that_a_constant_is_below(maker: ModuleType) -> None:
    rows = card_rows()
    assert not list(maker.below(rows["this network"]))
    told = list(maker.below(rows["constant"]))
    assert len(told) == len(maker.GATE) and told[0] == "AbsRel 0.287 (gate 0.24)"


def test_it_is_small_and_sees_a_photograph() -> None:
    assert weights.find(info.STARTER).stat().st_size <= 15e6
    predictor = polyscene.load("starter", "cpu")
    assert predictor.facts["licence"] == "Apache-2.0"
    scene = predictor(Image.open(SAMPLES / "coffee.jpg").resize((320, 213)))
    assert list(scene.values) == ["semseg", "depth", "normals", "edges"]
    seen = {scene.classes["semseg"][number] for number in np.unique(scene.semseg)}
    assert "table" in seen and 0.2 < np.median(scene.depth) < 3
