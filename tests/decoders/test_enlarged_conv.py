"""Against the two operations it stands for, one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders import enlarged_conv as module
from polyscene.decoders.enlarged_conv import enlarged_conv


def one_after_the_other(tensor: Tensor, weight: Tensor, size: tuple[int, int], dilation: int = 1) -> Tensor:
    large = F.interpolate(tensor, size, mode="bilinear", align_corners=False)
    return F.conv2d(large, weight, padding=dilation, dilation=dilation)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (10, 14), (20, 28), (40, 56), (23, 31), (41, 9), (1, 1), (3, 50)])
def test_is_a_convolution_of_the_enlarged_map(size: tuple[int, int], dilation: int) -> None:
    torch.manual_seed(0)
    tensor, weight = torch.randn(2, 40, 5, 7, dtype=torch.float64), torch.randn(6, 40, 3, 3, dtype=torch.float64)
    expected = one_after_the_other(tensor, weight, size, dilation)
    assert torch.allclose(enlarged_conv(tensor, weight, size, dilation), expected, atol=1e-12 * float(expected.std()))


def test_is_done_at_the_smaller_size_where_that_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "resize", lambda tensor, size: sizes.append(size) or F.interpolate(tensor, size))
    tensor, weight = torch.randn(1, 64, 8, 8), torch.randn(4, 64, 3, 3)
    for scale in (4, 2, 1):
        assert enlarged_conv(tensor, weight, (8 * scale, 8 * scale)).shape == (1, 4, 8 * scale, 8 * scale)
    assert sizes == [(8, 8)]


def test_gradients() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda *inputs: enlarged_conv(*inputs, (9, 13), 2), (tensor, weight))
    upstream = torch.randn(2, 1, 9, 13, dtype=torch.float64)
    found = torch.autograd.grad(enlarged_conv(tensor, weight, (9, 13)), (tensor, weight), upstream)
    expected = torch.autograd.grad(one_after_the_other(tensor, weight, (9, 13)), (tensor, weight), upstream)
    assert all(torch.allclose(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
