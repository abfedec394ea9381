"""Whatever part a network is made of, its weights can be sharded: all that is needed is gathered in time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from every_part import ENCODERS, batch_for, encoder_of, narrow
from torch import Tensor
from torch import distributed as dist

from polyscene.decoders import DECODERS
from polyscene.model import MultiTaskModel, create_model
from polyscene.necks import NECKS
from polyscene.regularizers import REGULARIZERS
from polyscene.training import distributed
from polyscene.training.blocks import blocks
from polyscene.types import Sample

CASES = [
    *((encoder_of(decoder), decoder, None, None) for decoder in DECODERS),
    *((ENCODERS[kind], "multi_head", None, None) for kind in ("efficientnet", "nhwc", "windows", "vit")),
    *((ENCODERS["chain"], "multi_head", neck, None) for neck in NECKS),
    *((ENCODERS["chain"], "multi_head", None, regularizer) for regularizer in REGULARIZERS),
]


@pytest.fixture(scope="module", autouse=True)
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As one of one, weights are kept as by one of many."""
    place: Path = tmp_path_factory.mktemp("rank") / "store"
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def loss(model: MultiTaskModel, batch: Sample) -> Tensor:
    torch.manual_seed(1)
    predictions = model(batch.images, batch.camera, batch.present)
    maps = [*predictions.final.values(), *(each for one in predictions.auxiliary for each in one.maps.values())]
    return torch.stack([each.float().square().mean() for each in maps]).sum()


@pytest.mark.parametrize(("encoder", "decoder", "neck", "regularizer"), CASES)
def test_gradients_of_a_sharded_network(
    encoder: str, decoder: str, neck: str | None, regularizer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "LARGE", 1)
    torch.manual_seed(0)
    model = create_model(["semseg", "normals"], encoder, narrow(decoder), neck, regularizer)
    batch = batch_for(model.tasks, 2, 2 if neck or regularizer else 1, (32, 64))
    plain = copy.deepcopy(model)
    distributed.shard(model, blocks(model), model.regularizer.parameters() if model.regularizer else ())
    assert len([part for part in model.modules() if hasattr(part, "unshard")]) > 5
    losses = [loss(each, batch) for each in (model, plain)]
    assert torch.equal(*losses)
    for each in losses:
        each.backward()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        found = torch.zeros_like(other) if mine.grad is None else distributed.owned(mine.grad)
        torch.testing.assert_close(found, torch.zeros_like(other) if other.grad is None else other.grad)
