import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from polyscene import weights
from polyscene.training import length, rundir
from polyscene.training.checkpoint import BadCheckpoint
from polyscene.training.loop import Stopped, train
from polyscene.training.meter import NonFinite
from polyscene.training.records import read

from . import toy

RUN = f"""
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.training import toy
from polyscene.training.loop import train
train(toy.config(Path(sys.argv[1]), dataset={{"wait": float(sys.argv[2])}}, **eval(sys.argv[3])))
"""
LONG = {"steps": 24, "checkpoint_every": 5, "evaluate_every": 12, "ema": 0.9}
WAIT = 0.01  # seconds a sample, so that there is time to kill


def start(out: Path, wait: float, **training) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(out), str(wait), repr(training)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(config, **keywords) -> str:
    """What it says."""
    told = io.StringIO()
    train(config, console=Console(file=told, width=200), **keywords)
    return told.getvalue()


def wait_for_step(out: Path, step: int, process: subprocess.Popen) -> None:
    while not any(record["step"] >= step for record in read(out / "metrics.jsonl")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def results(out: Path):
    return {
        name: load_file(out / name)
        for name in ("last/model.safetensors", "last/state.safetensors", "best/model.safetensors")
    }


def assert_same(one: Path, two: Path) -> None:
    for name, tensors in results(one).items():
        other = results(two)[name]
        assert tensors.keys() == other.keys()
        differing = [key for key in tensors if not torch.equal(tensors[key], other[key])]
        assert not differing, f"{name}: {differing}"


def comparable(out: Path):
    """Records without what the clock says."""
    return [{k: v for k, v in r.items() if k not in ("images/s", "waited")} for r in read(out / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(toy.config(out, {"wait": WAIT}, **LONG))
    return out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, whole: Path, number: int
) -> None:
    """Stopped in the middle of the fourth epoch, between two checkpoints."""
    process = start(tmp_path, WAIT, **LONG)
    wait_for_step(tmp_path, 17, process)
    process.send_signal(number)
    told, _ = process.communicate()
    reached = read(tmp_path / "metrics.jsonl")[-1]["step"]
    assert 17 <= reached < LONG["steps"]
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number and "the same command again carries on" in told
    else:
        assert process.returncode == -number
    told = run(toy.config(tmp_path, {"wait": WAIT}, **LONG))
    resumed = int(re.search(r"resuming .* at step (\d+)", told)[1])
    assert resumed >= 15 and (resumed <= reached if number == signal.SIGKILL else resumed >= reached)
    assert_same(tmp_path, whole)
    assert comparable(tmp_path) == comparable(whole)


def test_a_run_writes_what_it_says_and_is_finished_once(tmp_path: Path) -> None:
    config = toy.config(tmp_path, steps=4)
    told = run(config)
    assert "finished" in told and "(floor " in told
    names = {path.name for path in tmp_path.iterdir()} - {".lock", "floors.json", "length.json"}
    wanted = {"config.yaml", "environment.json", "metrics.jsonl", "curves.png", "samples", "last", "best"}
    assert names == wanted
    model, facts = weights.load(tmp_path)
    assert facts["step"] == 4 and facts["size"] == list(toy.SIZE) and facts["metrics"]["toy"]["depth"]["RMSE"] > 0
    assert set(model.tasks) == {"depth", "semseg"}
    assert list((tmp_path / "samples").glob("toy_*.png"))
    assert json.loads((tmp_path / "environment.json").read_text())[0]["packages"]["torch"]
    before = (tmp_path / "last" / "model.safetensors").stat().st_mtime_ns
    assert "is finished" in run(config)
    assert (tmp_path / "last" / "model.safetensors").stat().st_mtime_ns == before


def test_a_changed_configuration_is_refused_naming_what_differs(tmp_path: Path) -> None:
    run(toy.config(tmp_path, evaluate=False, steps=2))
    with pytest.raises(rundir.Refused, match=r"training\.steps: 2 there, 3 now\n.*training\.optimiser\.lr"):
        run(toy.config(tmp_path, evaluate=False, steps=3, optimiser={"lr": 0.1}))
    assert "is finished" in run(toy.config(tmp_path, evaluate=False, steps=2, checkpoint_every=1, threads=1))


def test_before_the_first_checkpoint_the_configuration_may_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no parameter's name matches"):
        run(toy.config(tmp_path, evaluate=False, steps=2, optimiser={"groups": [{"pattern": "nowhere"}]}))
    run(toy.config(tmp_path, evaluate=False, steps=3))
    assert json.loads((tmp_path / "length.json").read_text())["steps"] == 3


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    config = toy.config(tmp_path, evaluate=False, steps=2)
    with rundir.locked(tmp_path), pytest.raises(rundir.Refused, match=f"another run .process {os.getpid()}"):
        train(config)
    run(config)


def test_epochs_are_of_the_first_source(tmp_path: Path) -> None:
    run(toy.config(tmp_path, {"count": 7}, evaluate=False, steps=None, epochs=2))
    assert read(tmp_path / "metrics.jsonl")[-1]["step"] == 2 * 3


def test_a_budget_of_minutes_fixes_the_steps_and_training_starts_untouched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(length, "of_minutes", lambda *_: length.Length(5, 0.1, 0.2))
    config = toy.config(tmp_path / "timed", steps=None, minutes=1)
    run(config)
    assert json.loads((tmp_path / "timed" / "length.json").read_text())["steps"] == 5
    run(toy.config(tmp_path / "counted", steps=5))
    assert_same(tmp_path / "timed", tmp_path / "counted")


def test_minutes_are_filled_with_steps_and_evaluations() -> None:
    settings = toy.config(Path("x"), steps=None, minutes=2, evaluate_every=10).training
    assert length.of_minutes(settings, seconds_a_step=0.5, seconds_an_evaluation=5.0, spent=15.0).steps == 100
    assert length.of_minutes(settings, seconds_a_step=0.5, seconds_an_evaluation=500.0, spent=0.0).steps == 1
    assert length.seconds_a_step([9.0, 9.0, 9.0, 1.0, 2.0, 30.0]) == 2


def test_the_stored_length_is_kept(tmp_path: Path) -> None:
    assert length.stored(tmp_path / "length.json", lambda: length.Length(7)).steps == 7
    assert length.stored(tmp_path / "length.json", lambda: length.Length(8)).steps == 7


def test_a_loss_that_is_not_finite_stops_naming_the_samples_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    config = toy.config(tmp_path, {"poison": 5}, evaluate=False, steps=12, checkpoint_every=1)
    with pytest.raises(NonFinite, match=r"step \d+: loss = .*batch: .*toy: toy-5\b"):
        run(config)
    saved = tmp_path / "last" / "model.safetensors"
    assert not saved.exists() or all(tensor.isfinite().all() for tensor in load_file(saved).values())


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    config = toy.config(tmp_path, evaluate=False, steps=4)
    run(config)
    records = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if '"end"' not in line]
    (tmp_path / "metrics.jsonl").write_text("\n".join(records) + "\n")
    state = tmp_path / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(BadCheckpoint, match="damaged"):
        run(config)


def test_init_lists_what_does_not_fit_on_both_sides(tmp_path: Path) -> None:
    run(toy.config(tmp_path / "one", evaluate=False, steps=2))
    told = run(toy.config(tmp_path / "two", {"depth_only": True}, False, steps=1, init=str(tmp_path / "one")))
    assert re.search(r"init: \d+ of the file are not used: .*semseg", told)
    told = run(toy.config(tmp_path / "three", evaluate=False, steps=1, init=str(tmp_path / "two")))
    assert re.search(r"init: \d+ of this network start afresh: .*semseg", told)


def test_init_takes_a_run_by_its_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no weights at demo nor runs/demo"):
        run(toy.config(tmp_path / "one", evaluate=False, steps=1, init="demo"))
    run(toy.config(tmp_path / "runs/demo", evaluate=False, steps=1))
    assert "tensors taken over" in run(toy.config(tmp_path / "two", evaluate=False, steps=1, init="demo"))


def test_an_interrupt_in_an_evaluation_leaves_at_once(tmp_path: Path, monkeypatch) -> None:
    from polyscene.training import loop

    real = loop.evaluation.evaluate

    def interrupted(*arguments, **keywords):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the evaluation went on")

    monkeypatch.setattr(loop.evaluation, "evaluate", interrupted)
    with pytest.raises(Stopped):
        run(toy.config(tmp_path, steps=3))
    monkeypatch.setattr(loop.evaluation, "evaluate", real)
    assert "resuming" in run(toy.config(tmp_path, steps=3))
    assert [record["kind"] for record in read(tmp_path / "metrics.jsonl")] == ["train"] * 3 + ["evaluate", "end"]
