from __future__ import annotations

import pytest
import torch
from tests.golden import recipe
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from polyscene import encoders
from polyscene.convert.base import convert, load, raw
from polyscene.convert.mti_net import MtiNet as Converter
from polyscene.decoders.blocks import Concat, resize
from polyscene.decoders.mti_net import Entry, MtiNet, Propagation
from polyscene.model import create_model
from polyscene.tasks.sets import resolve
from polyscene.types import Features

WIDTHS, STRIDES = (18, 36, 72, 144), (4, 8, 16, 32)
SMALL = (4, 6, 8, 16)
HRNET = {"name": "hrnet_w18_small_v2", "upsample": "bilinear"}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pyramid(widths: tuple[int, ...], height: int, width: int, batch: int = 1) -> Features:
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return Features([torch.randn(batch, count, *size) for count, size in zip(widths, sizes, strict=True)])


def test_golden_outputs() -> None:
    """Of the public network, from weights made by a recipe."""
    state = recipe.state_dict("mti_net")
    assert recipe.same_weights("mti_net", state)
    meta = recipe.meta("mti_net")
    converter = Converter(meta)
    converted = convert(converter, state)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    errors = recipe.errors("mti_net", outputs)
    assert len(errors) == 20
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


def test_a_checkpoint_that_does_not_fit_is_refused() -> None:
    meta, state = recipe.meta("mti_net"), recipe.state_dict("mti_net")
    converter = Converter(meta)
    with pytest.raises(ValueError, match="no place"):
        convert(converter, {**state, "extra.weight": torch.zeros(1)})
    without = {key: tensor for key, tensor in state.items() if key != "heads.depth.last_layer.3.bias"}
    with pytest.raises(ValueError, match=r"heads\.depth\.project\.bias"):
        load(converter, convert(converter, without))
    fewer = {"tasks": ["semseg", "normals"], "channels": meta["channels"]}
    with pytest.raises(ValueError, match="no place"):
        convert(Converter(fewer), state)
    with pytest.raises(ValueError, match="'normals' with 5 channels"):
        Converter({"tasks": ["normals"], "channels": {"normals": 5}})


def test_parameters_and_operations_are_the_published_ones() -> None:
    """17.96 M and 23.8 GMAC at 448x576. Ours needs fewer, as aggregation mixes channels before it resizes."""
    with torch.device("meta"):
        model = create_model("nyuv2", HRNET, "mti_net").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 1, 3, 448, 576))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(17.96, abs=0.005)
    pixels = [448 * 576 // stride**2 for stride in STRIDES]
    mixed = sum(width * count for width, count in zip(WIDTHS, pixels, strict=True))
    spared = len(model.tasks) * sum(WIDTHS) * (sum(WIDTHS) * pixels[0] - mixed)
    assert (counter.get_total_flops() / 2 + spared) / 1e9 == pytest.approx(23.8, abs=0.05)


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize("tasks", [1, 3])
def test_propagation(compatible: bool, tasks: int) -> None:
    """Against attention written out by task, or by groups of neighbouring channels."""
    channels = 6
    module = Propagation(tasks, channels, compatible).double().eval()
    together = torch.randn(2, tasks * channels, 5, 7, dtype=torch.float64)
    logits = module.attend(together)
    weighted = torch.empty_like(together)
    for channel in range(channels):
        group = [channel * tasks + place if compatible else place * channels + channel for place in range(tasks)]
        weighted[:, group] = logits[:, group].softmax(1) * together[:, group]
    shared = module.reduce(weighted)
    gates = module.gate(shared.mean((2, 3), keepdim=True)).chunk(tasks, 1)
    expected = torch.cat([own + gate * shared for own, gate in zip(together.chunk(tasks, 1), gates, strict=True)], 1)
    torch.testing.assert_close(module(together), expected)


def test_aggregation_as_concatenation() -> None:
    module = Concat(SMALL, sum(SMALL)).double().eval()
    maps = [tensor.double() for tensor in pyramid(SMALL, 50, 70).maps]
    together = torch.cat([resize(tensor, maps[0].shape[-2:]) for tensor in maps], 1)
    weight = torch.cat([conv.weight for conv in module.mix], 1)
    torch.testing.assert_close(module(maps), module.norm(F.conv2d(together, weight)).relu())


def test_entry_as_a_block_a_task() -> None:
    """Each task's own block over the encoder's map and what was passed on to it."""
    tasks, channels, coarser = 2, 4, 6
    module = Entry(tasks, channels, coarser).double().eval()
    tap = torch.randn(1, channels, 6, 8, dtype=torch.float64)
    below = torch.randn(1, tasks * coarser, 3, 4, dtype=torch.float64)

    def both(first: nn.Conv2d, second: nn.Conv2d, task: int) -> Tensor:
        weight = torch.cat([first.weight.chunk(tasks)[task], second.weight.chunk(tasks)[task]], 1)
        seen = torch.cat([tap, resize(below, (6, 8)).chunk(tasks, 1)[task]], 1)
        return F.conv2d(seen, weight, padding=weight.shape[-1] // 2)

    parts = range(tasks)
    inner = torch.cat([both(module.conv1, module.conv1_coarser, task) for task in parts], 1)
    around = torch.cat([both(module.shortcut, module.shortcut_coarser, task) for task in parts], 1)
    second = module.norm2(module.conv2(module.norm1(inner).relu()))
    torch.testing.assert_close(module(tap, below), (second + module.shortcut_norm(around)).relu())


@pytest.mark.parametrize("wanted", [["depth"], ["normals", "semseg"], "pascal_context"])
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_any_tasks_and_sizes(wanted: str | list[str], size: tuple[int, int]) -> None:
    tasks = resolve(wanted)
    decoder = MtiNet(tasks, SMALL, STRIDES)
    features = pyramid(SMALL, *size, batch=2)
    maps, auxiliary = decoder(features)
    finest = features.maps[0].shape[-2:]
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {
        name: (2, sum(SMALL), *finest) for name in tasks
    }
    assert [item.name for item in auxiliary] == ["scale_0", "scale_1", "scale_2", "scale_3"]
    for item, level in zip(auxiliary, features.maps, strict=True):
        assert {name: tuple(tensor.shape) for name, tensor in item.maps.items()} == {
            name: (2, 1, task.channels, *level.shape[-2:]) for name, task in tasks.items()
        }


def test_the_order_of_memory_does_not_matter() -> None:
    decoder = MtiNet(resolve(["depth", "normals"]), SMALL, STRIDES).eval()
    features = pyramid(SMALL, 64, 96)
    last = Features([tensor.contiguous(memory_format=torch.channels_last) for tensor in features.maps])
    (plain, _), (turned, _) = decoder(features), decoder(last)
    for name in plain:
        torch.testing.assert_close(plain[name], turned[name])


@pytest.mark.parametrize("strides", [(16, 16, 16, 16), (4, 8, 16)])
def test_refuses_what_is_no_pyramid(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 4 scales, got strides"):
        MtiNet(resolve(["depth"]), (8,) * len(strides), strides)


def test_hrnet_takes_any_size_and_keeps_its_tensors() -> None:
    images = torch.rand(1, 3, 75, 101)
    nearest, bilinear = (encoders.build("hrnet_w18_small_v2", upsample=mode) for mode in ("nearest", "bilinear"))
    bilinear.load_state_dict(nearest.state_dict())
    first, second = (encoder.eval()(images).maps for encoder in (nearest, bilinear))
    assert [tuple(tensor.shape[-2:]) for tensor in first] == [(19, 26), (10, 13), (5, 7), (3, 4)]
    assert not torch.allclose(first[0], second[0])


def test_hrnet_is_that_of_timm_at_whole_sizes() -> None:
    import timm

    encoder = encoders.build("hrnet_w18_small_v2").double().eval()
    plain = timm.create_model("hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    plain.double().load_state_dict(encoder.net.state_dict())
    images = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    for found, wanted in zip(encoder(images).maps, plain.eval()(encoder.normalise(images)), strict=True):
        torch.testing.assert_close(found, wanted)
