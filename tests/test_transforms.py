"""Geometry acts on image, labels and camera as one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from polyscene import transforms
from polyscene.config import Data
from polyscene.geometry import camera as geometry
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.types import Camera, Sample, Target

TASKS = {
    "semseg": SemanticSegmentation(classes=("a", "b", "c")),
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
}
sizes = st.tuples(st.integers(6, 24), st.integers(6, 24))


def scene(size: tuple[int, int], seed: int = 0, shrink: int = 1) -> Sample:
    """Two views of random labels; ``shrink``: normals are stored so many times smaller."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    known = torch.ones(2, dtype=torch.bool)

    def target(value: torch.Tensor) -> Target:
        return Target(value, torch.rand(2, 1, *value.shape[-2:], generator=generator) < 0.8)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(2, *shape, generator=generator)

    normals = torch.nn.functional.normalize(rand(3, height // shrink, width // shrink) - 0.5, dim=1)
    rotation = torch.linalg.qr(rand(3, 3) - 0.5)[0]
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[:, :3, :3] = rotation * torch.linalg.det(rotation)[:, None, None]
    poses[:, :3, 3] = rand(3)
    intrinsics = torch.tensor([[0.9 * width, 0.1, 0.47 * width], [0, 0.95 * width, 0.52 * height], [0, 0, 1]])
    return Sample(
        rand(3, *size),
        {
            "semseg": target((rand(1, *size) * 3).long()),
            "depth": target(1 + rand(1, *size)),
            "normals": target(normals),
            "edges": target((rand(1, *size) < 0.1).float()),
        },
        Camera(intrinsics.repeat(2, 1, 1), poses, known),
        known,
        "random",
    )


def world(sample: Sample) -> torch.Tensor:
    """(v, 3, h, w) where each pixel's surface lies, in world axes."""
    points = geometry.unproject(sample.targets["depth"].value, sample.camera.intrinsics)
    return geometry.transform(points, sample.camera.world_from_camera)


def assert_same(one: Sample, other: Sample) -> None:
    assert torch.equal(one.images, other.images)
    for name, target in one.targets.items():
        assert torch.equal(target.value, other.targets[name].value), name
        assert torch.equal(target.valid, other.targets[name].valid), name
    assert torch.allclose(one.camera.intrinsics, other.camera.intrinsics, atol=1e-4)
    assert torch.allclose(one.camera.world_from_camera, other.camera.world_from_camera)


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(0, 99))
def test_flip_twice_is_identity(size: tuple[int, int], seed: int) -> None:
    sample = scene(size, seed)
    assert_same(transforms.hflip(transforms.hflip(sample, TASKS), TASKS), sample)


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(0, 99))
def test_what_a_flipped_camera_sees_is_the_mirrored_world(size: tuple[int, int], seed: int) -> None:
    sample = scene(size, seed)
    flipped = transforms.hflip(sample, TASKS)
    mirror = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    assert torch.allclose(world(flipped), world(sample).flip(-1) * mirror, atol=1e-5)
    normals = flipped.targets["normals"].value
    assert torch.equal(normals, sample.targets["normals"].value.flip(-1) * mirror)
    assert torch.allclose(torch.linalg.det(flipped.camera.world_from_camera[:, :3, :3]), torch.ones(2), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(sizes, st.data())
def test_a_crop_sees_the_same_points(size: tuple[int, int], data: st.DataObject) -> None:
    sample = scene(size)
    top, left = data.draw(st.integers(0, size[0] - 2)), data.draw(st.integers(0, size[1] - 2))
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    cut = transforms.crop(sample, TASKS, (top, left, height, width))
    window = (..., slice(top, top + height), slice(left, left + width))
    assert torch.allclose(world(cut), world(sample)[window], atol=1e-5)
    assert torch.equal(cut.images, sample.images[window])


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(1, 4), st.integers(1, 4))
def test_a_resize_keeps_the_rays_of_the_corners(size: tuple[int, int], rows: int, columns: int) -> None:
    sample = scene(size)
    larger = transforms.resize(sample, TASKS, (size[0] * rows, size[1] * columns))
    for corner in (torch.tensor([-0.5, -0.5]), torch.tensor([size[1] - 0.5, size[0] - 0.5])):  # outer corners, pixels
        scaled = (corner + 0.5) * torch.tensor([columns, rows]) - 0.5
        before = torch.linalg.solve(sample.camera.intrinsics[0], torch.cat([corner, torch.ones(1)]))
        after = torch.linalg.solve(larger.camera.intrinsics[0], torch.cat([scaled, torch.ones(1)]))
        assert torch.allclose(before, after, atol=1e-5)
    back = transforms.resize(larger, TASKS, size)
    assert torch.allclose(back.camera.intrinsics, sample.camera.intrinsics, atol=1e-4)
    assert torch.equal(back.targets["semseg"].value, sample.targets["semseg"].value)
    assert torch.equal(back.targets["depth"].value, sample.targets["depth"].value)


def plane_seen_twice(height: int = 24, width: int = 32) -> Sample:
    """Two cameras before the world plane z = 3 m, with the exact depth of each."""
    intrinsics = torch.tensor([[30.0, 0, 14.0], [0, 31.0, 12.5], [0, 0, 1]]).repeat(2, 1, 1)
    poses = torch.eye(4).repeat(2, 1, 1)
    angle = 0.15
    poses[1, 0, 0] = poses[1, 2, 2] = math.cos(angle)
    poses[1, 0, 2], poses[1, 2, 0] = math.sin(angle), -math.sin(angle)
    poses[1, :3, 3] = torch.tensor([-0.3, 0.1, 0.2])
    rays = geometry.transform(
        geometry.unproject(torch.ones(2, 1, height, width), intrinsics),
        torch.cat([torch.cat([poses[:, :3, :3], torch.zeros(2, 3, 1)], 2), poses[:, 3:]], 1),
    )
    depth = (3 - poses[:, 2, 3, None, None, None]) / rays[:, 2:]
    known = torch.ones(2, dtype=torch.bool)
    target = Target(depth, torch.ones_like(depth, dtype=torch.bool))
    camera = Camera(intrinsics, poses, known)
    return Sample(torch.rand(2, 3, height, width), {"depth": target}, camera, known, "plane")


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", [(0, 0, 24, 32), (3, 5, 16, 20)])
def test_views_still_agree_after_flip_and_crop(mirrored: bool, window: tuple[int, int, int, int]) -> None:
    sample = transforms.crop(plane_seen_twice(), TASKS, window)
    if mirrored:
        sample = transforms.hflip(sample, TASKS)
    points = world(sample)[0]
    other = torch.linalg.inv(sample.camera.world_from_camera[1])
    pixels, depth = geometry.project(geometry.transform(points, other), sample.camera.intrinsics[1])
    assert torch.allclose(points[2], torch.tensor(3.0), atol=1e-4)
    height, width = sample.images.shape[-2:]
    grid = 2 * (pixels + 0.5) / torch.tensor([width, height])[:, None, None] - 1
    inverse = 1 / sample.targets["depth"].value[1:2]  # of a plane affine in the pixel, so interpolation is exact
    seen = torch.nn.functional.grid_sample(inverse, grid.movedim(0, -1)[None], align_corners=False)[0]
    inside = (pixels >= 0).all(0) & (pixels[0] <= width - 1) & (pixels[1] <= height - 1)
    assert inside.sum() > 100
    assert torch.allclose(1 / seen[0][inside], depth[0][inside], atol=1e-3)


def test_labels_are_cut_in_their_own_resolution() -> None:
    sample = scene((12, 24), shrink=2)
    own = transforms.Centre((6, 6))(sample, TASKS, torch.Generator())
    assert own.images.shape[-2:] == (6, 6)
    assert torch.equal(own.targets["depth"].value, sample.targets["depth"].value[..., 6:18])
    assert torch.equal(own.targets["normals"].value, sample.targets["normals"].value[..., 3:9])
    network = transforms.Centre((6, 6), "network")(sample, TASKS, torch.Generator())
    assert {tuple(target.value.shape[-2:]) for target in network.targets.values()} == {(6, 6)}
    assert torch.equal(network.targets["normals"].value, own.targets["normals"].value)
    assert torch.allclose(network.camera.intrinsics, own.camera.intrinsics)


def test_a_crop_through_a_labels_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="cuts through pixels of normals"):
        transforms.crop(scene((12, 24), shrink=2), TASKS, (1, 0, 6, 6))


def test_labels_in_no_whole_proportion_are_aligned_first() -> None:
    sample = scene((12, 24))
    odd = {**sample.targets, "depth": TASKS["depth"].resize(sample.targets["depth"], (7, 13))}
    cut = transforms.cover(Sample(sample.images, odd, sample.camera, sample.present, "odd"), TASKS, (6, 6))
    assert {tuple(target.value.shape[-2:]) for target in cut.targets.values()} == {(6, 6)}


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, st.integers(0, 999), st.sampled_from([1, 2]))
def test_augmented_samples_fit_and_depend_on_their_seed_alone(
    size: tuple[int, int], wanted: tuple[int, int], seed: int, shrink: int
) -> None:
    sample = scene((size[0] * 2, size[1] * 2), shrink=shrink)
    augment = transforms.Augment(wanted)
    one, again = (augment(sample, TASKS, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert_same(one, again)
    assert one.images.shape == (2, 3, *wanted) and one.images.min() >= 0 and one.images.max() <= 1
    assert {tuple(target.value.shape[-2:]) for target in one.targets.values()} == {wanted}
    assert one.targets["semseg"].value.dtype == torch.int64
    focal = one.camera.intrinsics[0, 0, 0] / sample.camera.intrinsics[0, 0, 0]
    assert focal > 0.9 * max(wanted[0] / (2 * size[0]), wanted[1] / (2 * size[1]))


def test_no_augmentation_is_the_centre_crop() -> None:
    sample = scene((12, 24))
    plain = transforms.Augment((6, 6), zoom=(1.0, 1.0), mirror=False, strength=0.0)
    assert_same(
        plain(sample, TASKS, torch.Generator()), transforms.Centre((6, 6), "network")(sample, TASKS, torch.Generator())
    )


def test_photometric_touches_neither_labels_nor_camera() -> None:
    sample = scene((12, 24))
    lit = transforms.Augment((12, 24), zoom=(1.0, 1.0), mirror=False)(sample, TASKS, torch.Generator().manual_seed(1))
    assert not torch.equal(lit.images, sample.images)
    assert torch.equal(lit.targets["depth"].value, sample.targets["depth"].value)
    assert torch.equal(lit.camera.intrinsics, sample.camera.intrinsics)


@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize(
    ("zoom", "fit", "inner"), [(0.5, "cover", (8, 16)), (1.0, "pad", (12, 24)), (0.5, "pad", (6, 12))]
)
def test_what_is_smaller_than_the_frame_is_padded(
    zoom: float, fit: transforms.Fit, inner: tuple[int, int], shrink: int
) -> None:
    """The picture stands in the middle; around it is grey without labels; points keep their place in the world."""
    sample = scene((12, 24), shrink=shrink)
    size = (16, 32)
    seen = transforms.cover(sample, TASKS, size, zoom, fit=fit)
    top, left = ((whole - part) // 2 for whole, part in zip(size, inner, strict=True))
    inside = torch.zeros(size, dtype=torch.bool)
    inside[top : top + inner[0], left : left + inner[1]] = True
    assert not any((target.valid & ~inside).any() for target in seen.targets.values())
    assert all((target.valid & inside).any() for target in seen.targets.values())
    small = transforms.resize(sample, TASKS, inner)
    window = (slice(None), slice(None), slice(top, top + inner[0]), slice(left, left + inner[1]))
    assert torch.equal(seen.targets["depth"].value[window], small.targets["depth"].value)
    far = seen.images[..., : top - 2, : left - 2]
    assert torch.allclose(far, torch.tensor(transforms.BEYOND)[:, None, None].expand_as(far))
    assert torch.allclose(world(seen)[window], world(small), atol=1e-4)


def test_zoomed_depth_is_nearer_where_the_camera_is_unknown() -> None:
    """There the focal length cannot be told; a known camera's grows instead, and depth stays."""
    sample = scene((12, 24))
    half = Camera(sample.camera.intrinsics, sample.camera.world_from_camera, torch.tensor([True, False]))
    sample = Sample(sample.images, sample.targets, half, sample.present, "half known")
    told, untold = (
        transforms.Augment((12, 24), (2.0, 2.0), False, 0.0, zoom_depth)(
            sample, TASKS, torch.Generator().manual_seed(3)
        )
        for zoom_depth in (True, False)
    )
    expected = untold.targets["depth"].value / torch.tensor([1.0, 2.0])[:, None, None, None]
    assert torch.equal(told.targets["depth"].value, expected)
    assert torch.equal(told.targets["semseg"].value, untold.targets["semseg"].value)
    assert torch.equal(told.camera.intrinsics, untold.camera.intrinsics)


def test_a_padded_evaluation_keeps_every_pixel() -> None:
    sample = scene((12, 24), shrink=2)
    seen = transforms.Centre((16, 32), fit="pad")(sample, TASKS, torch.Generator())
    assert torch.equal(seen.images[..., 2:14, 4:28], sample.images)
    for name, target in sample.targets.items():
        assert seen.targets[name].valid.sum() == target.valid.sum()
        assert tuple(seen.targets[name].value.shape[-2:]) == ((8, 16) if name == "normals" else (16, 32))


def test_training_windows_of_pictures_that_cover_the_size() -> None:
    """Pixels are as large as those of the whole, whatever the shape of the crop; where it is cut differs."""
    wide = {"size": (96, 128), "crop": (32, 64), "augment": {"zoom": (1.0, 1.0), "strength": 0.0, "mirror": False}}
    for size, crop in (((96, 128), (32, 64)), ((96, 128), (48, 64)), ((48, 96), (48, 48))):
        training = transforms.training(Data.model_validate({**wide, "size": size, "crop": crop}))
        sample = scene((96, 192) if crop == (48, 48) else (192, 256))
        seen = [training(sample, TASKS, torch.Generator().manual_seed(seed)) for seed in range(4)]
        assert tuple(seen[0].images.shape[-2:]) == crop
        focal = sample.camera.intrinsics[..., 0, 0] / 2
        assert all(torch.allclose(one.camera.intrinsics[..., 0, 0], focal) for one in seen)
        assert len({float(one.camera.intrinsics[0, 0, 2]) for one in seen}) == 4
    with pytest.raises(ValidationError, match="leave out `fit: stretch`"):
        Data.model_validate({**wide, "fit": "stretch"})
    with pytest.raises(ValidationError, match="crop: 200x64 is no part of the size 96x128"):
        Data.model_validate({**wide, "crop": (200, 64)})
    with pytest.raises(ValidationError, match="crop: a setting of the recipe polyscene"):
        Data.model_validate({**wide, "augment": "dense_mtl"})
