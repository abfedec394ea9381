from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders.winograd import gated3x3, worthwhile

WIDE = (64, 128)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def arguments(batch: int, channels: tuple[int, int], size: tuple[int, int], weights: int) -> list[Tensor]:
    kernels = [torch.randn(channels[1], channels[0], 3, 3) / 24 for _ in range(weights)]
    return [tensor.requires_grad_() for tensor in (torch.randn(batch, channels[0], *size), *kernels)]


def expected(maps: Tensor, *weights: Tensor) -> list[Tensor]:
    values, gates = ([F.conv2d(maps, weight, padding=1) for weight in weights[first::2]] for first in (0, 1))
    return [value * gate.sigmoid() for value, gate in zip(values, gates, strict=True)]


@pytest.mark.parametrize("channels", [WIDE, (65, 300)])
@pytest.mark.parametrize("size", [(32, 32), (33, 46), (31, 35)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_gated_convolutions_and_their_gradients(
    channels: tuple[int, int], size: tuple[int, int], order: torch.memory_format
) -> None:
    maps, *weights = arguments(2, channels, size, 4)
    found = torch.stack(gated3x3(maps.to(memory_format=order), *weights))
    exact = [tensor.detach().double().requires_grad_() for tensor in (maps, *weights)]
    wanted = torch.stack(expected(*exact))
    assert found.shape == wanted.shape
    above = torch.randn_like(found)
    gradients = torch.autograd.grad(found, [maps, *weights], above)
    theirs = torch.autograd.grad(wanted, exact, above.double())
    for one, other in zip((found, *gradients), (wanted, *theirs), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.std()


def test_nothing_is_kept_but_the_arguments() -> None:
    maps, *weights = arguments(1, WIDE, (40, 36), 4)
    kept: set[int] = set()

    def note(tensor: Tensor) -> Tensor:
        kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        gated3x3(maps, *weights)
    assert kept == {tensor.data_ptr() for tensor in (maps, *weights)}


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
    maps, weight = (tensor.to(kind) for tensor in arguments(1, channels, size, 1))
    assert worthwhile(maps, weight) == said
    with torch.autocast("cpu", torch.bfloat16):
        assert not worthwhile(maps, weight)
    assert not worthwhile(maps.to("meta"), weight.to("meta"))
