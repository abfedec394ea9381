"""Taskonomy in the layouts and encodings of its publications, value by value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.morphology import thin

from polyscene.data.base import BadSample
from polyscene.data.taskonomy import TINY, Taskonomy
from polyscene.data.verify import verify_set
from polyscene.geometry.camera import pixel_grid
from polyscene.tasks.sets import TASKONOMY_CLASSES

SIZE, FOV = (48, 64), 1.0
FOCAL = SIZE[1] / 2 / math.tan(FOV / 2)
PLANE = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, -0.8], dtype=torch.float64), dim=0)
FRAMES = ("point_0_view_0", "point_0_view_1", "point_2_view_0", "point_10_view_0")
KINDS = {
    "rgb": "rgb", "depth_zbuffer": "depth_zbuffer", "normal": "normal", "edge_occlusion": "edge_occlusion",
    "edge_texture": "edge_texture", "segment_semantic": "segmentsemantic", "point_info": "point_info",
}  # fmt: skip
STRAIGHT = np.eye(3)
Nested = Callable[[str, str], str]
CAMERAS = [  # of published files: where the camera is, how it is turned, what it looks at, how far that is
    (
        (-6.191483974456787, 4.649560928344727, 1.414849042892456),
        (1.5115954875946045, -0.004465199075639248, -1.702255129814148),
        (1.3095685243606567, 3.6557424068450928, 0.9663798213005066), 7.579880283037506,
    ),
    (
        (4.119016, 3.356542, 1.473925), (1.474778652191162, -0.004216436762362719, 1.7584909200668335),
        (-0.735573410987854, 2.436551332473755, 0.9980431199073792), 4.963857983586831,
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


def omnidata(kind: str, building: str) -> str:
    return f"{kind}/taskonomy/{building}"


def by_building(kind: str, building: str) -> str:
    return f"{building}/{kind}"


def save(root: Path, folder: str, frame: str, array: np.ndarray, ending: str) -> Path:
    file = root / folder / f"{frame}_domain_{ending}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)
    return file


def depth() -> np.ndarray:
    """Metres (h, w) of a slanted plane."""
    centre = [(side - 1) / 2 for side in SIZE]
    inverse = torch.tensor([[1 / FOCAL, 0, -centre[1] / FOCAL], [0, 1 / FOCAL, -centre[0] / FOCAL], [0, 0, 1]])
    rays = torch.einsum("ij,jhw->ihw", inverse.double(), pixel_grid(*SIZE, inverse.double()))
    return (-2 / torch.einsum("i,ihw->hw", PLANE, rays)).numpy()


def strength() -> np.ndarray:
    ramp = np.zeros(SIZE, np.uint16)
    ramp[:, 20:24] = (400, 500, 1000, 499)
    return ramp


def make(root: Path, building: str, nested: Nested = omnidata, turn: np.ndarray = STRAIGHT) -> None:
    """``turn``: from camera axes to those in which normals are stored."""
    stored = np.round(depth() * 512).astype(np.uint16)
    stored[:4] = 65535
    normals = np.broadcast_to(np.round((turn @ PLANE.numpy() + 1) * 127.5), (*SIZE, 3)).astype(np.uint8).copy()
    normals[:4] = 128
    ids = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 18).astype(np.uint8)
    labels = {
        "rgb": np.full((*SIZE, 3), 51, np.uint8), "depth_zbuffer": stored, "normal": normals,
        "segment_semantic": ids, "edge_occlusion": strength(), "edge_texture": strength() * 10,
    }  # fmt: skip
    for place, frame in enumerate(FRAMES):
        for kind, array in labels.items():
            save(root, nested(kind, building), frame, array, KINDS[kind])
        location, angles, *_ = CAMERAS[place % 2]
        facts = {"field_of_view_rads": FOV, "camera_location": location, "camera_rotation_final": angles}
        folder = root / nested("point_info", building)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{frame}_domain_point_info.json").write_text(json.dumps(facts))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "taskonomy"
    for building in ("merom", "hanson", "darden"):
        make(folder, building)
    return folder


def test_a_sample(root: Path) -> None:
    before = {str(file): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    data = Taskonomy(root)
    sample = data.read(0)
    assert data.frames[:4] == [f"hanson/{frame}" for frame in FRAMES] and len(data) == 8
    assert sample.images.shape == (1, 3, *SIZE) and (sample.images == 51 / 255).all()
    assert set(sample.targets) == {"semseg", "depth", "normals", "edges"} and data.derived == {"edges"}
    assert sample.camera.known.all()
    assert {str(file): file.read_bytes() for file in root.rglob("*") if file.is_file()} == before


def test_depth_is_in_512ths_of_a_metre(root: Path) -> None:
    target = Taskonomy(root).label("depth", "merom/point_0_view_0", SIZE)
    assert not target.valid[..., :4, :].any() and target.valid[..., 4:, :].all()
    assert (target.value[0, 0, 4:].numpy() - depth()[4:]).max() < 1 / 1024 + 1e-6


def test_classes(root: Path) -> None:
    target = Taskonomy(root).label("semseg", "merom/point_0_view_0", SIZE)
    assert not target.valid[0, 0, 0, 0] and target.valid.float().mean() == pytest.approx(17 / 18, abs=0.01)
    assert [TASKONOMY_CLASSES[number] for number in target.value[0, 0, 0, 1:5].tolist()] == [
        "background", "bottle", "chair", "couch",
    ]  # fmt: skip
    assert TASKONOMY_CLASSES[target.value[0, 0, 0, 17]] == "vase"


@pytest.mark.parametrize(
    ("turn", "told"),
    [(np.eye(3), "right, down, away"), (np.diag([1.0, 1.0, -1.0]), "right, down, towards the viewer")],
)
def test_normals_come_in_camera_axes_however_they_are_stored(tmp_path: Path, turn: np.ndarray, told: str) -> None:
    make(tmp_path, "merom", turn=turn)
    slanted = Taskonomy(tmp_path)
    target = slanted.label("normals", "merom/point_0_view_0", SIZE)
    assert not target.valid[..., :4, :].any() and target.valid[..., 4:, :].all()
    assert (target.value[0, :, 10, 10] - PLANE).abs().max() < 0.005
    assert any(told in note for note in slanted.notes) and list(slanted.problems()) == []


def test_edges_are_strong_and_thin(root: Path) -> None:
    target = Taskonomy(root).label("edges", "merom/point_0_view_0", SIZE)
    wanted = thin(strength() >= 500)
    assert (target.value[0, 0].numpy() == wanted).all() and 40 < wanted.sum() <= 50 and target.valid.all()
    texture = Taskonomy(root, edges="texture", edge_level=10_000).label("edges", "merom/point_0_view_0", SIZE)
    assert (texture.value[0, 0].numpy() == thin(strength() >= 1000)).all()


@pytest.mark.parametrize("place", [0, 1])
def test_cameras_look_at_their_point(root: Path, place: int) -> None:
    location, _, point, far = CAMERAS[place]
    found = Taskonomy(root).camera(f"merom/{FRAMES[place]}", SIZE)
    assert found is not None and found[1] is not None
    intrinsics, pose = found[0].double(), found[1].double()
    seen = torch.linalg.inv(pose) @ torch.tensor([*point, 1.0], dtype=torch.float64)
    assert (intrinsics @ seen[:3] / seen[2]).tolist() == pytest.approx([31.5, 23.5, 1], abs=1e-3)
    assert seen[2] == pytest.approx(far, abs=1e-4) and pose[:3, 3].tolist() == pytest.approx(location)
    assert pose[2, 1] < -0.9, "down in the picture is down in the world"
    assert intrinsics[0, 0] == pytest.approx(FOCAL)


def test_views_are_of_one_point(root: Path) -> None:
    data = Taskonomy(root, views=2)
    assert data.views(1) == ["hanson/point_0_view_1", "hanson/point_0_view_0"]
    assert data.views(2) == ["hanson/point_2_view_0"]
    sample = data.read(1)
    assert sample.images.shape[0] == 2 and sample.camera.known.all()
    assert Taskonomy(root).views(1) == ["hanson/point_0_view_1"]


def test_layout_of_the_first_publication(tmp_path: Path) -> None:
    make(tmp_path, "cauthron", by_building)
    (tmp_path / "cauthron/point_info").rename(tmp_path / "cauthron/points")
    for file in list((tmp_path / "cauthron/points").iterdir()):
        file.rename(file.with_name(file.name.replace("point_info", "fixatedpose")))
    with pytest.raises(BadSample, match="has cauthron, none of which is in the train part of tiny; give another"):
        Taskonomy(tmp_path)
    data = Taskonomy(tmp_path, buildings=["cauthron"])
    assert (
        len(data) == 4
        and data.read(3).camera.known.all()
        and set(data.tasks) == {"semseg", "depth", "normals", "edges"}
    )
    with pytest.raises(BadSample, match=f"give {tmp_path} as `root`"):
        Taskonomy(tmp_path / "cauthron")


def test_splits(root: Path) -> None:
    assert Taskonomy(root, "val").buildings == ["darden"] and Taskonomy(root).buildings == ["hanson", "merom"]
    assert "2 of 25 buildings are there" in Taskonomy(root).notes[0]
    (root / "splits").mkdir()
    table = "id,train,val,test\rmerom,0,1,0\rdarden,1,0,0\rthere not,1,0,0"  # one carriage return a line, as published
    (root / "splits/train_val_test_medium.csv").write_bytes(table.encode())
    assert Taskonomy(root, "val", subset="medium").buildings == ["merom"]
    assert Taskonomy(root, subset="medium").buildings == ["darden"]
    with pytest.raises(BadSample, match=r"train_val_test_full.csv: missing; .*prepare taskonomy.*`buildings`"):
        Taskonomy(root, subset="full")
    (root / "train_val_test_full.csv").write_text("building,part\nmerom,train\n")
    with pytest.raises(BadSample, match="no list of buildings"):
        Taskonomy(root, subset="full")


def test_the_tiny_part() -> None:
    assert {split: len(set(buildings)) for split, buildings in TINY.items()} == {"train": 25, "val": 5, "test": 5}
    assert len({building for buildings in TINY.values() for building in buildings}) == 35


def test_only_what_is_there_is_read(root: Path) -> None:
    for folder in ("segment_semantic", "edge_occlusion", "point_info"):
        (root / folder).rename(root / f"no_{folder}")
    data = Taskonomy(root)
    assert set(data.tasks) == {"depth", "normals"} and not data.derived
    assert any("no folder of semseg, edges" in note for note in data.notes)
    assert any("taken to be in camera axes" in note for note in data.notes)
    assert not data.read(0).camera.known.any() and verify_set(data) == []
    asked = Taskonomy(root, tasks=["semseg"])
    assert "though semseg needs it" in next(asked.problems()).problem
    with pytest.raises(BadSample, match=r"segmentsemantic.png: missing"):
        asked.read(0)


def test_a_sound_set_has_no_problem(root: Path) -> None:
    assert verify_set(Taskonomy(root)) == []


def test_verify_names_what_is_wrong(root: Path) -> None:
    cut = root / "depth_zbuffer/taskonomy/merom/point_2_view_0_domain_depth_zbuffer.png"
    cut.write_bytes(cut.read_bytes()[:60])
    lost = root / "normal/taskonomy/hanson/point_0_view_0_domain_normal.png"
    lost.unlink()
    coarse = save(root, "edge_occlusion/taskonomy/hanson", FRAMES[1], np.zeros(SIZE, np.uint8), "edge_occlusion")
    small = save(root, "segment_semantic/taskonomy/hanson", FRAMES[2], np.ones((9, 9), np.uint8), "segmentsemantic")
    camera = root / "point_info/taskonomy/merom/point_10_view_0_domain_point_info.json"
    camera.write_text('{"field_of_view_rads": 1}')
    told = {problem.file: problem.problem for problem in verify_set(Taskonomy(root))}
    assert "cannot be read" in told.pop(str(cut)) and told.pop(str(lost)) == "missing"
    assert told.pop(str(coarse)) == "has 8 bit, not 16" and told.pop(str(small)) == "is 9x9, for its image 48x64"
    assert "no camera (KeyError: 'camera_location')" in told.pop(str(camera)) and not told


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "rgb/merom").mkdir(parents=True)
    with pytest.raises(BadSample, match=r"rgb/merom: holds no point_0_view_0_domain_rgb.png"):
        Taskonomy(tmp_path)
    with pytest.raises(ValueError, match="normals"):
        Taskonomy(tmp_path, tasks=["normal"])
