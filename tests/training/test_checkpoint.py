import json
import math
from pathlib import Path

import pytest
import torch

from polyscene.training import checkpoint
from polyscene.training.checkpoint import BadCheckpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    strided = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    tree = {
        "optimiser": {"state": {0: {"step": torch.tensor(3.0), "slot": strided}}, "groups": [{"betas": [0.9, 0.99]}]},
        "same": [shared, shared[1:]],
        "none": None,
        "count": 7,
        "rng": torch.get_rng_state(),
    }
    checkpoint.save_state(tmp_path, tree)
    found = checkpoint.load_state(tmp_path)
    assert found["optimiser"]["groups"] == [{"betas": [0.9, 0.99]}] and found["none"] is None and found["count"] == 7
    assert torch.equal(found["optimiser"]["state"][0]["slot"], strided)
    assert found["optimiser"]["state"][0]["step"] == 3
    assert torch.equal(found["same"][1], shared[1:])
    assert torch.equal(found["rng"], tree["rng"])


def test_nothing_that_would_need_a_pickle_is_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a/0"):
        checkpoint.save_state(tmp_path, {"a": [object()]})


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.TREE])
@pytest.mark.parametrize("damage", ["cut", "missing", "alien"])
def test_damage_is_refused_with_the_remedy(tmp_path: Path, name: str, damage: str) -> None:
    checkpoint.save_state(tmp_path, {"weight": torch.ones(100)})
    content = (tmp_path / name).read_bytes()
    match damage:
        case "cut":
            (tmp_path / name).write_bytes(content[: len(content) // 2])
        case "missing":
            (tmp_path / name).unlink()
        case "alien":
            (tmp_path / name).write_bytes(b"\x80\x02]q\x00.")  # a pickle
    with pytest.raises(BadCheckpoint, match="to start over"):
        checkpoint.load_state(tmp_path)


def test_another_json_is_not_taken_for_ours(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path, {"weight": torch.ones(1)})
    (tmp_path / checkpoint.TREE).write_text(json.dumps({"format": "other"}))
    with pytest.raises(BadCheckpoint, match="not a training state"):
        checkpoint.load_state(tmp_path)


def write(text: str):
    return lambda directory: (directory / "file").write_text(text)


def test_a_failed_write_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "last"
    checkpoint.replace(target, write("one"))

    def fails(directory: Path) -> None:
        (directory / "file").write_text("tw")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.replace(target, fails)
    assert (target / "file").read_text() == "one"
    checkpoint.replace(target, write("two"))
    assert (target / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_kill_between_the_renames_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "last"
    checkpoint.replace(target, write("one"))
    rename = Path.rename

    def killed(self: Path, to: Path) -> Path:
        if self.name == "last.new":
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.replace(target, write("two"))
    monkeypatch.undo()
    assert not target.exists()
    checkpoint.recover(target)
    assert (target / "file").read_text() == "one"


def test_infinite_numbers_survive(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path, {"scale": math.inf})
    assert checkpoint.load_state(tmp_path) == {"scale": math.inf}
