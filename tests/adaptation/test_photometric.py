"""Against cases worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polyscene.adaptation import photometric

FOCAL, SIZE = 20.0, (10, 14)


def camera(x: float = 6.5, y: float = 4.5) -> Tensor:
    return torch.tensor([[[FOCAL, 0.0, x], [0.0, FOCAL, y], [0.0, 0.0, 1.0]]])


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Tensor:
    pose = torch.eye(4)[None].clone()
    pose[0, :3, 3] = torch.tensor([x, y, z])
    return pose


def noise(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_a_plane_shifts_by_focal_length_times_way_over_distance() -> None:
    """The other camera stands 0.3 m to the right; at 2 m that is 20 · 0.3 / 2 = 3 pixels to the left in its picture."""
    other, depth = noise(), torch.full((1, 1, *SIZE), 2.0)
    warped, inside = photometric.warp(other, depth, camera(), camera(), moved(x=-0.3))
    assert torch.allclose(warped[..., 3:], other[..., :-3], atol=1e-4)
    assert inside[..., 3:].all() and not inside[..., :3].any()


def test_half_a_pixel_is_the_mean_of_two() -> None:
    other, depth = noise(), torch.full((1, 1, *SIZE), 2.0)
    warped, _ = photometric.warp(other, depth, camera(), camera(), moved(x=0.05))
    assert torch.allclose(warped[..., :-1], (other[..., :-1] + other[..., 1:]) / 2, atol=1e-4)


def test_going_forward_enlarges_about_the_principal_point() -> None:
    """From 3 m to 2 m: what is 2 pixels beside the principal point comes to be 3 beside it."""
    other, depth = noise(), torch.full((1, 1, *SIZE), 3.0)
    warped, _ = photometric.warp(other, depth, camera(6, 4), camera(6, 4), moved(z=-1))
    assert torch.allclose(warped[..., 4, 8], other[..., 4, 9], atol=1e-4)
    assert torch.allclose(warped[..., 6, 6], other[..., 7, 6], atol=1e-4)
    assert torch.allclose(warped[..., 4, 6], other[..., 4, 6], atol=1e-4)


def test_what_lies_behind_the_other_camera_is_not_seen() -> None:
    _, inside = photometric.warp(noise(), torch.full((1, 1, *SIZE), 1.0), camera(), camera(), moved(z=-2))
    assert not inside.any()


def test_distance_before_the_other_camera() -> None:
    """2 m, seen from half a metre nearer; from the same place turned by a quarter, as far as it lay to the left."""
    depth = torch.full((1, 1, *SIZE), 2.0)
    assert torch.allclose(photometric.distance(depth, camera(), moved(z=-0.5)), torch.tensor(1.5))
    turn = torch.eye(4)[None].clone()
    turn[0, :3, :3] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    found = photometric.distance(depth, camera(), turn)
    assert float(found[0, 0, 3, 1]) == pytest.approx(-2 * (1 - 6.5) / FOCAL)


def test_other_intrinsics_are_the_others() -> None:
    other, depth = noise(), torch.full((1, 1, *SIZE), 2.0)
    warped, _ = photometric.warp(other, depth, camera(6.5), camera(8.5), moved())
    assert torch.allclose(warped[..., :-2], other[..., 2:], atol=1e-4)


def test_depth_gets_the_gradient_of_the_shift() -> None:
    """On a ramp of slope 0.05 a pixel: d(value)/d(depth) = 0.05 · f · t / z²."""
    ramp = (0.05 * torch.arange(SIZE[1])).expand(1, 3, *SIZE).contiguous()
    depth = torch.full((1, 1, *SIZE), 2.0, requires_grad=True)
    warped, _ = photometric.warp(ramp, depth, camera(), camera(), moved(x=-0.1))
    warped[0, 0, 5, 7].backward()
    assert depth.grad is not None
    assert float(depth.grad[0, 0, 5, 7]) == pytest.approx(0.05 * FOCAL * 0.1 / 2**2, rel=1e-3)
    assert depth.grad.count_nonzero() == 1


def by_hand(one: np.ndarray, other: np.ndarray, row: int, column: int) -> float:
    """(1 - SSIM) / 2 of the 3x3 windows about a pixel, mirrored at the border without repeating it."""
    windows = [np.pad(each, 1, mode="reflect")[row : row + 3, column : column + 3] for each in (one, other)]
    (a, b), (va, vb) = (window.mean() for window in windows), (window.var() for window in windows)
    covariance = ((windows[0] - a) * (windows[1] - b)).mean()
    ssim = (2 * a * b + 1e-4) * (2 * covariance + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4))
    return float(np.clip((1 - ssim) / 2, 0, 1))


@pytest.mark.parametrize(("row", "column"), [(4, 6), (0, 0), (9, 5), (3, 13)])
def test_structure(row: int, column: int) -> None:
    one, other = noise(1), noise(2)
    found = photometric.structure(one, other)[0, :, row, column]
    wanted = [by_hand(one[0, k].numpy(), other[0, k].numpy(), row, column) for k in range(3)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


def test_structure_of_flat_pictures_is_of_their_means_alone() -> None:
    one, other = torch.full((1, 3, *SIZE), 0.2), torch.full((1, 3, *SIZE), 0.6)
    ssim = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    wanted = 0.85 * (1 - ssim) / 2 + 0.15 * 0.4
    assert photometric.dissimilarity(one, other).mean().item() == pytest.approx(wanted, abs=1e-4)
    assert photometric.dissimilarity(one, one).max() < 1e-5


def test_of_several_views_the_least_counts() -> None:
    """A pixel hidden in the one view is judged by the other; one that none shows is not."""
    errors = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.7, 0.6]]).view(1, 2, 1, 1, 3)
    seen = torch.tensor([[True, True, False], [True, False, False]]).view(1, 2, 1, 1, 3)
    assert float(photometric.least(errors, seen)) == pytest.approx((0.1 + 0.2) / 2)


def test_nothing_seen_is_zero_with_gradient() -> None:
    errors = torch.rand(1, 2, 1, 3, 3, requires_grad=True)
    loss = photometric.least(errors, torch.zeros(1, 2, 1, 3, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and errors.grad is not None and not errors.grad.any()


def test_what_did_not_move_asks_nothing_of_depth() -> None:
    errors = torch.tensor([0.3, 0.3]).view(1, 1, 1, 1, 2).requires_grad_()
    unmoved = torch.tensor([0.1, 0.8]).view(1, 1, 1, 1, 2)
    loss = photometric.least(errors, torch.ones(1, 1, 1, 1, 2, dtype=torch.bool), unmoved)
    loss.backward()
    assert loss.item() == pytest.approx((0.1 + 0.3) / 2)
    assert errors.grad is not None and errors.grad.flatten().tolist() == [0, 0.5]


def test_smoothness() -> None:
    """Inverse depths 1 and 3 are 0.5 and 1.5 times their mean; the picture's step of 0.2 forgives exp(-0.2)."""
    depth = (1 / torch.tensor([1.0, 3.0])).expand(1, 1, 2, 2)
    picture = torch.tensor([0.1, 0.3]).expand(1, 3, 2, 2)
    assert float(photometric.smoothness(depth, picture)) == pytest.approx(math.exp(-0.2), rel=1e-5)
    assert float(photometric.smoothness(7 * depth, picture)) == pytest.approx(math.exp(-0.2), rel=1e-5)
    assert float(photometric.smoothness(depth, picture, 10.0)) == pytest.approx(math.exp(-2), rel=1e-5)
    assert photometric.smoothness(torch.full((1, 1, 4, 4), 3.0), noise(size=(4, 4))) == 0


def test_exposure_is_found_where_both_see() -> None:
    other = noise(3)
    one = 0.7 * other + torch.tensor([0.1, 0.0, 0.2])[:, None, None]
    one[..., :4] = 0
    seen = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    seen[..., 4:] = True
    gain, offset = photometric.exposure(one, other, seen)
    assert torch.allclose(gain, torch.full((1, 3, 1, 1), 0.7), atol=1e-3)
    assert torch.allclose(offset.flatten(), torch.tensor([0.1, 0.0, 0.2]), atol=1e-3)


def test_a_window_must_lie_in_the_mask() -> None:
    mask = torch.ones(1, 1, 5, 6, dtype=torch.bool)
    mask[0, 0, 2, 4] = False
    whole = photometric.eroded(mask)
    assert not whole[..., 1:4, 3:].any() and whole[..., :3].all() and whole[..., 0, :].all()
