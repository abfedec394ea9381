from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.decoders import PatternDiffusion
from polyscene.decoders.psd import Psd
from polyscene.tasks.sets import resolve
from polyscene.types import Features


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def matrix(module: PatternDiffusion, maps: Tensor) -> Tensor:
    """Affinities of one map (c, h, w) as a matrix between all places, zero but near the diagonal."""
    channels, height, width = maps.shape
    flat = maps.flatten(1)
    scores = torch.full((height * width, height * width), -torch.inf)
    for place in range(height * width):
        for other in range(height * width):
            apart = max(abs(place // width - other // width), abs(place % width - other % width))
            if apart <= module.reach:
                scores[place, other] = flat[:, place] @ flat[:, other] / channels**0.5
    return scores.softmax(1)


def pattern(affinity: Tensor, size: tuple[int, int], reach: int) -> Tensor:
    """A row a place: what it says of each neighbour, zero of those beyond the border."""
    height, width = size
    window = 2 * reach + 1
    found = torch.zeros(height * width, window**2)
    for place in range(height * width):
        for near in range(window**2):
            row, column = place // width + near // window - reach, place % width + near % window - reach
            if 0 <= row < height and 0 <= column < width:
                found[place, near] = affinity[place, row * width + column]
    return found


@pytest.mark.parametrize(("tasks", "window"), [(1, 3), (3, 3), (2, 5)])
def test_diffusion_written_out(tasks: int, window: int) -> None:
    size, beta, steps = (5, 6), 0.4, 2
    module = PatternDiffusion(window, beta, steps)
    maps = [torch.randn(1, 4, *size) for _ in range(tasks)]
    affinities = [matrix(module, tensor[0]) for tensor in maps]
    patterns = [pattern(affinity, size, window // 2) for affinity in affinities]
    within, between = module(maps)

    def spread(start: Tensor, affinity: Tensor) -> Tensor:
        found = start
        for _ in range(steps):
            found = (1 - beta) * start + beta * found @ affinity.T
        return found

    for target in range(tasks):
        inner = spread(maps[target][0].flatten(1), affinities[target])
        torch.testing.assert_close(within[target][0].flatten(1), inner)
        alike = torch.stack([F.cosine_similarity(patterns[target], other, dim=1) for other in patterns]).softmax(0)
        joint = sum(share[:, None] * affinity for share, affinity in zip(alike, affinities, strict=True))
        torch.testing.assert_close(between[target][0].flatten(1), spread(inner, joint))


def test_steps_reach_further() -> None:
    spike = torch.zeros(1, 4, 11, 11)
    spike[..., 5, 5] = 1
    for steps in (1, 2, 3):
        within, _ = PatternDiffusion(3, 0.5, steps)([spike])
        assert (within[0].sum(1) > 0).sum() == (2 * steps + 1) ** 2


@pytest.mark.parametrize(("window", "beta", "steps"), [(4, 0.5, 1), (1, 0.5, 1), (3, 1.5, 1), (3, 0.5, 0)])
def test_refuses_what_is_no_neighbourhood(window: int, beta: float, steps: int) -> None:
    with pytest.raises(ValueError, match="psd: window is odd and at least 3"):
        PatternDiffusion(window, beta, steps)


@pytest.mark.parametrize("wanted", [["depth"], ["normals", "semseg"], "pascal_context"])
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16, 16), (2, 4)])
def test_any_tasks_and_levels(wanted: str | list[str], strides: tuple[int, ...]) -> None:
    tasks = resolve(wanted)
    widths = tuple(3 + level for level in range(len(strides)))
    sizes = [(-(-75 // stride), -(-101 // stride)) for stride in strides]
    features = Features([torch.randn(2, c, *size) for c, size in zip(widths, sizes, strict=True)])
    maps, (initial,) = Psd(tasks, widths, strides, channels=8)(features)
    assert initial.name == "initial" and list(initial.maps) == list(tasks)
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {name: (2, 4, *sizes[0]) for name in tasks}
