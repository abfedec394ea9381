import math

import pytest
import torch
from torch import Tensor

from polyscene.metrics import DepthError, MaxF, MeanIoU, Metric, NormalError, QuickEdgeF
from polyscene.types import Target


def target(value: Tensor, valid: Tensor | None = None) -> Target:
    return Target(value, torch.ones_like(value[..., :1, :, :], dtype=torch.bool) if valid is None else valid)


def image(*numbers: float) -> Tensor:
    """(1, 1, 1, 1, n)."""
    return torch.tensor(numbers)[None, None, None, None]


def figures(metric: Metric, value: Tensor, truth: Target) -> dict[str, float]:
    metric.update(value, truth)
    return metric.compute()


def test_depth_against_numbers_by_hand() -> None:
    found = figures(DepthError(), image(1, 2, 6), target(image(1, 4, 4)))
    assert found["RMSE"] == pytest.approx(math.sqrt(8 / 3))
    assert found["AbsRel"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert found["SqRel"] == pytest.approx((0 + 1 + 1) / 3)
    assert found["log RMSE"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(1.5) ** 2) / 3))
    assert found["δ<1.25"] == pytest.approx(100 / 3) and found["δ<1.25²"] == pytest.approx(200 / 3)


def test_depth_pools_pixels_but_aligns_and_averages_images() -> None:
    metric = DepthError()
    metric.update(image(2, 4, 6), target(image(1, 2, 3)))  # right but for the scale
    metric.update(image(1, 1, 1, 1, 1), target(image(1, 2, 2, 2, 4)))
    found = metric.compute()
    assert found["AbsRel"] == pytest.approx((3 * 1 + 0 + 3 * 0.5 + 0.75) / 8)
    assert found["aligned AbsRel"] == pytest.approx((0 + (1 + 0.5) / 5) / 2)  # the second scaled by 2
    assert found["aligned RMSE"] == pytest.approx((0 + math.sqrt((1 + 4) / 5)) / 2)


def test_depth_ignores_invalid_pixels_and_survives_zero_predictions() -> None:
    valid = torch.tensor([True, False])[None, None, None, None]
    found = figures(DepthError(), image(0.0, math.nan), target(image(1.0, math.nan), valid))
    assert found["RMSE"] == pytest.approx(0.999) and all(math.isfinite(number) for number in found.values())


def turned(degrees: Tensor) -> Tensor:
    """(n,) -> (1, 1, 3, 1, n) unit vectors so far from (0, 0, -1)."""
    angle = torch.deg2rad(degrees)
    return torch.stack([angle.sin(), torch.zeros_like(angle), -angle.cos()])[None, None, :, None]


def test_normals_against_exact_angles() -> None:
    degrees = torch.rand(2001, generator=torch.Generator().manual_seed(0)).double() * 90
    straight = turned(torch.zeros(2001).double())
    found = figures(NormalError(), turned(degrees), target(straight))
    assert found["mean"] == pytest.approx(degrees.mean().item(), abs=1e-6)
    assert found["median"] == pytest.approx(degrees.median().item(), abs=0.0101)
    assert found["RMSE"] == pytest.approx(degrees.square().mean().sqrt().item(), abs=1e-6)
    for limit in (11.25, 22.5, 30):
        assert found[f"<{limit:g}°"] == pytest.approx((degrees < limit).double().mean().item() * 100, abs=1e-9)


def test_normals_right_and_opposite() -> None:
    straight = turned(torch.zeros(3))
    assert figures(NormalError(), straight, target(straight)) == {
        "mean": 0, "median": 0, "RMSE": 0, "<11.25°": 100, "<22.5°": 100, "<30°": 100
    }  # fmt: skip
    assert figures(NormalError(), -straight, target(straight))["mean"] == pytest.approx(180)


def test_miou_counts_only_classes_that_occur() -> None:
    metric = MeanIoU(("a", "b", "c", "d"))
    truth, guess = torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 1, 1, 2, 3])
    valid = torch.tensor([True, True, True, True, False])[None, None, None, None]
    found = figures(metric, guess[None, None, None, None], target(truth[None, None, None, None], valid))
    assert found == {
        "mIoU": pytest.approx((50 + 100 / 3) / 2), "accuracy": 50.0, "IoU a": 50.0, "IoU b": pytest.approx(100 / 3)
    }  # fmt: skip


def test_edges_are_matched_within_the_radius() -> None:
    truth, score = torch.zeros(1, 1, 1, 20, 20), torch.zeros(1, 1, 1, 20, 20)
    truth[..., 5] = 1
    score[..., 7] = 0.9  # two pixels off: a match
    score[..., 15] = 0.4  # far off: a false alarm, at low thresholds
    found = figures(QuickEdgeF(radius=2), score, target(truth))
    assert found["quick F"] == pytest.approx(100) and 0.4 < found["threshold"] <= 0.9
    assert figures(QuickEdgeF(radius=1), score, target(truth))["quick F"] == 0


def test_saliency_takes_the_best_threshold() -> None:
    found = figures(MaxF(), image(0.9, 0.8, 0.7, 0.1), target(image(1, 0, 1, 0)))
    best = 1.3 * (2 / 3) * 1 / (0.3 * 2 / 3 + 1)
    other = 1.3 * 1 * 0.5 / (0.3 + 0.5)
    assert found["maxF"] == pytest.approx(100 * max(best, other))


MAKERS = {
    "depth": (DepthError, lambda: torch.rand(2, 1, 1, 5, 6) + 0.5, lambda: torch.rand(2, 1, 1, 5, 6) + 0.5),
    "normals": (
        NormalError,
        lambda: torch.nn.functional.normalize(torch.randn(2, 1, 3, 5, 6), dim=-3),
        lambda: torch.nn.functional.normalize(torch.randn(2, 1, 3, 5, 6), dim=-3),
    ),
    "semseg": (
        lambda: MeanIoU(("a", "b")),
        lambda: torch.randint(0, 2, (2, 1, 1, 5, 6)),
        lambda: torch.randint(0, 2, (2, 1, 1, 5, 6)),
    ),
    "edges": (QuickEdgeF, lambda: torch.rand(2, 1, 1, 5, 6), lambda: (torch.rand(2, 1, 1, 5, 6) > 0.9).float()),
    "saliency": (MaxF, lambda: torch.rand(2, 1, 1, 5, 6), lambda: (torch.rand(2, 1, 1, 5, 6) > 0.5).float()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_accumulators_add_up(name: str) -> None:
    torch.manual_seed(0)
    make, value, truth = MAKERS[name]
    parts = [(value(), target(truth(), torch.rand(2, 1, 1, 5, 6) > 0.2)) for _ in range(2)]
    whole, halves = make(), [make(), make()]
    for (guess, known), half in zip(parts, halves, strict=True):
        whole.update(guess, known)
        half.update(guess, known)
    both = make()
    both.state = halves[0].state + halves[1].state
    assert both.compute() == pytest.approx(whole.compute())


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_valid_is_not_a_number_rather_than_a_figure(name: str) -> None:
    make, value, truth = MAKERS[name]
    metric = make()
    metric.update(value(), target(truth(), torch.zeros(2, 1, 1, 5, 6, dtype=torch.bool)))
    assert math.isnan(metric.compute()[metric.key])


def test_edges_counted_at_once_agree_with_thresholds_one_by_one() -> None:
    value, truth, valid = torch.rand(3, 2, 1, 1, 20, 30)
    truth, valid = truth > 0.9, valid > 0.2
    value[0, 0, 0, 0, :19] = torch.arange(1, 20) / 20  # on the thresholds themselves
    metric = QuickEdgeF()
    metric.update(value, Target(truth.float(), valid))

    def grown(mask: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.max_pool2d(mask.flatten(0, 1).float(), 5, 1, 2).unflatten(0, (2, 1)) > 0

    truth = truth & valid
    for row, threshold in zip(metric.sums.reshape(-1, 4), metric.thresholds.values, strict=True):
        found = (value >= threshold) & valid
        expected = (found & grown(truth)).sum(), found.sum(), (truth & grown(found)).sum(), truth.sum()
        assert row.tolist() == [int(count) for count in expected]
