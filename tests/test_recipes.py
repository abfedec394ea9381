"""The papers' augmentations: picture, labels and cameras stay together under each, and chances are as published."""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyscene import config, transforms
from polyscene.config.schema import Recipe
from polyscene.geometry import camera as geometry
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.transforms import light, steps
from polyscene.transforms.chance import Chance, OneOf, Uniform
from polyscene.types import Camera, Sample, Target

TASKS = {
    "semseg": SemanticSegmentation(classes=("a", "b", "c")),
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
}
NAMES = tuple(transforms.RECIPES)
RESAMPLED = {"invpt": 1, "dense_mtl": 1, "mtlpt_nyuv2": 2, "mtlpt_pascal": 2, "mtan": 2}
LARGEST = {"invpt": 2.0, "dense_mtl": 1.0, "mtlpt_nyuv2": 1.5, "mtlpt_pascal": 1.25, "mtan": 1.5}
METRES = torch.tensor([2.0, 3.0])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(size: tuple[int, int], seed: int = 0, shrink: int = 1, known: bool = True, skew: float = 0.8) -> Sample:
    """Two views whose pixels know where they are: the picture's colours are x / w and y / h, the classes number the
    pixels; each view looks at a wall of its own. ``shrink``: normals are stored so many times smaller."""
    draw, (height, width) = generator(seed), size
    pixels = geometry.pixel_grid(height, width, torch.zeros(())).expand(2, 3, -1, -1)
    images = pixels / torch.tensor([width, height, 2.0])[:, None, None]
    rotation = torch.linalg.qr(torch.rand(2, 3, 3, generator=draw) - 0.5)[0]
    poses = torch.eye(4).repeat(2, 1, 1)
    if known:
        poses[:, :3, :3] = rotation * torch.linalg.det(rotation)[:, None, None]
        poses[:, :3, 3] = torch.rand(2, 3, generator=draw)
    intrinsics = torch.tensor([[0.9 * width, skew, 0.47 * width], [0, 1.1 * width, 0.56 * height], [0, 0, 1]])

    def target(value: torch.Tensor) -> Target:
        return Target(value, torch.rand(2, 1, *value.shape[-2:], generator=draw) < 0.8)

    normal = torch.nn.functional.normalize(torch.rand(2, 3, 1, 1, generator=draw) - 0.5, dim=1)
    own = height // shrink, width // shrink
    return Sample(
        images,
        {
            "semseg": target((pixels[:, 1:2] * width + pixels[:, :1]).long()),
            "depth": target(METRES[:, None, None, None].expand(2, 1, *size)),
            "normals": target(normal.expand(2, 3, *own)),
            "edges": target((torch.rand(2, 1, *size, generator=draw) < 0.1).float()),
        },
        Camera(intrinsics.repeat(2, 1, 1), poses, torch.full((2,), known)),
        torch.ones(2, dtype=torch.bool),
        "numbered",
    )


def follow(name: str, sample: Sample, size: tuple[int, int], seed: int, relative: bool = False) -> Sample:
    return transforms.Follow(name, size, relative)(sample, TASKS, generator(seed))


def zoomed(sample: Sample) -> float:
    """By what the depth of all views was divided."""
    depth = sample.targets["depth"]
    found = [METRES[view] / depth.value[view][depth.valid[view]].unique() for view in (0, 1)]
    assert torch.cat(found).numel() > 1 and torch.cat(found).std() < 1e-5, "every pixel of every view alike"
    return float(found[0][0])


def is_mirrored(sample: Sample) -> bool:
    middle = sample.images.shape[-2] // 2, sample.images.shape[-1] // 2
    return bool(sample.images[0, 0, middle[0], middle[1] + 1] < sample.images[0, 0, middle[0], middle[1] - 1])


def origins(sample: Sample, before: Sample) -> torch.Tensor:
    """(2, 2, h, w) where in the picture before each pixel's surface was, by the cameras and the depth alone."""
    depth = torch.full_like(sample.images[:, :1], 1.0) * METRES[:, None, None, None] / zoomed(sample)
    points = geometry.unproject(depth, sample.camera.intrinsics)
    points = geometry.transform(points, sample.camera.world_from_camera) * zoomed(sample)
    if is_mirrored(sample):
        points = points * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    seen = geometry.transform(points, torch.linalg.inv(before.camera.world_from_camera))
    pixels, found = geometry.project(seen, before.camera.intrinsics)
    assert torch.allclose(found, METRES[:, None, None, None], atol=1e-3)
    return pixels


@pytest.fixture
def undistorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "distort", lambda images, chance: images)


def test_the_configuration_knows_every_recipe() -> None:
    assert {"polyscene", *NAMES} == set(get_args(Recipe))


@pytest.mark.usefixtures("undistorted")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [False, True])
@settings(max_examples=12, deadline=None)
@given(
    size=st.tuples(st.integers(20, 30), st.integers(20, 30)), seed=st.integers(0, 9999), shrink=st.sampled_from([1, 2])
)
def test_cameras_tell_where_every_pixel_came_from(
    name: str, relative: bool, size: tuple[int, int], seed: int, shrink: int
) -> None:
    """World points of the changed sample are those of the original, mirrored and brought nearer as a whole; so picture,
    labels, depth, intrinsics and poses tell one story, in both views."""
    before = scene((2 * size[0], 2 * size[1]), seed, shrink)
    after = follow(name, before, (44, 52), seed, relative)
    assert after.images.shape == (2, 3, 44, 52)
    assert {tuple(target.value.shape[-2:]) for target in after.targets.values()} == {(44, 52)}
    assert zoomed(after) == 1 if relative else 0.499 <= zoomed(after) <= LARGEST[name] + 1e-3
    height, width = before.images.shape[-2:]
    there = origins(after, before)
    inner = ((there > 6) & (there < torch.tensor([width - 7, height - 7])[:, None, None])).all(1, keepdim=True)
    inner[..., [0, 1, 2, -3, -2, -1], :] = inner[..., [0, 1, 2, -3, -2, -1]] = False  # filters mix in what is beyond
    assert inner.sum() > 80
    painted = after.images[:, :2] * torch.tensor([width, height])[:, None, None]
    assert ((painted - there).abs() * inner).max() < 0.2, "the picture"  # cubic as OpenCV has it bends ramps by as much
    number, valid = after.targets["semseg"].value, after.targets["semseg"].valid
    labelled = torch.cat([number % width, number // width], 1)
    bound = {1: 0.62, 2: 1.6}[RESAMPLED[name]]  # pixels: rounded once, or twice
    assert ((labelled - there).abs() * inner).max() < bound, "the labels"
    assert torch.equal(
        valid[inner], before.targets["semseg"].valid.flatten(1).gather(1, number.flatten(1)).reshape(valid.shape)[inner]
    )
    outside = ((there < -2) | (there > torch.tensor([width + 1, height + 1])[:, None, None])).any(1, keepdim=True)
    assert not any((target.valid & outside).any() for target in after.targets.values())


@pytest.mark.usefixtures("undistorted")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_normals_turn_with_the_world(name: str, seed: int) -> None:
    before = scene((48, 64), seed)
    after = follow(name, before, (44, 52), seed)
    mirror = torch.tensor([-1.0 if is_mirrored(after) else 1.0, 1.0, 1.0])
    for view in (0, 1):
        expected = before.camera.world_from_camera[view, :3, :3] @ before.targets["normals"].value[view, :, 0, 0]
        found = after.targets["normals"].value[view].movedim(0, -1)[after.targets["normals"].valid[view, 0]]
        turned = found @ after.camera.world_from_camera[view, :3, :3].T
        assert len(found) > 500 and torch.allclose(turned, expected * mirror, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_never_mixed_and_a_sample_is_a_function_of_its_seed(name: str) -> None:
    before = scene((48, 64))
    for seed in range(5):
        one, again = (follow(name, before, (44, 52), seed) for _ in range(2))
        assert torch.equal(one.images, again.images) and one.images.min() >= 0 and one.images.max() <= 1
        assert torch.equal(one.camera.world_from_camera, again.camera.world_from_camera)
        assert one.targets["semseg"].value.dtype == torch.int64
        assert set(one.targets["edges"].value[one.targets["edges"].valid].tolist()) == {0, 1}
        assert torch.equal(one.targets["depth"].value, again.targets["depth"].value)
        zoomed(one)
        length = one.targets["normals"].value.norm(dim=1, keepdim=True)
        assert torch.allclose(length[one.targets["normals"].valid], torch.ones(()), atol=1e-5)
    assert not torch.equal(one.images, follow(name, before, (44, 52), seed + 3).images)


@pytest.mark.usefixtures("undistorted")
def test_an_unknown_camera_stays_unknown() -> None:
    """Depth is divided and normals turn all the same; the pose stays what it stood for."""
    before = scene((48, 64), known=False, skew=0.0)
    after = follow("mtlpt_pascal", before, (48, 64), 1, relative=True)
    assert zoomed(after) != 1
    assert torch.equal(after.camera.world_from_camera, before.camera.world_from_camera)
    moved = after.targets["normals"].value[0, :, 24, 32] - before.targets["normals"].value[0, :, 0, 0]
    assert moved[:2].norm() > 1e-3 and moved[2].abs() < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.4, 2.0), st.floats(-0.4, 0.4), st.integers(0, 99))
def test_intrinsics_and_turn_make_up_the_affine_map(angle: float, zoom: float, shear: float, seed: int) -> None:
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    matrix = torch.tensor([[cosine, sine + shear, 3.0], [-sine, cosine, -2.0], [0, 0, 1]], dtype=torch.float64)
    if torch.linalg.det(matrix) < 0.1:
        return
    intrinsics = scene((20, 30), seed).camera.intrinsics.double()
    changed, turn = geometry.warp_intrinsics(intrinsics, matrix)
    points = torch.rand(2, 3, 7, generator=generator(seed), dtype=torch.float64) + torch.tensor([[0.0], [0], [1]])
    assert torch.allclose(changed @ turn @ points, matrix @ intrinsics @ points, atol=1e-9)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(turn @ turn.mT, eye.expand(2, 3, 3)) and torch.equal(turn[:, 2], eye[2].expand(2, 3))
    assert (changed.diagonal(dim1=-2, dim2=-1) > 0).all() and (changed[:, 1, 0] == 0).all()


def test_a_turn_about_the_principal_point_only_rolls_the_camera() -> None:
    before = scene((41, 61), skew=0.0)
    intrinsics = torch.tensor([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]).expand(2, 3, 3)
    before = Sample(
        before.images,
        before.targets,
        Camera(intrinsics, before.camera.world_from_camera, before.camera.known),
        before.present,
        "centred",
    )
    turned = torch.tensor([[0.0, 1, 10], [-1, 0, 50], [0, 0, 1]])  # a quarter anticlockwise about (30, 20)
    after = transforms.warp(before, TASKS, turned)
    assert torch.allclose(after.camera.intrinsics, intrinsics, atol=1e-4)
    assert torch.allclose(after.images[..., 10, 30], before.images[..., 20, 40], atol=1e-6), "right came up"
    roll = after.camera.world_from_camera.inverse() @ before.camera.world_from_camera
    assert torch.allclose(roll[0, :3, :3] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, -1, 0]), atol=1e-5)


# -- chances -----------------------------------------------------------------------------------------------------------
def test_every_second_sample_is_mirrored() -> None:
    before = scene((24, 32))
    chances = [steps.Setting(TASKS, (24, 32), Chance(generator(seed))) for seed in range(200)]
    assert 75 <= sum(is_mirrored(steps.Mirror()(before, to)) for to in chances) <= 125
    assert all(published.steps.count(steps.Mirror()) == 1 for published in transforms.RECIPES.values())


@pytest.mark.usefixtures("undistorted")
def test_zooms_are_drawn_as_published() -> None:
    before = scene((12, 16))
    before = replace(before, targets={"depth": before.targets["depth"]})
    found = {name: [zoomed(follow(name, before, (12, 16), seed)) for seed in range(40)] for name in NAMES}
    assert 0.499 < min(found["invpt"]) < 0.6 and 1.9 < max(found["invpt"]) < 2.001
    assert 1.15 < np.mean(found["invpt"]) < 1.35, "uniform, not logarithmically"
    for name in ("mtlpt_nyuv2", "mtan"):
        counts = Counter(round(zoom, 2) for zoom in found[name])
        assert set(counts) == {1.0, 1.2, 1.5} and min(counts.values()) > 6
    assert 0.749 < min(found["mtlpt_pascal"]) < 0.8 and 1.2 < max(found["mtlpt_pascal"]) < 1.251
    assert set(found["dense_mtl"]) == {1.0}


def test_turns_are_of_twenty_degrees_at_most() -> None:
    before = scene((24, 32), skew=0.0)
    square = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]).expand(2, 3, 3)
    before = Sample(
        before.images,
        before.targets,
        Camera(square, torch.eye(4).expand(2, 4, 4), before.camera.known),
        before.present,
        "upright",
    )
    angles = []
    for seed in range(80):
        pose = follow("mtlpt_pascal", before, (24, 32), seed).camera.world_from_camera[0]
        angles.append(math.degrees(math.atan2(float(pose[1, 0]), float(pose[0, 0]))))
    assert -20 <= min(angles) < -16 and 16 < max(angles) <= 20
    upright = follow("mtlpt_nyuv2", before, (24, 32), 0).camera.world_from_camera
    assert torch.allclose(upright, torch.eye(4).expand(2, 4, 4))


def halves(share: float) -> Sample:
    """One class left, another in the right ``share``."""
    sample = scene((40, 40))
    number = (torch.arange(40) >= 40 * (1 - share)).long().expand(2, 1, 40, 40)
    target = Target(number, torch.ones_like(number, dtype=torch.bool))
    return Sample(sample.images, {**sample.targets, "semseg": target}, sample.camera, sample.present, "halves")


def shares(sample: Sample, step: steps.Step, count: int) -> list[float]:
    found = []
    for seed in range(count):
        cut = step(sample, steps.Setting(TASKS, (10, 10), Chance(generator(seed))))
        assert cut.images.shape[-2:] == (10, 10)
        found.append(float(cut.targets["semseg"].value.float().mean()))
    return found


def test_crops_are_drawn_again_while_one_class_fills_them() -> None:
    """With the border in the middle, 5 of 31 places have less than three quarters of one class: 16 % of single draws,
    85 % of eleven."""
    once, again = (
        shares(halves(0.5), transforms.RECIPES["invpt"].steps[1], 150)
        if tries
        else shares(halves(0.5), steps.Crop(0.75, tries=0), 150)
        for tries in (0, 10)
    )
    varied = [sum(0.25 < share < 0.75 for share in found) / 150 for found in (once, again)]
    assert 0.08 < varied[0] < 0.25 and 0.75 < varied[1] < 0.95
    assert shares(halves(0.0), steps.Crop(0.75), 1) == [0.0], "and in the end taken as they are"


def test_crops_without_classes_are_anywhere() -> None:
    sample = halves(0.5)
    plain = Sample(sample.images, {"depth": sample.targets["depth"]}, sample.camera, sample.present, "depth alone")
    cut = steps.Crop(0.75)(plain, steps.Setting(TASKS, (10, 50), Chance(generator(0))))
    assert cut.images.shape[-2:] == (10, 40), "and no larger than the picture"


def test_padding_is_that_of_the_public_code() -> None:
    """425x560 in 448x576: eleven rows above and twelve below, eight columns at each side, of ImageNet's mean."""
    sample = scene((425, 560))
    padded = transforms.testing(config.Data(size=(448, 576), augment="invpt"))(sample, TASKS, generator(0))
    window = (..., slice(11, 436), slice(8, 568))
    assert torch.equal(padded.images[window], sample.images)
    assert padded.targets["depth"].valid.sum() == padded.targets["depth"].valid[window].sum()
    assert torch.allclose(padded.images[0, :, 0, 0], torch.tensor(transforms.BEYOND))


# -- colours -----------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(-18, 17), st.floats(0.5, 1.5))
def test_hue_and_saturation_are_those_of_hsv(rgb: tuple[int, int, int], turn: int, factor: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in rgb))
    expected = colorsys.hsv_to_rgb((hue + turn / 180) % 1, min(1, saturation * factor), value)
    found = light.colour(np.full((2, 2, 3), rgb, dtype=np.uint8), 2.0 * turn, factor)
    assert np.abs(found[0, 0] / 255 - expected).max() < 0.035  # hue in steps of two degrees, the rest of 1/255


def test_distortions_are_as_frequent_and_as_strong_as_published() -> None:
    def drawn(colour: tuple[float, float, float]) -> torch.Tensor:
        image = torch.tensor(colour)[:, None, None].expand(1, 3, 2, 2).contiguous()
        return torch.stack([light.distort(image, Chance(generator(seed)))[0, :, 0, 0] for seed in range(300)])

    black = drawn((0.0, 0.0, 0.0))[:, 0]
    assert black.min() == 0 and 0.13 < black.max() <= 32 / 255 * 1.5
    grey = drawn((0.4, 0.4, 0.4))
    assert torch.equal(grey.amin(1), grey.amax(1)), "grey has no hue"
    same = ((grey[:, 0] - 0.4).abs() < 1e-6).float().mean()
    assert 0.18 < same < 0.32, "neither brightness nor contrast: a quarter"
    assert 0.13 < grey.min() < 0.2 and 0.65 < grey.max() <= (0.4 + 32 / 255) * 1.5
    red = drawn((0.8, 0.2, 0.2))
    assert 0.4 < ((red[:, 1] - red[:, 2]).abs() < 0.01).float().mean() < 0.6, "every second hue is turned"


def test_all_views_are_distorted_alike() -> None:
    image = torch.rand(1, 3, 8, 8, generator=generator(0)).repeat(2, 1, 1, 1)
    for seed in range(5):
        one, other = light.distort(image, Chance(generator(seed)))
        assert torch.equal(one, other)


# -- in test -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mtlpt_nyuv2", "dense_mtl", "mtan"])
def test_stretched_in_test_labels_keep_their_own_size(name: str) -> None:
    """Predictions are brought to it, so that figures are taken at the picture's size."""
    before = scene((40, 60))
    seen = transforms.testing(config.Data(size=(48, 64), augment=name))(before, TASKS, generator(0))
    assert seen.images.shape[-2:] == (48, 64)
    assert all(torch.equal(seen.targets[key].value, target.value) for key, target in before.targets.items())
    corner = torch.tensor([63.5, 47.5, 1.0])
    ray = torch.linalg.solve(seen.camera.intrinsics[0], corner)
    assert torch.allclose(
        ray, torch.linalg.solve(before.camera.intrinsics[0], torch.tensor([59.5, 39.5, 1.0])), atol=1e-5
    )


def test_the_fit_can_be_chosen() -> None:
    assert transforms.testing(config.Data(augment="invpt", fit="cover")).fit == "cover"
    assert transforms.testing(config.Data()).fit == "cover"
    stretched = transforms.training(config.Data(size=(40, 40), fit="stretch", augment={"zoom": [1, 1], "strength": 0}))
    seen = stretched(scene((40, 60)), TASKS, generator(1))
    assert torch.isclose(
        seen.camera.intrinsics[0, 0, 0] / seen.camera.intrinsics[0, 1, 1], torch.tensor(0.9 / 1.1 / 1.5)
    )


def test_steps_draw_from_what_they_say() -> None:
    chance = Chance(generator(0))
    assert {OneOf((1.0, 2.0)).draw(chance) for _ in range(20)} == {1.0, 2.0}
    assert all(3 <= Uniform(3.0, 4.0).draw(chance) < 4 for _ in range(20))
