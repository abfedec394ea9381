"""What tasks say about each other, against cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.adaptation.consistency import PAIRS, depth_normals, segmentation_edges
from polyscene.adaptation.consistent import RAMP, Consistent
from polyscene.geometry import normals, planes
from polyscene.geometry.camera import pixel_grid
from polyscene.model import create_model
from polyscene.tasks import Depth, Edges, Normals, Saliency, SemanticSegmentation
from polyscene.types import Batch, Camera, Target

SIZE = (24, 32)
INTRINSICS = torch.tensor([[30.0, 0.0, 15.0], [0.0, 28.0, 12.5], [0.0, 0.0, 1.0]])
ROOMS = {
    task.name: task for task in (Depth(), Normals(), Edges(), SemanticSegmentation(classes=("floor", "wall", "chair")))
}


def camera(known: bool = True, count: int = 1) -> Camera:
    return Camera(INTRINSICS.expand(count, 1, 3, 3), torch.eye(4).expand(count, 1, 4, 4), torch.full((count, 1), known))


def plane(normal: Tensor, distance: float) -> Tensor:
    """(1, 1, 1, h, w) depth of the points p with normal · p = -distance."""
    rays = torch.einsum("ij,jhw->ihw", torch.linalg.inv(INTRINSICS), pixel_grid(*SIZE, INTRINSICS))
    return (-distance / torch.einsum("i,ihw->hw", normal, rays))[None, None, None]


def everywhere(normal: Tensor) -> Tensor:
    return normal[:, None, None].expand(1, 1, 3, *SIZE)


FLOOR = F.normalize(torch.tensor([0.1, -0.9, -0.35]), dim=0)
WALLS = [F.normalize(torch.tensor(normal), dim=0) for normal in ([0.0, 0.0, -1.0], [0.5, 0.2, -0.8], [-0.3, 0.6, -0.7])]
FACING = F.normalize(torch.tensor([0.1, 0.05, -1.0]), dim=0)
INSIDE = torch.zeros(1, 1, 1, *SIZE, dtype=torch.bool)
INSIDE[..., 2:-2, 2:-2] = True


@pytest.mark.parametrize("normal", WALLS)
@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_a_planes_depth_gives_its_normal_at_any_scale(normal: Tensor, scale: float) -> None:
    found, incidence, misfit = planes.fit(scale * plane(normal, 2.0).flatten(0, 1), INTRINSICS[None], radius=2)
    inside = INSIDE.flatten(0, 1)
    same = torch.isclose(found, everywhere(normal).flatten(0, 1), atol=2e-4)
    assert (same | ~inside).all()
    assert misfit[inside].max() < 1e-3 and misfit[~inside].min() == math.inf
    ray = F.normalize(torch.einsum("ij,jhw->ihw", torch.linalg.inv(INTRINSICS), pixel_grid(*SIZE, INTRINSICS)), dim=0)
    assert torch.allclose(incidence[0, 0][inside[0, 0]], -(normal @ ray.flatten(1)).view(SIZE)[inside[0, 0]], atol=1e-3)


def test_the_fit_agrees_with_the_one_for_measured_depth() -> None:
    depth = plane(FACING, 2.0) + 0.02 * torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    exact, known = normals.from_depth(depth[0, 0], torch.ones(1, *SIZE, dtype=torch.bool), INTRINSICS, radius=2)
    found, _, misfit = planes.fit(depth.flatten(0, 1), INTRINSICS[None], radius=2)
    same = known[0] & misfit[0, 0].isfinite()
    assert same.sum() > 400 and torch.allclose(found[0][:, same], exact[:, same], atol=2e-3)


def test_windows_larger_than_the_map_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 5 pixels do not fit"):
        planes.fit(torch.ones(1, 1, 4, 9), INTRINSICS[None], radius=2)


def test_a_plane_and_its_normal_agree_and_a_wrong_normal_by_its_angle() -> None:
    depth = plane(WALLS[0], 2.0)
    assert depth_normals(depth, everywhere(WALLS[0]), camera()).mean(INSIDE) == pytest.approx(0, abs=1e-6)
    turned = torch.tensor([math.sin(math.radians(30)), 0.0, -math.cos(math.radians(30))])
    wrong = depth_normals(depth, everywhere(turned), camera()).mean(INSIDE)
    assert wrong == pytest.approx(1 - math.cos(math.radians(30)), abs=1e-5)


def test_depth_edges_borders_and_unknown_cameras_do_not_count() -> None:
    depth = plane(WALLS[0], 2.0).clone()
    depth[..., 16:] = 3.0
    weight = depth_normals(depth, everywhere(WALLS[0]), camera()).weight
    assert (
        weight[..., 14:18].max() == 0 and weight[..., 4:-4, 4:13].min() > 0.7 and weight[..., 4:-4, 19:-4].min() > 0.7
    )
    assert weight[..., :2, :].max() == 0 and weight[..., -2:].max() == 0
    unknown = depth_normals(depth, everywhere(FLOOR), camera(known=False))
    assert unknown.weight.max() == 0 and unknown.mean(INSIDE) == 0


def test_grazing_planes_count_less() -> None:
    grazing = F.normalize(torch.tensor([0.98, 0.0, -0.2]), dim=0)
    depth = plane(grazing, 2.0)[..., :8]
    weight = depth_normals(depth, everywhere(grazing)[..., :8], camera()).weight[..., 4:-4, 4]
    facing = depth_normals(plane(WALLS[0], 2.0), everywhere(WALLS[0]), camera()).weight[..., 4:-4, 4]
    assert (weight > 0).all() and (weight < facing).all()


def test_gradients_turn_the_depth_towards_the_normals_and_back() -> None:
    raw = plane(WALLS[1], 2.0).log().requires_grad_()
    own = everywhere(WALLS[0]).clone().requires_grad_()
    one = depth_normals(raw.exp(), F.normalize(own, dim=-3), camera()).mean(INSIDE)
    one.backward()
    for value in (raw, own):
        assert value.grad.isfinite().all() and value.grad.abs().max() > 0
        with torch.no_grad():
            value -= 0.05 * value.grad / value.grad.abs().max()
    assert depth_normals(raw.exp(), F.normalize(own, dim=-3), camera()).mean(INSIDE) < one


def halves(share: float = 1.0) -> Tensor:
    """(1, 1, 2, 6, 8): the first class on the left, the second on the right with probability ``share``."""
    classes = torch.zeros(1, 1, 2, 6, 8)
    classes[..., 0, :, :4] = 1
    classes[..., 0, :, 4:], classes[..., 1, :, 4:] = 1 - share, share
    return classes


def test_a_step_of_the_classes_wants_an_edge() -> None:
    """Six rows: the pixels left of the step differ from those to the right, by ``share``."""
    none = torch.zeros(1, 1, 1, 6, 8)
    where = torch.ones_like(none, dtype=torch.bool)
    for share in (0.25, 0.6):
        found = segmentation_edges(halves(share), none, camera())
        assert torch.allclose(found.value[..., 3], torch.tensor(-math.log(1 - share)))
        assert found.value.sum() == pytest.approx(-6 * math.log(1 - share), rel=1e-5)
        assert found.mean(where) == pytest.approx(-math.log(1 - share), rel=1e-5), "of the pixels that differ"
    half = segmentation_edges(halves(0.6), none + 0.5, camera()).value[..., 3]
    assert torch.allclose(half, torch.tensor(-math.log(1 - 0.6 * 0.5)))


@pytest.mark.parametrize(("column", "agrees"), [(2, True), (3, True), (4, True), (5, False), (1, False)])
def test_an_edge_may_lie_a_pixel_beside_the_step(column: int, agrees: bool) -> None:
    edges = torch.zeros(1, 1, 1, 6, 8)
    edges[..., column] = 1
    assert (segmentation_edges(halves(), edges, camera()).value.sum() < 1e-6) == agrees


def test_edges_within_a_class_and_doubtful_classes_alike_are_no_disagreement() -> None:
    alike = torch.full((1, 1, 2, 6, 8), 0.5)
    for edges in (torch.zeros(1, 1, 1, 6, 8), torch.ones(1, 1, 1, 6, 8)):
        assert segmentation_edges(alike, edges, camera()).value.abs().max() == 0


def test_certain_contradiction_is_finite_with_gradient() -> None:
    edges = torch.zeros(1, 1, 1, 6, 8, requires_grad=True)
    segmentation_edges(halves(), edges, camera()).value.mean().backward()
    assert edges.grad.isfinite().all()


def test_pairs_follow_from_kinds_not_names() -> None:
    tasks = {
        task.name: task
        for task in (
            SemanticSegmentation("stuff", classes=("a", "b")), SemanticSegmentation("parts", classes=("a", "b")),
            Edges("outline"), Depth("range"), Normals("facing"), Saliency("edges"),
        )
    }  # fmt: skip
    assert PAIRS["segmentation_edges"].among(tasks) == [("stuff", "outline"), ("parts", "outline")]
    assert PAIRS["depth_normals"].among(tasks) == [("range", "facing")]


# -- the step ---------------------------------------------------------------------------------------------------------
def model(progress: float = 1.0):
    torch.manual_seed(0)
    made = create_model(ROOMS, {"name": "test_efficientnet"}, canonical_focal=1.0).train()
    made.progress = progress
    return made


def batch(labelled: tuple[str, ...]) -> Batch:
    generator = torch.Generator().manual_seed(1)
    values = {
        "depth": torch.full((2, 1, 1, 64, 64), 2.0),
        "normals": F.normalize(torch.randn(2, 1, 3, 64, 64, generator=generator), dim=2),
        "edges": torch.zeros(2, 1, 1, 64, 64),
        "semseg": torch.zeros(2, 1, 1, 64, 64, dtype=torch.long),
    }
    valid = torch.ones(2, 1, 1, 64, 64, dtype=torch.bool)
    images = torch.rand(2, 1, 3, 64, 64, generator=generator)
    targets = {name: Target(values[name], valid) for name in labelled}
    return Batch(images, targets, camera(count=2), torch.ones(2, 1, dtype=torch.bool), "half")


def learns(step: Consistent, labelled: tuple[str, ...]) -> set[str]:
    """The tasks whose heads get a gradient from what tasks say about each other, and that alone."""
    network, one = model(), batch(labelled)
    for head in network.heads.values():
        torch.nn.init.normal_(head.project.weight, std=0.05)
    report = step(network, {"half": one})
    network.zero_grad()
    (report.others + 0 * report.total).backward()
    grads = {name: head.project.weight.grad for name, head in network.heads.items()}
    return {name for name, grad in grads.items() if grad is not None and grad.abs().max() > 0}


def test_the_unlabelled_learns_from_the_labelled() -> None:
    step = Consistent(ROOMS)
    assert learns(step, ("depth", "semseg")) == {"normals", "edges"}
    assert learns(step, ("normals", "edges")) == {"depth", "semseg"}
    assert learns(step, ()) == set(ROOMS), "from each other"
    assert learns(step, ("depth", "normals")) == {"semseg", "edges"}, "labels say it all of depth and normals"


def test_either_side_can_be_stopped() -> None:
    assert learns(Consistent(ROOMS, learns="first"), ("depth", "semseg")) == {"depth", "semseg"}
    assert learns(Consistent(ROOMS, learns="second"), ("depth", "semseg")) == {"normals", "edges"}
    assert learns(Consistent(ROOMS, learns="both"), ("depth", "semseg")) == set(ROOMS)


def test_everywhere_is_where_both_are_labelled_too() -> None:
    assert learns(Consistent(ROOMS, where="everywhere"), tuple(ROOMS)) == set(ROOMS)
    assert learns(Consistent(ROOMS), tuple(ROOMS)) == set()


def test_the_report_adds_up_and_weights_grow_from_nothing() -> None:
    plain, weights = batch(("depth", "semseg")), {"depth_normals": 0.5, "segmentation_edges": 2.0}
    for progress, share in ((0.0, 0.0), (RAMP / 2, 0.5), (1.0, 1.0)):
        report = Consistent(ROOMS, **weights)(model(progress), {"half": plain})
        parts = report.parts["consistency.depth-normals"], report.parts["consistency.semseg-edges"]
        assert report.others.item() == pytest.approx(share * (0.5 * parts[0].item() + 2.0 * parts[1].item()), abs=1e-6)
        assert report.total.item() == pytest.approx((sum(report.shares.values()) + report.others).item(), rel=1e-5)
        assert set(report.by_task) == {"depth", "semseg"}


def test_padded_views_say_nothing() -> None:
    one = batch(("depth", "semseg"))
    absent = replace(one, present=torch.tensor([[True], [False]]))
    only = one.map(lambda tensor: tensor[:1])
    network = model().eval()
    full, alone = (Consistent(ROOMS)(network, {"half": each}) for each in (absent, only))
    assert full.others.item() == pytest.approx(alone.others.item(), rel=1e-4)


def test_tasks_that_say_nothing_about_each_other_are_refused() -> None:
    alone = {name: ROOMS[name] for name in ("depth", "edges")}
    with pytest.raises(ValueError, match=r"no two of the tasks \(depth, edges\) say anything"):
        Consistent(alone)
    with pytest.raises(ValueError, match="no two"):
        Consistent({name: ROOMS[name] for name in ("depth", "normals")}, depth_normals=0.0)


def test_soft_values_are_those_of_the_task_with_gradient() -> None:
    generator = torch.Generator().manual_seed(2)
    for task in (*ROOMS.values(), Edges(two_class=True)):
        raw = torch.randn(1, 1, task.channels, 4, 5, generator=generator, requires_grad=True)
        soft = task.soft(raw)
        hard = soft.argmax(-3, keepdim=True) if task.classes else soft
        assert torch.equal(hard, task.activate(raw))
        soft[..., 0, :, :].sum().backward()
        assert raw.grad.abs().max() > 0
