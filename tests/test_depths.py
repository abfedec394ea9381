"""Depth as runs see it: the best plane is the true one, the rendered volume is the trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import walls
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene import depths, weights
from polyscene.model import MultiTaskModel, create_model
from polyscene.necks import CrossView, matching
from polyscene.regularizers.triplane import TriplaneRegularizer
from polyscene.tasks import Depth, Edges
from polyscene.training import checkpoint, loop
from polyscene.types import Batch, collate

SMALL = {"name": "multi_head", "channels": 4, "context": "none"}
PLANES = {"name": "cross_view", "planes": 16, "nearest": 1.0, "farthest": 4.0}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(matching, "DEPTH", 2)


class Patches(nn.Module):
    """In the place of the spatial-aware encoder: the 8x8 pixels around each place, which match where they are equal."""

    def forward(self, images: Tensor) -> Tensor:
        grey = F.pad(images.mean(1, keepdim=True), (4, 4, 4, 4))
        patches = F.unfold(grey - grey.mean(), 8, stride=8)
        return F.normalize(patches, dim=1).unflatten(2, [side // 8 + 1 for side in images.shape[-2:]])[..., :-1, :-1]


class AsTheyAre(nn.Module):
    def forward(self, maps: Tensor, neighbours: Tensor | None = None) -> Tensor:
        return maps


def matcher(**options: Any) -> MultiTaskModel:
    model = create_model(["depth"], "test_resnet", SMALL, {**PLANES, **options}).eval()
    assert isinstance(model.neck, CrossView)
    model.neck.encoder, model.neck.transformer = Patches(), AsTheyAre()  # type: ignore[assignment]
    model.neck.forward = lambda features, *_: (features, None)  # type: ignore[method-assign]
    return model


def batch(views: int = 2) -> Batch:
    dataset = walls.Walls(views)
    return collate([dataset.read(index) for index in range(len(dataset))])


@pytest.mark.parametrize("outside", ["zero", "learned"])
def test_the_best_plane_of_a_wall_is_where_the_wall_is(outside: str) -> None:
    model, pairs = matcher(outside=outside), batch()
    best = depths.seen(model, pairs)["best plane"]
    assert best.value.shape == pairs.targets["depth"].value.shape
    where = best.valid[:, :, 0].all(-2)
    assert not where[:, 0, :4].any() and where[:, 0, 4:].all()  # further left than the right camera sees at 4 m
    assert not where[:, 1, 84:].any() and where[:, 1, :84].all()
    planes = torch.linspace(1, 1 / 4, 16)
    step = planes[0] - planes[1]
    for index, depth in enumerate(walls.DEPTHS):
        for view, seen in enumerate((slice(24, None), slice(4, -32))):  # seen by both, off the border
            off = (1 / best.value[index, view, ..., seen] - 1 / depth).abs()
            assert (off <= step).float().mean() >= 0.95, (depth, view)


def test_a_view_without_neighbour_has_no_best_plane() -> None:
    model, pairs = matcher(), batch()
    pairs.camera.known[1, 1] = False
    best = depths.seen(model, pairs)["best plane"]
    assert best.valid[0].any() and not best.valid[1].any()
    assert set(depths.seen(model, batch(1))) == {"predicted"}


@pytest.mark.parametrize("options", [{"volume": "constant"}, {"volume": "none"}, {"scale": "baseline"}])
def test_a_neck_without_planes_in_metres_shows_none(options: dict[str, str]) -> None:
    reach = {"nearest": None, "farthest": None} if "scale" in options else {}
    assert set(depths.seen(matcher(**options, **reach), batch())) == {"predicted"}


def test_a_place_is_shown_around_the_pixel_it_is_centred_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = matcher(), batch()
    grid = torch.arange(4 * 8 * 12.0).reshape(4, 1, 8, 12)
    assert isinstance(model.neck, CrossView) and model.neck.volume is not None
    monkeypatch.setattr(model.neck.volume, "best", lambda *_: (grid, grid >= 0))
    look = model.neck.look(pairs.images, pairs.camera, pairs.present)
    assert look is not None
    shown = look.maps["depth"].flatten(0, 1)
    for offset in (-4, 0, 3):
        inner = shown[..., 8 + offset :: 8, 8 + offset :: 8]
        assert torch.equal(inner[..., :7, :11], grid[..., 1:, 1:])


def test_the_volume_is_rendered_for_the_pictures_own_camera() -> None:
    pairs, width = batch(), walls.SIZE[1]
    model = create_model(["depth"], "test_resnet", SMALL, regularizer={"name": "triplane", "samples": 4}).eval()
    assert isinstance(model.regularizer, TriplaneRegularizer)
    shown = depths.seen(model, pairs)
    rendered = model.regularizer.render(model(pairs.images, pairs.camera).shared, pairs.camera)["depth"]
    assert shown["triplane"].value.shape[-2:] == walls.SIZE
    assert set(shown["triplane"].value.unique().tolist()) == set(rendered.unique().tolist())
    assert torch.equal(depths.seen(model, pairs)["triplane"].value, shown["triplane"].value), (
        "nothing is drawn at random"
    )
    model.canonical_focal = 0.5
    canonical = depths.seen(model, pairs)
    for name in ("predicted", "triplane"):
        torch.testing.assert_close(canonical[name].value, shown[name].value * walls.FOCAL / (0.5 * width))


def test_a_network_that_renders_no_depth_shows_none() -> None:
    branch = {"name": "triplane", "samples": 4, "alpha": {"depth": 0.0}}
    model = create_model([Depth(), Edges()], "test_resnet", SMALL, regularizer=branch).eval()
    assert set(depths.seen(model, batch())) == {"predicted"}


def test_the_regularizer_is_the_trained_one(tmp_path: Path) -> None:
    branch = {"name": "triplane", "samples": 4, "channels": 4}
    run = loop.train(walls.config(tmp_path / "run", regularizer=branch))
    assert weights.load(run)[0].regularizer is None
    model = depths.trained(run)
    stored = checkpoint.load_state(run / "last")["trainer"]
    kept = (stored["ema"] or stored)["model"]
    assert model.regularizer is not None and not model.training
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    fresh = create_model(model.tasks, "test_resnet", SMALL, regularizer=branch)
    assert any(not torch.equal(a, b) for a, b in zip(fresh.parameters(), model.parameters(), strict=True))
    (run / "last" / checkpoint.TREE).unlink()
    assert depths.trained(run).regularizer is None, "weights alone are enough to look"


def test_scenes_are_of_the_first_source_with_views_that_labels_depth(tmp_path: Path) -> None:
    model = create_model([Depth(gradient=0.0)], "test_resnet", SMALL)
    config = walls.config(tmp_path)
    found = depths.scenes(config, model, 5)
    assert found is not None and found.images.shape[:2] == (2, 2) and found.meta == ("wall at 1.5 m", "wall at 3.0 m")
    del config.data.evaluate["pairs"]
    alone = depths.scenes(config, model, 1)
    assert alone is not None and alone.images.shape[:2] == (1, 1)
