"""The triplane regularizer: what it renders, where it is judged, what it refuses, and that inference ignores it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from polyscene.geometry import volume
from polyscene.geometry.camera import resize_intrinsics, transform, unproject
from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.regularizers import frustum
from polyscene.regularizers.plain_head import PlainHead
from polyscene.regularizers.triplane import TriplaneRegularizer
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation, Task
from polyscene.types import Auxiliary, Camera, Features, Predictions, Sample, Target

TASKS: dict[str, Task] = {
    "semseg": SemanticSegmentation(classes=("floor", "wall", "chair")),
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
}
HEIGHT, WIDTH = 64, 96


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(tasks: dict[str, Task] = TASKS, **options: Any) -> TriplaneRegularizer:
    return TriplaneRegularizer(tasks, (8, 12), (8, 16), **{"samples": 12, "channels": 6, "hidden": 8, **options})


def pyramid(count: int = 1, size: tuple[int, int] = (8, 12)) -> Features:
    rows, columns = size
    shapes = [(count, 8, rows, columns), (count, 12, -(-rows // 2), -(-columns // 2))]
    return Features([torch.randn(shape, requires_grad=True) for shape in shapes])


def rig(*translations: tuple[float, float, float], focal: float = 80.0, batch: int = 1) -> Camera:
    """Views of one rig, looking the same way, from these places."""
    intrinsics = torch.tensor([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    pose = torch.eye(4).repeat(batch, len(translations), 1, 1)
    pose[..., :3, 3] = torch.tensor(translations)
    known = torch.ones(batch, len(translations), dtype=torch.bool)
    return Camera(intrinsics.expand(batch, len(translations), 3, 3), pose, known)


HERE = (0.0, 0.0, 0.0)


def hold(regularizer: TriplaneRegularizer, planes: Tensor) -> None:
    """Puts these planes in the place of what the encoder makes of any features."""

    class Fixed(torch.nn.Module):
        trunk = regularizer.encoder.trunk

        def forward(self, maps: list[Tensor]) -> Tensor:
            return planes

    regularizer.encoder = Fixed()  # type: ignore[assignment]


# -- what comes out ----------------------------------------------------------------------------------------------------
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "last": {"tap": "last"},
    "pooled": {"planes": "pooled"},
    "a density each": {"shared_density": False},
    "pinhole": {"camera": "pinhole"},
    "expected": {"camera": "pinhole", "depth": "expected"},
    "expected, a density each": {"depth": "expected", "shared_density": False},
    "cross": {"camera": "pinhole", "views": "cross", "cross_share": 1.0},
    "cross, all": {
        "camera": "pinhole", "views": "cross", "cross_share": 1.0, "shared_density": False, "depth": "expected"
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_maps_of_every_task_and_gradients_to_every_parameter_and_feature(
    options: dict[str, Any], size: tuple[int, int]
) -> None:
    regularizer, features = build(**options), pyramid(4, size)
    auxiliary = regularizer(features, rig(HERE, (0.1, 0.0, 0.0), batch=2))
    assert {name: tuple(raw.shape) for name, raw in auxiliary.maps.items()} == {
        name: (2, 2, auxiliary.tasks[name].channels, *size) for name in TASKS
    }
    if auxiliary.valid is not None:
        assert auxiliary.valid.shape == (2, 2, 1, *size) and auxiliary.valid.any()
    torch.stack([raw.square().mean() for raw in auxiliary.maps.values()]).sum().backward()
    for name, parameter in regularizer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    read = features.maps[-1:] if options.get("tap") == "last" else features.maps
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in read)


def test_a_grid_cell_is_stride_pixels_whatever_the_encoder() -> None:
    cases = [((4, 8), (16, 24), (8, 12)), ((16, 16), (5, 7), (10, 14)), ((14, 14), (4, 6), (7, 11))]
    for strides, size, expected in cases:
        regularizer = TriplaneRegularizer(TASKS, (8, 12), strides, samples=4)
        features = Features([torch.randn(1, 8, *size), torch.randn(1, 12, *size)])
        assert regularizer(features, rig(HERE)).maps["depth"].shape[-2:] == expected


def test_a_coarse_level_is_mixed_before_its_resizing_with_the_same_result() -> None:
    trunk = build().encoder.trunk
    coarse = torch.randn(1, 12, 4, 6)
    after = torch.nn.functional.conv2d(
        torch.nn.functional.interpolate(coarse, (8, 12), mode="bilinear"), trunk.mix[1].weight, trunk.mix[1].bias
    )
    before = torch.nn.functional.interpolate(trunk.mix[1](coarse), (8, 12), mode="bilinear")
    torch.testing.assert_close(before, after)


def test_one_density_is_shaped_by_every_task_or_each_by_its_own() -> None:
    for shared, shaped in ((True, [True]), (False, [False, False, True, False])):
        regularizer = build(shared_density=shared)
        regularizer(pyramid(), rig(HERE)).maps["normals"].sum().backward()
        assert [mlp[0].weight.grad is not None for mlp in regularizer.density] == shaped


# -- the volume --------------------------------------------------------------------------------------------------------
def test_a_constant_field_renders_to_its_constant() -> None:
    """No light is lost, so that logits and metres are not biased towards zero."""
    regularizer = build(depth="channel")
    hold(regularizer, torch.zeros(1, 3, 6, 8, 12))
    shown = regularizer(pyramid(), rig(HERE)).maps
    for name, mlp in regularizer.values[0].items():
        constant = mlp(torch.zeros(6))
        torch.testing.assert_close(shown[name], constant[None, None, :, None, None].expand_as(shown[name]))


@pytest.mark.parametrize("projection", ["orthographic", "pinhole"])
def test_a_spike_of_density_is_where_the_expected_depth_is(projection: str) -> None:
    regularizer = build(camera=projection, samples=65, channels=1, near=1.0, far=4.0).eval()
    spike = 21
    planes = torch.zeros(1, 3, 1, 65, 65)
    planes[:, 1, :, spike] = 30.0  # the XZ plane, at one z
    hold(regularizer, planes)
    with torch.no_grad():
        first, last = regularizer.density[0][0], regularizer.density[0][2]
        first.weight.fill_(1.0), first.bias.fill_(-5.0)
        last.weight.fill_(40.0), last.bias.fill_(-60.0)
    depth = regularizer.render(Features([torch.zeros(1, 8, 65, 65), torch.zeros(1, 12, 33, 33)]), rig(HERE))
    place = frustum.centres(65, planes)[spike]
    expected = frustum.depth_at(place, (1.0, 4.0)) if projection == "pinhole" else place
    found = depth["expected_depth"]
    torch.testing.assert_close(found, expected.expand_as(found), atol=0.04, rtol=0)


def test_texels_are_aligned_with_the_picture() -> None:
    """What stands in one texel of XY is seen in that cell of the map, and in no other."""
    regularizer = build()
    planes = torch.zeros(1, 3, 6, 8, 12)
    hold(regularizer, planes)
    before = regularizer.render(pyramid(), rig(HERE))["normals"]
    planes[0, 0, :, 5, 3] = 4.0
    after = regularizer.render(pyramid(), rig(HERE))["normals"]
    changed = (after - before).abs().sum(2)[0, 0] > 1e-5
    assert changed.nonzero().tolist() == [[5, 3]]


def test_the_planes_have_three_different_pairs_of_axes() -> None:
    """Plane XZ is the same for all y, YZ for all x, and neither is the other's mirror."""
    regularizer = build()
    patterns = []
    for plane, row, column in [(0, 5, 3), (1, 2, 3), (2, 2, 3)]:
        planes = torch.zeros(1, 3, 6, 8, 12)
        hold(regularizer, planes)
        before = regularizer.render(pyramid(), rig(HERE))["normals"]
        planes[0, plane, :, row, column] = 4.0
        after = regularizer.render(pyramid(), rig(HERE))["normals"]
        patterns.append(((after - before).abs().sum(2)[0, 0] > 1e-6).float())
    point, column, row = patterns
    assert point.sum() == 1
    assert column[:, 3].all() and column.sum() == 8
    assert set(row.nonzero()[:, 0].tolist()) < set(range(8)) and row[row.any(1)].all()


def test_pooled_planes_hold_at_x_what_the_picture_holds_there() -> None:
    """A change in one column of the features reaches few columns of XZ, and all of the split encoder's is 2-D."""
    regularizer = build(planes="pooled", tap="last")
    maps = [torch.randn(1, 8, 20, 30), torch.randn(1, 12, 20, 30)]
    before = regularizer.encoder(maps)
    maps[1] = maps[1].clone()
    maps[1][..., 4] += 1
    changed = (regularizer.encoder(maps) - before).abs().sum((0, 2)) > 1e-6
    assert changed[1].any(0).nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
    assert changed[1].any(1).all()
    assert changed[2].all()


# -- cameras -----------------------------------------------------------------------------------------------------------
def test_rays_with_an_identity_pose_see_what_the_own_rays_see() -> None:
    regularizer, features = build(camera="pinhole", views="cross"), pyramid(2)
    camera = rig(HERE, HERE)
    features = replace(features, maps=[level[:1].expand_as(level) for level in features.maps])
    own = regularizer.render(features, camera, "single")
    across = regularizer.render(features, camera, "cross")
    for name in own:
        torch.testing.assert_close(own[name], across[name], atol=1e-4, rtol=1e-4)


def test_depth_is_even_in_inverse_metres() -> None:
    w = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(frustum.depth_at(w, (0.5, 10.0)), torch.tensor([0.5, 2 / (2 + 0.1), 10.0]))
    torch.testing.assert_close(frustum.box_of(frustum.depth_at(w, (0.5, 10.0)), (0.5, 10.0)), w)


def test_points_across_land_where_projection_says() -> None:
    """Against the plain way: unproject each depth's picture, move it, project it."""
    near_far, grid = (1.0, 5.0), (4, 6)
    w = frustum.centres(7, torch.zeros(()))
    camera = rig(HERE, (0.4, -0.1, 0.3))
    angle = 0.2
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    motion = torch.eye(4)[None].clone()
    motion[0, :3, :3], motion[0, :3, 3] = turn, torch.tensor([0.4, -0.1, 0.3])
    intrinsics = camera.intrinsics[:, 0]
    points, inside = frustum.cross(w, grid, (HEIGHT, WIDTH), intrinsics, intrinsics, motion, near_far)
    cells = resize_intrinsics(intrinsics, 6 / WIDTH, 4 / HEIGHT)
    for place, depth in enumerate(frustum.depth_at(w, near_far)):
        moved = transform(unproject(depth.expand(1, 1, *grid), cells), motion)[0].flatten(1)
        x, y = (intrinsics[0] @ moved)[:2] / moved[2]
        u, v = 2 * (x + 0.5) / WIDTH - 1, 2 * (y + 0.5) / HEIGHT - 1
        expected = torch.stack([u, v, frustum.box_of(moved[2], near_far)], -1)
        within = (expected.abs() <= 1).all(-1)
        assert torch.equal(inside[0, :, place], within)
        torch.testing.assert_close(points[0, within, place], expected[within], atol=1e-5, rtol=1e-5)
    assert inside.any() and not inside.all()


def test_a_wall_seen_from_another_place_lands_where_projection_says() -> None:
    """A wall at 2 m fills the planes, and an edge is drawn on it. A camera 0.25 m to the right sees the edge
    f · 0.25 / 2 pixels to the left; one 0.5 m further ahead sees the wall at 1.5 m."""
    wall, aside, ahead, texels = 2.0, 0.25, 0.5, 96
    tasks: dict[str, Task] = {"depth": Depth(encoding="metres")}
    frame: dict[str, Any] = {"camera": "pinhole", "near": 1.0, "far": 4.0, "views": "cross"}
    regularizer = TriplaneRegularizer(tasks, (4,), (1,), channels=2, samples=160, stride=1, hidden=1, **frame)
    planes = torch.zeros(1, 3, 2, HEIGHT, WIDTH)
    z = frustum.depth_at(frustum.centres(HEIGHT, planes), (1.0, 4.0))
    planes[:, 1, 0] = (60.0 * (z - wall)).clamp(-30, 30)[:, None]  # channel 0 makes the density
    planes[:, 0, 1, :, 40:] = 30.0  # channel 1 is shown: columns from 40 on are drawn
    hold(regularizer, planes.expand(2, -1, -1, -1, -1))
    with torch.no_grad():
        for mlp, channel in ((regularizer.density[0], 0), (regularizer.values[0]["depth"], 1)):
            mlp[0].weight.zero_(), mlp[0].bias.zero_(), mlp[2].bias.zero_()
            mlp[0].weight[:, channel], mlp[2].weight[:] = 3.0, 1.0
        regularizer.density[0][2].weight[:] = 40.0
        regularizer.density[0][2].bias[:] = -60.0
    features = Features([torch.zeros(2, 4, HEIGHT, WIDTH)])
    seen = regularizer.render(features, rig((aside, 0.0, 0.0), HERE), "cross")  # view 0 sees the planes of view 1
    drawn = seen["depth"][0, 0, 0, HEIGHT // 2] > 15
    assert int(drawn.float().argmax()) == 40 - round(80 * aside / wall)
    closer = regularizer.render(features, rig((0.0, 0.0, ahead), HERE), "cross")["expected_depth"][0, 0, 0]
    assert closer[HEIGHT // 2, texels // 2] == pytest.approx(wall - ahead, abs=0.05)
    assert regularizer.counts == {"with partner": 4, "without": 0}


def test_rays_outside_the_other_view_are_not_judged() -> None:
    regularizer = build(camera="pinhole", views="cross", cross_share=1.0)
    away = rig(HERE, HERE)
    away.world_from_camera[:, 1, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # looks the other way
    assert regularizer(pyramid(2), away).valid.sum() == 0
    aside = regularizer(pyramid(2), rig(HERE, (1.5, 0.0, 0.0))).valid
    left, right = aside[0, 0, 0].float(), aside[0, 1, 0].float()  # from the left, the right of what is seen is shared
    assert left[:, -1].mean() > left[:, 0].mean() and right[:, 0].mean() > right[:, -1].mean()


def test_views_without_a_known_partner_keep_to_their_own_planes_and_are_counted() -> None:
    regularizer, features = build(camera="pinhole", views="cross", cross_share=1.0), pyramid(3)
    camera = rig(HERE, (0.2, 0.0, 0.0), (0.4, 0.0, 0.0))
    camera = replace(camera.map(torch.clone), known=torch.tensor([[True, True, False]]))
    camera.intrinsics[:, 2], camera.world_from_camera[:, 2] = 0, torch.nan  # what is unknown may hold anything
    own, across = (regularizer.render(features, camera, views) for views in ("single", "cross"))
    same = [torch.allclose(own["depth"][:, view], across["depth"][:, view], atol=1e-4) for view in range(3)]
    assert same == [False, True, True]
    assert regularizer.counts == {"with partner": 1, "without": 2}
    (told,) = regularizer.remarks()
    assert "2 of 3 views" in told and not build().remarks()
    alone = regularizer(Features([level[:1] for level in features.maps]), rig(HERE))
    assert alone.valid.all() and regularizer.counts["without"] == 3


BAD_CAMERAS = {
    "singular": ("focal lengths", lambda camera: camera.intrinsics[1, 0, 0].zero_()),
    "negative": ("focal lengths", lambda camera: camera.intrinsics[1, 0, 1, 1].neg_()),
    "nan": ("not finite", lambda camera: camera.intrinsics[1, 0, 0, 2].fill_(math.nan)),
    "transposed": ("of the form", lambda camera: camera.intrinsics[1, 0, 2, 0].fill_(47.5)),
    "scaled": ("rigid", lambda camera: camera.world_from_camera[1, 0, :3, :3].mul_(2.0)),
    "mirrored": ("rigid", lambda camera: camera.world_from_camera[1, 0, 0, 0].neg_()),
}


@pytest.mark.parametrize(("problem", "spoil"), BAD_CAMERAS.values(), ids=BAD_CAMERAS)
def test_bad_cameras_are_refused_by_sample_and_view(problem: str, spoil: Any) -> None:
    camera = rig(HERE, HERE, batch=2).map(torch.clone)
    spoil(camera)
    regularizer, features = build(camera="pinhole"), pyramid(4)
    with pytest.raises(ValueError, match=f"sample 1 of the batch, view 0: its .*{problem}.* unknown"):
        regularizer(features, camera)
    known = camera.known.clone()
    known[1, 0] = False
    regularizer(features, replace(camera, known=known))
    build()(features, camera)  # orthographic rays look at no camera


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"samples": 0}, "2 samples"),
        ({"samples": 1}, "2 samples"),
        ({"near": 2.0, "far": 2.0}, "near < far"),
        ({"near": 0.0}, "near < far"),
        ({"channels": 0}, "channels"),
        ({"stride": 0}, "stride"),
        ({"camera": "fisheye"}, "fisheye"),
        ({"tap": "first"}, "first"),
        ({"views": "cross"}, "pinhole"),
        ({"alpha": {"flow": 1.0}}, "flow"),
        ({"alpha": dict.fromkeys(TASKS, 0.0)}, "nothing to render"),
        ({"alpha": {"depth": 0.0}, "depth": "expected"}, "nothing to render"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=problem):  # the latter where annotations are checked
        build(**options)
    with pytest.raises(ValueError, match="pinhole"):
        build().render(pyramid(), rig(HERE), "cross")


# -- training ----------------------------------------------------------------------------------------------------------
def test_jitter_moves_the_samples_in_training_and_not_in_pictures() -> None:
    regularizer, features, camera = build(), pyramid(), rig(HERE)
    first, second = (regularizer(features, camera).maps["depth"] for _ in range(2))
    assert not torch.equal(first, second)
    shown = [regularizer.render(features, camera)["depth"] for _ in range(2)]
    assert torch.equal(*shown)
    places = frustum.stratified(16, True, first)
    assert torch.equal(((places + 1) * 8).floor(), torch.arange(16.0))


def test_a_share_of_the_steps_goes_across() -> None:
    regularizer, features = build(camera="pinhole", views="cross", cross_share=0.5, samples=2), pyramid(2)
    steps = [regularizer(features, rig(HERE, HERE)).valid is not None for _ in range(40)]
    assert 8 < sum(steps) < 32


def test_the_volume_is_rendered_in_full_precision_under_autocast() -> None:
    regularizer, features, camera = build(), pyramid(), rig(HERE)
    hold(regularizer, torch.randn(1, 3, 6, 8, 12))
    torch.manual_seed(1)
    full = regularizer(features, camera).maps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(1)
        mixed = regularizer(features, camera).maps
    for name in TASKS:
        assert mixed[name].dtype == torch.float32
        torch.testing.assert_close(mixed[name], full[name])


def test_weights_sum_to_one_at_the_depths_of_a_frustum() -> None:
    depths = frustum.depth_at(frustum.stratified(48, True, torch.zeros(())), (0.5, 10.0))
    weights = volume.weights(3 * torch.randn(20, 48), depths)
    torch.testing.assert_close(weights.sum(-1), torch.ones(20))


def labels(value: float = 1.0) -> Sample:
    yes = torch.ones(1, 1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    targets = {
        name: Target(torch.full((1, 1, task.value_channels, HEIGHT, WIDTH), value), yes) for name, task in TASKS.items()
    }
    targets["semseg"] = Target(torch.ones(1, 1, 1, HEIGHT, WIDTH, dtype=torch.long), yes)
    return Sample(torch.rand(1, 1, 3, HEIGHT, WIDTH), targets, rig(HERE), yes[:, :, 0, 0, 0], "labels")


def test_ignored_labels_send_no_gradient() -> None:
    model = create_model(TASKS, "test_resnet", regularizer={"name": "triplane", "samples": 4}).train()
    batch = labels()
    blank = {name: Target(target.value, torch.zeros_like(target.valid)) for name, target in batch.targets.items()}
    report = Objective(TASKS)(model(batch.images, batch.camera), replace(batch, targets=blank))
    report.total.backward()
    assert float(report.total.detach()) == 0
    assert all(not parameter.grad.any() for parameter in model.regularizer.parameters())


def test_tasks_count_their_alpha_and_those_without_are_not_rendered() -> None:
    options = {"name": "triplane", "samples": 4, "weight": 0.5, "warmup": 0.0, "alpha": {"depth": 3.0, "edges": 0.0}}
    model = create_model(TASKS, "test_resnet", regularizer=options).train()
    batch = labels()
    predictions = model(batch.images, batch.camera)
    assert set(predictions.auxiliary[0].maps) == {"semseg", "depth", "normals"}
    report = Objective(TASKS)(predictions, batch)
    factors = {"semseg": 0.5, "depth": 1.5, "normals": 0.5}
    extra = sum(factors[name] * TASKS[name].weight * report.parts[f"triplane.{name}"].detach() for name in factors)
    plain = sum(TASKS[name].weight * loss.detach() for name, loss in report.by_task.items())
    assert float(report.total.detach()) == pytest.approx(float(plain + extra), rel=1e-5)


@pytest.mark.parametrize("name", ["triplane", "plain_head"])
def test_inference_is_bit_identical_without_it(name: str) -> None:
    torch.manual_seed(3)
    model = create_model(TASKS, "test_resnet", regularizer=name).eval()
    images = torch.rand(1, 2, 3, 72, 104)
    before = model(images).final
    stripped = model.strip()
    assert not any(key.startswith("regularizer") for key in stripped.state_dict())
    after = stripped(images).final
    assert all(torch.equal(before[task], after[task]) for task in TASKS)


@pytest.mark.parametrize("camera", ["pinhole", "orthographic"])
def test_metres_along_pinhole_rays_are_judged_as_metres_whatever_the_canonical_camera(camera: str) -> None:
    batch = labels()
    module = TriplaneRegularizer(TASKS, (1024,), (16,), camera=camera, depth="expected")
    truth = {"depth": batch.targets["depth"].value}
    auxiliary = [Auxiliary(truth, {"depth": module.tasks["depth"]}, name="triplane")]
    scale = torch.tensor(2.0).expand(batch.images.shape[:2])
    loss = float(Objective(TASKS)(Predictions({}, auxiliary, Features([])), batch, scale).parts["triplane.depth"])
    assert loss == 0 if camera == "pinhole" else loss > 0.1


def test_a_model_trains_with_it() -> None:
    """Its own loss falls on one picture."""
    model = create_model(TASKS, "test_resnet", regularizer={"name": "triplane", "samples": 8, "warmup": 0.0}).train()
    batch, objective = labels(), Objective(TASKS)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(8):
        report = objective(model(batch.images, batch.camera), batch)
        optimiser.zero_grad()
        report.total.backward()
        optimiser.step()
        losses.append(float(sum(report.parts.values()).detach()))
    assert losses[-1] < 0.6 * losses[0]


# -- the control -------------------------------------------------------------------------------------------------------
def test_the_plain_head_is_as_large() -> None:
    rendered = TriplaneRegularizer(TASKS, (1024,), (16,))
    plain = PlainHead(TASKS, (1024,), (16,))
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in (rendered, plain)]
    assert sizes[0] == pytest.approx(1.09e6, rel=0.02)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    features = Features([torch.randn(2, 1024, 3, 4)])
    maps = plain(features, rig(HERE, HERE)).maps
    assert {name: tuple(raw.shape) for name, raw in maps.items()} == {
        name: (1, 2, task.channels, 6, 8) for name, task in TASKS.items()
    }
