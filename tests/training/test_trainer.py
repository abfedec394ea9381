import copy
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn

from polyscene.adaptation.supervised import Supervised
from polyscene.config import Optimiser, Part, Schedule, Training
from polyscene.model import create_model
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.training import distributed
from polyscene.training.blocks import blocks
from polyscene.training.checkpoint import BadCheckpoint
from polyscene.training.trainer import Trainer
from polyscene.types import Target, collate

from .toy import Toy

CPU = torch.device("cpu")


def trainer(**training) -> Trainer:
    torch.manual_seed(0)
    tasks = dict(Toy(depth_only=True).tasks)
    settings = {"schedule": Schedule(name="constant", warmup=0), **training}
    return Trainer(create_model(tasks, "test_efficientnet"), Supervised(tasks), Training(**settings), CPU, seed=0)


def batch(*indices: int):
    return {"toy": collate([Toy(depth_only=True).read(index) for index in indices])}


def test_a_step_of_four_tasks_sends_eight_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/scale.md says: one before it, five counts of pixels, what was reached, and the gradients."""
    torch.manual_seed(0)
    tasks = {task.name: task for task in (SemanticSegmentation(classes=("a", "b")), Depth(), Normals(), Edges())}
    one = Trainer(create_model(tasks, "test_efficientnet"), Supervised(tasks), Training(), CPU, seed=0)
    seen = torch.ones(2, 1, 1, 32, 48, dtype=torch.bool)
    values = {"semseg": seen.long(), "normals": torch.rand(2, 1, 3, 32, 48), "depth": seen + 1.0, "edges": seen.float()}
    made = replace(batch(0, 1)["toy"], targets={name: Target(values[name], seen) for name in tasks})
    sent: list[int] = []
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, *_: sent.append(tensor.numel()))
    distributed.agree(None, "alike")
    one.update(0, 10, [{"rooms": made}])
    assert len(sent) == 8 and sent[0] == 3 and sent[1:6].count(8) == 1 and sent[7] > sum(sent[:7])


def weights(of: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in of.model.parameters()]


def test_two_halves_accumulated_are_one_whole() -> None:
    """With batch norm in inference, for its statistics are of the halves."""
    sgd = {"optimiser": Optimiser(name="sgd", lr=0.01, clip=None)}
    results = []
    for micro in ([batch(0, 1, 2, 3)], [batch(0, 1), batch(2, 3)]):
        one = trainer(**sgd)
        one._to_training_mode = lambda one=one: one.model.eval()
        losses, _ = one.update(0, 10, micro)
        results.append((losses["loss"], weights(one)))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)
    assert not torch.equal(results[0][1][0], weights(trainer(**sgd))[0])


def test_the_gradient_is_clipped_to_its_norm() -> None:
    one = trainer(optimiser=Optimiser(name="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, clip=1e-3))
    before = weights(one)
    _, norm = one.update(0, 10, [batch(0, 1)])
    moved = torch.stack([(a - b).norm() for a, b in zip(before, weights(one), strict=True)]).norm()
    assert norm > 1e-3
    torch.testing.assert_close(moved, torch.tensor(1e-3), rtol=1e-2, atol=0)


def test_an_update_is_a_pure_function_of_state_step_and_batches() -> None:
    one, two = trainer(ema=0.5), trainer(ema=0.5)
    for step in range(2):
        one.update(step, 10, [batch(step, step + 1)])
    two.restore(copy.deepcopy(one.state()))
    torch.rand(3)
    for each in (one, two):
        each.update(2, 10, [batch(2, 3)])
    for a, b in zip(weights(one), weights(two), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one.ema.model.buffers(), two.ema.model.buffers(), strict=True))


def test_restoring_the_untrained_state_forgets_the_training() -> None:
    one = trainer()
    before = copy.deepcopy(one.state())
    first, _ = one.update(0, 10, [batch(0, 1)])
    one.restore(before)
    again, _ = one.update(0, 10, [batch(0, 1)])
    assert torch.equal(first["loss"], again["loss"])


def test_state_of_another_network_is_refused() -> None:
    state = trainer().state()
    state["model"].pop(next(iter(state["model"])))
    with pytest.raises(BadCheckpoint, match="does not fit"):
        trainer().restore(state)


def test_restored_slots_keep_the_layout_of_their_parameters() -> None:
    one = trainer()
    one.update(0, 10, [batch(0, 1)])
    state = copy.deepcopy(one.state())
    for slots in state["optimiser"]["state"].values():
        slots["exp_avg"] = slots["exp_avg"].contiguous()
    one.restore(state)
    assert all(slots["exp_avg"].stride() == parameter.stride() for parameter, slots in one.optimiser.state.items())


def test_frozen_norms_keep_statistics_and_scales_of_the_encoder_only() -> None:
    one = trainer(freeze_norm=True)
    before = copy.deepcopy(one.model)
    one.update(0, 10, [batch(0, 1)])
    norms = [(name, part) for name, part in one.model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    moved = {name: not torch.equal(part.running_mean, before.get_submodule(name).running_mean) for name, part in norms}
    assert any(name.startswith("encoder") for name in moved)
    assert all(changed != name.startswith("encoder") for name, changed in moved.items())
    assert not any(part.weight.requires_grad for name, part in norms if name.startswith("encoder"))


def test_what_is_recomputed_changes_nothing() -> None:
    """To the bit: weights, statistics of batch norms and their counters; and blocks are run twice."""
    one, two = trainer(ema=0.5), trainer(ema=0.5, recompute=True)
    runs: Counter[str] = Counter()
    for name, each in (("one", one), ("two", two)):
        block = next(blocks(each.model))
        norm = next(part for part in block.modules() if isinstance(part, nn.BatchNorm2d))
        norm.register_forward_pre_hook(lambda *_, name=name: runs.update([name]))
        for step in range(3):
            each.update(step, 10, [batch(step, step + 1)])
    assert runs == {"one": 3, "two": 6}
    for mine, other in ((one.model, two.model), (one.ema.model, two.ema.model)):
        theirs = other.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.state_dict().items())


def test_what_is_compiled_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as for the compiler, which would take minutes, but run by torch itself."""
    compiled: list[Any] = []

    def counted(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
    sgd = {"optimiser": Optimiser(name="sgd", lr=0.01)}
    one, two = trainer(**sgd), trainer(**sgd, compile=True)
    for step in range(2):
        losses = [each.update(step, 10, [batch(step, step + 1)])[0]["loss"] for each in (one, two)]
        torch.testing.assert_close(*losses)
    assert compiled
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"compile": True, "recompute": True}, "leave out sharded and recompute"),
        ({"sync_norm": True}, "sync_norm: needs GPUs"),
        ({"sharded": True, "autocast": "fp16"}, "use autocast: bf16"),
        ({"sharded": True, "balancing": Part(name="upgrad")}, "upgrad differentiates task by task"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(settings: dict[str, Any], problem: str) -> None:
    if "balancing" in settings:
        pytest.importorskip("torchjd")
    with pytest.raises(ValueError, match=problem):
        trainer(**settings)


def test_bfloat16_trains_and_half_needs_a_gpu() -> None:
    one = trainer(autocast="bf16")
    losses, _ = one.update(0, 10, [batch(0, 1)])
    assert losses["loss"].isfinite()
    with pytest.raises(ValueError, match="fp16 needs a cuda device"):
        trainer(autocast="fp16")


def test_the_image_is_channels_last_when_the_network_is() -> None:
    one = trainer()
    placed = one.place(batch(0, 1)["toy"])
    assert placed.images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(placed.images, batch(0, 1)["toy"].images)


def test_auto_is_bf16_for_encoders_of_dense_convolutions() -> None:
    tasks = dict(Toy(depth_only=True).tasks)
    made = {
        name: Trainer(create_model(tasks, name), Supervised(tasks), Training(autocast="auto"), CPU, seed=0).autocast
        for name in ("test_resnet", "tf_efficientnet_lite0")
    }
    assert made == {"test_resnet": "bf16", "tf_efficientnet_lite0": "off"}
