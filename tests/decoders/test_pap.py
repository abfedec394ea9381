from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.golden import recipe
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from polyscene.convert.base import convert, load, raw
from polyscene.convert.pap import Pap as Converter
from polyscene.decoders import AffinityPropagation
from polyscene.model import create_model

HRNET = {"name": "hrnet_w18_small_v2", "upsample": "bilinear"}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_golden_outputs() -> None:
    state, meta = recipe.state_dict("pap"), recipe.meta("pap")
    assert recipe.same_weights("pap", state)
    converter = Converter(meta)
    converted = convert(converter, state)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    errors = recipe.errors("pap", outputs)
    assert len(errors) == 8
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "lacks beta and num_iters"),
        ({"beta": 2.0, "num_iters": 1}, "beta is in"),
        ({"beta": 0.5}, "lacks num_iters"),
    ],
)
def test_what_the_tensors_do_not_tell_must_be_told(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Converter({**recipe.meta("pap"), "config": config}).build()


def test_parameters_and_operations_are_the_published_ones() -> None:
    """5.07 M, and 560 GMAC with three iterations, most of which for affinities between all places. Ours has none."""
    decoder = {"name": "pap", "iterations": 3}
    with torch.device("meta"):
        model = create_model("nyuv2", HRNET, decoder).eval()
        block = AffinityPropagation(4, iterations=3)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 1, 3, 448, 576))
        with FlopCounterMode(display=False) as of_block, torch.no_grad():
            block([torch.empty(1, 128, 112, 144) for _ in range(4)])
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(5.07, rel=0.005)
    between_places = 4 * (1 + 3) * (112 * 144) ** 2 * 128
    ours, instead = counter.get_total_flops() / 2, of_block.get_total_flops() / 2
    assert (ours - instead + between_places) / 1e9 == pytest.approx(560, rel=0.02)
    assert instead < between_places / 30


def dense(module: AffinityPropagation, by_task: list[Tensor]) -> list[Tensor]:
    """With every affinity written out."""
    starts = [tensor.flatten(2).mT for tensor in by_task]
    affinities = []
    for start in starts:
        unit = F.normalize(start, dim=1) if module.reference_compatible else F.normalize(start.relu(), dim=2)
        between = unit @ unit.mT
        affinities.append(between / between.sum(1 if module.reference_compatible else 2, keepdim=True))
    found = []
    for weights, start in zip(module.weights.softmax(1), starts, strict=True):
        joint = sum(weight * affinity for weight, affinity in zip(weights, affinities, strict=True))
        spread = start
        for _ in range(module.iterations):
            spread = module.beta * (joint @ spread) + (1 - module.beta) * start
        found.append(spread.mT.unflatten(2, by_task[0].shape[2:]))
    return found


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize(("tasks", "iterations", "beta"), [(1, 1, 0.05), (3, 1, 1.0), (2, 3, 0.5)])
def test_propagation_is_that_of_all_affinities(compatible: bool, tasks: int, iterations: int, beta: float) -> None:
    module = AffinityPropagation(tasks, beta, iterations, reference_compatible=compatible)
    with torch.no_grad():
        module.weights.normal_()
    maps = [torch.randn(2, 8, 6, 7).add_(0.5).requires_grad_() for _ in range(tasks)]
    found, wanted = torch.stack(module(maps)), torch.stack(dense(module, maps))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    above = torch.randn_like(found)
    leaves = [*maps, module.weights]
    pairs = zip(torch.autograd.grad(found, leaves, above), torch.autograd.grad(wanted, leaves, above), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_what_is_everywhere_the_same_stays() -> None:
    """Each row of affinities is an average."""
    maps = [torch.rand(1, 8, 1, 1).expand(1, 8, 6, 7).contiguous() for _ in range(3)]
    for found, start in zip(AffinityPropagation(3, 0.7, 4)(maps), maps, strict=True):
        torch.testing.assert_close(found, start)


def test_places_of_no_affinity_have_no_part() -> None:
    """Features that are negative throughout give zeros, not numbers out of nothing."""
    maps = [-torch.ones(1, 4, 3, 3, requires_grad=True)]
    (found,) = AffinityPropagation(1, 0.25)(maps)
    torch.testing.assert_close(found, torch.full((1, 4, 3, 3), -0.75))


@pytest.mark.parametrize(("beta", "iterations"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_refuses_what_does_not_average(beta: float, iterations: int) -> None:
    with pytest.raises(ValueError, match=r"pap: beta is in \[0, 1\] and iterations at least 1"):
        AffinityPropagation(2, beta, iterations)


def test_autocast_does_not_reach_sums_over_all_places() -> None:
    maps = [torch.randn(1, 8, 6, 7, dtype=torch.bfloat16) for _ in range(2)]
    module = AffinityPropagation(2, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(maps)
    for one, other in zip(found, module([tensor.float() for tensor in maps]), strict=True):
        assert torch.equal(one, other.bfloat16())
