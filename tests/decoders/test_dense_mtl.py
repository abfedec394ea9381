from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.golden import recipe
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from polyscene import encoders
from polyscene.convert.base import Source, convert, load, raw
from polyscene.convert.dense_mtl import ENCODER
from polyscene.convert.dense_mtl import DenseMTL as Converter
from polyscene.decoders import xTAM
from polyscene.decoders.dense_mtl import DenseMTL, Hub, Pairwise
from polyscene.decoders.xtam import Correlation, attend
from polyscene.model import create_model
from polyscene.tasks import Edges
from polyscene.tasks.sets import resolve
from polyscene.types import Features

SEMSEG = {"type": "SemanticSegmentation", "classes": [str(number) for number in range(16)]}
THREE = ["semseg", "depth", "normals"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small(names: list[str] = THREE, **options: Any) -> DenseMTL:
    """On a pyramid of strides 2, 4, 8, 8."""
    return DenseMTL(resolve(names), (4, 6, 8, 10), (2, 4, 8, 8), channels=(4, 6, 8, 8), **options)


def pyramid(height: int = 48, width: int = 64) -> Features:
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (2, 4, 8, 8)]
    return Features([torch.randn(2, count, *size) for count, size in zip((4, 6, 8, 10), sizes, strict=True)])


def materialised(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2) / math.sqrt(query.shape[1])
    return (value.flatten(2) @ scores.softmax(-1).transpose(1, 2)).unflatten(2, query.shape[-2:])


def written_out(block: xTAM, x: Tensor, y: Tensor) -> Tensor:
    """The block as the paper's figure has it, with all it concatenates, repeats and multiplies."""
    correlate, transfer = block.transfer.correlate, block.transfer
    assert correlate is not None and correlate.gain is not None and transfer.gate is not None
    offered = F.relu(block.extract[0](y))
    values, gates = transfer.gate.weight.chunk(2)
    kept = F.conv2d(offered, values, padding=1) * F.conv2d(offered, gates, padding=1).sigmoid()
    asking, asked = F.interpolate(x, scale_factor=0.25, mode="nearest"), F.max_pool2d(offered, 4)
    found = materialised(correlate.query(asking), correlate.key(asked), correlate.value(asked))
    both = torch.cat([kept, correlate.gain * F.interpolate(found, scale_factor=4, mode="nearest")], 1)
    weight = torch.cat([transfer.merge.parts[part].get_parameter("weight") for part in ("gate", "correlate")], 1)
    return F.relu(transfer.merge.norm(F.conv2d(both, weight)))


def test_golden_outputs() -> None:
    """Of the public network, from weights made by a recipe."""
    state = recipe.state_dict("dense_mtl")
    assert recipe.same_weights("dense_mtl", state)
    meta = recipe.meta("dense_mtl")
    converter = Converter(meta)
    again = {f"params.{key}": tensor for key, tensor in state.items() if key.startswith("m.")}
    converted = convert(converter, {**state, **again})
    assert converted.leftovers.keys() == again.keys()
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image01(**meta["input"]))
    errors = recipe.errors("dense_mtl", outputs)
    assert len(errors) == 4
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


@pytest.mark.parametrize(
    ("tasks", "count"),
    [
        ([SEMSEG, "depth"], 87_399_458),
        ([SEMSEG, "depth", "normals"], 111_006_952),
        ([SEMSEG, "depth", "normals", Edges(two_class=True)], 135_386_860),
    ],
    ids=["SD", "SDN", "SDNE"],
)
def test_parameters_are_as_many_as_published(tasks: list[Any], count: int) -> None:
    with torch.device("meta"):
        model = create_model(tasks, ENCODER, "dense_mtl")
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert model.encoder.strides == (2, 4, 8, 16, 16)


def test_attention_is_that_of_the_whole_matrix() -> None:
    query = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(2, 4, 2, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(attend(query, key, value), materialised(query, key, value))
    assert torch.autograd.gradcheck(attend, (query, key, value))


class Calls(TorchDispatchMode):
    """The names of what is called, and the largest tensor that comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        for tensor in out if isinstance(out, tuple) else (out,):
            self.largest = max(self.largest, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return out


def test_the_matrix_is_never_made() -> None:
    query, key, value = (torch.randn(1, 128, 16, 32, requires_grad=True) for _ in range(3))
    with Calls() as calls:
        attend(query, key, value).sum().backward()
    fused = [name for name in calls.names if "flash_attention" in name]
    assert len(fused) == 2 and any("backward" in name for name in fused)
    assert calls.largest <= 128 * 512 < 512 * 512


@pytest.mark.parametrize("training", [True, False])
def test_the_block_is_as_in_the_paper(training: bool) -> None:
    block = xTAM(6).double().train(training)
    assert block.transfer.correlate is not None
    torch.nn.init.normal_(block.transfer.correlate.gain)
    x, y = (torch.randn(2, 6, 8, 12, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs = [x, y, *block.parameters()]
    found, expected = block(x, y), written_out(block, x, y)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_correlation_is_silent_at_first_and_only_its_gain_learns() -> None:
    block, other = xTAM(6), xTAM(6, correlation=False)
    other.load_state_dict(block.state_dict(), strict=False)
    x, y = torch.randn(2, 6, 8, 12), torch.randn(2, 6, 8, 12)
    torch.testing.assert_close(block(x, y), other(x, y))
    block(x, y).square().sum().backward()
    correlate = block.transfer.correlate
    assert correlate is not None and correlate.gain is not None and correlate.gain.grad is not None
    assert correlate.gain.grad.abs().sum() > 0
    assert all(not parameter.grad.any() for name, parameter in correlate.named_parameters() if name != "gain")


def test_places_of_the_source_have_no_order() -> None:
    correlate = Correlation(6, cell=1, gated=False).eval()
    x, y = torch.randn(1, 6, 4, 5), torch.randn(1, 6, 4, 5)
    shuffled = y.flatten(2)[..., torch.randperm(20)].unflatten(2, (4, 5))
    torch.testing.assert_close(correlate(x, y), correlate(x, shuffled))


@pytest.mark.parametrize("exchange", ["pairwise", "hub"])
@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_tasks_have_no_order(exchange: str, fusion: str) -> None:
    one, other = (small(names, exchange=exchange, fusion=fusion).eval() for names in (THREE, THREE[::-1]))
    other.load_state_dict(one.state_dict())
    features = pyramid()
    torch.testing.assert_close(one(features)[0], other(features)[0])


def test_a_hub_of_two_is_a_pair() -> None:
    hub, pairwise = Hub(["a", "b"], 6, "add", cell=2), Pairwise(["a", "b"], 6, "add", cell=2)
    state = {}
    for name, other in (("a", "b"), ("b", "a")):
        for key, tensor in hub.state_dict().items():
            if key.startswith(f"extract.{other}."):
                state[key.replace(f"extract.{other}", f"hear.{name}.sources.{other}.extract")] = tensor
            elif key.startswith(f"hear.{name}."):
                ours = key.replace("sources.hub", f"sources.{other}.transfer").replace("parts.hub", f"parts.{other}")
                state[ours] = tensor
    pairwise.load_state_dict(state)
    maps = {name: torch.randn(2, 6, 7, 9) for name in "ab"}
    torch.testing.assert_close(hub(maps), pairwise(maps))


def test_cost_of_a_hub_grows_with_the_number_of_tasks_not_its_square() -> None:
    def count(kind: type[Hub] | type[Pairwise], tasks: int) -> int:
        block = kind([str(number) for number in range(tasks)], 8, "add")
        return sum(parameter.numel() for parameter in block.parameters())

    assert count(Hub, 8) == 4 * count(Hub, 2) == 4 * count(Pairwise, 2)
    assert count(Pairwise, 8) > 7 * count(Hub, 8) * 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"stages": (3, 2, 1, 0)},
        {"stages": ()},
        {"exchange": "hub", "stages": (2, 0)},
        {"self_attention": False},
        {"correlation": False},
        {"gated": False, "full_width": True},
        {"fusion": "multiply"},
        {"fusion": "concat", "attention_stride": 16.0},
    ],
    ids=str,
)
def test_every_variant_learns_at_any_size(options: dict[str, Any]) -> None:
    decoder = small(**options)
    maps, auxiliary = decoder(pyramid(45, 71))
    assert {tuple(tensor.shape) for tensor in maps.values()} == {(2, 4, 46, 72)}
    assert [item.name for item in auxiliary] == [f"stage{stage}" for stage in sorted(options.get("stages", (1,)))[::-1]]
    total = sum(tensor.square().mean() for tensor in maps.values())
    (total + sum(raw.square().mean() for item in auxiliary for raw in item.maps.values())).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in decoder.parameters())


def test_initial_predictions_come_before_the_exchange_and_count_alike() -> None:
    decoder = small().eval()
    features = pyramid()
    (before,) = decoder(features)[1]
    for parameter in decoder.exchanges.parameters():
        torch.nn.init.normal_(parameter)
    (after,) = decoder(features)[1]
    assert all(torch.equal(before.maps[name], after.maps[name]) for name in THREE)
    assert before.weight == 1 and before.maps["normals"].shape == (2, 1, 3, 24, 32)


def test_a_single_task_has_nobody_to_hear() -> None:
    maps, (early,) = small(["depth"]).eval()(pyramid())
    assert set(maps) == set(early.maps) == {"depth"}


def test_blocks_of_a_vit_are_stretched_to_a_pyramid() -> None:
    decoder = DenseMTL(resolve(THREE), (4,) * 4, (16,) * 4, channels=(4,) * 4).eval()
    assert decoder.stretch == [4, 2, 1]
    maps, _ = decoder(Features([torch.randn(1, 4, 3, 5) for _ in range(4)]))
    assert maps["depth"].shape == (1, 4, 24, 40)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stages": (4,)}, "stages 0 to 3"),
        ({"channels": (4, 0)}, "positive"),
        ({"self_attention": False, "correlation": False}, "not both"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DenseMTL(resolve(THREE), (4, 6, 8, 10), (2, 4, 8, 8), **{"channels": (4, 6, 8, 8), **options})


def test_one_map_is_too_few() -> None:
    with pytest.raises(ValueError, match="two maps"):
        DenseMTL(resolve(THREE), (4,), (16,))


def test_one_picture_can_train_with_the_mean_of_a_map() -> None:
    decoder = small()
    maps, _ = decoder(Features([tensor[:1] for tensor in pyramid().maps]))
    assert all(tensor.isfinite().all() for tensor in maps.values())


def test_the_order_of_a_checkpoint_is_taken_from_its_description() -> None:
    channels = {"semseg": 16, "depth": 1, "normals": 3}
    state = {"post.0.weight": torch.arange(4.0).reshape(1, 4, 1, 1), "post.1.weight": torch.ones(1)}
    for name in ("depth", "normals"):
        state |= {f"SA_{name}.{part}.weight": torch.ones(1, 2, 1, 1) for part in ("conv", "attention.0")}
        state |= {f"SxTAM_{name}.{part}.0.weight": torch.ones(2, 2, 1, 1) for part in ("conv_b", "conv_c", "conv_d")}
        state |= {f"SxTAM_{name}.alpha": torch.ones(1), f"extract_{name}.0.weight": torch.ones(1)}
        state |= {f"proj_{name}.0.weight": torch.ones(2, 3, 1, 1), f"proj_{name}.1.weight": torch.ones(2)}
    state = {f"m.semseg.1.{key}": tensor for key, tensor in state.items()}
    found = {}
    for order in (["depth", "normals"], ["normals", "depth"], ["depth", "depth"]):
        described = {"source_order_used_in_post_concat": {"semseg": order}}
        converter = Converter({"tasks": THREE, "channels": channels, **described})
        if order == ["depth", "depth"]:
            with pytest.raises(ValueError, match="source_order_used_in_post_concat of semseg"):
                converter._hearing(Source(state), "semseg", 1)
        else:
            ours = converter._hearing(Source(state), "semseg", 1)
            parts = [ours[f"decoder.exchanges.1.hear.semseg.merge.parts.{name}.weight"] for name in THREE[1:]]
            found[order[0]] = [part.flatten().tolist() for part in parts]
    assert found == {"depth": [[0, 1], [2, 3]], "normals": [[2, 3], [0, 1]]}


def test_encoders_take_a_mean_and_deviation() -> None:
    encoder = encoders.build("test_resnet", mean=0.45, std=[0.2, 0.25, 0.5])
    grey = torch.full((1, 3, 2, 2), 0.55)
    expected = torch.tensor([0.5, 0.4, 0.2])[:, None, None].expand(3, 2, 2)
    torch.testing.assert_close(encoder.normalise(grey)[0], expected)
    with pytest.raises(ValueError, match="one number or three"):
        encoders.build("test_resnet", mean=[0.1, 0.2])
