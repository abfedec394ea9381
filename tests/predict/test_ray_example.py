"""The example for Ray clusters: its parts, and the whole where Ray is installed."""

import errno
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscene import pictures, weights
from polyscene.predict import Predictor, predict_paths
from polyscene.scene import Scene

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ray_predict.py"


@pytest.fixture
def photos(photo: np.ndarray, tmp_path: Path) -> Path:
    for name in ("a.png", "b/a.png", "b/c.png", "dark.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo * (name != "dark.png")).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    (tmp_path / "photos" / "film.mp4").touch()
    return tmp_path / "photos"


def test_its_workers_write_what_predict_does(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    weights.save(predictor.model, tmp_path / "net", size=(64, 96))
    rows = {key: np.array(values, object) for key, values in example["table"](photos, tmp_path / "out").items()}
    assert rows["name"].tolist() == ["a", "b/a", "b/c", "broken", "dark"]
    look = example["Look"](tmp_path / "net", tmp_path / "out", ["depth"], 1, "cpu")
    network = type(look.predictor.network).__call__

    def failing(self: object, images: object, focal: object) -> object:
        if (images == 0).all():  # type: ignore[attr-defined]
            raise RuntimeError("no memory")
        return network(self, images, focal)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(look.predictor.network), "__call__", failing)
        told = look(rows)
    assert told["path"] is rows["path"] and told["outcome"][[0, 1, 2, 4]].tolist() == [
        *["written"] * 3,
        "failed: no memory",
    ]
    assert told["outcome"][3].startswith("failed: ") and "cannot be read as a picture" in told["outcome"][3]
    assert look(rows)["outcome"][[0, 1, 2, 4]].tolist() == [*["found"] * 3, "written"] and not look.places
    predict_paths([photos], tmp_path / "whole", predictor, write=["depth"], batch=1)
    made = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png"))
    assert len(made) == 4
    assert all((tmp_path / "out" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes() for path in made)
    names = example["named"]({"path": np.array(["/x/a.jpg", "../a.jpg"], object)})["name"].tolist()
    assert names == ["x/a.jpg", "up/a.jpg"]


def test_its_workers_tell_faults_of_pictures_from_those_of_disks(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    weights.save(predictor.model, tmp_path / "net", size=(64, 96))
    rows = {key: np.array(values, object) for key, values in example["table"](photos, tmp_path / "out").items()}
    look = example["Look"](tmp_path / "net", tmp_path / "out", ["depth"], 2, "cpu")
    read, save = pictures.read, Scene.save

    def reading(path: str) -> pictures.Picture:
        if path.endswith("b/a.png"):
            raise MemoryError
        return read(path)

    def saving(scene: Scene, stem: Path, write: tuple[str, ...]) -> list[Path]:
        if stem.name == "c":
            raise RuntimeError("cannot be drawn")
        return save(scene, stem, write)

    monkeypatch.setattr(pictures, "read", reading)
    monkeypatch.setattr(Scene, "save", saving)
    told = dict(zip(rows["name"], look(rows)["outcome"], strict=True))
    assert told.pop("broken").startswith("failed: ")
    assert told == {
        "a": "written", "b/a": "failed: MemoryError", "b/c": "failed: cannot be drawn", "dark": "written"
    }  # fmt: skip

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pictures, "read", read)
    monkeypatch.setattr(Scene, "save", full)
    with pytest.raises(OSError, match="No space left"):
        look(rows)


def test_on_a_cluster_of_this_machine(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    weights.save(predictor.model, tmp_path / "net", size=(64, 96))
    words = [
        str(photos),
        str(tmp_path / "out"),
        "--weights",
        str(tmp_path / "net"),
        "--write",
        "depth",
        "--workers",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "4 written, 1 failed", done.stdout + done.stderr
    assert len(list((tmp_path / "out").rglob("*.depth.png"))) == 4
