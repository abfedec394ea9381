"""The cross-view module: its size, who sees whom, what its cost volume finds, and what it refuses."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry.cost_volume import inverse_depth_planes
from polyscene.model import create_model
from polyscene.necks import CrossView, PlainBranch, matching
from polyscene.necks.fusion import Fusion
from polyscene.necks.match_volume import CostVolume
from polyscene.necks.matching import DEPTH, MultiViewTransformer, SpatialEncoder, Windows
from polyscene.necks.neighbours import Neighbours, find, inverse
from polyscene.types import Camera, Features, Sample, collate

SIZE = (64, 96)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of each kind of windows is enough to go wrong."""
    torch.manual_seed(0)
    monkeypatch.setattr(matching, "DEPTH", 2)


def neck(**options: Any) -> CrossView:
    return CrossView((8, 16), (8, 16), **{"planes": 16, **options}).eval()


def cameras(x: list[list[float]], known: list[list[bool]] | None = None) -> Camera:
    """Side by side at ``x``, a sample a row, looking the same way."""
    places = torch.tensor(x)
    intrinsics = torch.tensor([[90.0, 0, 47.5], [0, 90.0, 31.5], [0, 0, 1]]).expand(*places.shape, 3, 3).clone()
    pose = torch.eye(4).expand(*places.shape, 4, 4).clone()
    pose[..., 0, 3] = places
    return Camera(intrinsics, pose, torch.tensor(known) if known else torch.ones_like(places, dtype=torch.bool))


def levels(count: int, size: tuple[int, int] = SIZE) -> Features:
    return Features([torch.zeros(count, width, -(-size[0] // s), -(-size[1] // s)) for width, s in ((8, 8), (16, 16))])


def last(module: CrossView, images: Tensor, camera: Camera | None, present: Tensor | None = None) -> Tensor:
    """(b, v, c, h, w): what the module adds to the last level."""
    batch, views, _, *size = images.shape
    present = torch.ones(batch, views, dtype=torch.bool) if present is None else present
    fused, _ = module(levels(batch * views, (size[0], size[1])), images, camera, present)
    return fused.maps[-1].unflatten(0, (batch, views))


def test_parameters_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "DEPTH", DEPTH)
    with torch.device("meta"):
        module = CrossView((64, 1024), (8, 16))
        plain = PlainBranch((64, 1024), (8, 16))
    assert sum(p.numel() for p in module.encoder.parameters()) == 1_049_120
    assert sum(p.numel() for p in module.transformer.parameters()) == 3_150_336
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in module.parameters())


def masked_windows(tokens: Tensor, shifted: bool) -> Tensor:
    """Self-attention in shifted windows as it is usually told: roll, cut, mask what was not adjacent, roll back."""
    _, height, width, channels = tokens.shape
    tall, wide = height // 2, width // 2
    shift = (tall // 2, wide // 2) if shifted else (0, 0)
    y = torch.bucketize(torch.arange(height), torch.tensor([shift[0], shift[0] + tall]), right=True)
    x = torch.bucketize(torch.arange(width), torch.tensor([shift[1], shift[1] + wide]), right=True)
    regions = (3 * y[:, None] + x)[None, :, :, None]

    def cut(tensor: Tensor) -> Tensor:
        rolled = tensor.roll((-shift[0], -shift[1]), (1, 2))
        return rolled.unfold(1, tall, tall).unfold(2, wide, wide).permute(0, 1, 2, 4, 5, 3).flatten(3, 4)

    cells, kind = cut(tokens), cut(regions)
    mask = torch.where(kind == kind.transpose(-1, -2), 0.0, -100.0) if shifted else torch.zeros(())
    seen = torch.softmax(cells @ cells.transpose(-1, -2) / channels**0.5 + mask, -1) @ cells
    back = seen.unflatten(3, (tall, wide)).permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3)
    return back.roll(shift, (1, 2))


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_those_of_rolling_and_masking(shifted: bool) -> None:
    tokens = torch.randn(2, 8, 12, 6)
    windows = Windows.of(8, 12, shifted)
    rows = windows.gather(tokens)
    result = windows.scatter(windows.attend(rows, rows[:, None], rows[:, None]))
    torch.testing.assert_close(result, masked_windows(tokens, shifted))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 10), (9, 13)])
def test_windows_of_any_size(size: tuple[int, int]) -> None:
    for shifted in (False, True):
        windows = Windows.of(*size, shifted)
        tokens = torch.randn(1, *size, 4)
        assert torch.equal(windows.scatter(windows.gather(tokens)), tokens)
    assert MultiViewTransformer()(torch.randn(1, 128, *size)).shape == (1, 128, *size)


def test_swapping_the_views_swaps_the_outputs() -> None:
    module, images = neck(), torch.rand(2, 2, 3, *SIZE)
    first = last(module, images, cameras([[0.0, 0.1], [0.0, 0.2]]))
    second = last(module, images.flip(1), cameras([[0.1, 0.0], [0.2, 0.0]]))
    torch.testing.assert_close(first.flip(1), second, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(first, second, atol=0.1)


@pytest.mark.parametrize("alone", ["duplicate", "learned"])
def test_a_single_view_is_a_duplicated_one(alone: Any) -> None:
    module, images = neck(alone=alone), torch.rand(2, 1, 3, *SIZE)
    single = last(module, images, None)
    if alone == "learned":
        twice = last(module, images.expand(-1, 2, -1, -1, -1), cameras([[0.0, 0.0]] * 2, [[True, False]] * 2))
    else:
        twice = last(module, images.expand(-1, 2, -1, -1, -1), cameras([[0.3, 0.3]] * 2))
    torch.testing.assert_close(twice, single.expand(-1, 2, -1, -1, -1), atol=1e-4, rtol=1e-4)


def test_a_single_view_encodes_once_and_needs_no_camera() -> None:
    module, images = neck(), torch.rand(1, 1, 3, *SIZE)
    broken = cameras([[0.0]])
    broken.intrinsics.zero_()
    assert torch.equal(last(module, images, broken), last(module, images, None))


@pytest.mark.parametrize(
    ("known", "present"),
    [([[True, False]], [[True, True]]), ([[True, True]], [[True, False]]), ([[False, True]], [[True, True]])],
)
def test_views_unknown_or_absent_are_nobodys_neighbours(known: Any, present: Any) -> None:
    module, images = neck(), torch.rand(1, 2, 3, *SIZE)
    camera = cameras([[0.0, 0.1]], known)
    nowhere = torch.where(camera.known[..., None, None], camera.intrinsics, torch.nan)
    camera = Camera(nowhere, camera.world_from_camera, camera.known)
    seen = last(module, images, camera, torch.tensor(present))
    alone = last(module, images[:, :1], None)
    torch.testing.assert_close(seen[:, :1], alone, atol=1e-4, rtol=1e-4)


def test_views_that_collation_padded_are_ignored() -> None:
    def sample(views: int) -> Sample:
        camera = cameras([[0.0, 0.1][:views]])
        one = Camera(camera.intrinsics[0], camera.world_from_camera[0], camera.known[0])
        return Sample(torch.rand(views, 3, *SIZE), {}, one, torch.ones(views, dtype=torch.bool), "test")

    module, batch = neck(), collate([sample(2), sample(1)])
    seen = last(module, batch.images, batch.camera, batch.present)
    torch.testing.assert_close(seen[1, :1], last(module, batch.images[1:, :1], None)[0], atol=1e-4, rtol=1e-4)
    pair = Camera(batch.camera.intrinsics[:1], batch.camera.world_from_camera[:1], batch.camera.known[:1])
    torch.testing.assert_close(seen[:1], last(module, batch.images[:1], pair), atol=1e-4, rtol=1e-4)


def found(x: list[float], known: list[bool] | None = None) -> Neighbours:
    camera = cameras([x], [known] if known else None)
    return find(camera, camera.known, SIZE, (0.5, 10.0))


def test_the_nearest_two_of_more_than_three() -> None:
    assert [set(two) for two in found([0.0, 0.1, 0.3]).places[0].tolist()] == [{1, 2}, {0, 2}, {0, 1}]
    assert [set(two) for two in found([0.0, 0.1, 0.3, 0.35]).places[0].tolist()] == [{1, 2}, {0, 2}, {3, 1}, {2, 1}]
    lonely = found([0.0, 0.1, 0.3, 0.35], [True, True, False, False])
    assert lonely.places[0].tolist() == [[1, 1], [0, 0], [2, 2], [3, 3]]
    assert lonely.exist.tolist() == [[True, True, False, False]]


def test_poses_of_neighbours() -> None:
    near = found([0.0, 0.1, 0.3])
    place = near.places[0, 2].tolist().index(0)
    point = torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(near.source_from_reference[0, 2, place] @ point, torch.tensor([0.3, 0.0, 1.0, 1.0]))
    wrong = near.shuffled().source_from_reference
    torch.testing.assert_close(wrong @ near.source_from_reference, torch.eye(4).expand_as(wrong))
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 1, 2, 0], [-1, 0, 3, 0], [-2, -3, 0, 0], [0, 0, 0, 0]]))
    turn[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(inverse(turn) @ turn, torch.eye(4), atol=1e-5, rtol=0)


def test_a_neighbour_without_overlap_is_none_and_counted() -> None:
    module, images = neck(), torch.rand(1, 2, 3, *SIZE)
    camera = cameras([[0.0, 0.1]])
    camera.world_from_camera[0, 1] = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))  # looks the other way
    seen = last(module, images, camera)
    torch.testing.assert_close(seen[:, :1], last(module, images[:, :1], None), atol=1e-4, rtol=1e-4)
    assert int(module.apart) == 2
    last(module, images, cameras([[0.0, 0.1]]))
    assert int(module.apart) == 2
    assert (
        module.remarks() == ["cross_view: 2 times a view had nothing between 0.5 and 10 m in common with another"]
        and not neck().remarks()
    )


def plane_at(depth: float, baseline: float) -> tuple[Tensor, Camera]:
    """(1, 2, c, h, w) features of a textured plane seen head-on from two places, and cameras for maps of stride 8."""
    height, width, focal = 24, 40, 30.0
    texture = F.avg_pool2d(torch.randn(1, 64, height, 4 * width), 3, 1, 1)
    texture = texture / texture.norm(dim=1, keepdim=True)
    shift = round(focal * baseline / depth)
    views = [texture[..., start : start + width] for start in (width, width + shift)]
    intrinsics = torch.tensor([[8 * focal, 0, 8 * 19.5], [0, 8 * focal, 8 * 11.5], [0, 0, 1]]).expand(1, 2, 3, 3)
    return torch.stack(views, 1), Camera(intrinsics, cameras([[0.0, baseline]]).world_from_camera, torch.ones(1, 2) > 0)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_best_plane_is_the_true_one_with_the_true_pose(scale: float) -> None:
    depth, baseline = 2.0, 0.4
    features, camera = plane_at(depth, baseline)
    given = cameras([[0.0, baseline * scale]]).world_from_camera
    reach = (2.5, 10.0) if scale != 1 else (1.0, 4.0)
    near = find(
        Camera(camera.intrinsics, given, camera.known), camera.known, (192, 320), reach, in_baselines=scale != 1
    )
    inverse_depths = inverse_depth_planes(16, *reach)
    truth = int((inverse_depths - 1 / (depth / baseline if scale != 1 else depth)).abs().argmin())
    volume = CostVolume(inverse_depths, "duplicate", "zero", False)
    right = volume(features, near, 2)[..., 2:-2, 8:-8]
    hit = ((right.argmax(1) - truth).abs() <= 1).float().mean()
    assert hit > 0.95
    wrong = volume(features, near.shuffled(), 2)[..., 2:-2, 8:-8]
    assert wrong.amax(1).mean() < right.amax(1).mean() - 0.5
    alone = volume(features, None, 2)
    assert alone.std(1).max() < 1e-4, "a duplicated view says nothing of depth"
    assert torch.equal(CostVolume(inverse_depths, "duplicate", "zero", True)(features, near, 2), alone)


def test_planes_outside_the_neighbour_are_known_as_such() -> None:
    features, camera = plane_at(2.0, 0.4)
    near = find(camera, camera.known, (192, 320), (0.5, 10.0))
    volume = CostVolume(inverse_depth_planes(16, 0.5, 10.0), "duplicate", "learned", False)
    volume.norm = torch.nn.Identity()  # type: ignore[assignment]
    before = volume(features, near, 2)
    assert volume.outside is not None
    with torch.no_grad():
        volume.outside += 5
    changed = volume(features, near, 2) - before
    x = torch.arange(40) + 30 * 0.4 * volume.inverse_depths[:, None]  # where the right camera's pixels fall in the left
    outside = (x > 39.5)[:, None].expand(-1, 24, -1)
    torch.testing.assert_close(changed[1], outside * 5.0)
    assert 0 < outside.float().mean() < 0.5


@pytest.mark.parametrize("views", [1, 2])
def test_a_frame_of_a_stream_is_the_later_of_a_pair(views: int) -> None:
    module, images = neck(), torch.rand(1, 2 * views, 3, *SIZE)
    places = [0.0, 0.04, 0.1, 0.17][: 2 * views]
    present = torch.ones(1, views, dtype=torch.bool)
    _, memory = module(levels(views), images[:, :views], cameras([places[:views]]), present)
    later, memory = module(levels(views), images[:, views:], cameras([places[views:]]), present, memory)
    pair = last(module, images, cameras([places]))
    torch.testing.assert_close(later.maps[-1], pair[0, views:], atol=1e-4, rtol=1e-4)
    assert memory is not None and memory.maps.shape[1] == views


def test_a_stream_through_the_model() -> None:
    model = create_model("rooms", "test_resnet", neck={"name": "cross_view", "planes": 16}).eval()
    images, stream = torch.rand(1, 3, 3, *SIZE), model.stream()
    places = ([[0.0]], [[0.1]], [[0.2]])
    seen = [stream(images[:, [t]], cameras(places[t]))["depth"] for t in range(3)]
    pair = model.infer(images[:, 1:], cameras([[0.1, 0.2]]))["depth"]
    torch.testing.assert_close(seen[0], model.infer(images[:, :1])["depth"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen[2], pair[:, 1:], atol=1e-3, rtol=1e-3)
    fresh = model.infer(images[:, 2:])["depth"]
    assert not torch.allclose(seen[2], fresh, atol=1e-4)
    torch.testing.assert_close(stream(images[:, 2:])["depth"], fresh)  # a frame of unknown camera sees nobody
    assert stream.memory is None


def test_a_frame_of_another_size_is_forgotten() -> None:
    module, small = neck(), torch.rand(1, 1, 3, 48, 64)
    present = torch.ones(1, 1, dtype=torch.bool)
    _, memory = module(levels(1), torch.rand(1, 1, 3, *SIZE), cameras([[0.0]]), present)
    later, _ = module(levels(1, (48, 64)), small, cameras([[0.1]]), present, memory)
    assert torch.equal(later.maps[-1][None], last(module, small, None))


def test_samples_are_taken_for_single_views_by_chance() -> None:
    module, images = neck(single_share=0.5), torch.rand(6, 2, 3, 32, 48)
    camera = cameras([[0.0, 0.1]] * 6)
    pairs, alone = last(module, images, camera), last(module, images.flatten(0, 1)[:, None], None)
    alone = alone.unflatten(0, (6, 2))[:, :, 0]
    module.train()
    torch.manual_seed(1)
    mixed = last(module, images, camera)
    torch.manual_seed(1)
    assert torch.equal(last(module, images, camera), mixed)
    near = [
        [torch.allclose(one, two, atol=1e-3) for one, two in zip(mixed, kind, strict=True)] for kind in (pairs, alone)
    ]
    assert [pair != single for pair, single in zip(*near, strict=True)] == [True] * 6
    assert {True, False} == set(near[0])


def test_gradients_reach_both_networks_and_no_camera() -> None:
    module, images = neck(outside="learned", alone="learned").train(), torch.rand(1, 2, 3, *SIZE)
    camera = cameras([[0.0, 0.1]])
    pose = camera.world_from_camera.requires_grad_()
    last(module, images, Camera(camera.intrinsics, pose, camera.known)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    for part in (module.encoder, module.transformer):
        assert all(
            p.grad.abs().max() > 0 for name, p in part.named_parameters() if p.grad is not None and "short" not in name
        )
    assert pose.grad is None
    for parameter in module.parameters():
        parameter.grad = None
    last(module, images[:, :1], None).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters()), "a lone view leaves nothing out"


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16, 16, 16, 16), (4, 16)])
def test_options_and_pyramids(strides: tuple[int, ...]) -> None:
    channels = tuple(range(4, 4 + len(strides)))
    size = (75, 101)
    with torch.device("meta"):
        maps = [torch.empty(4, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(channels, strides, strict=True)]
        features = Features(maps, {"depth": list(maps), "edges": list(maps)})
        camera = Camera(torch.empty(2, 2, 3, 3), torch.empty(2, 2, 4, 4), torch.ones(2, 2, dtype=torch.bool))
        images, present = torch.empty(2, 2, 3, *size), torch.ones(2, 2, dtype=torch.bool)
        for place, volume, outside in product(("last", "level"), ("planes", "constant", "none"), ("zero", "learned")):
            other = outside == "learned"
            alone, scale = ("learned", "baseline") if other else ("duplicate", "metric")
            poses = "shuffled" if other != (place == "level") else "given"
            module = CrossView(
                channels, strides, fusion=place, volume=volume, outside=outside, scale=scale, poses=poses, alone=alone
            )
            fused, _ = module(features, images, camera, present)
            for pyramid in (fused.maps, *fused.by_task.values()):
                assert tuple(level.shape[1] for level in pyramid) == module.channels
                assert len(module.channels) == len(module.strides) == len(pyramid)
            assert (len(module.strides) > len(strides)) == (place == "level" and 8 not in strides)
            assert list(module.strides) == sorted(module.strides)


def test_fusion_begins_with_the_pyramid_as_it_is() -> None:
    fusion = Fusion((4, 6), (8, 32), 5, "last")
    features = Features([torch.randn(1, 4, 16, 16), torch.randn(1, 6, 4, 4)], {"a": [torch.randn(1, 4, 16, 16)] * 2})
    features.by_task["a"][1] = torch.randn(1, 6, 4, 4)
    fused = fusion(features, torch.zeros(1, 5, 16, 16))
    torch.testing.assert_close(fused.maps, features.maps)
    torch.testing.assert_close(fused.by_task, features.by_task)


def test_the_encoder_is_centred_on_every_eighth_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_normalised", lambda tensor: tensor)  # which would see the whole picture
    image = torch.rand(1, 3, 144, 144, requires_grad=True)
    SpatialEncoder()(image)[..., 8, 9].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad.abs().sum((0, 1, dim)).nonzero() for dim in (3, 2))
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (2 * 64, 2 * 72)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"nearest": 5.0, "farthest": 5.0}, "nearest"),
        ({"nearest": 0.0}, "nearest"),
        ({"mode": "both"}, "mode"),
        ({"volume": "flat"}, "volume"),
        ({"fusion": "first"}, "fusion"),
        ({"single_share": 1.5}, "probability"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeError), match=problem):  # types are checked before values here
        CrossView((8,), (16,), **options)


def test_an_encoder_without_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="no level"):
        CrossView((), ())


def test_views_without_neighbours_are_counted_where_pairs_are_expected() -> None:
    module, images = neck(mode="pair"), torch.rand(1, 1, 3, *SIZE)
    last(module, images, None)
    assert module.remarks() == []
    module.train()
    last(module, torch.rand(2, 2, 3, *SIZE), cameras([[0.0, 0.1], [0.0, 0.1]]))
    assert module.remarks() == []
    last(module, images, None)
    camera = cameras([[0.0, 0.1], [0.0, 0.1]])
    camera.known[1, 0] = False
    last(module, torch.rand(2, 2, 3, *SIZE), camera)
    assert len(module.remarks()) == 1 and "3 of 9 views trained without a neighbour" in module.remarks()[0]


def test_samples_taken_for_single_views_are_not_counted() -> None:
    module = neck(mode="pair", single_share=1.0).train()
    last(module, torch.rand(2, 2, 3, *SIZE), cameras([[0.0, 0.1], [0.0, 0.1]]))
    assert module.remarks() == []


def focal(camera: Camera, value: float) -> None:
    camera.intrinsics[1, 0, 0, 0] = value


def sheared(camera: Camera, value: float) -> None:
    camera.world_from_camera[1, 0, 0, 1] = value


def stretched(camera: Camera, value: float) -> None:
    camera.world_from_camera[1, 0, :3, :3] *= value


@pytest.mark.parametrize(
    ("spoil", "value", "problem"),
    [
        (focal, 0.0, "focal lengths are not positive"),
        (focal, -90.0, "focal lengths are not positive"),
        (focal, float("nan"), "intrinsics are not finite"),
        (sheared, 0.3, "rigid"),
        (sheared, float("inf"), "pose is not finite"),
        (stretched, 2.0, "rigid"),
        (stretched, -1.0, "rigid"),
    ],
)
def test_cameras_that_cannot_be_are_refused_by_sample_and_view(spoil: Any, value: float, problem: str) -> None:
    module, images, camera = neck(), torch.rand(2, 2, 3, *SIZE), cameras([[0.0, 0.1]] * 2)
    spoil(camera, value)
    with pytest.raises(ValueError, match=f"sample 1 of the batch, view 0: .*{problem}"):
        last(module, images, camera)
    camera.known[1, 0] = False
    assert last(module, images, camera).isfinite().all()


def test_modes_and_controls_see_what_they_should() -> None:
    images, camera = torch.rand(1, 2, 3, *SIZE), cameras([[0.0, 0.1]])
    changed = images.clone()
    changed[:, 1] = 0.5
    for module, sees in (
        (neck(), True),
        (neck(volume="constant"), True),
        (neck(volume="none"), True),
        (neck(mode="single"), False),
        (PlainBranch((8, 16), (8, 16)).eval(), False),
    ):
        before, after = (last(module, each, camera)[:, 0] for each in (images, changed))
        assert torch.allclose(before, after, atol=1e-4) != sees
    module = neck()
    right = last(module, images, camera)
    module.poses = "shuffled"
    assert not torch.allclose(right, last(module, images, camera), atol=1e-3)


def test_half_precision_keeps_the_cameras() -> None:
    module, images, camera = neck(), torch.rand(1, 2, 3, *SIZE), cameras([[0.0, 0.1]])
    exact = find(camera, camera.known, SIZE, module.reach)
    with torch.autocast("cpu", torch.bfloat16):
        half = find(camera, camera.known, SIZE, module.reach)
        assert last(module, images, camera).isfinite().all()
    assert torch.equal(exact.source_from_reference, half.source_from_reference)


def test_a_single_view_exports() -> None:
    module = neck().requires_grad_(False)
    images, present = torch.rand(1, 1, 3, *SIZE), torch.ones(1, 1, dtype=torch.bool)

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neck = module

        def forward(self, images: Tensor) -> Tensor:
            return self.neck(levels(1), images, None, present)[0].maps[-1]

    exported = torch.export.export(Alone(), (images,)).module()
    torch.testing.assert_close(exported(images)[None], last(module, images, None))


def test_a_pair_exports_and_leaves_no_trace() -> None:
    module, images, camera = neck().requires_grad_(False), torch.rand(1, 2, 3, *SIZE), cameras([[0.0, 0.1]])
    before = last(module, images, camera)
    counted = module.apart

    class Pair(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neck = module

        def forward(self, images: Tensor, intrinsics: Tensor, poses: Tensor, known: Tensor) -> Tensor:
            return self.neck(levels(2), images, Camera(intrinsics, poses, known), known)[0].maps[-1]

    given = (images, camera.intrinsics, camera.world_from_camera, camera.known)
    exported = torch.export.export(Pair(), given).module()
    torch.testing.assert_close(exported(*given).unflatten(0, (1, 2)), before, atol=1e-4, rtol=1e-4)
    assert module.apart is counted
