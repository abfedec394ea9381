"""``polyscene convert``: a file of public code in, a network of ours out, which still speaks the reference's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.golden import recipe

import polyscene
from polyscene import cli, weights
from polyscene.convert import command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint as training code leaves it, and its META.json."""
    checkpoint, meta = tmp_path / "checkpoint.pth.tar", tmp_path / "meta.json"
    state = {f"module.{key}": tensor for key, tensor in recipe.state_dict("mti_net").items()}
    torch.save({"epoch": 3, "model": state}, checkpoint)
    meta.write_text(json.dumps(recipe.meta("mti_net")))
    return checkpoint, meta


def test_a_converted_network_gives_the_references_outputs(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    checkpoint, meta = files
    assert cli.main(["convert", "mti_net", str(checkpoint), "--meta", str(meta), "--out", str(out)]) == 0
    assert "tensors" in capsys.readouterr().out
    predictor = polyscene.load(out)
    with torch.inference_mode():
        outputs = predictor.model.raw(recipe.image(**recipe.meta("mti_net")["input"]))
    errors = recipe.errors("mti_net", outputs)
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}
    assert weights.read_card(out)["facts"]["converted"]["format"] == "mti_net"


def test_what_does_not_fit_is_refused_and_nothing_written(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, meta = files
    out = tmp_path / "out"

    def refused(*words: str | Path) -> str:
        assert cli.main(["convert", *map(str, words), "--out", str(out)]) == 2
        assert not out.exists()
        return capsys.readouterr().err

    assert "did you mean 'mti_net'" in refused("mti_nut", checkpoint)
    assert "no such file" in refused("mti_net", tmp_path / "none.pth")
    assert "--meta" in refused("mti_net", checkpoint)
    facts = json.loads(meta.read_text())
    meta.write_text(json.dumps({**facts, "tasks": ["semseg", "depth"]}))
    assert "have no place in the model" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text(json.dumps({"tasks": ["semseg"]}))
    assert "lacks channels" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text("{")
    assert "no JSON" in refused("mti_net", checkpoint, "--meta", meta)
    checkpoint.write_bytes(b"not a checkpoint")
    assert "no checkpoint of tensors" in refused("mti_net", checkpoint)


class Payload:
    """What a hostile checkpoint would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("unpickled",))


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    file = tmp_path / "hostile.pth"
    torch.save({"model": Payload()}, file)
    with pytest.raises(ValueError, match="no checkpoint of tensors alone"):
        command.read(file)


def test_a_network_of_our_own_has_no_reference() -> None:
    model = polyscene.create_model(["depth"])
    with pytest.raises(ValueError, match="not converted"):
        model.raw(torch.zeros(1, 3, 64, 64))
