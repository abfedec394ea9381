"""Adversarial adaptation: the maps, the losses, who gets which gradient, collapse, and that runs resume exactly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.training import toy
from torch import Tensor, nn

from polyscene.adaptation.adversarial import Adversarial
from polyscene.adaptation.discriminator import Opponent, PatchDiscriminator
from polyscene.data import sources
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.tasks.belief import evidence
from polyscene.types import Batch, Target

SETTINGS = 8, 1e-3, (0.9, 0.99), 0.9


def batches(seed: int = 0) -> dict[str, Batch]:
    config = toy.with_target(toy.config(Path("run")), {"name": "adversarial"})
    built = sources.build(config.data, sources.make(config.data.train["toy"].dataset).tasks, seed)
    return {name: next(loader.batches()) for name, loader in {**built.train, **built.target}.items()}


def network(decoder: str = "multi_head") -> MultiTaskModel:
    torch.manual_seed(0)
    return create_model([Depth(gradient=0.0), SemanticSegmentation(classes=("a", "b"))], "test_efficientnet", decoder)


# -- maps --------------------------------------------------------------------------------------------------------------
def test_self_information_of_segmentation() -> None:
    """p = 1/2, 1/4, 1/4: -p log2 p = 1/2 each, over log2 3."""
    raw = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 1, 3, 1, 1)
    maps = evidence(SemanticSegmentation(classes=("a", "b", "c")), raw)
    assert torch.allclose(maps.flatten(), torch.full((3,), 0.5 / math.log2(3)))


def test_inverse_depth_is_brought_to_the_range_of_the_labels() -> None:
    """Labels from 1 m to 4 m: u = 65536 / 101 and 65536 / 401. Invalid labels say nothing."""
    task = Depth(encoding="inverse_linear", near=0.5, far=10.0)
    low, high = 65536 / 401, 65536 / 101
    label = Target(
        torch.tensor([1.0, 4.0, 0.0]).reshape(1, 1, 1, 3), torch.tensor([1, 1, 0]).bool().reshape(1, 1, 1, 3)
    )
    raw = torch.tensor([low, high, (low + high) / 2, -50.0]).reshape(1, 1, 2, 2)
    assert torch.allclose(
        evidence(task, raw, label).flatten(), torch.tensor([0.0, 1.0, 0.5, -low / (high - low)]), atol=1e-4
    )


@pytest.mark.parametrize("encoding", ["log", "metres", "disparity"])
def test_inverse_depth_of_other_encodings_is_that_of_their_metres(encoding: str) -> None:
    task = Depth(encoding=encoding, near=1.0, far=9.0)
    raw = torch.full((1, 1, 1, 1), 2.0)
    metres = float(task.activate(raw))
    low, high = (65536 / (100 * each + 1) for each in (9.0, 1.0))
    wanted = (65536 / (100 * metres + 1) - low) / (high - low)
    assert float(evidence(task, raw)) == pytest.approx(wanted, rel=1e-4)


def test_normals_are_shown_as_unit_vectors_and_edges_as_two_classes() -> None:
    maps = evidence(Normals(), torch.tensor([0.0, 3.0, -4.0]).reshape(1, 3, 1, 1))
    assert torch.allclose(maps.flatten(), torch.tensor([0.0, 0.6, -0.8]))
    assert torch.allclose(evidence(Edges(), torch.zeros(1, 1, 1, 1)).flatten(), torch.tensor([0.5, 0.5]))


# -- discriminators ----------------------------------------------------------------------------------------------------
def test_the_discriminator_is_the_reference_s() -> None:
    """Five convolutions under spectral norm, 32 times smaller logits, 2.76 million parameters with a few classes."""
    network = PatchDiscriminator(3)
    count = sum(parameter.numel() for parameter in network.parameters())
    widths = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    assert count == sum(16 * before * after + after for before, after in widths)
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 2, 3)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            for _ in range(20):
                layer(torch.zeros(1, layer.in_channels, 8, 8))  # power iterations
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
            assert float(largest) == pytest.approx(1, rel=0.1)


def test_losses_by_hand() -> None:
    """Logit z everywhere: fooling costs log(1 + e^z), learning log(1 + e^z) + log(1 + e^-z)."""
    opponent, flat = Opponent(2, *SETTINGS), nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        flat.weight.zero_()
        flat.bias.fill_(0.7)
    opponent.network = nn.Sequential(flat)  # type: ignore[assignment]
    maps = torch.rand(1, 2, 32, 32)
    assert float(opponent.fooled(maps)) == pytest.approx(math.log1p(math.exp(0.7)), rel=1e-4)
    both = math.log1p(math.exp(0.7)) + math.log1p(math.exp(-0.7))
    assert float(opponent.learn(maps, maps)) == pytest.approx(both, rel=1e-4)
    assert opponent.figures.tolist() == pytest.approx([0.5, both], rel=1e-4), "all are taken for unlabelled"


def test_fooling_does_not_move_the_discriminator_nor_learning_the_network() -> None:
    torch.manual_seed(0)
    opponent, maps = Opponent(2, *SETTINGS), torch.rand(2, 2, 64, 64, requires_grad=True)
    opponent.fooled(maps).backward()
    assert maps.grad is not None and maps.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in opponent.network.parameters())
    maps.grad = None
    opponent.learn(maps, maps.flip(0))
    assert maps.grad is None
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in opponent.network.named_parameters())


def test_a_discriminator_learns_to_tell_maps_apart_and_is_then_found_collapsed() -> None:
    torch.manual_seed(0)
    opponent = Opponent(1, 8, 1e-2, (0.9, 0.99), 0.9)
    assert opponent.collapse() == ""
    for step in range(60):
        opponent.learn(torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64) * 0.2)
        opponent.update(step / 1000)
    for _ in range(150):
        opponent.learn(torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64) * 0.2)
    assert "hopeless" in opponent.collapse()
    blind = Opponent(1, *SETTINGS)
    for _ in range(60):
        same = torch.rand(2, 1, 64, 64)
        blind.learn(same, same)
    assert "no signal" in blind.collapse()


def test_its_rate_falls_as_a_polynomial() -> None:
    opponent = Opponent(1, *SETTINGS)
    opponent.update(0.75)
    assert opponent.optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.25**0.9)


# -- the step ----------------------------------------------------------------------------------------------------------
def test_the_total_is_the_supervised_loss_and_a_share_of_the_mean_over_maps() -> None:
    model, step = network(), Adversarial(network().tasks, weight=0.25)
    torch.manual_seed(1)
    report = step(model, batches())
    fooled = [loss for name, loss in report.parts.items() if name.startswith("adversarial ")]
    assert len(fooled) == 2 == len(step.opponents)
    supervised = torch.stack(list(report.shares.values())).sum()
    assert torch.allclose(report.total, supervised + 0.25 * torch.stack(fooled).mean())


def test_a_discriminator_for_every_task_and_scale() -> None:
    """DenseMTL's decoder predicts once before the exchange."""
    model = network("dense_mtl")
    step = Adversarial(model.tasks)
    step(model, batches())
    assert len(step.opponents) == 4 and {name.partition(" ")[0] for name in step.opponents} == {"depth", "semseg"}
    assert step.opponents["semseg"].network[0].in_channels == 2 and step.opponents["depth"].network[0].in_channels == 1


def test_batch_norms_see_the_two_kinds_apart() -> None:
    model, step = network(), Adversarial(network().tasks)
    seen: list[int] = []
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    step(model.train(), batches())
    assert seen == [3, 2], "of labelled, then of unlabelled pictures"


def test_the_gradient_of_the_network_comes_from_both_losses_and_discriminators_keep_theirs() -> None:
    def gradient(weight: float) -> tuple[Tensor, Adversarial]:
        model, step = network(), Adversarial(network().tasks, weight=weight)
        torch.manual_seed(1)
        step(model, batches()).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), step

    without, _ = gradient(0.0)
    with_it, step = gradient(1.0)
    assert not torch.allclose(without, with_it)
    own = {name: [p.grad.clone() for p in one.network.parameters()] for name, one in step.opponents.items()}
    before = {name: [p.detach().clone() for p in one.network.parameters()] for name, one in step.opponents.items()}
    step.updated(network(), 0.1)
    for name, one in step.opponents.items():
        assert all(gradient.abs().sum() > 0 for gradient in own[name])
        changed = [not torch.equal(p, old) for p, old in zip(one.network.parameters(), before[name], strict=True)]
        assert all(changed) and all(p.grad is None for p in one.network.parameters())


def test_a_collapsed_discriminator_is_told_once_and_at_the_end() -> None:
    model, step = network(), Adversarial(network().tasks)
    step(model, batches())
    step.opponents["depth"].updates = 49
    step.opponents["depth"].running.copy_(torch.tensor([1 - 0.98**49, 0.0]))  # right ever since
    step(model, batches())
    with pytest.warns(UserWarning, match=r"after 50 updates the discriminator of depth tells \d+% of the patches"):
        step.updated(model, 0.5)
    assert any("discriminator of depth" in line and "lower method.lr" in line for line in step.remarks())


def test_restored_discriminators_and_their_optimisers_are_where_the_network_is() -> None:
    model, step = network(), Adversarial(network().tasks, channels=8)
    step(model, batches())
    step.updated(model, 0.1)
    elsewhere = Adversarial(model.tasks, channels=8)
    elsewhere.attach(network().to("meta"))
    elsewhere.load_state_dict(step.state_dict())
    for opponent in elsewhere.opponents.values():
        slots = [slot["exp_avg"] for slot in opponent.optimiser.state.values()]
        assert slots and all(tensor.is_meta for tensor in (*slots, *opponent.network.parameters(), opponent.running))


def test_maps_are_of_full_precision() -> None:
    model, step = network(), Adversarial(network().tasks, channels=8)
    with torch.autocast("cpu", torch.bfloat16):
        given = batches()
        predicted = [model(given["toy"].images, given["toy"].camera, given["toy"].present)]
        assert predicted[0].final["depth"].dtype == torch.bfloat16
        assert all(maps.dtype == torch.float32 for maps in step._maps(predicted, {}).values())


def test_both_kinds_of_sources_are_needed() -> None:
    with pytest.raises(ValueError, match=r"data\.train and under data\.target"):
        Adversarial(network().tasks)(network(), {"toy": batches()["toy"]})


def test_pictures_smaller_than_a_patch_are_refused_in_words() -> None:
    opponent = Opponent(3, 4, 1e-3, (0.9, 0.99), 0.9)
    with pytest.raises(ValueError, match="maps of 24x40 are smaller than the 32x32 of a discriminator's patch"):
        opponent.fooled(torch.zeros(1, 3, 24, 40))
