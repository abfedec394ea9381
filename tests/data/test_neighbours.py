"""Neighbouring views: which are chosen, what is refused, and that the real sets' truly see the same things."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from folders import make_folder, pose, write_cameras

from polyscene.config import Part, Source
from polyscene.data import neighbours, sources
from polyscene.data.description import BadDescription, Limits
from polyscene.data.folder import Folder
from polyscene.data.rooms.dataset import Rooms
from polyscene.geometry.correspondence import correspond
from polyscene.metrics.consistency import between
from polyscene.types import Target, collate

HERE = Path(__file__).resolve().parents[2] / "experiments" / "real" / "data"
INTRINSICS = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
SIZE = (24, 32)
LENS = {"fx": 30.0, "fy": 30.0, "cx": 15.5, "cy": 11.5}


def turned(degrees: float, shift: float = 0.0) -> np.ndarray:
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    matrix[0, 3] = shift
    return matrix


def test_motions_are_metres_and_degrees() -> None:
    distance, angle = neighbours.motions(turned(10, 1.0), np.stack([turned(10, 1.0), turned(35, 1.5), turned(-80)]))
    assert distance == pytest.approx([0, 0.5, 1]) and angle == pytest.approx([0, 25, 90], abs=1e-6)


def test_overlap_of_a_plane_is_what_geometry_says() -> None:
    """A camera moved sideways by a quarter of what it sees at 2 m sees three quarters again."""
    width = 32 / 30 * 2.0
    others = np.stack([np.eye(4), turned(0, width / 4), turned(0, width * 1.1), turned(180)])
    shared = neighbours.overlap(np.eye(4), others, INTRINSICS, SIZE, [2.0])
    assert shared == pytest.approx([1, 0.75, 0, 0])


def test_overlap_counts_the_lesser_share() -> None:
    """Moved forward a camera sees only what the other saw, but the other sees much that it does not."""
    ahead = np.eye(4)
    ahead[2, 3] = 1.0
    assert neighbours.overlap(np.eye(4), ahead[None], INTRINSICS, SIZE, [2.0])[0] == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [2, 1]),
        ({"baseline": (0.03, 0.15)}, [1]),
        ({"baseline": (0.0, 0.05)}, []),
        ({"rotation": 5.0, "baseline": (0.03, 9.0), "overlap": 0.0}, [4, 2, 1]),
        ({"overlap": 0.95}, []),
    ],
)
def test_choice_keeps_to_its_limits(limits: dict[str, object], expected: list[int]) -> None:
    poses = np.stack([turned(0), turned(0, 0.1), turned(0, 0.3), turned(60, 0.3), turned(0, 1.2)])
    found = neighbours.choose(0, np.arange(5), poses, INTRINSICS, SIZE, Limits.model_validate(limits), [2.0], 3)
    assert found == expected


def test_of_equal_candidates_the_nearest_in_order_is_taken() -> None:
    poses = np.stack([turned(0, place) for place in (0.2, -0.2, 0.0, 0.2, -0.2)])
    assert neighbours.choose(2, np.arange(5), poses, INTRINSICS, SIZE, Limits(), [2.0], 4) == [1, 3, 0, 4]


@pytest.mark.parametrize("bad", [{"baseline": (0.5, 0.1)}, {"overlap": 1.5}, {"rotation": 0}, {"ranges": ()}])
def test_impossible_limits_are_refused(bad: dict[str, object], tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    with pytest.raises(BadDescription, match="neighbours: "):
        Folder(root, views=2, neighbours=bad)


def test_samples_are_a_view_and_its_neighbours(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")  # cameras 0.1 m apart in a row
    folder = Folder(root, "train", views=3, step=2)
    ids = [[int(frame.id[6:]) for frame in window] for window in folder.windows]
    assert ids == [[0, 3, 2], [2, 5, 0], [4, 1, 7], [6, 3, 4]]
    sample = folder.read(1)
    assert sample.camera.world_from_camera[:, 0, 3].tolist() == pytest.approx([0.2, 0.5, 0.0], abs=1e-6)
    assert not folder.notes
    assert all("frame_" in name for name in sample.meta[0].split())


def test_neighbours_stay_in_their_split(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    for split in ("train", "val"):
        inside = {frame.id for frame in Folder(root, split).frames}
        assert {frame.id for window in Folder(root, split, views=2).windows for frame in window} <= inside


def test_limits_stand_in_the_description_and_options_override_single_keys(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    facts = yaml.safe_load((root / "polyscene.yaml").read_text())
    (root / "polyscene.yaml").write_text(yaml.safe_dump({**facts, "neighbours": {"baseline": [0.03, 0.25]}}))
    assert Folder(root, views=2).windows[0][1].id == "frame_2"
    assert Folder(root, views=2, neighbours={"within": 1}).windows[0][1].id == "frame_1"
    with pytest.raises(BadDescription, match="neighbours"):
        Folder(root, views=2, neighbours={"basline": [0, 1]})
    with pytest.raises(BadDescription, match="stride"):
        Folder(root, views=2, stride=2, neighbours={"within": 1})


def test_a_lonely_frame_is_a_single_view_and_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    far = [{"id": f"frame_{n}", "T_world_cam": pose(n if n != 5 else 500)} for n in range(10)]
    write_cameras(root, LENS, far)
    folder = Folder(root, views=2)
    assert [len(window) for window in folder.windows] == [2, 2, 2, 2, 2, 1, 2, 2, 2, 2]
    assert folder.notes[0].startswith("tiny: 1 of 10 samples have no neighbour (0.03-0.4 m apart")
    mixed = collate([folder.read(4), folder.read(5)])
    assert mixed.present.tolist() == [[True, True], [True, False]] and not mixed.targets["depth"].valid[1, 1].any()


def test_notes_reach_whoever_uses_the_set(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    write_cameras(root, LENS, [{"id": f"frame_{n}", "T_world_cam": pose(n if n else 99)} for n in range(10)])
    from polyscene.config import Data

    part = Part.model_validate({"name": "folder", "path": str(root), "views": 2})
    tasks = Folder(root).tasks
    built = sources.build(Data(size=(24, 32), train={"tiny": Source(dataset=part)}), tasks, 0)
    assert any("1 of 10 samples have no neighbour" in note for note in built.notes)


@pytest.mark.parametrize("unit", [1000.0, 0.001])
def test_poses_of_another_unit_are_refused_with_the_remedy(tmp_path: Path, unit: float) -> None:
    root = make_folder(tmp_path / "tiny")
    poses = [np.array(pose(n)) for n in range(10)]
    for matrix in poses:
        matrix[:3, 3] *= unit
    write_cameras(root, LENS, [{"id": f"frame_{n}", "T_world_cam": m.tolist()} for n, m in enumerate(poses)])
    with pytest.raises(BadDescription, match=r"no frame has a neighbour.*in metres\?.*are (100|0.0001) apart"):
        Folder(root, views=2)


def test_frames_without_rigid_pose_are_no_ones_neighbour(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    facts = json.loads((root / "cameras.json").read_text())
    facts["frames"][4]["T_world_cam"][0][0] = 2.0
    (root / "cameras.json").write_text(json.dumps(facts))
    folder = Folder(root, views=2)
    assert all(frame.id != "frame_4" for window in folder.windows for frame in window[1:])
    assert len(folder.windows[4]) == 1
    with pytest.raises(ValueError, match="frame_4 is no rigid motion"):
        folder.read(4)


def test_pairs_of_rooms_come_from_the_pictures_there_are(tmp_path: Path) -> None:
    paths, pairs = (Rooms(3, views, (24, 32), root=tmp_path, path=4) for views in (4, 2))
    assert pairs.folder == paths.folder and len(pairs) == 6 and len(paths) == 3


@pytest.mark.parametrize("name", ["kitchen", "office"])
def test_chosen_pairs_of_the_real_sets_see_the_same(
    name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYSCENE_DATA", str(real_data))
    folder = Folder(HERE / f"{name}.yaml", views=2)
    assert sum(len(window) == 2 for window in folder.windows) >= 0.95 * len(folder)
    for index in range(5, len(folder), 20):
        sample = folder.read(index)
        depth, view = sample.targets["depth"], sample.camera
        one, other = (Target(depth.value[[i]], depth.valid[[i]]) for i in (0, 1))
        motion = between(view.world_from_camera[[1]], view.world_from_camera[[0]])
        way = correspond(one, view.intrinsics[[0]], other, view.intrinsics[[1]], motion)
        height, width = depth.value.shape[-2:]
        x, y = way.pixels.unbind(-3)
        inside = one.valid & ((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))[:, None]
        assert inside.sum() > 0.3 * one.valid.sum()  # the estimate is of a few depths
        assert (way.seen & inside).sum() > 0.6 * inside.sum()  # and show the same things, occlusion and noise aside
        error = (way.points(way.nearest(other.value))[:, 2:] - one.value).abs()[way.seen]
        assert error.median() < 0.02 and torch.isfinite(error).all()
