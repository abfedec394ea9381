"""Two gloo processes against one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from polyscene.config import Config
from polyscene.data.loader import Loader
from polyscene.training import distributed, loop
from polyscene.training.checkpoint import load_state
from polyscene.training.records import read

from . import ranks, toy

ROOT = Path(__file__).parents[2]
SECONDS = 240  # for all ranks of a test, on a slow machine
CLIPPED = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "clip": 1.0, "accumulate": 1}
SHORT = {"steps": 4, "checkpoint_every": 4}
MIDDLE = {"optimiser": CLIPPED, "steps": 7, "checkpoint_every": 4}
ADAM = {**SHORT, "optimiser": {"name": "adamw", "lr": 1e-4}, "autocast": "off", "steps": 5}
JD = importlib.util.find_spec("torchjd") is not None
NEEDS_JD = pytest.mark.skipif(not JD, reason="torchjd is not installed (extra: jd)")
Job = tuple[Path, dict[str, Any], dict[str, Any]]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def start(jobs: Sequence[Job], wait: int = 60) -> list[subprocess.Popen[str]]:
    """Two ranks that do ``jobs`` (folder, changes, settings) one after the other."""
    told = json.dumps([[free_port(), str(out), change, settings] for out, change, settings in jobs])
    errors = jobs[0][0].parent
    common = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "WORLD_SIZE": "2",
        "POLYSCENE_RANK_TIMEOUT": str(wait),
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.ranks", told],
            env={
                **common,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "TORCHELASTIC_ERROR_FILE": str(errors / f"error_{rank}.json"),  # as torchrun sets it
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]


def finish(processes: Sequence[subprocess.Popen[str]], seconds: int = SECONDS) -> list[str]:
    """What they said; none outlives this."""
    try:
        return [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def alone(out: Path, change: dict[str, Any] | None = None, **settings: Any) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ranks.run(out, 1, change or {}, settings)
    finally:
        torch.set_num_threads(threads)
    return out


def gap(one: Path, two: Path) -> float:
    """The greatest difference of weights."""
    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if first[name].numel())


def numbers(node: Any) -> list[float]:
    """All that are in it, in order."""
    if isinstance(node, dict | list):
        inside = [node[key] for key in sorted(node)] if isinstance(node, dict) else node
        return [number for item in inside for number in numbers(item)]
    return [] if isinstance(node, str) else [-1.0 if node is None else float(node)]


def figures(out: Path) -> list[float]:
    """Losses and figures of a run, in order."""
    records = read(out / "metrics.jsonl")
    return [each for one in records for key in ("losses", "figures", "score") for each in numbers(one.get(key, {}))]


STEP = 2  # in which a signal comes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two ranks: whole ones, ones whose second rank alone is told to stop, in a step and in evaluation, sharded
    ones, one that a single process began, and that again with its second rank killed. One of them is judged, too."""
    home = tmp_path_factory.mktemp("ranks")
    alone(home / "begun", {"stop": (0, STEP, signal.SIGTERM)}, **MIDDLE)
    shutil.copytree(home / "begun", home / "killed")
    jobs: list[Job] = [
        (home / "fixed", {}, {"optimiser": CLIPPED}),
        (home / "stopped", {"stop": [1, STEP, "SIGTERM"]}, MIDDLE),
        (home / "evaluated", {"stop": [1, ranks.EVALUATION, "SIGTERM"]}, {**SHORT, "steps": 1}),
        (home / "uncertainty", {}, {"balancing": "uncertainty", **SHORT}),
        (home / "adversarial", {"norm": "batch"}, {"adversarial": True, "ema": 0.9, **SHORT}),
        (home / "sharded", {}, {**MIDDLE, "ema": 0.9, "sharded": True}),
        (home / "again", {"stop": [0, STEP, "SIGTERM"]}, {**MIDDLE, "ema": 0.9, "sharded": True}),
        (home / "again", {}, {**MIDDLE, "ema": 0.9, "sharded": True, "recompute": True}),
        (home / "opposed", {"norm": "batch"}, {"adversarial": True, "sharded": True, "ema": 0.9, **SHORT}),
        *((home / "changing", {"stop": [0, step, "SIGTERM"]}, {"sharded": step != 2, **ADAM}) for step in (1, 2, 3)),
        (home / "judged", {}, {"judged": str(home / "adversarial")}),
    ]
    if JD:
        jobs.append((home / "upgrad", {}, {"balancing": "upgrad", **SHORT}))
    jobs += [
        (home / "poisoned", {}, {"poison": 3, **SHORT}),
        (home / "begun", {}, MIDDLE),
        (home / "killed", {"stop": [1, STEP + 3, "SIGKILL"]}, {**MIDDLE, "elastic": True}),
    ]
    processes = start(jobs)
    for rank, told in enumerate(finish(processes)):
        (home / f"told_{rank}").write_text(told)
    assert processes[1].returncode == -signal.SIGKILL, (home / "told_1").read_text()
    return home


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that makes the batches of both."""
    return alone(tmp_path_factory.mktemp("alone") / "fixed", optimiser=CLIPPED)


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alone(tmp_path_factory.mktemp("alone") / "middle", **MIDDLE)


def assert_alike(one: Path, two: Path, within: float = 1e-5) -> None:
    assert figures(one) == pytest.approx(figures(two), abs=within, rel=within) and len(figures(one)) > 20
    assert gap(one / "last/model.safetensors", two / "last/model.safetensors") < within


def test_two_ranks_do_what_one_process_does_with_twice_the_batch(pair: Path, whole: Path) -> None:
    """Losses, figures and weights; a rank's labels have holes that the other's have not."""
    assert_alike(pair / "fixed", whole)
    assert json.loads((pair / "fixed/environment.json").read_text())[0]["ranks"] == 2
    floors = [numbers(json.loads((run / "floors.json").read_text())) for run in (pair / "fixed", whole)]
    assert floors[0] == pytest.approx(floors[1], rel=1e-12) and len(floors[0]) > 10


@pytest.mark.parametrize("name", ["uncertainty", pytest.param("upgrad", marks=NEEDS_JD)])
def test_balancing_weighs_what_all_ranks_have_found(pair: Path, tmp_path: Path, name: str) -> None:
    assert_alike(pair / name, alone(tmp_path / name, balancing=name, **SHORT))


@pytest.mark.parametrize("name", ["fixed", "uncertainty", "adversarial", pytest.param("upgrad", marks=NEEDS_JD)])
def test_ranks_stay_equal(pair: Path, name: str) -> None:
    """To the bit, with batch norms and a discriminator that each makes for itself, too."""
    assert gap(pair / name / "rank_0.safetensors", pair / name / "rank_1.safetensors") == 0


def test_a_signal_to_one_rank_stops_all_and_one_process_carries_on(pair: Path, middle: Path, tmp_path: Path) -> None:
    told = (pair / "told_0").read_text()
    assert "exit 143" in told and f"stopped at step {STEP + 1} of" in told
    shutil.copytree(pair / "stopped", tmp_path / "run")
    assert_alike(alone(tmp_path / "run", **MIDDLE), middle)


def test_a_signal_to_one_rank_in_evaluation_stops_all(pair: Path) -> None:
    """Of which one has a batch more; nothing is recorded, and the next start evaluates."""
    told = (pair / "told_0").read_text()
    assert "stopped at step 1 of 1;" in told and told.count("exit 143") == (pair / "told_1").read_text().count(
        "exit 143"
    )
    assert load_state(pair / "evaluated/last")["at"] == 1 and not (pair / "evaluated/best").exists()
    assert [record["kind"] for record in read(pair / "evaluated/metrics.jsonl")] == ["train"]


def test_two_ranks_carry_on_what_one_process_began(pair: Path, middle: Path) -> None:
    assert_alike(pair / "begun", middle)


def test_where_a_rank_is_killed_the_other_stops_and_the_checkpoint_stays(pair: Path) -> None:
    told = (pair / "told_0").read_text()
    assert "RankFailed: another process of this run has stopped" in told
    assert load_state(pair / "killed/last")["at"] >= STEP


def test_a_loss_that_is_not_finite_stops_all_and_names_the_samples_of_all(pair: Path) -> None:
    for rank in range(2):
        assert re.search(r"step \d: loss = nan.*toy-3\b", (pair / f"told_{rank}").read_text())


def test_torchrun_is_told_the_cause_with_its_traceback(pair: Path) -> None:
    for rank in range(2):  # the rank that another's death stopped does not take its place
        cause = json.loads((pair / f"error_{rank}.json").read_text())["message"]
        assert cause["message"].startswith("NonFinite: ") and "Traceback" in cause["extraInfo"]["py_callstack"]


def test_the_first_rank_alone_speaks(pair: Path) -> None:
    told = [(pair / f"told_{rank}").read_text() for rank in range(2)]
    assert [each.count("finished: ") for each in told] == [told[0].count("finished: "), 0] and "finished: " in told[0]


def test_ranks_make_the_parts_of_the_batches_of_one(tmp_path: Path) -> None:
    data = toy.Toy()

    def load(batch: int, part: tuple[int, int] = (0, 1)) -> Loader:
        return Loader(data, data.tasks, batch, lambda sample, tasks, generator: sample, seed=1, workers=0, part=part)

    one, parts = load(4), [load(2, (rank, 2)) for rank in range(2)]
    for index in (0, 2, 3, 7):
        assert one.number(index).meta == parts[0].number(index).meta + parts[1].number(index).meta
    assert one.number(5).meta == parts[1].whole().number(5).meta
    assert [len(each) for each in parts] == [len(one)] * 2
    shown = [[name for batch in one.once((rank, 2)) for name in batch.meta] for rank in range(2)]
    assert sorted(shown[0] + shown[1]) == sorted({*shown[0], *shown[1]}) and sum(map(len, shown)) == len(data)


def test_a_rank_knows_its_place_after_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.first() and distributed.count() == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not distributed.first() and distributed.count() == 1


# -- shards ------------------------------------------------------------------------------------------------------------
def test_sharded_weights_are_trained_as_whole_ones(pair: Path, tmp_path: Path) -> None:
    assert_alike(pair / "sharded", alone(tmp_path / "one", **MIDDLE, ema=0.9))
    parts = [load_file(pair / f"sharded/last/state{rank}.safetensors") for rank in ("", ".1")]
    of_the_model = [{name: one for name, one in part.items() if name.startswith("/trainer/model/")} for part in parts]
    counts = [sum(one.numel() for one in part.values()) for part in of_the_model]
    assert abs(counts[0] - counts[1]) < 0.1 * counts[0]


def test_a_sharded_run_goes_on_to_the_bit(pair: Path) -> None:
    """Also where from then on what lies in between is recomputed."""
    for name in ("last/model", "best/model", "last/state", "last/state.1"):
        assert gap(pair / f"sharded/{name}.safetensors", pair / f"again/{name}.safetensors") == 0


def test_shards_are_read_by_another_number_of_ranks(pair: Path, tmp_path: Path) -> None:
    """Two sharded, two whole, two sharded, one."""
    shutil.copytree(pair / "changing", tmp_path / "changing")
    assert (tmp_path / "changing/last/state.1.safetensors").exists()
    assert_alike(alone(tmp_path / "changing", **ADAM), alone(tmp_path / "one", **ADAM))


def test_two_ranks_judge_as_one_process_does(pair: Path, tmp_path: Path) -> None:
    """Seven samples: one rank has one more. The first one alone writes and speaks."""
    ranks.judge(pair / "adversarial", tmp_path)
    two, one = (json.loads((folder / "metrics.json").read_text()) for folder in (pair / "judged", tmp_path))
    assert len(numbers(one["sources"])) > 10
    assert numbers(two) == pytest.approx(numbers(one), rel=1e-6) and two.keys() == one.keys()
    told = [(pair / f"told_{rank}").read_text() for rank in range(2)]
    assert [each.count("every figure:") for each in told] == [1, 0]


def test_adversaries_of_a_sharded_network(pair: Path) -> None:
    """Batch norms of few samples make more of what is rounded."""
    assert_alike(pair / "opposed", pair / "adversarial", within=1e-4)


def test_another_number_of_ranks_carries_on_where_the_batch_is_that_of_all(
    pair: Path, middle: Path, tmp_path: Path
) -> None:
    shutil.copytree(pair / "killed", tmp_path / "run")
    assert_alike(alone(tmp_path / "run", **MIDDLE, elastic=True), middle)


def test_a_batch_of_all_must_be_divisible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 4)
    with pytest.raises(ValueError, match=r"data\.train\.toy\.batch: 2 cannot be divided among 4 ranks"):
        loop.of_this_rank(ranks.config(tmp_path, 1, elastic=True))


def test_the_directory_holds_the_batch_of_all_ranks(pair: Path) -> None:
    written = Config.model_validate(yaml.safe_load((pair / "fixed/config.yaml").read_text()))
    assert {name: source.batch for name, source in written.data.train.items()} == {"holes": 4, "toy": 2}
