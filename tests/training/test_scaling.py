"""The forecast of ``benchmarks/scaling.py``: what must hold whatever its figures are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.scaling import CLUSTER, Link, Machine, Work, all_reduce, predict

HERE = Machine(2, 2, True, Link(1e-3, 1e8), Link(1e-3, 1e8))
WORK = Work(compute=1.0, loading=0.1, threads=1, read=1e6, gradients=1e7)


def test_one_process_is_its_own_work() -> None:
    told = predict(WORK, 1, HERE)
    assert told["step"] == pytest.approx(1.0) and told["efficiency"] == pytest.approx(1.0)


def test_two_processes_send_their_gradients_and_share_the_cores() -> None:
    told = predict(WORK, 2, HERE)
    assert told["parts"]["gradients"] == pytest.approx(2 * (1e-3 + 5e6 / 1e8))
    assert told["parts"]["data"] == pytest.approx(0.1)
    assert told["step"] == pytest.approx(1.0 + sum(told["parts"].values()))


def test_the_slowest_of_many_is_slower() -> None:
    uneven = replace(WORK, jitter=(0.9, 1.0, 1.5))
    steps = [predict(uneven, count, CLUSTER)["parts"]["the slowest"] for count in (1, 8, 512)]
    assert steps[0] < steps[1] < steps[2] == pytest.approx(0.5)


def test_what_limits() -> None:
    assert predict(replace(WORK, read=1e9), 512, CLUSTER)["limit"] == "data"
    assert predict(replace(WORK, gradients=1e11), 64, CLUSTER)["limit"] == "gradients"
    whole, sharded = (predict(replace(WORK, gradients=1e10), 64, CLUSTER, each)["step"] for each in (False, True))
    assert sharded < whole


def test_messages_grow_with_size_and_machines() -> None:
    times = [all_reduce(size, count, CLUSTER) for size, count in ((64, 8), (64, 512), (1e9, 8), (1e9, 16), (1e9, 512))]
    assert times == sorted(times) and all_reduce(1e9, 1, CLUSTER) == 0
