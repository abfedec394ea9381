"""The disk is full, or may only be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError
from tests.faults.disk import inside
from tests.training import toy

from polyscene import create_model, weights
from polyscene.training import checkpoint
from polyscene.training.loop import train

SMALL = {"encoder": {"name": "test_resnet"}, "decoder": {"name": "multi_head", "channels": 4, "context": "none"}}

FULL = """
import torch
from pathlib import Path
from polyscene import create_model, weights
from polyscene.training import checkpoint

out = Path("disk/run")
out.mkdir()
def fill(number, count):
    return lambda folder: checkpoint.save_state(folder, {"at": number, "x": torch.full((count,), number)})
checkpoint.replace(out / "last", fill(1, 10_000))
try:
    checkpoint.replace(out / "last", fill(2, 1_000_000))
except OSError as error:
    print(error)
print(checkpoint.load_state(out / "last")["at"], sorted(path.name for path in out.iterdir()))

model = create_model(["depth"], **SMALL)
weights.save(model, out / "w", number=1)
filler = Path("disk/filler")
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    weights.save(model, out / "w", number=2)
except OSError as error:
    print(error)
print(weights.load(out / "w")[1], sorted(path.name for path in (out / "w").iterdir()))
filler.unlink()
weights.save(model, out / "w", number=3)
checkpoint.replace(out / "last", fill(4, 1000))
print(weights.load(out / "w")[1], checkpoint.load_state(out / "last")["at"])
""".replace("SMALL", repr(SMALL))


def test_a_full_disk_leaves_the_last_good_one_and_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    done = inside("mount -t tmpfs -o size=3m tmpfs disk", FULL, tmp_path)
    assert done.returncode == 0, done.stderr
    first, kept, second, held, after = done.stdout.splitlines()
    assert "disk/run/last cannot be written" in first and "No space left" in first and "before is kept" in first
    assert kept == "1 ['last']"
    assert "No space left" in second and "model.safetensors" in second and "before is kept" in second
    assert held == "{'number': 1} ['model.json', 'model.safetensors']"
    assert after == "{'number': 3} 4"


RUN = """
import os
from pathlib import Path
from tests.training import toy
from polyscene.cli import main
from polyscene.config import dump

config = toy.config(Path("disk/run"), evaluate=False, steps=4, checkpoint_every=1)
Path("toy.yaml").write_text(dump(config))
assert main(["train", "toy.yaml", "--out", "read/run"]) == 2
assert main(["train", "toy.yaml"]) == 2
assert os.system("mount -o remount,size=64m disk") == 0
assert main(["train", "toy.yaml"]) == 0
"""


def test_a_run_says_in_a_line_where_it_cannot_write_and_carries_on_when_there_is_room(tmp_path: Path) -> None:
    """One disk may only be read; another has room for a checkpoint, but not for the next beside it, until it grows."""
    for name in ("read", "disk"):
        (tmp_path / name).mkdir()
    room = size_of_a_checkpoint(tmp_path / "probe") * 3 // 2 // 1024
    mounts = f"mount -t tmpfs -o ro tmpfs read; mount -t tmpfs -o size={room}k tmpfs disk"
    done = inside(mounts, RUN, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    read_only, full = [line for line in done.stderr.splitlines() if line.startswith("polyscene:")]
    assert "Read-only file system" in read_only and "read/run" in read_only
    assert "disk/run/last cannot be written" in full and "No space left" in full and "is kept" in full
    assert "Traceback" not in done.stderr
    assert "resuming disk/run at step 1" in done.stdout and "finished" in done.stdout


def size_of_a_checkpoint(folder: Path) -> int:
    """Bytes."""
    out = train(toy.config(folder, evaluate=False, steps=1))
    return sum(file.stat().st_size for file in (out / "last").iterdir())


def test_where_nothing_can_be_mounted_failing_writes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(number: int) -> None:
        checkpoint.replace(tmp_path / "last", lambda folder: checkpoint.save_state(folder, {"at": number}))

    fill(1)
    weights.save(create_model(["depth"], **SMALL), tmp_path / "w", number=1)
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"last cannot be written \(No space left on device\); what was there"):
            fill(2)
        with pytest.raises(OSError, match=r"No space left on device; what was there before is kept: .*model.safeten"):
            weights.save(create_model(["depth"], **SMALL), tmp_path / "w", number=2)
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise SafetensorError("Error while serializing: IoError(Os { code: 28 })")

        patch.setattr(checkpoint, "save_file", refuse)
        with pytest.raises(OSError, match="last cannot be written"):
            fill(3)
    assert checkpoint.load_state(tmp_path / "last")["at"] == 1
    assert weights.load(tmp_path / "w")[1] == {"number": 1}
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


READ = """
import os
from pathlib import Path
from polyscene.data import DATASETS
from polyscene.data.folder import Folder
try:
    Path("data/probe").write_text("")
except OSError as error:
    print(error.strerror)
print(len(Folder("data").read(0).targets), len(Folder("data", cache=True).read(0).targets))
"""


def test_a_data_set_that_may_only_be_read(tmp_path: Path) -> None:
    from PIL import Image

    data = tmp_path / "data"
    (data / "rgb").mkdir(parents=True)
    (data / "mask").mkdir()
    for name in ("rgb", "mask"):
        Image.new("RGB" if name == "rgb" else "L", (32, 24)).save(data / name / "0.png")
    (data / "polyscene.yaml").write_text(
        'name: tiny\nimages: rgb/{id}.png\ntasks:\n  semseg: {path: "mask/{id}.png", classes: [a, b]}\n'
    )
    before = sorted(path.name for path in data.rglob("*"))
    done = inside("mount --bind data data; mount -o remount,bind,ro data", READ, tmp_path)
    assert done.stdout.splitlines() == ["Read-only file system", "1 1"], done.stderr
    assert sorted(path.name for path in data.rglob("*")) == before
