"""``polyscene convert``: a file of public code in, a network of ours out, which still speaks the reference's names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file
from tests.golden import recipe

import polyscene
from polyscene import cli, weights
from polyscene.convert import base, command
from polyscene.tasks.sets import SETS


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
    assert "it looks like mti_net" in refused("pad_net", checkpoint, "--meta", meta)
    facts = json.loads(meta.read_text())
    meta.write_text(json.dumps({**facts, "tasks": ["semseg", "depth"]}))
    message = refused("mti_net", checkpoint, "--meta", meta)
    assert "is of the tasks semseg, depth, normals, edge; META.json has semseg, depth" in message
    meta.write_text(json.dumps({**facts, "backbone": "HRNet48"}))
    assert "only networks on HRNet" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text(json.dumps({**facts, "channels": {**facts["channels"], "semseg": 21}}))
    message = refused("mti_net", checkpoint, "--meta", meta)
    assert "decoder.scales.0.project.semseg.weight" in message and "check `tasks`, `channels`" in message
    assert "(40, 18, 1, 1) in the checkpoint, (21, 18, 1, 1) in the network" in message
    assert len(message.strip().splitlines()) == 1
    meta.write_text(json.dumps({"tasks": "semseg", "channels": facts["channels"]}))
    assert "tasks is a list" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text(json.dumps({**facts, "tasks": [*facts["tasks"], "edge"]}))
    assert "edge is given twice" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text(json.dumps({"tasks": ["semseg"]}))
    assert "lacks channels" in refused("mti_net", checkpoint, "--meta", meta)
    meta.write_text("{")
    assert "no JSON" in refused("mti_net", checkpoint, "--meta", meta)
    checkpoint.write_bytes(b"not a checkpoint")
    assert "no checkpoint of tensors" in refused("mti_net", checkpoint)


def test_what_a_family_needs_besides_is_named(tmp_path: Path) -> None:
    checkpoint, meta, out = tmp_path / "atrc.pth", tmp_path / "meta.json", tmp_path / "out"
    state = {
        f"head.{part}.weight": torch.ones(1) for part in ("atrc_module", "bottleneck.depth.conv", "final_logits.depth")
    }
    meta.write_text(json.dumps({"tasks": ["depth"], "channels": {"depth": 1}, "backbone": "HRNet18"}))
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match="no tensor under 'backbone"):
        command.run("atrc", checkpoint, meta, out)
    torch.save({**state, "backbone.conv.weight": torch.ones(1)}, checkpoint)
    with pytest.raises(ValueError, match="lacks 'config'; it has tasks, channels, backbone"):
        command.run("atrc", checkpoint, meta, out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "checkpoint.pth"])
def test_wrappers_are_taken_off(name: str, tmp_path: Path) -> None:
    state = {"module.heads.depth.weight": torch.ones(2), "module.backbone.bias": torch.zeros(1)}
    if name.endswith("safetensors"):
        save_file(state, tmp_path / name)
    else:
        best = {"edge": numpy.float64(71.5)}
        torch.save({"best_result": best, "model": {"state_dict": state, "epoch": 3}}, tmp_path / name)
    assert list(sorted(command.read(tmp_path / name))) == ["backbone.bias", "heads.depth.weight"]


def test_tasks_are_those_of_the_nearest_data_set() -> None:
    found = base.tasks_of({"semseg": 16, "depth": 1})
    assert [found["depth"]] == [task for task in SETS["synthia"] if task.name == "depth"]
    found = base.tasks_of({"edge": 1, "sal": 2})
    assert found["edge"] in SETS["pascal_context"] and found["sal"].channels == 2
    assert base.tasks_of({"semseg": 5})["semseg"].classes == tuple(f"class {number}" for number in range(5))


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
