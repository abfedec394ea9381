"""A network as a graph of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from polyscene import create_model
from polyscene.model import MultiTaskModel
from polyscene.portable import Portable
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.types import Camera

TASKS = [SemanticSegmentation(classes=("a", "b", "c")), Depth(), Normals(), Edges()]


def network(canonical_focal: float | None = None) -> MultiTaskModel:
    torch.manual_seed(0)
    decoder = {"name": "multi_head", "channels": 8}
    return create_model(TASKS, "test_resnet", decoder, canonical_focal=canonical_focal)


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 32, 64, generator=torch.Generator().manual_seed(1))


def camera(focal: Tensor) -> Camera:
    matrix = torch.eye(3).repeat(len(focal), 1, 1, 1)
    matrix[:, 0, 0, 0] = matrix[:, 0, 1, 1] = focal
    return Camera(matrix, torch.eye(4).repeat(len(focal), 1, 1, 1), torch.ones(len(focal), 1, dtype=torch.bool))


@torch.no_grad()
def test_decided_values_are_those_of_the_network() -> None:
    model, images = network(), pictures()
    portable = Portable(model.train())
    values = portable(images)
    assert (portable.inputs, portable.outputs) == (("images",), ("semseg", "depth", "normals", "edges"))
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        "semseg": (2, 3, 32, 64), "depth": (2, 1, 32, 64), "normals": (2, 3, 32, 64), "edges": (2, 1, 32, 64),
    }  # fmt: skip
    for name, value in model.infer(images[:, None]).items():
        torch.testing.assert_close(model.tasks[name].decide(values[name]), value[:, 0])


@torch.no_grad()
def test_depth_is_brought_to_the_focal_length() -> None:
    model, images, focal = network(canonical_focal=0.9), pictures(), torch.tensor([40.0, 90.0])
    portable = Portable(model)
    assert portable.inputs == ("images", "focal")
    known = model.infer(images[:, None], camera(focal))
    found, without = portable(images, focal), portable(images)
    torch.testing.assert_close(found["depth"], known["depth"][:, 0])
    torch.testing.assert_close(found["normals"], without["normals"])
    torch.testing.assert_close(without["depth"], model.infer(images[:, None])["depth"][:, 0])
    assert not torch.allclose(found["depth"], without["depth"])
