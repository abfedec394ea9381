"""``polyscene adapt``: three lines of YAML, and what is said of mistakes in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tests.training import toy

from polyscene import adapt, cli, weights
from polyscene.config import ConfigError
from polyscene.data.photographs import Photographs
from polyscene.training import loop


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network."""
    return loop.train(toy.config(tmp_path_factory.mktemp("trained") / "run", evaluate=False, steps=2))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Of two sizes, none that of the network."""
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(((60, 40), (90, 50), (60, 40))):
        Image.new("RGB", size, (80 * number, 90, 40)).save(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path / "photos"


def write(folder: Path, **data: Any) -> Path:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def test_three_lines(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that is the network's is taken over; the same command again finds it done."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, init=str(run), source="toy", target="photos/")
    words = ["adapt", str(file), "--steps", "2", "--device", "cpu"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "tensors taken over" in told and "what was gained cannot be told" in told
    out = tmp_path / "runs" / "mine"
    (model, facts), (before, _) = weights.load(out), weights.load(run)
    assert model.describe() == before.describe() and facts["size"] == list(toy.SIZE)
    assert facts["init"] == str(run) and facts["method"] == "self_training"
    assert facts["data"]["target"]["options"]["path"] == str(photos)
    assert any(
        not torch.equal(one, other)
        for one, other in zip(model.state_dict().values(), before.state_dict().values(), strict=True)
    )
    with Image.open(out / "before_after.png") as page:
        assert page.width > 3 * 240 and page.height > 3 * 100
    assert cli.main(words) == 0
    assert "is finished" in capsys.readouterr().out


def test_what_was_gained_is_told_where_there_are_labels(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled = {"name": "toy", "count": 3}
    file = write(tmp_path, init=str(run), source="toy", target="photos", evaluate=labelled, training={"steps": 1})
    assert cli.main(["adapt", str(file), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert all(f"evaluate: {name} " in told for name in ("depth RMSE", "semseg mIoU")) and told.count(" -> ") == 2


def test_a_whole_configuration_is_taken_as_it_is(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = toy.config(tmp_path / "whole", evaluate=False, steps=1).model_dump(mode="json", exclude_none=True)
    settings["data"]["target"] = {"mine": {"dataset": {"name": "photographs", "path": str(photos)}, "batch": 2}}
    file = write(tmp_path, **{**settings, "method": "adversarial"})
    assert cli.main(["adapt", str(file)]) == 0
    assert (tmp_path / "whole" / "last" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": "photos"}, "targets = 'photos': unknown key; did you mean 'target'?"),
        ({"target": None}, "target"),
        ({"init": "nowhere"}, "no weights at nowhere"),
        ({"target": "nowhere/"}, "nowhere: no such folder, picture or video"),
        ({"target": "empty"}, "empty: no picture is found there"),
        ({"target": "broken.mp4"}, "broken.mp4: neither a folder of pictures nor a video that can be read"),
        ({"source": "photos"}, "labels"),
        ({"method": "self_trainig"}, "did you mean 'self_training'?"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_mistakes(
    changes: dict[str, Any],
    told: str,
    run: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Told before anything is trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop.Run, "go", lambda self: pytest.fail("this was trained"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    file = write(tmp_path, **{"init": str(run), "source": "toy", "target": "photos", **changes})
    assert cli.main(["adapt", str(file), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


def test_any_key_of_a_configuration_may_stand_beside_the_three_lines(run: Path, photos: Path, tmp_path: Path) -> None:
    more = {"data": {"workers": 2, "target": {"target": {"batch": 3}}}, "model": {"canonical_focal": 1.0}}
    full = adapt.whole({"init": str(run), "source": "toy", "target": "photos", **more}, tmp_path)
    assert full["data"]["workers"] == 2 and full["data"]["target"]["target"]["batch"] == 3
    assert full["data"]["target"]["target"]["dataset"] == {"name": "photographs", "path": "photos"}
    assert full["model"]["canonical_focal"] == 1.0 and full["model"]["encoder"]["name"] == "test_efficientnet"


@pytest.mark.parametrize("typed", [["--steps", "2"], ["--steps=2"], ["--training.steps=2"]])
def test_a_length_that_is_typed_takes_the_place_of_the_minutes(run: Path, tmp_path: Path, typed: list[str]) -> None:
    short = {"init": str(run), "source": "toy", "target": "photos"}
    assert "minutes" in adapt.whole(short, tmp_path)["training"]
    assert "minutes" not in adapt.whole(short, tmp_path, typed)["training"]


def test_pictures_that_cannot_be_read_are_not_drawn(photos: Path) -> None:
    (photos / "0.jpg").write_bytes(b"no picture")
    (photos / "2.jpg").write_bytes(b"no picture")
    dataset = Photographs(photos)
    assert {adapt._readable(dataset, first).meta[0] for first in range(3)} == {str(photos / "1.jpg")}


def test_a_whole_configuration_needs_a_target(tmp_path: Path) -> None:
    settings = toy.config(tmp_path / "whole", evaluate=False, steps=1).model_dump(mode="json", exclude_none=True)
    with pytest.raises(ConfigError, match=r"data\.target: names no pictures to adapt to"):
        adapt.run(write(tmp_path, **settings))


def test_sources_with_other_classes_are_joined_by_name_and_the_rest_is_listed(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "labelled"
    for part in ("rgb", "seg"):
        (folder / part).mkdir(parents=True)
        Image.new("RGB" if part == "rgb" else "L", (60, 40)).save(folder / part / "0.png")
    (folder / "polyscene.yaml").write_text(
        "name: labelled\nimages: rgb/{id}.png\ntasks:\n  semseg: {path: 'seg/{id}.png', classes: [b, unicorn]}\n"
    )
    file = write(tmp_path, init=str(run), source="labelled", target="photos", training={"steps": 1, "device": "cpu"})
    assert cli.main(["adapt", str(file)]) == 0
    assert "classes without counterpart in the model are ignored: unicorn" in capsys.readouterr().out
