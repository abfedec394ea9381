from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyscene import weights
from polyscene.model import MultiTaskModel, create_model


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    torch.manual_seed(0)
    decoder = {"name": "multi_head", "channels": 8, "context": "none"}
    return create_model("rooms", "test_efficientnet", decoder, canonical_focal=0.9).eval()


@pytest.fixture
def saved(model: MultiTaskModel, tmp_path: Path) -> Path:
    return weights.save(model, tmp_path / "w", step=7, metrics={"depth": {"rmse": 0.5}})


def test_round_trip(model: MultiTaskModel, saved: Path) -> None:
    again, facts = weights.load(saved)
    images = torch.rand(1, 1, 3, 64, 96)
    before, after = model.infer(images), again.infer(images)
    assert all(torch.equal(before[name], after[name]) for name in model.tasks)
    assert again.describe() == model.describe()
    assert weights.read_card(saved)["model"] == json.loads(json.dumps(model.describe()))
    assert facts == {"step": 7, "metrics": {"depth": {"rmse": 0.5}}}
    assert json.loads((saved.parent / "model.json").read_text())["facts"] == facts


def test_whoever_may_read_other_files_may_read_these(saved: Path) -> None:
    (saved.parent / "other").touch()
    assert {path.stat().st_mode for path in saved.parent.iterdir()} == {(saved.parent / "other").stat().st_mode}


def test_a_run_means_its_best_else_its_last(model: MultiTaskModel, tmp_path: Path) -> None:
    last = weights.save(model, tmp_path / "last")
    assert weights.find(tmp_path) == last
    best = weights.save(model, tmp_path / "best")
    assert weights.find(tmp_path) == best
    with pytest.raises(FileNotFoundError, match="nowhere"):
        weights.load(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.01, 0.5, 0.9999])
def test_a_file_cut_short_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(weights.BadWeights, match=r"model\.safetensors"):
        weights.load(saved)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_a_pickle_is_refused_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(weights.BadWeights):
        weights.load(path)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"format": weights.FORMAT}, {"card": "{}"}])
def test_foreign_files_are_refused(tmp_path: Path, header: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, header)
    with pytest.raises(weights.BadWeights):
        weights.load(path)


@pytest.mark.parametrize("change", ["missing", "shape", "encoder"])
def test_weights_that_do_not_fit_are_refused(saved: Path, change: str) -> None:
    card, tensors = weights.read_card(saved), load_file(saved)
    name = "heads.depth.project.weight"
    if change == "missing":
        del tensors[name]
    elif change == "shape":
        tensors[name] = torch.zeros(3, 8, 1, 1)
    else:
        card["model"]["encoder"] = {"name": "no_such_encoder"}
    save_file(tensors, saved, {"format": weights.FORMAT, "card": json.dumps(card)})
    with pytest.raises(weights.BadWeights, match="no_such_encoder" if change == "encoder" else name):
        weights.load(saved)


def test_a_card_cannot_ask_for_other_files(saved: Path) -> None:
    card, tensors = weights.read_card(saved), load_file(saved)
    card["model"]["encoder"] = {"name": "test_efficientnet", "checkpoint_path": "elsewhere.pth"}
    save_file(tensors, saved, {"format": weights.FORMAT, "card": json.dumps(card)})
    with pytest.raises(weights.BadWeights, match="checkpoint_path"):
        weights.load(saved)


def test_killed_while_writing_the_old_file_stays(
    model: MultiTaskModel, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        weights.save(model, saved.parent, step=8)
    assert weights.load(saved)[1]["step"] == 7
    assert sorted(file.name for file in saved.parent.iterdir()) == ["model.json", "model.safetensors"]
