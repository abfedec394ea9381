"""Two runs aimed at one directory, and workers that die."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.faults.disk import ROOT
from tests.training import toy

from polyscene.cli import main
from polyscene.config import dump
from polyscene.data.loader import Loader, LoadError
from polyscene.data.rendered import RenderError
from polyscene.data.rooms import record
from polyscene.data.rooms.dataset import Rooms
from polyscene.training import rundir
from polyscene.types import Sample

HOLD = """
import sys, time
from pathlib import Path
from polyscene.training import rundir
with rundir.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in this directory."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_second_run_is_refused_until_the_first_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = toy.config(tmp_path / "run", evaluate=False, steps=1)
    (tmp_path / "train.yaml").write_text(dump(plain))
    (tmp_path / "adapt.yaml").write_text(dump(toy.with_target(plain, {"name": "self_training"})))
    with held(tmp_path / "run") as process:
        for command in ("train", "adapt"):
            assert main([command, str(tmp_path / f"{command}.yaml")]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"is being written by another run (process {process.pid})" in line and "--out" in line
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert main(["train", str(tmp_path / "train.yaml")]) == 0
    assert (tmp_path / "run" / "last").is_dir()


def test_a_file_system_without_locks_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(OSError, match=r"No locks available: .* takes no locks; mount it .*/\.lock") as raised:
        with rundir.locked(tmp_path):
            pass
    assert raised.value.errno == errno.ENOLCK
    code = "import sys; sys.modules['fcntl'] = None; import polyscene.predict.command"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})


@pytest.mark.parametrize("death", [SystemExit, MemoryError])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_worker_that_dies_ends_the_loading_with_its_sample(death: type[BaseException], workers: int) -> None:
    class Dying(toy.Toy):
        def read(self, index: int) -> Sample:
            if index == 5:
                raise death("gone")
            return super().read(index)

    def whole(sample: Sample, tasks: object, generator: torch.Generator) -> Sample:
        return sample

    dataset = Dying()
    loader = Loader(dataset, dataset.tasks, 2, whole, seed=0, shuffle=False, workers=workers)
    batches = loader.batches()
    next(batches), next(batches)
    with pytest.raises(LoadError, match=f"toy, sample 5: {death.__name__}: gone"):
        next(batches)


def test_a_renderer_that_is_killed_is_told_by_its_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker process under the system's axe, such as that of a machine without memory left."""
    start = subprocess.Popen

    def doomed(command: list[str], **how: object) -> subprocess.Popen[str]:
        assert record.__name__ in command
        code = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
        return start([sys.executable, "-c", code], **how)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", doomed)
    rooms = Rooms(2, 1, (24, 32), root=tmp_path, workers=1)
    with pytest.raises(RenderError, match=r"the process rendering scene 0 died \(exit status -9\)"):
        rooms.prepare()
    assert not list(tmp_path.rglob("*.room"))
