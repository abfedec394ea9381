import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

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


def in_two(folder: Path) -> Path:
    """One tensor of three rows, in two parts."""
    checkpoint.save_state(folder, {"weight": torch.arange(6.0).view(3, 2)[:2]})
    save_file({"/weight": torch.tensor([[4.0, 5.0]])}, folder / "state.1.safetensors")
    document = json.loads((folder / checkpoint.TREE).read_text())
    document["tree"]["weight"]["parts"] = 2
    (folder / checkpoint.TREE).write_text(json.dumps(document))
    return folder


def test_parts_of_several_ranks_are_read_as_one(tmp_path: Path) -> None:
    assert torch.equal(checkpoint.load_state(in_two(tmp_path))["weight"], torch.arange(6.0).view(3, 2))


@pytest.mark.parametrize("parts", [3, 0, -1, 10**30, 1.5, "2", [2], None])
def test_parts_that_are_not_there_are_refused(tmp_path: Path, parts: object) -> None:
    document = json.loads((in_two(tmp_path) / checkpoint.TREE).read_text())
    document["tree"]["weight"]["parts"] = parts
    (tmp_path / checkpoint.TREE).write_text(json.dumps(document))
    with pytest.raises(BadCheckpoint, match="to start over"):
        checkpoint.load_state(tmp_path)


@pytest.mark.parametrize("other", [torch.zeros(1, 3), torch.zeros(1, 2, dtype=torch.float64), torch.zeros(())])
def test_parts_that_do_not_fit_each_other_are_refused(tmp_path: Path, other: torch.Tensor) -> None:
    save_file({"/weight": other}, in_two(tmp_path) / "state.1.safetensors")
    with pytest.raises(BadCheckpoint, match="to start over"):
        checkpoint.load_state(tmp_path)
