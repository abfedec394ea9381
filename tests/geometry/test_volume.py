"""Volume rendering against the textbook's loop; the renderer against sampling, MLPs and compositing in turn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from polyscene.geometry import triplane, volume

BOTH = pytest.mark.parametrize("implementation", ["torch", "numba"])
X, Y, Z = (torch.linspace(-0.9, 1.1, 5), torch.linspace(-1, 0.8, 4), torch.linspace(-1, 1, 6))

GRID = volume.Grid(X, Y, Z)


def naive(density: Tensor, values: Tensor, depths: Tensor, opaque: bool) -> tuple[Tensor, Tensor]:
    """One ray: density (s,), values (s, c), depths (s,)."""
    light, shown, depth = torch.ones((), dtype=density.dtype), torch.zeros_like(values[0]), torch.zeros_like(density[0])
    for i in range(len(density) - 1):
        sigma = (1 + ((density[i] + density[i + 1]) / 2 - 1).exp()).log()
        alpha = 1 - (-sigma * (depths[i + 1] - depths[i])).exp()
        if opaque and i == len(density) - 2:
            alpha = torch.ones_like(alpha)
        shown = shown + light * alpha * (values[i] + values[i + 1]) / 2
        depth = depth + light * alpha * (depths[i] + depths[i + 1]) / 2
        light = light * (1 - alpha)
    return shown, depth


def mlps(dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, dict[str, nn.Sequential]]:
    torch.manual_seed(1)
    density, first, second = (volume.point_mlp(7, n, 16).to(dtype) for n in (1, 3, 2))
    with torch.no_grad():
        density[2].weight *= 8
    return density, {"first": first, "second": second}


def random_planes(dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(2, 3, 7, 6, 9, dtype=dtype)).requires_grad_()


def grid_points(dtype: torch.dtype = torch.float32) -> Tensor:
    y, x, z = torch.meshgrid(Y, X, Z, indexing="ij")
    return torch.stack([x, y, z], -1).flatten(0, 1)[None].to(dtype)


def in_plain_order(
    planes: Tensor, points: Tensor, depths: Tensor, density: nn.Module, values: dict[str, nn.Sequential], opaque: bool
) -> volume.Rendered:
    found = triplane.sample(planes, points.flatten(1, 2), implementation="torch").unflatten(1, points.shape[1:3])
    raw = density(found).squeeze(-1)
    shown = {name: volume.composite(raw, mlp(found), depths, opaque_tail=opaque)[0] for name, mlp in values.items()}
    if not opaque:  # a plain MLP's bias counts where light is stopped, the renderer's for the whole ray
        missing = 1 - volume.weights(raw, depths, opaque_tail=False).sum(-1, keepdim=True)
        shown = {name: value + missing * values[name][2].bias for name, value in shown.items()}
    return volume.Rendered(shown, (volume.weights(raw, depths, opaque_tail=opaque) * depths).sum(-1), None)


def flat(rendered: volume.Rendered) -> list[Tensor]:
    return [*rendered.values.values(), rendered.depth]


@pytest.mark.parametrize("opaque", [True, False])
def test_composite_is_the_textbook_loop(opaque: bool) -> None:
    torch.manual_seed(0)
    density = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    depths = torch.rand(2, 3, 5, dtype=torch.float64).cumsum(-1)
    shown, depth, weights = volume.composite(density, values, depths, opaque_tail=opaque)
    for b in range(2):
        for n in range(3):
            expected = naive(density[b, n], values[b, n], depths[b, n], opaque)
            torch.testing.assert_close((shown[b, n], depth[b, n]), expected)
    total = weights.sum(-1)
    assert torch.allclose(total, torch.ones_like(total)) if opaque else bool((total < 1).all())
    assert torch.autograd.gradcheck(
        lambda d, v: volume.composite(d, v, depths, opaque_tail=opaque)[:2], (density, values), fast_mode=True
    )


def test_weights_sum_to_one_whatever_the_density() -> None:
    torch.manual_seed(0)
    for scale in (0.0, 1.0, 100.0, 1e4):
        weights = volume.weights(scale * torch.randn(50, 64), torch.linspace(0, 10, 64))
        torch.testing.assert_close(weights.sum(-1), torch.ones(50), atol=2e-6, rtol=0)
        assert (weights >= 0).all()


def test_a_constant_field_renders_to_the_constant() -> None:
    torch.manual_seed(0)
    shown, depth, _ = volume.composite(torch.randn(1, 5, 64), torch.full((1, 5, 64, 2), 3.0), torch.linspace(-1, 1, 64))
    torch.testing.assert_close(shown, torch.full((1, 5, 2), 3.0))
    assert (depth.abs() < 1).all()


def test_without_the_opaque_tail_light_is_lost() -> None:
    sigma = math.log1p(math.exp(-1))
    shown, _, _ = volume.composite(
        torch.zeros(1, 1, 64), torch.full((1, 1, 64, 1), 3.0), torch.linspace(-1, 1, 64), opaque_tail=False
    )
    assert shown.item() == pytest.approx(3 * (1 - math.exp(-2 * sigma)), rel=1e-5)


@pytest.mark.parametrize("place", [3, 17, 40, 60])
def test_a_spike_is_where_the_ray_ends(place: int) -> None:
    depths = torch.linspace(0.5, 8, 64)
    density = torch.full((1, 1, 64), -1e3)
    density[..., place] = 1e5
    _, depth, _ = volume.composite(density, torch.zeros(1, 1, 64, 1), depths)
    assert depth.item() == pytest.approx(depths[place].item(), abs=(depths[1] - depths[0]).item())


def test_composite_is_float32_under_autocast() -> None:
    torch.manual_seed(0)
    density, values, depths = torch.randn(1, 5, 64), torch.randn(1, 5, 64, 3), torch.linspace(0, 1, 64)
    expected = volume.composite(density, values, depths)
    with torch.autocast("cpu", torch.bfloat16):
        for got, wanted in zip(volume.composite(density, values, depths), expected, strict=True):
            assert torch.equal(got, wanted)
        low = volume.composite(density.bfloat16(), values.bfloat16(), depths.bfloat16())
    assert all(part.dtype == torch.float32 for part in low)


@BOTH
@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("form", ["grid", "points"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_renderer_is_the_plain_order(implementation: str, opaque: bool, form: str, dtype: torch.dtype) -> None:
    planes, points, z = random_planes(dtype), grid_points(dtype), Z.to(dtype)
    density, values = mlps(dtype)
    depths = 2 + z.exp()
    keep = {"opaque_tail": opaque, "implementation": implementation, "chunk": 7}
    grid = volume.Grid(X.to(dtype), Y.to(dtype), z, depths)
    rays = grid if form == "grid" else volume.Points(points, depths)
    got = flat(volume.render(planes, rays, density, values, **keep))
    expected = flat(in_plain_order(planes, points, depths, density, values, opaque))
    parameters = [planes, *density.parameters(), *(p for mlp in values.values() for p in mlp.parameters())]
    torch.manual_seed(2)
    owed = [torch.randn(part.shape, dtype=dtype) for part in expected]
    close = {"atol": 2e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-10, "rtol": 1e-8}
    torch.testing.assert_close(got, expected, **close)
    gradients = (torch.autograd.grad(parts, parameters, owed) for parts in (got, expected))
    torch.testing.assert_close(*gradients, **close)


@pytest.mark.parametrize("form", ["grid", "points"])
def test_gradients_of_the_compiled_renderer(form: str) -> None:
    torch.manual_seed(0)
    density, values = mlps(torch.float64)
    planes = torch.randn(1, 3, 7, 3, 4, dtype=torch.float64, requires_grad=True)
    x, z = torch.tensor([-0.3, 0.4], dtype=torch.float64), torch.linspace(-1, 1, 4, dtype=torch.float64)
    points = 2 * torch.rand(1, 2, 4, 3, dtype=torch.float64) - 1

    def run(planes: Tensor) -> tuple[Tensor, ...]:
        rays = volume.Grid(x, x, z) if form == "grid" else volume.Points(points, z)
        return tuple(flat(volume.render(planes, rays, density, values, implementation="numba")))

    assert torch.autograd.gradcheck(run, planes, fast_mode=True)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_outside_is_empty_and_not_seen(implementation: str, dtype: torch.dtype) -> None:
    planes, points, depths = random_planes(dtype), grid_points(dtype), 2 + Z.to(dtype).exp()
    density, values = mlps(dtype)
    torch.manual_seed(3)
    inside = torch.rand(1, 20, 6) < 0.6
    inside[:, 3], inside[:, 4] = False, True
    got = volume.render(
        planes, volume.Points(points, depths, inside), density, values, chunk=7, implementation=implementation
    )
    found = triplane.sample(planes, points.flatten(1, 2), implementation="torch").unflatten(1, points.shape[1:3])
    raw = density(found).squeeze(-1).masked_fill(~inside, -1e4)
    share = volume.weights(raw, depths) * inside
    seen = share.sum(-1)
    mean = share / seen.clamp_min(1e-6)[..., None]
    some = seen > 1e-3
    kept = [(mean[..., None] * mlp(found)).sum(2)[some] for mlp in values.values()]
    expected = [*kept, (mean * depths).sum(-1)[some], seen]
    assert got.seen is not None and (got.seen[:, 3] == 0).all()
    torch.testing.assert_close(got.seen[:, 4], torch.ones(2, dtype=dtype))
    shown = [*(part[some] for part in flat(got)), got.seen]
    close = {"atol": 2e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-10, "rtol": 1e-8}
    torch.testing.assert_close(shown, expected, **close)
    parameters = [planes, *density.parameters(), *(p for mlp in values.values() for p in mlp.parameters())]
    owed = [torch.randn(part.shape, dtype=dtype) for part in expected]
    gradients = (torch.autograd.grad(parts, parameters, owed) for parts in (shown, expected))
    torch.testing.assert_close(*gradients, **close)


@BOTH
def test_chunks_change_nothing(implementation: str) -> None:
    density, values = mlps()
    for chunk in (1, 6, 10**6):
        whole = flat(volume.render(random_planes(), GRID, density, values, implementation="torch"))
        free = volume.Points(grid_points(), Z)
        parts = flat(volume.render(random_planes(), free, density, values, chunk=chunk, implementation=implementation))
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_threads_change_nothing_but_rounding() -> None:
    density, values = mlps()
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            planes = random_planes()
            for rays in (GRID, volume.Points(grid_points(), Z)):
                rendered = volume.render(planes, rays, density, values, implementation="numba")
                loss = sum(part.square().sum() for part in flat(rendered))
                found.append(torch.autograd.grad(loss, [planes, *density.parameters()]))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-4, rtol=1e-4)


@BOTH
def test_the_renderer_is_float32_under_autocast(implementation: str) -> None:
    density, values = mlps()
    expected = volume.render(random_planes(), GRID, density, values, implementation=implementation).depth
    with torch.autocast("cpu", torch.bfloat16):
        depth = volume.render(random_planes(), GRID, density, values, implementation=implementation).depth
    assert torch.equal(depth, expected)


def test_compiled_softplus_over_its_whole_range() -> None:
    from polyscene.geometry._triplane_numba import RenderGrid

    x = torch.cat([torch.linspace(-110, 110, 1999), torch.tensor([-1e30, -0.0, 0.0, 1e30])])
    size = len(x)
    faces = x.view(1, 1, size, 1).expand(1, 1, size, 2).clone().requires_grad_()
    still = torch.zeros(1, size, 2, 2), torch.zeros(1, 1, 2, 2)
    out, _ = RenderGrid.apply(faces, *still, torch.tensor([0.0, 1.0]), torch.zeros(1), torch.zeros(1), True)
    torch.testing.assert_close(out[0, 0, :, 0], nn.functional.softplus(x), atol=4e-7, rtol=1e-6)
    slope = torch.autograd.grad(out.sum(), faces)[0][0, 0, :, 1]
    torch.testing.assert_close(slope, torch.sigmoid(x), atol=4e-7, rtol=1e-6)


def test_not_a_number_is_passed_on() -> None:
    density, values = mlps()
    planes = random_planes().detach()
    planes[0, 0, 0, 0, 0] = math.nan
    for rays in (GRID, volume.Points(grid_points(), Z)):
        depth = volume.render(planes, rays, density, values, implementation="numba").depth
        assert depth[0].isnan().any() and depth[1].isfinite().all()


def test_export() -> None:
    density, values = mlps()

    class Scene(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.density, self.values = density, nn.ModuleDict(values)

        def forward(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
            values = dict(self.values.items())
            free = volume.Points(points, Z)
            return tuple(volume.render(planes, rays, self.density, values).depth for rays in (GRID, free))

    given = random_planes().detach(), grid_points()
    exported = torch.export.export(Scene(), given, strict=False).module()
    torch.testing.assert_close(exported(*given), Scene()(*given), atol=1e-5, rtol=1e-4)


def test_refusals() -> None:
    density, values = mlps()
    with pytest.raises(ValueError, match="two samples or more"):
        volume.composite(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1), torch.zeros(1))
    with pytest.raises(ValueError, match="two samples or more"):
        volume.Grid(X, Y, Z[:1])
    with pytest.raises(ValueError, match="two samples or more"):
        volume.Points(grid_points(), Z[:-1])
    with pytest.raises(ValueError, match="3 sets of points for 2 sets of planes"):
        volume.render(random_planes(), volume.Points(grid_points().expand(3, -1, -1, -1), Z), density, values)
