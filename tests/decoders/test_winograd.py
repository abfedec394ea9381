from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders.winograd import conv3x3, worthwhile

WIDE = (64, 128)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def arguments(batch: int, channels: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    maps = torch.randn(batch, channels[0], *size, requires_grad=True)
    return maps, (torch.randn(channels[1], channels[0], 3, 3) / 24).requires_grad_()


@pytest.mark.parametrize("channels", [WIDE, (65, 300)])
@pytest.mark.parametrize("size", [(32, 32), (33, 46), (31, 35)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_and_its_gradients(
    channels: tuple[int, int], size: tuple[int, int], order: torch.memory_format
) -> None:
    maps, weight = arguments(2, channels, size)
    (found,) = conv3x3(maps.to(memory_format=order), weight)
    wanted = F.conv2d(maps.double(), weight.double(), padding=1)
    assert found.shape == wanted.shape
    above = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (maps, weight), above)
    exact = torch.autograd.grad(wanted, (maps, weight), above.double())
    for one, other in zip((found, *gradients), (wanted, *exact), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.std()


@pytest.mark.parametrize(
    ("channels", "size", "kind", "said"),
    [
        (WIDE, (40, 40), torch.float32, True),
        ((32, 128), (40, 40), torch.float32, False),
        (WIDE, (16, 16), torch.float32, False),
        (WIDE, (40, 40), torch.float64, False),
    ],
)
def test_where_it_is_worthwhile(
    channels: tuple[int, int], size: tuple[int, int], kind: torch.dtype, said: bool
) -> None:
    maps, weight = (tensor.to(kind) for tensor in arguments(1, channels, size))
    assert worthwhile(maps, weight) == said
    with torch.autocast("cpu", torch.bfloat16):
        assert not worthwhile(maps, weight)
    assert not worthwhile(maps.to("meta"), weight.to("meta"))


def test_several_of_the_same_maps() -> None:
    maps, weight = arguments(1, (64, 192), (40, 36))
    apart = weight.split([64, 128])
    found = torch.cat(conv3x3(maps, *apart), 1)
    wanted = F.conv2d(maps, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    above = torch.randn_like(found)
    pairs = [torch.autograd.grad(each, (maps, weight), above) for each in (found, wanted)]
    for one, other in zip(*pairs, strict=True):
        assert (one - other).abs().max() < 1e-4 * other.std()
