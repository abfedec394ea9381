"""What DenseMTL's public code gets wrong in depth and geometry is right here. (Its lists that share validation images:
tests/data/test_synthia.py, test_virtual_kitti2.py; the order of its tasks: tests/decoders/test_dense_mtl.py.)"""

from __future__ import annotations

import math

import pytest
import torch

from polyscene import transforms
from polyscene.geometry import camera, normals
from polyscene.metrics.depth import DepthError
from polyscene.metrics.protocols import find
from polyscene.tasks import Depth, Normals
from polyscene.types import Camera, Sample, Target

FX, FY, U0, V0 = 725.0, 700.0, 620.5, 187.0  # about Virtual KITTI's
SIZE = (375, 1242)


def test_depth_is_decoded_exactly() -> None:
    """u = 65536 / (centimetres + 1); its 655.36 / u - 1 is 0.99 m short."""
    metres = torch.tensor([0.8, 5.0, 40.0, 80.0]).view(1, 1, 2, 2)
    u = 65536 / (100 * metres + 1)
    found = Depth(encoding="inverse_linear", near=0.5, far=80.0).activate(u)
    assert torch.allclose(found, metres, rtol=1e-5)
    assert torch.allclose(655.36 / u - 1, metres - 0.99, atol=1e-4)


def test_depth_is_counted_as_it_is() -> None:
    """A tenth too far is an AbsRel of a tenth at any distance; only what is to be compared with its figures is counted
    with its shift, in which all lies 0.99 m nearer."""
    truth = torch.tensor([[0.5, 2.0], [20.0, 60.0]])[None, None]
    valid = torch.ones_like(truth, dtype=torch.bool)
    ours, its = DepthError(), DepthError(find("dense_mtl").depth)
    for metric in (ours, its):
        metric.update(truth * 1.1, Target(truth, valid))
    assert ours.compute()["AbsRel"] == pytest.approx(0.1, rel=1e-4)
    shifted = truth[truth > 1] - 0.99
    assert its.compute()["AbsRel"] == pytest.approx(float((0.1 * truth[truth > 1] / shifted).mean()), rel=1e-4)


def test_the_ground_faces_up() -> None:
    """Normals come of metric depth: the ground of an ideal camera 1.5 m above it is (0, -1, 0), not oblique."""
    height, width = 60, 80
    intrinsics = torch.tensor([[70.0, 0.0, 39.5], [0.0, 70.0, -5.0], [0.0, 0.0, 1.0]])  # all of it below the horizon
    rows = torch.arange(height, dtype=torch.float64).view(1, -1, 1).expand(1, height, width)
    depth = (1.5 * 70 / (rows + 5)).float()
    found, known = normals.from_depth(depth, torch.ones_like(depth, dtype=torch.bool), intrinsics)
    up = torch.tensor([0.0, -1.0, 0.0])[:, None, None].expand_as(found)
    assert known.float().mean() > 0.5 and torch.allclose(found[:, known[0]], up[:, known[0]], atol=1e-3)


@pytest.mark.parametrize("length", [0.5, 0.9, 1.0, 3.0])
def test_the_angle_knows_no_length(length: float) -> None:
    """7.2 degrees stay 7.2, whatever the length of the raw prediction; its metric says 37.6 at length 0.5."""
    angle = math.radians(7.2)
    task = Normals()
    raw = length * torch.tensor([0.0, math.sin(angle), -math.cos(angle)])[:, None, None].expand(3, 4, 5)[None]
    truth = torch.tensor([0.0, 0.0, -1.0])[:, None, None].expand(3, 4, 5)[None]
    metric = task.metric("dense_mtl")
    metric.update(task.activate(raw), Target(truth, torch.ones(1, 1, 4, 5, dtype=torch.bool)))
    assert metric.compute()["mean"] == pytest.approx(7.2, abs=1e-3)


def sample() -> Sample:
    intrinsics = torch.tensor([[FX, 0.0, U0], [0.0, FY, V0], [0.0, 0.0, 1.0]])[None]
    known = torch.ones(1, dtype=torch.bool)
    return Sample(torch.rand(1, 3, *SIZE), {}, Camera(intrinsics, torch.eye(4)[None], known), known, "street")


def test_intrinsics_follow_the_resize() -> None:
    """To 320x1024, as DenseMTL brings Virtual KITTI: each axis by its own share."""
    across, down = 1024 / SIZE[1], 320 / SIZE[0]
    (fx, skew, cx), (_, fy, cy), _ = transforms.resize(sample(), {}, (320, 1024)).camera.intrinsics[0].tolist()
    assert (fx, fy, skew) == pytest.approx((FX * across, FY * down, 0))
    assert (cx, cy) == pytest.approx(((U0 + 0.5) * across - 0.5, (V0 + 0.5) * down - 0.5))


def test_mirroring_moves_the_principal_point_sideways_alone() -> None:
    (fx, _, cx), (_, fy, cy), _ = transforms.hflip(sample(), {}).camera.intrinsics[0].tolist()
    assert (fx, fy, cx, cy) == pytest.approx((FX, FY, SIZE[1] - 1 - U0, V0))


def test_a_cut_moves_it_by_what_was_cut() -> None:
    found = transforms.crop(sample(), {}, (40, 300, 256, 512)).camera.intrinsics[0]
    assert torch.allclose(found[:2, 2], torch.tensor([U0 - 300, V0 - 40]))


def test_a_point_is_seen_where_the_camera_says() -> None:
    """Through resize, cut and mirror at once: the ray of a pixel still meets the point that it met."""
    changed = transforms.hflip(
        transforms.crop(transforms.resize(sample(), {}, (320, 1024)), {}, (10, 100, 256, 512)), {}
    )
    point = torch.tensor([2.0, -1.0, 12.0])
    before, _ = camera.project(point[:, None, None], sample().camera.intrinsics[0])
    mirrored, _ = camera.project((point * torch.tensor([-1.0, 1, 1]))[:, None, None], changed.camera.intrinsics[0])
    x = (before[0] + 0.5) * 1024 / SIZE[1] - 0.5 - 100
    y = (before[1] + 0.5) * 320 / SIZE[0] - 0.5 - 10
    assert torch.allclose(mirrored, torch.stack([511 - x, y]), atol=1e-3)
