import math

import pytest
import torch

from polyscene import losses


def test_mean_where_ignores_what_is_invalid_even_nan() -> None:
    values = torch.tensor([[1.0, float("nan"), 3.0]], requires_grad=True)
    valid = torch.tensor([[True, False, True]])
    mean = losses.mean_where(values, valid)
    mean.backward()
    assert mean.item() == 2
    assert values.grad is not None and values.grad.tolist() == [[0.5, 0.0, 0.5]]


def test_cross_entropy_matches_torch_and_ignores_ids_that_are_invalid() -> None:
    torch.manual_seed(0)
    raw, classes = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 1, 4, 5))
    valid = torch.rand(2, 1, 4, 5) > 0.3
    ignored = torch.where(valid, classes, 255)
    weights = torch.tensor([0.2, 1.0, 3.0])
    for chosen in (None, weights):
        expected = torch.nn.functional.cross_entropy(raw, ignored[:, 0], weight=chosen, ignore_index=255)
        assert losses.cross_entropy(raw, ignored, valid, chosen).item() == pytest.approx(expected.item(), rel=1e-5)


def test_scale_invariant_log_forgets_the_scale_as_far_as_it_is_told() -> None:
    truth = torch.randn(2, 1, 4, 4)
    valid = torch.ones_like(truth, dtype=torch.bool)
    shifted = truth + math.log(2)
    assert losses.scale_invariant_log(shifted, truth, valid, 0.0).item() == pytest.approx(math.log(2), rel=1e-5)
    assert losses.scale_invariant_log(shifted, truth, valid, 1.0).item() < 1e-3


def test_gradient_loss_sees_shape_but_not_offset() -> None:
    ramp = torch.linspace(0, 7, 8).expand(1, 1, 8, 8)
    valid = torch.ones_like(ramp, dtype=torch.bool)
    assert losses.multiscale_gradient(ramp + 5, ramp, valid).item() == 0
    # a slope of 1 a pixel, seen at steps of 1, 2, 4 and (nothing left to difference) 8 pixels
    assert losses.multiscale_gradient(2 * ramp, ramp, valid).item() == pytest.approx((1 + 2 + 4) / 4)


def test_angular_loss_is_zero_on_parallel_and_grows_with_the_angle() -> None:
    up = torch.tensor([0.0, -1.0, 0.0])[None, :, None, None]
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    tilted = [torch.tensor([math.sin(a), -math.cos(a), 0.0])[None, :, None, None] for a in (0.0, 0.3, 1.0, 3.0)]
    values = [losses.angular(5 * raw, up, valid).item() for raw in tilted]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)
    cosine, l1 = (losses.angular(tilted[2], up, valid, share).item() for share in (0.0, 1.0))
    assert cosine == pytest.approx(1 - math.cos(1.0), rel=1e-5)
    assert l1 == pytest.approx((math.sin(1.0) + 1 - math.cos(1.0)) / 3, rel=1e-5)
    assert values[2] == pytest.approx((cosine + l1) / 2, rel=1e-5)


def test_balanced_binary_weighs_positives() -> None:
    raw, truth = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    valid = torch.ones_like(truth, dtype=torch.bool)
    assert losses.balanced_binary(raw, truth, valid, 0.9).item() == pytest.approx(math.log(2) * (0.9 + 0.1) / 2)
