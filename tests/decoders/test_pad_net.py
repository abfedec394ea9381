from __future__ import annotations

import copy

import pytest
import torch
from tests.golden import recipe
from torch.nn import functional as F

from polyscene.convert.base import convert, load, raw
from polyscene.convert.pad_net import PadNet as Converter
from polyscene.decoders import Distillation
from polyscene.decoders.pad_net import PadNet
from polyscene.tasks.sets import resolve
from polyscene.types import Features


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_golden_outputs() -> None:
    state, meta = recipe.state_dict("pad_net"), recipe.meta("pad_net")
    assert recipe.same_weights("pad_net", state)
    converter = Converter(meta)
    converted = convert(converter, state)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    errors = recipe.errors("pad_net", outputs)
    assert len(errors) == 8
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


@pytest.mark.parametrize(
    "tasks", [["normals"], ["edge", "semseg"], ["sal", "human_parts", "normals", "edge", "semseg"]]
)
def test_checkpoints_of_other_tasks_fill_the_model(tasks: list[str]) -> None:
    """Names and shapes made from those of four tasks: what belongs to a pair is renamed, or left out."""
    channels = {"semseg": 21, "human_parts": 7, "sal": 1, "edge": 1, "normals": 3}
    state = recipe.state_dict("pad_net")
    like = {key: tensor for key, tensor in state.items() if key.startswith("backbone.")}
    for task in tasks:
        for key, tensor in state.items():
            words = key.split(".")
            if "self_attention" in words and words[2:4] == ["semseg", "depth"]:
                like |= {".".join([*words[:2], task, o, *words[4:]]): tensor for o in tasks if o != task}
            elif "normals" in words and "self_attention" not in words:
                last = tensor[:1].expand(channels[task], *tensor.shape[1:]) if tensor.shape[:1] == (3,) else tensor
                like[".".join(task if word == "normals" else word for word in words)] = last
    converter = Converter({"tasks": tasks, "channels": {task: channels[task] for task in tasks}})
    converted = convert(converter, like)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, torch.randn(1, 3, 64, 96))
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {
        f"{kind}_{task}": (1, channels[task], *size)
        for kind, size in (("initial", (16, 24)), ("final", (64, 96)))
        for task in tasks
    }


def test_a_checkpoint_that_does_not_fit_is_refused() -> None:
    meta, state = recipe.meta("pad_net"), recipe.state_dict("pad_net")
    with pytest.raises(ValueError, match="no place"):
        convert(Converter({**meta, "tasks": ["semseg", "normals"]}), state)
    without = {key: tensor for key, tensor in state.items() if "self_attention.semseg.depth.conv" not in key}
    with pytest.raises(ValueError, match=r"no tensor 'multi_modal.*semseg\.depth\.conv\.weight'"):
        convert(Converter(meta), without)


def test_distillation_by_pairs() -> None:
    tasks, channels = 3, 5
    module = Distillation(tasks, channels).double()
    maps = [torch.randn(2, channels, 6, 7, dtype=torch.float64) for _ in range(tasks)]
    expected = list(maps)
    for source, conv in enumerate(module.send):
        values, gates = conv.weight.unflatten(0, (2, tasks - 1, channels))
        others = [target for target in range(tasks) if target != source]
        for target, value, gate in zip(others, values, gates, strict=True):
            message, opening = (F.conv2d(maps[source], weight, padding=1) for weight in (value, gate))
            expected[target] = expected[target] + message * opening.sigmoid()
    for found, wanted in zip(module(maps), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    alone = [maps[0]]
    assert Distillation(1, channels).double()(alone)[0] is alone[0]


@pytest.mark.parametrize("wanted", [["depth"], ["normals", "semseg"], "pascal_context"])
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16, 16), (8,)])
def test_any_tasks_and_levels(wanted: str | list[str], strides: tuple[int, ...]) -> None:
    tasks = resolve(wanted)
    widths = tuple(3 + level for level in range(len(strides)))
    decoder = PadNet(tasks, widths, strides, channels=8)
    sizes = [(-(-75 // stride), -(-101 // stride)) for stride in strides]
    maps, (initial,) = decoder(Features([torch.randn(2, c, *size) for c, size in zip(widths, sizes, strict=True)]))
    assert initial.name == "initial"
    assert {name: tuple(tensor.shape) for name, tensor in initial.maps.items()} == {
        name: (2, 1, task.channels, *sizes[0]) for name, task in tasks.items()
    }
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {name: (2, 8, *sizes[0]) for name in tasks}


def test_wide_distillation_is_as_exact_as_narrow() -> None:
    """Large enough for the fast algorithm of convolution."""
    module = Distillation(3, 64)
    maps = [torch.randn(1, 64, 32, 33, requires_grad=True) for _ in range(3)]
    found = torch.cat(module(maps))
    exact = copy.deepcopy(module).double()
    wide = [tensor.detach().double().requires_grad_() for tensor in maps]
    wanted = torch.cat(exact(wide))
    assert (found - wanted).abs().max() < 1e-4 * wanted.std()
    above = torch.randn_like(found)
    pairs = zip(
        torch.autograd.grad(found, [*maps, *module.parameters()], above),
        torch.autograd.grad(wanted, [*wide, *exact.parameters()], above.double()),
        strict=True,
    )
    for one, other in pairs:
        assert (one - other).abs().max() < 1e-4 * other.std()
