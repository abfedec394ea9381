"""Views are consistent: ground truth with itself, through every augmentation; and wrong cameras show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyscene import transforms
from polyscene.data.rooms.dataset import Rooms
from polyscene.geometry.correspondence import Correspondence, correspond
from polyscene.metrics import Consistency
from polyscene.metrics.consistency import between
from polyscene.metrics.normals import angles
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.types import Batch, Camera, Sample, Target, collate

SIZE = (48, 64)
FIGURES = {"semseg": "agreement", "depth": "AbsRel", "normals": "angle", "edges": "agreement"}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    made = Rooms(1, 2, SIZE, root=tmp_path_factory.mktemp("rooms"), workers=1, path=4)
    made.prepare()
    return made


def judged(rooms: Rooms, batch: Batch, values: dict[str, Tensor] | None = None) -> dict[str, float]:
    metric = Consistency(rooms.tasks)
    said = values or {name: target.value for name, target in batch.targets.items()}
    metric.update(said, batch.targets["depth"], batch.camera, SIZE, batch.present)
    return {name: row[f"cross-view {FIGURES[name]}"] for name, row in metric.compute().items()}


def shaken(batch: Batch, shift: float) -> Batch:
    poses = batch.camera.world_from_camera.clone()
    poses[:, 1, :3, 3] += shift
    return replace(batch, camera=replace(batch.camera, world_from_camera=poses))


def test_truth_is_consistent_and_wrong_poses_are_not(rooms: Rooms) -> None:
    batch = collate([rooms.read(0), rooms.read(1)])
    true, wrong, worse = (judged(rooms, shaken(batch, shift)) for shift in (0.0, 0.03, 0.1))
    assert true["semseg"] > 99 and true["depth"] < 0.002 and true["normals"] < 3 and true["edges"] > 90
    for name in ("semseg", "edges"):
        assert worse[name] < wrong[name] < true[name]
    for name in ("depth", "normals"):
        assert worse[name] > wrong[name] > true[name]


def test_predictions_that_differ_from_view_to_view_are_told_by_how_much(rooms: Rooms) -> None:
    batch = collate([rooms.read(0)])
    values = {name: target.value.clone() for name, target in batch.targets.items()}
    values["depth"][:, 1] *= 1.1
    values["semseg"][:, 1] = 12 - values["semseg"][:, 1]
    values["edges"][:, 1] = 0
    found = judged(rooms, batch, values)
    assert 0.07 < found["depth"] < 0.12 and found["semseg"] < 15 and found["edges"] == 0
    assert found["normals"] == judged(rooms, batch)["normals"]


def test_saying_the_same_everywhere_is_consistent_but_for_geometry(rooms: Rooms) -> None:
    """A constant class agrees with itself; a constant depth or normal does not, once the camera has moved."""
    batch = collate([rooms.read(0), rooms.read(1)])
    shapes = {name: target.value for name, target in batch.targets.items()}
    constant = {name: torch.full_like(value, 1) for name, value in shapes.items()}
    facing = torch.tensor([0.0, 0.0, -1.0])[:, None, None].expand_as(shapes["normals"])
    found = judged(rooms, batch, {**constant, "depth": constant["depth"] * 2.0, "normals": facing})
    assert found["semseg"] == found["edges"] == 100 and found["depth"] > 0.005 and found["normals"] > 0.5


def test_absent_views_unknown_cameras_and_strangers_are_left_out(rooms: Rooms) -> None:
    batch = collate([rooms.read(0)])
    for changed in (
        replace(batch, present=torch.tensor([[True, False]])),
        replace(batch, camera=replace(batch.camera, known=torch.tensor([[False, True]]))),
    ):
        assert judged(rooms, changed) == {}
    away = batch.camera.world_from_camera.clone()
    away[:, 1, :3, 3] += 100
    apart = replace(batch, camera=replace(batch.camera, world_from_camera=away))
    assert all(value != value for value in judged(rooms, apart).values())  # nothing comparable: NaN


def test_batches_add_up(rooms: Rooms) -> None:
    one, two = collate([rooms.read(0)]), collate([rooms.read(1)])
    both, metric = judged(rooms, collate([rooms.read(0), rooms.read(1)])), Consistency(rooms.tasks)
    for batch in (one, two):
        values = {name: target.value for name, target in batch.targets.items()}
        metric.update(values, batch.targets["depth"], batch.camera, SIZE, batch.present)
    for name, row in metric.compute().items():
        assert row[f"cross-view {FIGURES[name]}"] == pytest.approx(both[name], rel=1e-4)
        assert 40 < row["cross-view pixels"] <= 100


def facing_plane(distance: float, hidden: bool) -> tuple[Target, Target]:
    """A wall ``distance`` metres before two cameras; before the second something stands 1 m away, if ``hidden``."""
    wall = torch.full((1, 1, 20, 30), distance)
    seen = wall.clone()
    if hidden:
        seen[..., 10:15] = 1.0
    yes = torch.ones_like(wall, dtype=torch.bool)
    return Target(wall, yes), Target(seen, yes)


def test_a_plane_shifts_by_its_disparity_and_what_is_hidden_is_not_seen() -> None:
    lens = torch.tensor([[[20.0, 0, 14.5], [0, 20.0, 9.5], [0, 0, 1]]])
    motion = torch.eye(4)[None].clone()
    motion[:, 0, 3] = -0.25  # the other camera stands 0.25 m to the right: 20 * 0.25 / 2 = 2.5 pixels
    one, other = facing_plane(2.0, hidden=True)
    way = correspond(one, lens, other, lens, motion)
    assert torch.allclose(way.pixels[0, 0, 0], torch.arange(30) - 2.5, atol=1e-4)
    places = way.pixels[0, 0, 0].round()
    expected = (places >= 0) & ((places < 10) | (places >= 15))
    assert torch.equal(way.seen[0, 0, 3], expected) and not (way.smooth & ~way.seen).any()
    assert torch.allclose(way.points(torch.full((1, 1, 20, 30), 2.0))[0, 2], torch.tensor(2.0), atol=1e-5)


def test_carrying_speaks_the_language_of_the_view() -> None:
    """A camera turned by a quarter sees a wall's normal from the side, and depth along another axis."""
    quarter = torch.tensor([[[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]])
    yes = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    here = torch.stack(torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="xy"))[None]
    way = Correspondence(here, yes, yes, torch.tensor([[[3.0, 0, 2.5], [0, 3.0, 1.5], [0, 0, 1]]]), quarter)
    towards = torch.tensor([0.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 4, 6)
    turned = Normals().carry(towards, way).value
    assert torch.allclose(turned, torch.tensor([-1.0, 0, 0])[None, :, None, None].expand(1, 3, 4, 6), atol=1e-6)
    depth = Depth().carry(torch.full((1, 1, 4, 6), 3.0), way).value
    assert torch.allclose(depth[0, 0, 0], 2.5 - torch.arange(6.0), atol=1e-5)
    ids = torch.arange(24).reshape(1, 1, 4, 6)
    assert torch.equal(SemanticSegmentation(classes=("a", "b")).carry(ids, way).value, ids)


def test_edges_agree_within_two_pixels() -> None:
    marks = torch.zeros(1, 1, 9, 15)
    marks[..., 7] = 1.0
    yes = torch.ones_like(marks, dtype=torch.bool)

    def agreement(shift: int) -> float:
        total, count = Edges().agreement(marks, Target(marks.roll(shift, -1), yes))["agreement"].tolist()
        return total / count

    assert [agreement(shift) for shift in (0, 1, 2, 3)] == [100, 100, 100, 0]


@pytest.mark.parametrize("seed", range(6))
def test_augmentation_keeps_cameras_images_and_labels_together(rooms: Rooms, seed: int) -> None:
    """After any zoom, crop and mirroring, the second view warped into the first by the labels' depth and the changed
    cameras shows the same object, the same depth, the same normal and much the same brightness."""
    index = seed % 2
    sample = rooms.read(index)
    ids = rooms.instances(index).long()
    most = int(ids.max()) + 1
    tasks = {**rooms.tasks, "instances": SemanticSegmentation("instances", classes=tuple(map(str, range(most))))}
    sample = replace(sample, targets={**sample.targets, "instances": Target(ids, sample.targets["depth"].valid)})
    augment = transforms.Augment((36, 48), zoom=(1.0, 1.6), strength=0.0)
    changed = augment(sample, tasks, torch.Generator().manual_seed(seed))
    way, own, other = warped(changed)
    assert way.seen.float().mean() > 0.2
    same = own.targets["instances"].value == way.nearest(other.targets["instances"].value)
    assert same[way.seen].float().mean() > 0.97
    carried = tasks["depth"].carry(other.targets["depth"].value, way)
    relative = (carried.value / own.targets["depth"].value - 1).abs()[carried.valid]
    assert relative.median() < 0.005
    turned = tasks["normals"].carry(other.targets["normals"].value, way)
    assert angles(own.targets["normals"].value, turned.value)[turned.valid[:, 0]].median() < 1
    shown = [image.mean(1, keepdim=True)[way.smooth] for image in (own.images, way.linear(other.images))]
    assert torch.corrcoef(torch.stack(shown))[0, 1] > 0.8  # each picture has an exposure and noise of its own


@pytest.mark.parametrize("spoil", ["mirrored pose", "mirrored lens", "uncut lens"])
def test_the_reprojection_notices_a_camera_left_behind(rooms: Rooms, spoil: str) -> None:
    sample = rooms.read(0)
    cropped = transforms.crop(sample, rooms.tasks, (4, 18, 40, 40))
    changed = transforms.hflip(cropped, rooms.tasks)
    before, after = sample.camera, changed.camera
    cameras = {
        "mirrored pose": replace(after, world_from_camera=before.world_from_camera),
        "mirrored lens": replace(after, intrinsics=cropped.camera.intrinsics),
        "uncut lens": replace(after, intrinsics=before.intrinsics),
    }
    right, wrong = (warped(replace(changed, camera=camera))[0] for camera in (after, cameras[spoil]))
    assert right.seen.sum() > wrong.seen.sum() * 1.05


def warped(sample: Sample) -> tuple[Correspondence, Sample, Sample]:
    """Where the pixels of view 0 fall in view 1, and both views alone."""
    own, other = (view(sample, i) for i in (0, 1))
    way = correspond(
        own.targets["depth"],
        own.camera.intrinsics,
        other.targets["depth"],
        other.camera.intrinsics,
        between(other.camera.world_from_camera, own.camera.world_from_camera),
    )
    return way, own, other


def view(sample: Sample, index: int) -> Sample:
    chosen = slice(index, index + 1)
    targets = {name: Target(target.value[chosen], target.valid[chosen]) for name, target in sample.targets.items()}
    cameras = Camera(*(part[chosen] for part in vars(sample.camera).values()))
    return replace(
        sample, images=sample.images[chosen], targets=targets, camera=cameras, present=sample.present[chosen]
    )


def test_evaluation_reports_it_beside_accuracy(rooms: Rooms, tmp_path: Path) -> None:
    from polyscene import evaluate as evaluation
    from polyscene.data.loader import Loader
    from polyscene.training.score import score

    def loader(views: int) -> Loader:
        dataset = rooms if views == 2 else Rooms(1, 1, SIZE, root=rooms.folder.parent, path=4)
        return Loader(dataset, dataset.tasks, 2, transforms.Centre(SIZE), seed=0, shuffle=False, workers=0)

    pairs, single = (evaluation.floors(loader(views), loader(views), rooms.tasks) for views in (2, 1))
    for name, figure in FIGURES.items():
        assert f"cross-view {figure}" in pairs[name] and f"cross-view {figure}" not in single[name]
        key = rooms.tasks[name].metric().key
        assert not key.startswith("cross-view") and pairs[name][key] == pytest.approx(single[name][key])
    bare = {name: {k: v for k, v in row.items() if "cross" not in k} for name, row in pairs.items()}
    assert score({"r": pairs}, {"r": bare}, rooms.tasks) == score({"r": bare}, {"r": bare}, rooms.tasks)
