from __future__ import annotations

import pytest
import torch
from tests.golden import recipe
from torch.utils.flop_counter import FlopCounterMode

from polyscene.convert.base import convert, load, raw
from polyscene.convert.multi_head import MultiHead as Converter
from polyscene.decoders.multi_head import MultiHead
from polyscene.tasks.sets import resolve
from polyscene.types import Features

WIDTHS, STRIDES = (18, 36, 72, 144), (4, 8, 16, 32)


def test_golden_outputs() -> None:
    state, meta = recipe.state_dict("multi_head"), recipe.meta("multi_head")
    assert recipe.same_weights("multi_head", state)
    converter = Converter(meta)
    converted = convert(converter, state)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    errors = recipe.errors("multi_head", outputs)
    assert len(errors) == 4
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


def test_checkpoints_of_other_tasks_in_other_orders() -> None:
    """A task's output does not depend on which others there are."""
    state, meta = recipe.state_dict("multi_head"), recipe.meta("multi_head")
    image = recipe.image(**meta["input"])[:1, :, :64, :96]

    def outputs(tasks: list[str]) -> dict[str, torch.Tensor]:
        left_out = tuple(f"decoders.{task}." for task in meta["tasks"] if task not in tasks)
        converter = Converter({**meta, "tasks": tasks})
        kept = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)} if left_out else state
        with torch.no_grad():
            return raw(converter, load(converter, convert(converter, kept)).eval(), image)

    whole = outputs(meta["tasks"])
    for tasks in (["normals"], ["edge", "semseg"], ["semseg", "normals", "edge", "depth"]):
        found = outputs(tasks)
        assert list(found) == [f"final_{task}" for task in tasks]
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, whole[name])


def test_parameters_and_operations_are_the_published_ones() -> None:
    """4.17 M and 13.1 GMAC at 448x576. Ours needs fewer, as it mixes channels before it resizes."""
    converter = Converter({"tasks": list(CHANNELS), "channels": CHANNELS})
    with torch.device("meta"):
        model = converter.build().eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 1, 3, 448, 576))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(4.17, rel=0.005)
    pixels = [448 * 576 // stride**2 for stride in STRIDES]
    mixed = sum(width * count for width, count in zip(WIDTHS, pixels, strict=True))
    spared = len(CHANNELS) * sum(WIDTHS) * (sum(WIDTHS) * pixels[0] - mixed)
    assert (counter.get_total_flops() / 2 + spared) / 1e9 == pytest.approx(13.1, rel=0.02)


CHANNELS = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("fuse", ["fpn", "concat"])
@pytest.mark.parametrize("strides", [(4, 8), (16, 16)])
def test_maps_at_stride_4(separate: bool, fuse: str, strides: tuple[int, int]) -> None:
    tasks = resolve(["depth", "normals"])
    decoder = MultiHead(tasks, (3, 5), strides, fuse=fuse, separate=separate, channels=8, context="none").eval()
    features = Features([torch.randn(1, count, 64 // s, 96 // s) for count, s in zip((3, 5), strides, strict=True)])
    maps, early = decoder(features)
    assert early == []
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {name: (1, 8, 16, 24) for name in tasks}
    fused = {name.split(".")[1] for name, _ in decoder.fuse.named_parameters(prefix="fuse")}
    assert (fused == set(tasks)) == separate
