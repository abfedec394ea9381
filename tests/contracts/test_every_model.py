"""Any encoder × any neck × any decoder × any regularizer × any task set. New table entries are covered as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from every_part import (
    DECODER_NAMES,
    ENCODERS,
    NECK_NAMES,
    REFUSED,
    REGULARIZER_NAMES,
    TASKS,
    UNREAD,
    batch_for,
    encoder_of,
    install_doubles,
    narrow,
    pairwise,
)
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene import encoders, parts, weights
from polyscene.decoders import enlarged_conv, single_task
from polyscene.encoders import build
from polyscene.encoders.base import Encoder
from polyscene.encoders.timm_pyramid import TimmPyramid
from polyscene.model import MultiTaskModel, create_model, from_description
from polyscene.necks import NECKS
from polyscene.necks.base import Neck
from polyscene.objective import Objective
from polyscene.types import Features


@pytest.fixture(autouse=True)
def _doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    install_doubles(monkeypatch)


@cache
def shapes_only(name: str, pretrained: bool, **options: Any) -> Encoder:
    """An encoder on ``meta`` that runs once a size: such tensors hold nothing but their shapes."""
    encoder = build(name, **options)
    encoder.forward = cache_by_shape(encoder.forward)
    return encoder


def cache_by_shape(forward: Callable[[Tensor], Features]) -> Callable[[Tensor], Features]:
    known: dict[torch.Size, Features] = {}
    return lambda images: known.get(images.shape) or known.setdefault(images.shape, forward(images))


SHAPES: dict[Hashable, Any] = {}  # what necks and stages made of shapes


def run_stages_once(patch: pytest.MonkeyPatch) -> None:
    """Where a method acts between them, for equal shapes and for all copies of an encoder."""
    stage_of, outline_of = TimmPyramid._stage, Encoder.outline

    def stage(encoder: TimmPyramid, module: nn.Module) -> Callable[[Tensor], Tensor]:
        parts = tuple(module.children()) or module  # a key that keeps them alive, so that no other is taken for them
        run = stage_of(encoder, module)

        def remembered(tensor: Tensor) -> Tensor:
            if (parts, tensor.shape) not in SHAPES:
                SHAPES[parts, tensor.shape] = run(tensor)
            return SHAPES[parts, tensor.shape]

        return remembered

    def outline(encoder: Encoder) -> list[list[torch.Size]]:
        if encoder.name not in SHAPES:
            SHAPES[encoder.name] = outline_of(encoder)
        return SHAPES[encoder.name]

    patch.setattr(single_task, "copy", SimpleNamespace(deepcopy=lambda encoder: encoder))
    patch.setattr(TimmPyramid, "_stage", stage)
    patch.setattr(Encoder, "outline", outline)


def run_once(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A neck's ``forward`` that runs once for equal shapes."""

    def remembered(neck: Neck, features: Features, images: Tensor, *rest: Any) -> Any:
        key = type(neck), tuple(level.shape for level in features.maps), images.shape, tuple(features.by_task)
        if key not in SHAPES:
            SHAPES[key] = forward(neck, features, images, *rest)
        return SHAPES[key]

    return remembered


def empty_of_size(
    tensor: Tensor, size: tuple[int, int] | None = None, scale_factor: float = 1, *_: object, **__: object
) -> Tensor:
    """``F.interpolate`` on ``meta``, where torch's own is slow."""
    height, width = size or (int(side * scale_factor) for side in tensor.shape[-2:])
    return tensor.new_empty(*tensor.shape[:2], height, width)


SIZES = ((64, 96), (75, 101))
TAKEN = [pair for pair in product(ENCODERS, DECODER_NAMES) if pair not in REFUSED]


@pytest.mark.parametrize(("kind", "decoder"), TAKEN)
def test_shapes_of_the_full_product(kind: str, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of encoders, necks, decoders and regularizers; every number of tasks meets each encoder, decoder and neck, and
    each regularizer in turn. Numbers of views and sizes alternate."""
    monkeypatch.setattr(encoders, "build", shapes_only)
    run_stages_once(monkeypatch)
    monkeypatch.setattr(F, "interpolate", empty_of_size)
    monkeypatch.setattr(torch, "batch_norm", lambda tensor, *_: torch.empty_like(tensor))  # torch's own is slow there
    monkeypatch.setattr(enlarged_conv, "_taps", lambda old, new, _, like: like.new_empty(new, 3, old))  # so are these
    for name in NECK_NAMES[1:]:
        neck_class = parts.load(NECKS, name, "neck")
        monkeypatch.setattr(neck_class, "forward", run_once(neck_class.forward))
    first = TAKEN.index((kind, decoder))
    with torch.device("meta"):
        for row, neck in enumerate(NECK_NAMES, first):
            for column, regularizer in enumerate(REGULARIZER_NAMES):
                tasks = [*TASKS.values()][(row + column) % len(TASKS)]
                model = create_model(tasks, ENCODERS[kind], narrow(decoder), neck, regularizer)
                check_shapes(model, 1 + row % 2, SIZES[(row + column // 2) % 2])


@pytest.mark.parametrize(("kind", "decoder"), REFUSED)
def test_what_a_decoder_cannot_take_it_refuses_when_built(kind: str, decoder: str) -> None:
    for neck in NECK_NAMES:
        with torch.device("meta"), pytest.raises(ValueError, match=f"{decoder}.*{REFUSED[kind, decoder]}"):
            create_model("rooms", ENCODERS[kind], decoder, neck)


def check_shapes(model: MultiTaskModel, views: int, size: tuple[int, int]) -> None:
    batch = batch_for(model.tasks, 1, views, size)
    predictions = model(batch.images, batch.camera, batch.present)
    assert {name: tuple(raw.shape) for name, raw in predictions.final.items()} == {
        name: (1, views, task.channels, *size) for name, task in model.tasks.items()
    }
    seen = model.neck or model.encoder
    for pyramid in [predictions.shared.maps, *predictions.shared.by_task.values()]:
        assert tuple(level.shape[:2] for level in pyramid) == tuple((views, width) for width in seen.channels)
    assert list(seen.strides) == sorted(seen.strides), "finest first"
    for auxiliary in predictions.auxiliary:
        assert set(auxiliary.maps) == set(auxiliary.tasks)
        for name, raw in auxiliary.maps.items():
            assert raw.shape[:3] == (1, views, auxiliary.tasks[name].channels)


PAIRS = pairwise(
    [
        (kind, decoder, neck, regularizer, tasks)
        for (kind, decoder), neck, regularizer, tasks in product(TAKEN, NECK_NAMES, REGULARIZER_NAMES, TASKS)
    ]
)


@pytest.mark.parametrize(("kind", "decoder", "neck", "regularizer", "tasks"), PAIRS)
def test_every_parameter_learns(kind: str, decoder: str, neck: str | None, regularizer: str | None, tasks: int) -> None:
    torch.manual_seed(0)
    model = create_model(TASKS[tasks], ENCODERS[kind], narrow(decoder), neck, regularizer).train()
    batch = batch_for(model.tasks)
    report = Objective(model.tasks)(model(batch.images, batch.camera, batch.present), batch)
    report.total.backward()
    assert torch.isfinite(report.total)
    assert set(report.by_task) == set(model.tasks)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name.startswith(UNREAD.get((kind, decoder), ())), f"{name} takes no part"
        else:
            assert torch.isfinite(parameter.grad).all(), name


WITHOUT = pairwise([*product(DECODER_NAMES, NECK_NAMES, REGULARIZER_NAMES[1:])])


@pytest.mark.parametrize(("decoder", "neck", "regularizer"), WITHOUT)
def test_inference_is_the_same_without_regularizer(decoder: str, neck: str | None, regularizer: str) -> None:
    torch.manual_seed(0)
    model = create_model("rooms", encoder_of(decoder), narrow(decoder), neck, regularizer).eval()
    batch = batch_for(model.tasks, views=2)
    before = model.infer(batch.images, batch.camera, batch.present)
    assert model.strip().regularizer is None
    after = model.infer(batch.images, batch.camera, batch.present)
    assert all(torch.equal(before[name], after[name]) for name in model.tasks)
    assert from_description(model.describe()).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("decoder", "neck"), zip(DECODER_NAMES, cycle(NECK_NAMES)))
def test_odd_sizes_and_a_lone_image(decoder: str, neck: str | None) -> None:
    model: MultiTaskModel = create_model(["depth", "normals"], encoder_of(decoder), narrow(decoder), neck).eval()
    for size in ((75, 101), (9, 14)):
        values = model.infer(torch.rand(1, 1, 3, *size))
        assert values["depth"].shape == (1, 1, 1, *size)
        assert torch.allclose(values["normals"].norm(dim=2), torch.ones(()), atol=1e-4)


class Exportable(nn.Module):
    """Tensors in, tensors out: pictures (b, 3, h, w) to raw maps (b, c, h, w) in the order of the tasks."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(raw[:, 0] for raw in self.model(images[:, None]).final.values())


@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_saved_loaded_and_exported(decoder: str, tmp_path: Path) -> None:
    """Saved, it is the same, bit for bit; exported, nothing but torch's own operations is left of it."""
    torch.manual_seed(0)
    model = create_model(["depth", "normals"], encoder_of(decoder), narrow(decoder)).eval()
    images, others = torch.rand(2, 1, 3, 64, 96)
    before = Exportable(model)(others)
    weights.save(model, tmp_path)
    again = Exportable(weights.load(tmp_path)[0].eval()).requires_grad_(False)
    assert all(map(torch.equal, again(others), before))
    program = torch.export.export(again, (images,))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in called if not name.startswith(("aten.", "<built-in"))]
    for found, expected in zip(program.module()(others), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
