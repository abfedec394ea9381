from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from polyscene.geometry.camera import crop_intrinsics, hflip_intrinsics, hflip_pose, resize_intrinsics
from polyscene.geometry.cost_volume import check_cameras, inverse_depth_planes, plane_sweep, projection

PROCESSOR = ("torch", "numba")
POSES = ("sideways", "adverse", "backwards", "identity")
Scene = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def motion(name: str) -> Tensor:
    """Source from reference."""
    pose = torch.eye(4, dtype=torch.float64)
    if name == "sideways":
        c, s = math.cos(0.06), math.sin(0.06)
        pose[:3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        pose[:3, 3] = torch.tensor([0.35, 0.03, 0.02])
    elif name == "adverse":  # roll, and forward past the nearest planes: some points come to lie behind the source
        c, s = math.cos(0.2), math.sin(0.2)
        pose[:3, :3] = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        pose[:3, 3] = torch.tensor([0.05, 0.2, -0.9])
    elif name == "backwards":  # the source looks the other way
        pose[:3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    return pose


def scene(
    size: tuple[int, int] = (9, 12),
    planes: int = 10,
    channels: int = 6,
    pose: str = "sideways",
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Scene:
    """Random features, an own pair of cameras and own planes for each sample."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64) for _ in range(2)]
    cameras = []
    for zoom in (0.95, 1.1):
        k = torch.tensor([[zoom * width, 0.1, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]]).double()
        cameras.append(torch.stack([k * torch.tensor([[1 + 0.1 * i], [1.0], [1.0]]) for i in range(batch)]))
    depths = torch.linspace(0, 1.6, planes, dtype=torch.float64) * torch.linspace(1, 0.8, batch)[:, None]
    everything = (*maps, *cameras, motion(pose).expand(batch, 4, 4), depths)
    return tuple(value.to(dtype) for value in everything)  # type: ignore[return-value]


def warped(reference: Tensor, source: Tensor, k_reference: Tensor, k_source: Tensor, pose: Tensor, depths: Tensor):  # type: ignore[no-untyped-def]
    """The definition: carry each pixel to each plane and into the source, gather, multiply."""
    batch, channels, height, width = reference.shape
    depths = depths.expand(batch, -1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).to(reference).flatten(1)
    rays = torch.linalg.inv(k_reference) @ pixels
    points = (pose[:, :3, :3] @ rays)[:, :, None] + pose[:, :3, 3, None, None] * depths[:, None, :, None]
    seen = k_source @ points.flatten(2)
    ahead = seen[:, 2] > 1e-6
    x, y = (torch.where(ahead, seen[:, i] / seen[:, 2], -9.0) for i in range(2))
    left, top = x.floor(), y.floor()
    total = torch.zeros(batch, channels, x.shape[1], dtype=reference.dtype)
    for across in (left, left + 1):
        for down in (top, top + 1):
            share = (1 - (x - across).abs()) * (1 - (y - down).abs())
            known = (across >= 0) & (across < width) & (down >= 0) & (down < height)
            number = torch.where(known, down * width + across, 0).long()
            tap = source.flatten(2).gather(2, number[:, None].expand(-1, channels, -1))
            total = total + torch.where(known, share, 0)[:, None] * tap
    return (reference[:, :, None] * total.view(batch, channels, -1, height, width)).sum(1) / math.sqrt(channels)


def differentiated(run, made: Scene, **options: object) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
    """The volume, and its gradients by both maps."""
    maps = [made[0].clone().requires_grad_(), made[1].clone().requires_grad_()]
    volume = run(*maps, *made[2:], **options)
    weights = torch.randn(volume.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return volume.detach(), *torch.autograd.grad((volume * weights.to(volume)).sum(), maps)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("implementation", ("auto", *PROCESSOR))
def test_equals_warp_then_multiply(implementation: str, pose: str) -> None:
    made = scene(pose=pose)
    for ours, known in zip(
        differentiated(plane_sweep, made, implementation=implementation), differentiated(warped, made), strict=True
    ):
        assert torch.allclose(ours, known, atol=1e-10)


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_float32_is_close(implementation: str) -> None:
    made = scene((14, 18), 24, 32, "adverse")
    single = tuple(value.float() for value in made)
    for ours, known in zip(
        differentiated(plane_sweep, single, implementation=implementation),  # type: ignore[arg-type]
        differentiated(warped, made),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - known).abs().max() < 2e-4


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(2, 9), st.integers(1, 9),
    st.sampled_from(POSES), st.integers(1, 3), st.sampled_from(PROCESSOR), st.integers(0, 99),
)  # fmt: skip
def test_any_size(
    size: tuple[int, int], planes: int, channels: int, pose: str, batch: int, implementation: str, seed: int
) -> None:
    made = scene(size, planes, channels, pose, batch, seed=seed)
    for ours, known in zip(
        differentiated(plane_sweep, made, implementation=implementation), differentiated(warped, made), strict=True
    ):
        assert torch.allclose(ours, known, atol=1e-10)


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_gradcheck(implementation: str) -> None:
    made = scene((4, 5), 4, 3, "adverse")
    maps = [made[0].requires_grad_(), made[1].requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda a, b: plane_sweep(a, b, *made[2:], implementation=implementation),  # type: ignore[call-overload]
        maps,
    )


def test_cameras_and_depths_get_no_gradient() -> None:
    made = [value.requires_grad_() for value in scene()]
    plane_sweep(*made).sum().backward()
    assert [value.grad is not None for value in made] == [True, True, False, False, False, False]


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_identity_pose_makes_all_planes_alike(implementation: str) -> None:
    reference, source, k, _, pose, depths = scene(pose="identity")
    volume = plane_sweep(reference, source, k, k, pose, depths, implementation=implementation)  # type: ignore[call-overload]
    assert torch.equal(volume, volume[:, :1].expand_as(volume))
    assert torch.allclose(volume[:, 0], (reference * source).sum(1) / math.sqrt(6))


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_swapping_the_views_swaps_the_volumes(implementation: str) -> None:
    """Where a pixel of one falls onto a pixel of the other, both volumes hold the same product."""
    height, width, planes = 5, 16, 8
    generator = torch.Generator().manual_seed(2)
    one, two = (torch.randn(1, 4, height, width, generator=generator, dtype=torch.float64) for _ in range(2))
    k = torch.tensor([[[10.0, 0, 7.5], [0, 10, 2], [0, 0, 1]]], dtype=torch.float64)
    there = torch.eye(4, dtype=torch.float64)[None].clone()
    there[0, 0, 3] = 0.1  # 10 px x 0.1 m x d: plane d shifts by d pixels
    depths = torch.arange(planes, dtype=torch.float64)
    options = {"implementation": implementation}
    forth = plane_sweep(one, two, k, k, there, depths, **options)  # type: ignore[call-overload]
    back = plane_sweep(two, one, k, k, torch.linalg.inv(there), depths, **options)  # type: ignore[call-overload]
    for shift in range(planes):
        assert torch.allclose(forth[0, shift, :, : width - shift], back[0, shift, :, shift:])


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_mirrored_views_give_the_mirrored_volume(implementation: str) -> None:
    reference, source, *intrinsics, pose, depths = scene()
    mirrored = [hflip_intrinsics(matrix, reference.shape[-1]) for matrix in intrinsics]
    flipped = plane_sweep(
        reference.flip(-1), source.flip(-1), *mirrored, hflip_pose(pose), depths, implementation=implementation
    )
    known = plane_sweep(reference, source, *intrinsics, pose, depths, implementation=implementation)
    assert torch.allclose(flipped.flip(-1), known, atol=1e-10)


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_cropped_views_give_the_cropped_volume(implementation: str) -> None:
    reference, source, *intrinsics, pose, depths = scene()
    top, left = 2, 3
    source[..., :top, :], source[..., :left] = 0, 0  # what the crop does not see
    crops = [maps[..., top:, left:] for maps in (reference, source)]
    moved = [crop_intrinsics(matrix, left, top) for matrix in intrinsics]
    ours = plane_sweep(*crops, *moved, pose, depths, implementation=implementation)
    known = plane_sweep(reference, source, *intrinsics, pose, depths, implementation=implementation)
    assert torch.allclose(ours, known[..., top:, left:], atol=1e-10)


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_enlarged_views_give_the_same_volume(implementation: str) -> None:
    """Enlarged three times, place c lies on 3c + 1. Features of the source are linear, which sampling leaves exact."""
    reference, _, *intrinsics, pose, depths = scene()
    batch, channels, height, width = reference.shape
    slopes = torch.randn(3, channels, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.arange(3.0 * height), torch.arange(3.0 * width), indexing="ij")
    large_source = (slopes[0] * x + slopes[1] * y + slopes[2]).expand(batch, -1, -1, -1)
    large_reference = reference.repeat_interleave(3, -1).repeat_interleave(3, -2)
    large_intrinsics = [resize_intrinsics(matrix, 3.0, 3.0) for matrix in intrinsics]

    def swept(maps: Tensor, source: Tensor, *cameras: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(maps)
        volume = plane_sweep(maps, source, *cameras, implementation=implementation)
        return volume, plane_sweep(ones, ones, *cameras) > math.sqrt(channels) - 1e-9  # wholly inside

    small, inside = swept(reference, large_source[..., 1::3, 1::3], *intrinsics, pose, depths)
    large, also = (
        each[..., 1::3, 1::3] for each in swept(large_reference, large_source, *large_intrinsics, pose, depths)
    )
    both = inside & also
    assert both.float().mean() > 0.3
    assert torch.allclose(large[both], small[both], atol=1e-9)


@pytest.mark.parametrize("implementation", PROCESSOR)
@pytest.mark.parametrize("depth", (0.7, 0.9, 2.3))
def test_finds_a_textured_wall(implementation: str, depth: float) -> None:
    """Features painted on the wall z = depth, seen from two places: the best plane is the wall's.

    Between two pixels the product is linear on average, so it peaks at whole ones: planes lie over half a pixel apart.
    """
    height, width = 32, 40
    texture = torch.randn(1, 32, 48, 64, generator=torch.Generator().manual_seed(3))
    texture = functional.normalize(functional.interpolate(texture, scale_factor=8.0, mode="bicubic"), dim=1)
    k = torch.tensor([[[38.0, 0, 19.5], [0, 38, 15.5], [0, 0, 1]]])
    pose = motion("identity").float()[None].clone()
    pose[0, :3, 3] = torch.tensor([0.3, 0.05, 0.0])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    views = []
    for shift in (torch.zeros(3), pose[0, :3, 3]):
        metres = torch.stack([(x - 19.5) / 38 * depth - shift[0], (y - 15.5) / 38 * depth - shift[1]], -1)
        scaled = metres / (1.2 * depth) * torch.tensor([0.75, 1.0])
        views.append(functional.grid_sample(texture, scaled[None], align_corners=False))
    depths = inverse_depth_planes(32, 0.6, 10.0)
    volume, inside = plane_sweep(
        views[0], views[1], k, k, pose, depths, implementation=implementation, return_inside=True  # type: ignore[call-overload]
    )  # fmt: skip
    truth = (depths - 1 / depth).abs().argmin()
    seen = inside[0, truth]
    assert seen.sum() > 300
    assert ((volume.argmax(1)[0] - truth).abs() <= 1)[seen].float().mean() >= 0.95


def test_inside() -> None:
    made = scene(pose="adverse")
    volume, inside = plane_sweep(*made, return_inside=True)
    assert inside.shape == volume.shape and inside.dtype == torch.bool
    assert inside.any() and not inside.all()
    far = plane_sweep(*scene(pose="backwards"), return_inside=True)
    assert not far[1].any() and not far[0].any()
    assert plane_sweep(
        *scene(pose="identity")[:2], *(2 * scene()[2:3]), *scene(pose="identity")[4:], return_inside=True
    )[1].all(), "a rounding error at the border puts nothing outside"


@pytest.mark.parametrize("implementation", PROCESSOR)
def test_any_layout(implementation: str) -> None:
    made = scene()
    known = differentiated(plane_sweep, made, implementation=implementation)
    for turn in (
        lambda maps: maps.contiguous(memory_format=torch.channels_last),
        lambda maps: torch.stack([maps, maps], -1)[..., 0],
        lambda maps: torch.cat([maps, maps], 1)[:, : maps.shape[1]],
        lambda maps: maps.flip(-1).contiguous().flip(-1).mT.contiguous().mT,
    ):
        maps = [turn(made[0]).requires_grad_(), turn(made[1]).requires_grad_()]
        volume = plane_sweep(*maps, *made[2:], implementation=implementation)  # type: ignore[call-overload]
        weights = torch.randn(volume.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        assert torch.allclose(volume, known[0])
        for ours, right in zip(torch.autograd.grad((volume * weights).sum(), maps), known[1:], strict=True):
            assert torch.allclose(ours, right)


@pytest.mark.parametrize("implementation", PROCESSOR)
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_half_precision_is_computed_in_single(implementation: str, dtype: torch.dtype) -> None:
    made = tuple(value.float() for value in scene())
    half = (made[0].to(dtype), made[1].to(dtype), *made[2:])
    with torch.autocast("cpu", dtype):
        volume, *gradients = differentiated(plane_sweep, half, implementation=implementation)  # type: ignore[arg-type]
    assert {volume.dtype, *(part.dtype for part in gradients)} == {dtype}
    single = plane_sweep(half[0].float(), half[1].float(), *half[2:], implementation=implementation)  # type: ignore[call-overload]
    assert torch.equal(volume, single.to(dtype))


def test_threads_change_nothing() -> None:
    made = scene((21, 18), 16, 70, "adverse", batch=1)
    usual = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5, 2):
            torch.set_num_threads(threads)
            results.append(differentiated(plane_sweep, made, implementation="numba"))
    finally:
        torch.set_num_threads(usual)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


class Sweep(torch.nn.Module):
    def forward(self, *made: Tensor) -> tuple[Tensor, Tensor]:
        return plane_sweep(*made, return_inside=True)


@pytest.mark.usefixtures("unchecked")
def test_exports_with_any_size() -> None:
    """To a graph without Python, of ordinary operations, whose sizes stay free."""
    made, other = (tuple(v.float() for v in scene(size, batch=b)) for size, b in (((9, 12), 2), ((5, 7), 3)))
    b, h, w = (torch.export.Dim(name, min=2, max=64) for name in "bhw")
    maps = {0: b, 2: h, 3: w}
    program = torch.export.export(Sweep(), made, dynamic_shapes=((maps, maps, {0: b}, {0: b}, {0: b}, {0: b}),))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in names if not name.startswith(("aten.", "<built-in", "<function sym_"))]
    for given_ in (made, other):
        volume, inside = program.module()(*given_)
        known = plane_sweep(*given_, return_inside=True)
        assert torch.allclose(volume, known[0], atol=1e-5) and torch.equal(inside, known[1])


def test_meta() -> None:
    made = [value.to("meta") for value in scene()]
    made[0].requires_grad_()
    volume = plane_sweep(*made)
    volume.sum().backward()
    assert volume.is_meta and volume.shape == (2, 10, 9, 12)
    assert made[0].grad is not None and made[0].grad.shape == made[0].shape


SCRIPT = """
    import sys
    sys.path.insert(0, {folder!r})
    import torch
    from test_cost_volume import differentiated, plane_sweep, scene, warped
    for size, planes, channels in {sizes}:
        made = scene(size, planes, channels, "adverse")
        moved = tuple(value.to({device!r}) for value in made)
        found = differentiated(plane_sweep, moved, implementation={implementation!r})
        for ours, known in zip(found, differentiated(warped, made), strict=True):
            assert torch.allclose(ours.cpu(), known, atol=1e-9), size
"""


def alone(**words: object) -> None:
    """In a process that does not check types: kernels cannot be wrapped."""
    code = textwrap.dedent(SCRIPT.format(folder=str(Path(__file__).parent), **words))
    environment = {**os.environ, "TRITON_INTERPRET": "1" if words["device"] == "cpu" else "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_triton_interpreted() -> None:
    """The CUDA kernels, step by step on the processor."""
    alone(device="cpu", implementation="triton", sizes=(((2, 4), 6, 3), ((1, 1), 2, 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("implementation", ("auto", "torch", "triton"))
def test_cuda(implementation: str) -> None:
    alone(device="cuda", implementation=implementation, sizes=(((9, 12), 40, 70), ((1, 1), 2, 1), ((28, 36), 64, 128)))


def test_projection() -> None:
    _, _, k_reference, k_source, pose, _ = scene()
    point = torch.tensor([0.3, -0.2, 2.0], dtype=torch.float64)
    pixel = k_reference @ point
    there = k_source @ (pose[:, :3, :3] @ point + pose[:, :3, 3])[..., None]
    at = torch.cat([pixel / pixel[:, 2:], torch.full((2, 1), 0.5)], 1)
    assert torch.allclose(projection(k_reference, k_source, pose) @ at[..., None] * 2.0, there)


def test_planes() -> None:
    planes = inverse_depth_planes(5, 0.5, math.inf)
    assert torch.allclose(planes, torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0])) and planes.dtype == torch.float32
    for bad in ((1, 0.5, 10.0), (8, 2.0, 2.0), (8, 0.0, 2.0), (8, 3.0, 2.0), (8, math.nan, 2.0), (8, 1.0, math.nan)):
        with pytest.raises(ValueError, match="planes"):
            inverse_depth_planes(*bad)


@pytest.mark.parametrize(
    "place, change, message",
    [
        (2, lambda k: k[1].mul_(0), "reference_intrinsics of batch item 1 have focal lengths 0 and 0"),
        (3, lambda k: k[1, 0, 0].neg_(), "source_intrinsics of batch item 1 have focal lengths -"),
        (3, lambda k: k[0, 1, 2].fill_(math.nan), "source_intrinsics of batch item 0 are not finite"),
        (2, lambda k: k[0].mul_(2), "must have the form"),
        (4, lambda p: p[1, :3, :3].mul_(1.1), "source_from_reference of batch item 1 is no rigid motion: rows 0 and 0"),
        (4, lambda p: p[0, 0, :3].neg_(), "source_from_reference of batch item 0 mirrors"),
        (4, lambda p: p[1].copy_(p[1].T.clone()), "last row"),
        (4, lambda p: p[1, 0, 3].fill_(math.inf), "source_from_reference of batch item 1 is not finite"),
        (5, lambda d: d[1].fill_(0.5), "inverse_depths of batch item 1 are all 0.5"),
        (5, lambda d: d[0, 3].fill_(-0.1), "inverse_depths of batch item 0 reach -0.1"),
        (5, lambda d: d[0, 3].fill_(math.nan), "inverse_depths of batch item 0 are not finite"),
    ],
)
def test_refuses_cameras(place: int, change, message: str) -> None:  # type: ignore[no-untyped-def]
    made = [value.clone() for value in scene()]
    change(made[place])
    with pytest.raises(ValueError, match=message):
        check_cameras(*made[2:])
    with pytest.raises(ValueError, match=message):
        plane_sweep(*made)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the type checks of tests, which would speak first, or get in the way of symbols."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
def test_refuses_shapes() -> None:
    made = scene()
    for place, wrong, message in (
        (1, made[1][:, :, 1:], "one size"),
        (0, made[0][0], "one size"),
        (2, made[2][0], "reference_intrinsics must be"),
        (3, made[3].half(), "source_intrinsics must be float32"),
        (4, made[4][:, :3], "source_from_reference must be"),
        (5, made[5][:, :0], "inverse_depths must be"),
        (5, made[5].expand(3, 2, 10), "inverse_depths must be"),
        (0, made[0].long(), "floating point"),
    ):
        with pytest.raises(ValueError, match=message):
            plane_sweep(*made[:place], wrong, *made[place + 1 :])
    with pytest.raises(ValueError, match="no implementation 'cuda'"):
        plane_sweep(*made, implementation="cuda")  # type: ignore[call-overload]


@pytest.mark.skipif(not find_spec("triton") or os.environ.get("TRITON_INTERPRET") == "1", reason="triton runs here")
def test_triton_needs_cuda() -> None:
    with pytest.raises(ValueError, match="runs on CUDA"):
        plane_sweep(*scene(), implementation="triton")
