from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from polyscene.convert.base import convert, load, raw
from polyscene.convert.taskprompter import TaskPrompter as Converter

GOLDEN = Path(os.environ.get("POLYSCENE_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))


@pytest.mark.slow
def test_golden_outputs() -> None:
    """Of the public network, 400 M parameters, from weights made by a recipe."""
    folder = GOLDEN / "taskprompter_vitb_pascal5"
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {GOLDEN}; set POLYSCENE_GOLDEN")
    sys.path.insert(0, str(GOLDEN))
    import recipe

    meta = json.loads((folder / "meta.json").read_text())
    given = meta["input"]
    converter = Converter(meta)
    converted = convert(converter, recipe.state_dict(str(folder)))
    assert len(converted.leftovers) == 2
    model = load(converter, converted).eval()
    del converted
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(given["h"], given["w"], given["batch"], given["seed"]))
    for name, _, error in recipe.compare(str(folder), outputs):
        assert error <= max(5 * meta["outputs"][name]["fp32_vs_fp64_over_std"], 1e-4), name
