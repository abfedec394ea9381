"""Triplane sampling against a loop over points in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyscene.geometry import triplane

BOTH = pytest.mark.parametrize("implementation", ["torch", "numba"])


def naive(planes: Tensor, points: Tensor) -> Tensor:
    """One point, one plane, one texel at a time."""
    batch, _, _, height, width = planes.shape
    rows = []
    for b in range(batch):
        for x, y, z in points[b % len(points)].tolist():
            total = torch.zeros_like(planes[0, 0, :, 0, 0])
            for plane, (across, down) in enumerate([(x, y), (x, z), (y, z)]):
                u = min(max((across + 1) * width / 2 - 0.5, 0), width - 1)
                v = min(max((down + 1) * height / 2 - 0.5, 0), height - 1)
                for i in {math.floor(u), math.ceil(u)}:
                    for j in {math.floor(v), math.ceil(v)}:
                        total = total + (1 - abs(u - i)) * (1 - abs(v - j)) * planes[b, plane, :, j, i] / 3
            rows.append(total)
    return torch.stack(rows).unflatten(0, (batch, -1))


def random_planes(batch: int = 2, channels: int = 5, size: tuple[int, int] = (4, 7)) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, 3, channels, *size, dtype=torch.float64, requires_grad=True)


@BOTH
@pytest.mark.parametrize(("size", "batch", "shared"), [((4, 7), 2, True), ((6, 3), 2, False), ((1, 1), 1, False)])
def test_sample_is_the_naive_mean(implementation: str, size: tuple[int, int], batch: int, shared: bool) -> None:
    planes = random_planes(batch, size=size)
    points = 2.6 * torch.rand(1 if shared else batch, 23, 3, dtype=torch.float64) - 1.3
    expected, got = naive(planes, points), triplane.sample(planes, points, implementation=implementation)
    owed = torch.randn(expected.shape, dtype=torch.float64)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out, planes, owed)[0] for out in (got, expected)))


@BOTH
def test_float32_is_within_rounding_of_float64(implementation: str) -> None:
    planes, points = random_planes(channels=37, size=(12, 9)), 2 * torch.rand(1, 60, 3) - 1
    single = planes.detach().float().requires_grad_()
    expected = naive(planes, points)
    got = triplane.sample(single, points, implementation=implementation)
    owed = torch.randn(got.shape)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=1e-5)
    wanted = torch.autograd.grad(expected, planes, owed.double())[0]
    torch.testing.assert_close(torch.autograd.grad(got, single, owed)[0].double(), wanted, atol=2e-5, rtol=1e-5)


@BOTH
def test_gradients_of_planes_and_points(implementation: str) -> None:
    planes, points = random_planes(), 1.6 * torch.rand(1, 6, 3, dtype=torch.float64) - 0.8
    points.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: triplane.sample(a, b, implementation=implementation), (planes, points), eps=1e-7, atol=1e-6
    )


@BOTH
def test_points_beyond_the_border_are_not_pulled(implementation: str) -> None:
    points = torch.tensor([[[1.5, -1.2, 3.0]]], dtype=torch.float64, requires_grad=True)
    triplane.sample(random_planes(), points, implementation=implementation).sum().backward()
    assert points.grad is not None and not points.grad.any()


@BOTH
def test_each_plane_sees_its_own_two_axes(implementation: str) -> None:
    planes = random_planes(batch=1).detach()
    start = torch.tensor([[[0.1, 0.2, 0.3]]], dtype=torch.float64)
    for plane, axes in enumerate([(0, 1), (0, 2), (1, 2)]):
        alone = torch.zeros_like(planes)
        alone[:, plane] = planes[:, plane]
        before = triplane.sample(alone, start, implementation=implementation)
        for axis in range(3):
            moved = start.clone()
            moved[..., axis] -= 0.7
            after = triplane.sample(alone, moved, implementation=implementation)
            assert torch.equal(before, after) == (axis not in axes)


@BOTH
def test_first_axis_of_a_plane_runs_along_its_width(implementation: str) -> None:
    ramp = torch.arange(8.0).expand(1, 1, 5, 8)
    for plane, axis in enumerate([0, 0, 1]):
        planes = torch.zeros(1, 3, 1, 5, 8)
        planes[:, plane] = ramp
        points = torch.zeros(1, 8, 3)
        points[0, :, axis] = (torch.arange(8) + 0.5) / 4 - 1
        found = triplane.sample(planes, points, implementation=implementation)
        torch.testing.assert_close(3 * found[0, :, 0], torch.arange(8.0))


@BOTH
def test_beyond_the_border_its_value_is_kept(implementation: str) -> None:
    planes = random_planes()
    far = torch.tensor([[[9.0, -7.0, 5.0]]], dtype=torch.float64)
    edge = far.clamp(-1, 1)
    got = (triplane.sample(planes, points, implementation=implementation) for points in (far, edge))
    torch.testing.assert_close(*got)


def test_no_number_is_no_address() -> None:
    points = torch.tensor([[[math.nan, math.inf, -math.inf]]])
    found = triplane.sample(random_planes().float(), points, implementation="numba")
    assert torch.isfinite(found).all()


@BOTH
def test_texel_centres_give_the_texels(implementation: str) -> None:
    planes = random_planes(batch=1, size=(6, 6)).float()
    centres = (torch.arange(6) + 0.5) / 3 - 1
    xy, xz, yz = planes[0].detach()
    found = triplane.sample_grid(planes, centres, centres, centres, implementation=implementation)[0]
    expected = xy[:, :, :, None] + xz.transpose(1, 2)[:, None] + yz.transpose(1, 2)[:, :, None]
    torch.testing.assert_close(found, expected.permute(1, 2, 3, 0) / 3)


@BOTH
def test_grid_is_its_points(implementation: str) -> None:
    planes = random_planes()
    x, y, z = (
        torch.linspace(-1.2, 1.1, n, dtype=torch.float64).requires_grad_(implementation == "torch") for n in (5, 4, 3)
    )
    down, across, deep = torch.meshgrid(y, x, z, indexing="ij")
    points = torch.stack([across, down, deep], -1).reshape(1, -1, 3)
    grid = triplane.sample_grid(planes, x, y, z, implementation=implementation)
    single = triplane.sample(planes, points, implementation="torch").view_as(grid)
    owed = torch.randn(grid.shape, dtype=torch.float64)
    torch.testing.assert_close(grid, single)
    torch.testing.assert_close(
        *(torch.autograd.grad(out, planes, owed, retain_graph=True)[0] for out in (grid, single))
    )
    assert torch.autograd.gradcheck(
        lambda p: triplane.sample_grid(p, x, y, z, implementation=implementation), planes, fast_mode=True
    )


@BOTH
def test_prepared_points_give_the_same(implementation: str) -> None:
    planes, points = random_planes(), 2 * torch.rand(2, 9, 3, dtype=torch.float64) - 1
    taps = triplane.prepare(points, (4, 7))
    got = (triplane.sample(planes, p, implementation=implementation) for p in (taps, points))
    torch.testing.assert_close(*got)


def test_threads_change_nothing() -> None:
    planes, points = random_planes().float(), 2 * torch.rand(1, 50, 3) - 1
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            out = triplane.sample(planes, points, implementation="numba")
            found.append((out, *torch.autograd.grad(out.square().sum(), planes)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@BOTH
def test_autocast_leaves_float32(implementation: str) -> None:
    planes, points = random_planes().detach().float(), 2 * torch.rand(1, 9, 3) - 1
    expected = triplane.sample(planes, points, implementation="torch")
    grid = [torch.linspace(-1, 1, n) for n in (3, 4, 5)]
    wanted = triplane.sample_grid(planes, *grid, implementation="torch")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(triplane.sample(planes, points, implementation=implementation), expected)
        torch.testing.assert_close(triplane.sample_grid(planes, *grid, implementation=implementation), wanted)
    assert triplane.sample(planes.bfloat16(), points, implementation=implementation).dtype == torch.float32


def test_export() -> None:
    class Both(torch.nn.Module):
        def forward(self, planes: Tensor, points: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            return triplane.sample(planes, points), triplane.sample_grid(planes, x, x, x)

    given = random_planes().detach().float(), 2 * torch.rand(1, 9, 3) - 1, torch.linspace(-1, 1, 3)
    exported = torch.export.export(Both(), given, strict=False).module()
    for got, expected in zip(exported(*given), Both()(*given), strict=True):
        torch.testing.assert_close(got, expected)


def test_refusals() -> None:
    planes, points = random_planes(), torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="prepared for planes of"):
        triplane.sample(planes, triplane.prepare(points, (7, 4)))
    with pytest.raises(ValueError, match="3 sets of points for 2"):
        triplane.sample(planes, points.expand(3, 2, 3))
