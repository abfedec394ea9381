"""What docs/how_to/predict.md tells to type in Python runs."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscene import weights
from polyscene.predict import Predictor

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "predict.md"


def test_the_example(predictor: Predictor, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    weights.save(predictor.model, "net", size=(64, 96))
    Image.fromarray(photo).save("photo.jpg")
    shown: list[str] = []
    monkeypatch.setattr(Image.Image, "show", lambda page, title: shown.append(title))
    exec(example.replace('"starter"', '"net"'), {})
    assert shown == ["photo"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["photo.depth.png", "photo.panel.png"]
