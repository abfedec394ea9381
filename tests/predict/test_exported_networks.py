"""A network outside torch goes the way of one in torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import polyscene
from polyscene.export import engine
from polyscene.model import create_model
from polyscene.portable import Portable
from polyscene.predict import Predictor
from polyscene.tasks import Depth, SemanticSegmentation

TASKS = [SemanticSegmentation(classes=("a", "b", "c")), Depth()]


class Runs(engine.Engine):
    """As an exported network would, by torch."""

    name = "torch"

    def __init__(self, about: dict[str, Any], portable: Portable) -> None:
        super().__init__(about, 1)
        self.portable = portable

    def _run(self, inputs: engine.Arrays) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = self.portable(*(torch.from_numpy(inputs[name]) for name in self.portable.inputs))
        return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("canonical", [None, 0.7])
def test_the_same_scene_as_in_torch(
    canonical: float | None, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = create_model(TASKS, encoder="tf_efficientnet_lite0", canonical_focal=canonical)
    about = {
        "inputs": Portable(model).inputs,
        "size": [64, 96],
        "any_size": True,
        "canonical_focal": canonical,
        "tasks": [task.describe() for task in TASKS],
    }
    (tmp_path / "export.json").write_text(json.dumps(about))
    monkeypatch.setattr(engine, "open_engine", lambda path, threads=None: Runs(about, Portable(model)))
    outside, inside = polyscene.load(tmp_path), Predictor(model, size=(64, 96), device="cpu")
    assert outside.size == (64, 96) and not outside.sees_views
    wide = np.array([[150, 0, 47.5], [0, 150, 31.5], [0, 0, 1]])
    for known in (None, wide):
        seen, expected = outside([photo, photo[::-1].copy()], known)[1], inside(photo[::-1].copy(), known)
        assert (seen.semseg == expected.semseg).mean() > 0.999
        np.testing.assert_allclose(seen.depth, expected.depth, rtol=1e-4)
    far = np.median(outside(photo, wide).depth / outside(photo).depth)
    assert far == pytest.approx(1 if canonical is None else 150 / (0.7 * 96), rel=1e-4)
    with pytest.raises(AttributeError, match="load the weights that it was made of"):
        _ = outside.model
