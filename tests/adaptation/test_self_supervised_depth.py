"""On rendered rooms, where depth and cameras are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from polyscene import parts, transforms
from polyscene.adaptation import METHODS
from polyscene.adaptation.pairs import Pairs, pair
from polyscene.adaptation.self_supervised_depth import PATIENCE, SelfSupervisedDepth
from polyscene.config import Config
from polyscene.data.rooms.dataset import Rooms
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks import Depth, Edges, SemanticSegmentation
from polyscene.training.trainer import Trainer
from polyscene.types import Auxiliary, Batch, Features, Predictions, Sample, collate

SIZE, VIEWS = (60, 80), 3
METRES = {"depth": Depth(encoding="metres")}
PLAIN: dict[str, Any] = {"smooth": 0.0, "still": False}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    made = Rooms(2, VIEWS, SIZE, root=tmp_path_factory.mktemp("rooms"), workers=1)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def batch(rooms: Rooms) -> Batch:
    return collate([rooms.read(0), rooms.read(1)])


def unlabelled(batch: Batch) -> Batch:
    return replace(batch, targets={})


def truth(batch: Batch) -> Tensor:
    target = batch.targets["depth"]
    return torch.where(target.valid, target.value, 1.0)


def dissimilarity(batch: Batch, scale: float = 1.0, **options: Any) -> float:
    pairs = pair(batch, **options)
    assert pairs is not None
    views = pairs.anchors
    return float(pairs.dissimilarity(truth(batch)[:, :views] * scale, batch.targets["depth"].valid[:, :views], False))


# -- what of depth and cameras -----------------------------------------------------------------------------------------
def test_the_least_is_at_true_depth(batch: Batch) -> None:
    found = {scale: dissimilarity(batch, scale) for scale in (0.7, 0.85, 0.95, 1.0, 1.05, 1.2, 1.5)}
    assert min(found, key=lambda scale: found[scale]) == 1.0
    assert found[1.0] < 0.75 * min(found[0.7], found[1.5])
    assert [found[s] for s in (0.7, 0.85, 0.95, 1.0)] == sorted(
        (found[s] for s in (0.7, 0.85, 0.95, 1.0)), reverse=True
    )


def test_several_other_views_explain_more_than_one(batch: Batch) -> None:
    """What one view hides another shows."""
    two = batch.map(lambda tensor: tensor[:, :2])
    assert dissimilarity(batch, first=True) < dissimilarity(two, first=True)


def test_what_the_other_view_hides_may_be_left_out(batch: Batch) -> None:
    """True depths say of most pixels of large error that something nearer stands before them."""
    two = batch.map(lambda tensor: tensor[:, :2])
    pairs = pair(two)
    assert pairs is not None
    depth, valid = truth(two), two.targets["depth"].valid
    plain, shown, all_of_it = (float(pairs.dissimilarity(depth, valid, False, False, h)) for h in (None, 0.05, 1e6))
    assert shown < 0.95 * plain and all_of_it == plain
    alone = pair(two, first=True)
    assert alone is not None
    depths = depth[:, :1], valid[:, :1]
    assert alone.dissimilarity(*depths, hidden=0.05) == alone.dissimilarity(*depths), "the other's depth is not told"


def test_halves_show_the_same(batch: Batch) -> None:
    """Pictures, intrinsics and depth of half the size: the least stays at true depth, and is sharper."""
    pairs = pair(batch)
    assert pairs is not None
    small = pairs.halved()
    assert tuple(small.one.shape[-2:]) == (SIZE[0] // 2, SIZE[1] // 2) and small.halved().factor == 4
    assert torch.allclose(small.intrinsics[:, 0, 0], pairs.intrinsics[:, 0, 0] / 2)
    assert torch.allclose(small.intrinsics[:, 0, 2], (pairs.intrinsics[:, 0, 2] + 0.5) / 2 - 0.5)
    depth, valid = truth(batch), batch.targets["depth"].valid

    def rise(one: Pairs) -> float:
        found = [float(one.dissimilarity(depth * scale, valid, False)) for scale in (0.8, 1.0, 1.25)]
        assert min(found) == found[1]
        return min(found[0], found[2]) / found[1]

    assert rise(small) > rise(pairs) > 1


def mirrored(sample: Sample, rooms: Rooms) -> Sample:
    return transforms.hflip(sample, rooms.tasks)


def cut(sample: Sample, rooms: Rooms) -> Sample:
    return transforms.crop(sample, rooms.tasks, (6, 10, 50, 60))


def stretched(sample: Sample, rooms: Rooms) -> Sample:
    return transforms.resize(sample, rooms.tasks, (90, 100))


def zoomed(sample: Sample, rooms: Rooms) -> Sample:
    return transforms.cover(sample, rooms.tasks, SIZE, 1.4, (0.1, 0.8))


def turned(sample: Sample, rooms: Rooms) -> Sample:
    angle, middle = torch.tensor(0.1), torch.tensor([SIZE[1] / 2, SIZE[0] / 2])
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    matrix = torch.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ middle
    return transforms.warp(sample, rooms.tasks, matrix)


def shrunk(sample: Sample, rooms: Rooms) -> Sample:
    return transforms.shrink(sample, rooms.tasks, torch.full((VIEWS,), 1.7))


@pytest.mark.parametrize("change", [mirrored, cut, stretched, zoomed, turned, shrunk])
def test_true_depth_explains_whatever_the_picture_underwent(
    rooms: Rooms, change: Callable[[Sample, Rooms], Sample]
) -> None:
    """Intrinsics follow every resize and cut; mirroring moves u0 and the pose, never v0."""
    changed = collate([change(rooms.read(index), rooms) for index in range(2)])
    found = [dissimilarity(changed, scale) for scale in (0.7, 1.0, 1.4)]
    assert found[1] < 0.8 * min(found[0], found[2])


def test_a_mirrored_batch_loses_as_much(rooms: Rooms, batch: Batch) -> None:
    other = collate([mirrored(rooms.read(index), rooms) for index in range(2)])
    assert dissimilarity(other, 1.1) == pytest.approx(dissimilarity(batch, 1.1), rel=1e-3)
    assert torch.equal(other.camera.intrinsics[..., 1, 2], batch.camera.intrinsics[..., 1, 2])


def test_views_vary_their_light_together(rooms: Rooms) -> None:
    """Brightness is constant from view to view: two equal views stay equal, but for what noise each gets."""
    picture = rooms.read(0).images[:1].repeat(2, 1, 1, 1)
    equal = 0
    for seed in range(10):
        one, other = transforms.photometric(picture, torch.Generator().manual_seed(seed), 1.0)
        assert (one - other).mean().abs() < 2e-3 and (one - picture[0]).abs().mean() > 1e-3
        equal += torch.equal(one, other)
    assert equal


def test_views_without_known_camera_or_padded_are_left_alone(batch: Batch) -> None:
    half = batch.camera.known.clone()
    half[:, 2] = False
    unknown = replace(batch, camera=replace(batch.camera, known=half))
    absent = replace(batch, present=half)
    two = dissimilarity(batch.map(lambda tensor: tensor[:, :2]))
    assert dissimilarity(unknown) == pytest.approx(two) and dissimilarity(absent) == pytest.approx(two)
    assert pair(replace(batch, camera=replace(batch.camera, known=torch.zeros_like(half)))) is None
    assert pair(batch.map(lambda tensor: tensor[:, :1])) is None


def test_learnt_motions_serve_both_ways(batch: Batch) -> None:
    """A network that gives the true motion of the earlier to the later view makes the pairs that cameras make."""
    poses = batch.camera.world_from_camera
    asked = []

    def learnt(one: Tensor, other: Tensor) -> Tensor:
        asked.append(len(one))
        place = [next(i for i, view in enumerate(batch.images.flatten(0, 1)) if torch.equal(view, v)) for v in one]
        goal = [next(i for i, view in enumerate(batch.images.flatten(0, 1)) if torch.equal(view, v)) for v in other]
        flat = poses.flatten(0, 1)
        return torch.linalg.inv(flat[goal]) @ flat[place]

    unknown = replace(batch, camera=replace(batch.camera, known=torch.zeros_like(batch.camera.known)))
    found, wanted = pair(unknown, learnt=learnt), pair(batch)
    assert found is not None and wanted is not None and asked == [2 * 3]
    assert torch.allclose(found.other_from_one, wanted.other_from_one, atol=1e-5)
    assert found.usable.all()


def test_gaps_are_no_picture(batch: Batch) -> None:
    """Black holes at other places in each view spoil the loss, unless they are left out."""
    images = batch.images.clamp_min(0.05).clone()
    for view in range(VIEWS):
        images[:, view, :, 8 + 8 * view : 14 + 8 * view, 15:50] = 0
    holed, whole = replace(batch, images=images), replace(batch, images=batch.images.clamp_min(0.05))
    left, without = dissimilarity(holed, dark=0.03), dissimilarity(whole)
    assert left - without < 0.6 * (dissimilarity(holed) - without)


def test_exposure_may_differ(batch: Batch) -> None:
    images = batch.images * torch.tensor([1.0, 0.8, 0.65])[:, None, None, None]
    pairs = pair(replace(batch, images=images))
    assert pairs is not None
    depth, valid = truth(batch), batch.targets["depth"].valid
    plain, matched = (float(pairs.dissimilarity(depth, valid, False, exposure)) for exposure in (False, True))
    assert matched < 0.85 * plain


def test_a_static_pair_asks_nothing(batch: Batch) -> None:
    still = replace(batch, images=batch.images[:, :1].expand_as(batch.images))
    pairs = pair(still)
    assert pairs is not None
    depth = truth(batch).mul(1.2).requires_grad_()
    pairs.dissimilarity(depth).backward()
    assert depth.grad is not None and not depth.grad.any()
    pairs.dissimilarity(depth, still=False).backward()
    assert depth.grad.any()


# -- the step ----------------------------------------------------------------------------------------------------------
class Told(MultiTaskModel):
    """A network that says what it is told, ``scale`` times."""

    def __init__(self, raw: Tensor, focal: float | None = None, auxiliary: list[Auxiliary] | None = None) -> None:
        torch.nn.Module.__init__(self)
        self.raw, self.canonical_focal, self.auxiliary = raw, focal, auxiliary or []
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, camera: Any = None, present: Any = None) -> Predictions:
        return Predictions({"depth": self.scale * self.raw[:, : images.shape[1]]}, self.auxiliary, Features([]))


def photometric_loss(batch: Batch, told: Told, **options: Any) -> float:
    report = SelfSupervisedDepth(METRES, **{**PLAIN, **options})(told, {"video": unlabelled(batch)})
    assert report.total == report.parts["photometric"] and report.by_task == {}
    return float(report.total)


def test_canonical_depth_is_brought_to_the_pictures_own(batch: Batch) -> None:
    own = photometric_loss(batch, Told(truth(batch)))
    scale = batch.camera.intrinsics[..., 0, 0] / (0.8 * SIZE[1])
    assert (scale - 1).abs().max() > 0.05
    canonical = truth(batch) / scale[..., None, None, None]
    assert photometric_loss(batch, Told(canonical, 0.8)) == pytest.approx(own, rel=1e-4)
    assert photometric_loss(batch, Told(truth(batch), 0.8)) > 1.2 * own


def test_every_depth_map_is_asked_at_full_size(batch: Batch) -> None:
    raw = truth(batch)
    small = raw[..., ::4, ::4] * 1.3
    auxiliary = Auxiliary({"depth": small}, METRES, weight=0.5)
    enlarged = torch.nn.functional.interpolate(small.flatten(0, 1), SIZE, mode="bilinear").unflatten(0, small.shape[:2])
    alone, other = photometric_loss(batch, Told(raw)), photometric_loss(batch, Told(enlarged))
    both = photometric_loss(batch, Told(raw, auxiliary=[auxiliary]))
    assert both == pytest.approx(alone + 0.5 * other, rel=1e-4)


def test_smoothness_halves_with_the_size(batch: Batch) -> None:
    raw = truth(batch)
    step = SelfSupervisedDepth(METRES, photometric=0.0, smooth=1.0, still=False)

    def rough(*auxiliary: Auxiliary) -> float:
        return float(step(Told(raw, auxiliary=list(auxiliary)), {"video": unlabelled(batch)}).parts["smooth"])

    ramp = torch.linspace(1, 2, SIZE[1]).reciprocal().expand_as(raw)
    flat = Auxiliary({"depth": raw[..., ::2, ::2] * 0 + 2}, METRES)
    assert rough(flat) == pytest.approx(rough()) and rough() > 0
    grey = replace(unlabelled(batch), images=torch.full_like(batch.images, 0.5))
    full = step(Told(ramp), {"video": grey}).parts["smooth"]
    assert float(full) == pytest.approx(1 / 1.5 / (SIZE[1] - 1), rel=1e-3)


def test_octaves_are_averaged(batch: Batch) -> None:
    pairs = pair(batch)
    assert pairs is not None
    raw = truth(batch) * 1.1
    wanted = (float(pairs.dissimilarity(raw, still=False)) + float(pairs.halved().dissimilarity(raw, still=False))) / 2
    assert photometric_loss(batch, Told(raw), octaves=2) == pytest.approx(wanted, rel=1e-4)


def test_of_depth_the_shape_is_remembered_not_the_scale(batch: Batch) -> None:
    step = SelfSupervisedDepth(METRES, photometric=0.0, smooth=0.0, remember=0.5)
    told = Told(truth(batch))
    told.tasks, told.regularizer, told.parts = METRES, None, {}
    step.attach(told)

    def forgotten(raw: Tensor) -> float:
        told.raw = raw
        report = step(told, {"video": unlabelled(batch)})
        assert report.total == 0.5 * report.parts["remember"]
        return float(report.total)

    assert forgotten(truth(batch)) == pytest.approx(0, abs=1e-3)
    assert forgotten(3 * truth(batch)) == pytest.approx(0, abs=1e-3)
    assert forgotten(truth(batch) ** 1.2) > 0.02


def test_labels_and_views_are_learnt_from_together(batch: Batch) -> None:
    """DenseMTL's setting: classes where they are labelled, depth from views; depth labels are not asked for."""
    tasks = {"semseg": SemanticSegmentation(classes=("a", "b", "c"), weight=2.0), "depth": Depth()}
    torch.manual_seed(0)
    model = create_model(list(tasks.values()), "test_efficientnet", {"name": "multi_head", "channels": 8})
    target = replace(
        batch.targets["depth"], value=(truth(batch) > 2).long(), valid=torch.ones_like(batch.targets["depth"].valid)
    )
    labelled = replace(batch, targets={"semseg": target})
    step = SelfSupervisedDepth(tasks, anchors="first")
    report = step(model, {"streets": labelled})
    wanted = 2 * report.by_task["semseg"] + report.parts["photometric"] + 0.001 * report.parts["smooth"]
    assert report.total.item() == pytest.approx(wanted.item(), rel=1e-5) and set(report.by_task) == {"semseg"}
    assert (report.shares["semseg"] + report.others).item() == pytest.approx(report.total.item())
    report.total.backward()
    assert all(head.project.weight.grad.any() for head in model.heads.values())


def test_labelled_and_unlabelled_sources_are_averaged_each_over_their_own(batch: Batch) -> None:
    single = batch.map(lambda tensor: tensor[:, :1])
    single = replace(single, targets={"depth": single.targets["depth"]})
    raw = truth(batch) * 1.1
    step = SelfSupervisedDepth(METRES, **PLAIN)
    report = step(Told(raw), {"few": single, "video": unlabelled(batch)})
    alone = SelfSupervisedDepth(METRES, **PLAIN)(Told(raw), {"few": single})
    assert report.by_task["depth"] == alone.by_task["depth"] == alone.total
    assert float(report.parts["photometric"]) == pytest.approx(photometric_loss(batch, Told(raw)))
    assert float(report.total) == pytest.approx(float(alone.total + report.parts["photometric"]))


LEARNT = {"poses": "learned", "pose_encoder": "test_resnet", "remember": 0.5}


@pytest.mark.parametrize("options", [{}, LEARNT, {"exposure": True, "dark": 0.02, "anchors": "first"}])
def test_a_resumed_training_is_the_same(batch: Batch, options: dict[str, Any]) -> None:
    settings = Config.model_validate({"tasks": ["depth"], "data": {}, "training": {"steps": 4}}).training

    def trainer(seed: int) -> Trainer:
        torch.manual_seed(seed)
        model = create_model([Depth(), Edges()], "test_efficientnet", {"name": "multi_head", "channels": 8})
        return Trainer(model, SelfSupervisedDepth(model.tasks, **options), settings, torch.device("cpu"), 0)

    whole = trainer(0)
    for step in range(2):
        whole.update(step, 4, [{"video": unlabelled(batch)}])
    state = {name: _copied(part) for name, part in whole.state().items()}
    again = trainer(1)
    again.restore(state)
    for step in (2, 3):
        losses = [one.update(step, 4, [{"video": unlabelled(batch)}])[0] for one in (whole, again)]
        assert losses[0] == losses[1]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    kept = whole.method.state_dict()
    assert set(kept) == ({"poses", "before"} if options == LEARNT else set())
    for module, tensors in kept.items():
        assert all(torch.equal(tensor, again.method.state_dict()[module][name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("options", [{"hidden": 0.1, "dark": 0.02, "exposure": True, "octaves": 2}, LEARNT])
def test_cameras_keep_full_precision_in_mixed_precision(batch: Batch, options: dict[str, Any]) -> None:
    step = SelfSupervisedDepth(METRES, **{**PLAIN, **options, "remember": 0.0})
    told = Told(truth(batch))
    torch.manual_seed(0)
    plain = step(told, {"video": unlabelled(batch)}).total
    with torch.autocast("cpu", torch.bfloat16):
        mixed = step(told, {"video": unlabelled(batch)}).total
    mixed.backward()
    assert mixed.item() == pytest.approx(plain.item(), rel=0.05 if options == LEARNT else 1e-6)
    assert told.scale.grad is not None and told.scale.grad.isfinite() and told.scale.grad != 0


def _copied(part: Any) -> Any:
    return torch.utils._pytree.tree_map_only(Tensor, Tensor.clone, part)


def test_training_finds_the_depth(batch: Batch) -> None:
    """A network that says it an eighth too large comes down to it."""
    model, step = Told(1.15 * truth(batch)), SelfSupervisedDepth(METRES, **PLAIN)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(25):
        optimiser.zero_grad()
        step(model, {"video": unlabelled(batch)}).total.backward()
        optimiser.step()
    assert float(model.scale.detach()) == pytest.approx(1 / 1.15, abs=0.02)


# -- what is wrong -----------------------------------------------------------------------------------------------------
def test_a_network_without_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the tasks is a depth: edges"):
        SelfSupervisedDepth({"edges": Edges()})


def test_sources_that_never_show_two_views_are_told(batch: Batch) -> None:
    alone = unlabelled(batch.map(lambda tensor: tensor[:, :1]))
    step = SelfSupervisedDepth(METRES)
    told = Told(truth(batch))
    for _ in range(PATIENCE - 1):
        assert step(told, {"video": alone}).total == 0
    with pytest.raises(ValueError, match=r"without two views of a known camera.*views: 2.*poses: learned"):
        step(told, {"video": alone})


def test_keywords_are_checked_before_anything_is_loaded() -> None:
    found = parts.keywords(METHODS["self_supervised_depth"])
    assert found is not None
    assert all(parts.simple_type(each) is not None for name, each in found.items() if name != "tasks")
