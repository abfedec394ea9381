import math

import pytest
import torch
from tests.metrics.figures import image, judge, target
from torch import Tensor

from polyscene.metrics import DepthError
from polyscene.metrics.protocols import PROTOCOLS, DepthRules
from polyscene.types import Target

APART = (image(1.0), image(4.0)), (image(1.0, 2.0, 3.0), image(2.0, 3.0, 4.0))  # one pixel off by 3, three by 1


def by(protocol: str) -> DepthError:
    return DepthError(PROTOCOLS[protocol].depth)


def test_against_numbers_by_hand() -> None:
    found = judge(DepthError(), (image(1, 2, 6), image(1, 4, 4)))
    assert found["RMSE"] == pytest.approx(math.sqrt(8 / 3))
    assert found["AbsErr"] == pytest.approx(4 / 3)
    assert found["AbsRel"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert found["SqRel"] == pytest.approx((0 + 1 + 1) / 3)
    assert found["log RMSE"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(1.5) ** 2) / 3))
    assert [found[f"δ<1.25{power}"] for power in ("", "²", "³")] == pytest.approx([100 / 3, 200 / 3, 200 / 3])


def test_a_ratio_of_exactly_the_threshold_is_no_hit() -> None:
    found = judge(DepthError(), (image(1.25, 1.2, 0.8, 0.81), image(1, 1, 1, 1)))
    assert found["δ<1.25"] == 50 and found["δ<1.25²"] == 100


@pytest.mark.parametrize(
    ("protocol", "rmse"),
    [("polyscene", 3.0), ("invpt", 3.0), ("atrc", 3.0), ("mtlpt", 3.0), ("sak", 3.0), ("astmt", 4.0), ("mtan", 4.0)],
)
def test_pixels_or_images_are_averaged(protocol: str, rmse: float) -> None:
    expected = {3.0: math.sqrt((9 + 3) / 4), 4.0: (3 + 1) / 2}[rmse]
    assert judge(by(protocol), *APART)["RMSE"] == pytest.approx(expected)


def test_dense_mtl_takes_the_root_of_the_mean_of_images() -> None:
    assert judge(by("dense_mtl"), *APART)["RMSE"] == pytest.approx(math.sqrt((9 + 1) / 2))


def test_the_headline_of_mtan_is_the_absolute_error_by_image() -> None:
    metric = by("mtan")
    assert metric.key == "AbsErr" and judge(metric, *APART)["AbsErr"] == pytest.approx((3 + 1) / 2)
    assert judge(by("invpt"), *APART)["AbsErr"] == pytest.approx(6 / 4)


@pytest.mark.parametrize(
    ("protocol", "seen"), [("polyscene", 1e-3), ("invpt", 1e-9), ("mtlpt", 1e-9), ("sak", 1e-9), ("atrc", -1.0)]
)
def test_what_negative_predictions_count_as(protocol: str, seen: float) -> None:
    found = judge(by(protocol), (image(-1.0), image(1.0)))
    assert found["RMSE"] == pytest.approx(1 - seen, abs=1e-6)
    assert found["log RMSE"] == pytest.approx(-math.log(max(seen, 1e-9)), rel=1e-5)  # finite everywhere


def test_255_metres_are_a_depth_like_others_unless_the_protocol_has_a_range() -> None:
    pair = image(5.0, 254.0, 81.0), image(4.0, 255.0, 80.0)
    assert judge(by("polyscene"), pair)["AbsErr"] == 1.0
    metric = by("sak")
    assert judge(metric, pair)["AbsErr"] == 1.0 and metric.sums[-2] == 1  # 80 itself is beyond its range
    assert metric.seen == (1, 3)


def test_dense_mtl_shifts_caps_and_drops() -> None:
    truth = image(1.99, 0.5, 82.0, 80.5)
    found = judge(by("dense_mtl"), (image(2.99, 3.0, 3.0, 200.0), truth))
    assert found["AbsErr"] == pytest.approx((1 + (80 - 79.51)) / 2, abs=1e-4)
    assert found["AbsRel"] == pytest.approx((1 + (80 - 79.51) / 79.51) / 2, abs=1e-4)


def test_alignments_by_hand() -> None:
    found = judge(DepthError(), (image(1, 2, 3), image(4, 6, 8)))  # 2 p + 2
    assert found["aligned RMSE"] == pytest.approx(math.sqrt((1 + 0 + 1) / 3))  # times 3
    scale = (4 + 12 + 24) / (1 + 4 + 9)
    residual = [(scale * p - t) ** 2 for p, t in ((1, 4), (2, 6), (3, 8))]
    assert found["scaled RMSE"] == pytest.approx(math.sqrt(sum(residual) / 3))
    assert found["fitted RMSE"] == pytest.approx(0, abs=1e-6) and found["fitted δ<1.25"] == 100


def test_aligned_figures_average_images() -> None:
    metric = DepthError()
    found = judge(metric, (image(2, 4, 6), image(1, 2, 3)), (image(1, 1, 1, 1, 1), image(1, 2, 2, 2, 4)))
    assert found["AbsRel"] == pytest.approx((3 * 1 + 0 + 3 * 0.5 + 0.75) / 8)
    assert found["aligned AbsRel"] == pytest.approx((0 + (1 + 0.5) / 5) / 2)  # the second scaled by 2
    assert found["aligned RMSE"] == pytest.approx((0 + math.sqrt((1 + 4) / 5)) / 2)
    assert found["fitted RMSE"] == pytest.approx(math.sqrt((1.2**2 + 3 * 0.2**2 + 1.8**2) / 5) / 2)  # a constant: mean


def test_invalid_pixels_do_not_matter_and_nothing_is_changed_in_place() -> None:
    valid = torch.tensor([True, False])[None, None, None]
    value, truth = image(0.0, math.nan), image(1.0, math.nan)
    before = value.clone(), truth.clone()
    metric = DepthError()
    metric.update(value, target(truth, valid))
    found = metric.compute()
    assert found["RMSE"] == pytest.approx(0.999) and all(math.isfinite(number) for number in found.values())
    torch.testing.assert_close((value, truth), before, equal_nan=True, rtol=0, atol=0)


def test_truth_out_of_range_everywhere_is_undefined() -> None:
    metric = DepthError(DepthRules(far=80.0))
    found = judge(metric, (image(1.0), image(90.0)))
    assert str(found["RMSE"]) == str(found["aligned AbsRel"]) == "undefined" and metric.seen == (1, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_float32_sums_are_those_of_float64(protocol: str) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 1, 200, 300, generator=generator) * 9 + 1.5
    value: Tensor = truth + torch.randn(truth.shape, generator=generator)
    valid = torch.rand(truth.shape, generator=generator) > 0.1
    single, double = by(protocol), by(protocol)
    single.update(value, Target(truth, valid))
    double.update(value.double(), Target(truth.double(), valid))
    assert single.compute() == pytest.approx(double.compute(), rel=1e-5)
