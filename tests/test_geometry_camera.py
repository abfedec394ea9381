import pytest
import torch

from polyscene.geometry import camera


def intrinsics() -> torch.Tensor:
    return torch.tensor([[50.0, 2.0, 10.0], [0.0, 45.0, 7.5], [0.0, 0.0, 1.0]])


def pose() -> torch.Tensor:
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.2], [0.3, 0.0, -0.1], [-0.2, 0.1, 0.0]]))
    matrix = torch.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, torch.tensor([0.5, -1.0, 2.0])
    return matrix


def test_projection_undoes_unprojection() -> None:
    depth = torch.rand(2, 1, 8, 9) + 0.5
    points = camera.unproject(depth, intrinsics().expand(2, 3, 3))
    pixels, back = camera.project(points, intrinsics().expand(2, 3, 3))
    torch.testing.assert_close(back, depth)
    torch.testing.assert_close(pixels, camera.pixel_grid(8, 9, depth)[:2].expand(2, 2, 8, 9), atol=1e-4, rtol=1e-5)


def test_the_axes_are_opencv_s() -> None:
    matrix = torch.tensor([[10.0, 0.0, 1.0], [0.0, 10.0, 1.0], [0.0, 0.0, 1.0]])
    points = camera.unproject(torch.full((1, 3, 3), 2.0), matrix)
    assert points[:, 1, 1].tolist() == [0, 0, 2]
    assert points[0, 1, 2] > 0 and points[1, 2, 1] > 0  # x to the right, y down


def test_rigid_motions_compose_and_invert() -> None:
    points = torch.randn(3, 4, 5)
    there = camera.transform(points, pose())
    torch.testing.assert_close(camera.transform(there, torch.linalg.inv(pose())), points, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(there[:, 1, 2], pose()[:3, :3] @ points[:, 1, 2] + pose()[:3, 3])


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_resized_intrinsics_take_centres_where_the_convention_says(scale: float) -> None:
    point = torch.tensor([0.3, -0.2, 2.0])[:, None, None]
    before, _ = camera.project(point, intrinsics())
    after, _ = camera.project(point, camera.resize_intrinsics(intrinsics(), scale, scale))
    torch.testing.assert_close(after, scale * (before + 0.5) - 0.5, atol=1e-4, rtol=1e-5)


def test_cropped_intrinsics_shift_pixels() -> None:
    point = torch.tensor([0.3, -0.2, 2.0])[:, None, None]
    before, _ = camera.project(point, intrinsics())
    after, _ = camera.project(point, camera.crop_intrinsics(intrinsics(), left=3, top=2))
    torch.testing.assert_close(after, before - torch.tensor([3.0, 2.0])[:, None, None])


def test_the_mirrored_camera_sees_the_mirrored_world() -> None:
    width = 21
    point = torch.tensor([0.3, -0.2, 2.0])[:, None, None]
    mirror = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    before, _ = camera.project(point, intrinsics())
    after, _ = camera.project(point * mirror, camera.hflip_intrinsics(intrinsics(), width))
    torch.testing.assert_close(after[0], width - 1 - before[0])
    torch.testing.assert_close(after[1], before[1])
    flipped = camera.hflip_pose(pose())
    assert torch.linalg.det(flipped[:3, :3]).item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(camera.transform(point * mirror, flipped), camera.transform(point, pose()) * mirror)
    torch.testing.assert_close(camera.hflip_pose(flipped), pose())


def test_an_assumed_camera_looks_through_the_middle() -> None:
    matrix = camera.assumed_intrinsics(100, 200)
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(190) and matrix[:2, 2].tolist() == [99.5, 49.5]
