import math

import pytest

from polyscene.config import Schedule
from polyscene.training.schedule import factor


def test_warm_up_is_linear_and_reaches_one() -> None:
    schedule = Schedule(name="constant", warmup=0.1)
    assert [factor(schedule, step, 40) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert factor(Schedule(name="cosine", warmup=0), 0, 10) == 1.0


def test_poly() -> None:
    schedule = Schedule(name="poly", power=0.9, warmup=0)
    assert factor(schedule, 50, 100) == pytest.approx(0.5**0.9)
    assert factor(schedule, 99, 100) == pytest.approx(0.01**0.9)


def test_step() -> None:
    schedule = Schedule(name="step", milestones=(0.5, 0.8), gamma=0.1, warmup=0)
    assert [factor(schedule, step, 10) for step in (0, 4, 5, 7, 8, 9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_is_half_way_in_the_middle_and_ends_at_the_floor() -> None:
    schedule = Schedule(name="cosine", warmup=0.2, floor=0.1)
    assert factor(schedule, 60, 100) == pytest.approx((1 + 0.1) / 2)
    assert factor(schedule, 100, 100) == pytest.approx(0.1)
    assert factor(schedule, 40, 100) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
