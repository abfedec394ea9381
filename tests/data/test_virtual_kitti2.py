from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.streets import SIZE, noise, off_the_wall, save, wall_depth

from polyscene.config import Source
from polyscene.data.base import BadSample
from polyscene.data.sources import join
from polyscene.data.virtual_kitti2 import COLOURS, GROUPS, SCENES, SPLITS, VirtualKitti2
from polyscene.geometry import camera as pinhole
from polyscene.tasks.sets import CITYSCAPES, CITYSCAPES_CLASSES, VIRTUAL_KITTI2_CLASSES

FX, FY, CX, CY = 300.0, 290.0, 23.0, 14.0
INTRINSICS = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
DRIVE = "Scene02/15-deg-left"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


def pose(number: int, camera: int) -> np.ndarray:
    """Camera to world: a drive along z that bends to the right; camera 1 sits half a metre to the right of camera 0."""
    angle = 0.005 * number
    matrix = np.eye(4)
    matrix[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    matrix[:3, 3] = [0.01 * number, 0.02 * number, 0.5 * number]
    matrix[:3, 3] += matrix[:3, 0] * 0.5325 * camera
    return matrix


def colours() -> np.ndarray:
    """Every class in a column of its own, then black."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    for number, name in enumerate(VIRTUAL_KITTI2_CLASSES):
        picture[:, number] = COLOURS[name]
    return picture


def centimetres(number: int, camera: int = 0) -> np.ndarray:
    return np.round(wall_depth(INTRINSICS, pose(number, camera)) * 100).astype(np.uint16)


def write(root: Path, drive: str, frames: int, split_up: bool = False) -> None:
    def base(archive: str) -> Path:
        return (root / f"vkitti_2.0.3_{archive}" if split_up else root) / drive

    tables: dict[str, list[str]] = {"intrinsic": ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"]}
    tables["extrinsic"] = ["frame cameraID " + " ".join(f"m{i}" for i in range(16))]
    for number in range(frames):
        for camera in (0, 1):
            where = f"Camera_{camera}"
            path = base("rgb") / "frames" / "rgb" / where / f"rgb_{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(number)).save(path, quality=95)
            labels = base("classSegmentation") / "frames" / "classSegmentation" / where / f"classgt_{number:05d}.png"
            save(labels, colours())
            save(base("depth") / "frames" / "depth" / where / f"depth_{number:05d}.png", centimetres(number, camera))
            tables["intrinsic"].append(f"{number} {camera} {FX} {FY} {CX} {CY}")
            to_camera = np.linalg.inv(pose(number, camera)).flatten()
            tables["extrinsic"].append(f"{number} {camera} " + " ".join(map(repr, map(float, to_camera))))
    base("textgt").mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        (base("textgt") / f"{name}.txt").write_text("\n".join(lines) + "\n")


def make(folder: Path) -> None:
    write(folder, DRIVE, 5)
    write(folder, "Scene01/15-deg-left", 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "vkitti")
    return tmp_path / "vkitti"


def test_every_value_is_read_as_it_was_stored(root: Path) -> None:
    dataset = VirtualKitti2(root, scenes=["Scene02"])
    assert [frame.rpartition("/")[2] for frame in dataset.frames] == [f"{i:05d}" for i in range(5)]
    sample = dataset.read(3)
    with Image.open(root / DRIVE / "frames" / "rgb" / "Camera_0" / "rgb_00003.jpg") as stored:
        assert torch.equal(sample.images[0], torch.from_numpy(np.array(stored)).movedim(-1, 0) / 255)

    semseg = sample.targets["semseg"]
    row = semseg.value[0, 0, 9]
    assert row[:14].tolist() == list(range(14))
    assert semseg.valid[0, 0, 9].tolist() == [True] * 14 + [False] * (SIZE[1] - 14)

    depth = sample.targets["depth"]
    stored = centimetres(3)
    assert depth.valid.all()
    assert torch.allclose(depth.value[0, 0], torch.from_numpy(stored / 100).float())
    assert sample.camera.known.all()
    assert np.allclose(sample.camera.intrinsics[0], INTRINSICS)
    assert np.allclose(sample.camera.world_from_camera[0], pose(3, 0), atol=1e-5)


def test_the_farthest_that_is_stored_is_known_and_the_sky_is_not(root: Path) -> None:
    stored = np.full(SIZE, 65535, np.uint16)
    stored[0, :3] = 65534, 1, 0
    save(root / DRIVE / "frames" / "depth" / "Camera_0" / "depth_00000.png", stored)
    depth = VirtualKitti2(root, scenes=["Scene02"], tasks=["depth"]).read(0).targets["depth"]
    assert depth.valid[0, 0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert depth.value[0, 0, 0, :2].tolist() == pytest.approx([655.34, 0.01])


@pytest.mark.parametrize("camera", [0, 1])
def test_a_point_of_one_view_is_where_the_other_sees_it(root: Path, camera: int) -> None:
    sample = VirtualKitti2(root, scenes=["Scene02"], camera=camera, views=2, stride=2).read(1)
    assert sample.meta == (f"virtual_kitti2/{DRIVE}/00001 virtual_kitti2/{DRIVE}/00003",)
    one, other = sample.targets["depth"].value.double()
    first, second = sample.camera.world_from_camera.double()
    matrix = sample.camera.intrinsics[0].double()
    points = pinhole.transform(pinhole.unproject(one, matrix), torch.linalg.inv(second) @ first)
    pixels, expected = pinhole.project(points, matrix)
    grid = (2 * pixels + 1) / torch.tensor([SIZE[1], SIZE[0]])[:, None, None] - 1
    seen = torch.nn.functional.grid_sample(other[None], grid.movedim(0, -1)[None], align_corners=False)[0]
    inside = (pixels[:1] > 0) & (pixels[:1] < SIZE[1] - 1) & (pixels[1:] > 0) & (pixels[1:] < SIZE[0] - 1)
    assert inside.float().mean() > 0.4
    assert (seen - expected)[inside].abs().max() < 0.02
    assert (one - seen)[inside].abs().min() > 0.5  # which poses of no use would not have explained


def test_normals_are_those_of_the_wall_and_face_the_camera(root: Path) -> None:
    dataset = VirtualKitti2(root, scenes=["Scene02"])
    normals = dataset.read(0).targets["normals"]
    assert dataset.derived == {"normals", "edges"}
    assert normals.valid.float().mean() > 0.9
    assert off_the_wall(normals) < 8  # stored in centimetres, which few pixels even out


def test_edges_are_where_the_class_changes(root: Path) -> None:
    edges = VirtualKitti2(root, scenes=["Scene02"], classes=8).read(0).targets["edges"]
    assert edges.value[0, 0, 5].nonzero().flatten().tolist() == list(range(13))
    assert edges.valid[0, 0, 5].nonzero().flatten().tolist() == list(range(14))


def test_eight_classes_have_the_numbers_of_dense_mtl(root: Path) -> None:
    dataset = VirtualKitti2(root, scenes=["Scene02"], classes=8)
    assert dataset.tasks["semseg"].classes == tuple(GROUPS[8])
    semseg = dataset.read(0).targets["semseg"]
    row = {i: int(semseg.value[0, 0, 0, i]) for i in range(14) if semseg.valid[0, 0, 0, i]}
    assert row == {5: 0, 4: 1, 9: 2, 8: 3, 7: 4, 2: 5, 3: 5, 1: 6, 11: 7, 12: 7, 13: 7}


def test_it_joins_a_model_of_cityscapes_by_the_names_of_classes(root: Path) -> None:
    source = Source.model_validate(
        {"dataset": {"name": "virtual_kitti2"}, "classes": {"tree": "vegetation", "van": "car"}}
    )
    dataset = VirtualKitti2(root, scenes=["Scene02"])
    joined, notes = join(dataset, {task.name: task for task in CITYSCAPES}, source, "vk")
    assert notes == ["vk: semseg classes without counterpart in the model are ignored: guard rail, misc"]
    semseg = joined.read(0).targets["semseg"]
    value, valid = semseg.value[0, 0, 0, :14].tolist(), semseg.valid[0, 0, 0, :14].tolist()
    row = [CITYSCAPES_CLASSES[number] if known else "" for number, known in zip(value, valid, strict=True)]
    assert row == ["terrain", "sky", "vegetation", "vegetation", "building", "road", "", "traffic sign",
                   "traffic light", "pole", "", "truck", "car", "car"]  # fmt: skip


def test_no_scene_is_in_both_splits(root: Path) -> None:
    assert sorted([*SPLITS["train"], *SPLITS["val"]]) == sorted(SCENES)
    train, val = (VirtualKitti2(root, split) for split in ("train", "val"))
    assert {frame.split("/")[0] for frame in train.frames} == {"Scene02"}
    assert {frame.split("/")[0] for frame in val.frames} == {"Scene01"}
    assert val.notes == ["virtual_kitti2 val: 2 images; published are 447"]


def test_archives_may_lie_in_folders_of_their_own(tmp_path: Path, root: Path) -> None:
    write(tmp_path / "apart", DRIVE, 1, split_up=True)
    one, other = (VirtualKitti2(folder, scenes=["Scene02"]).read(0) for folder in (root, tmp_path / "apart"))
    for name, target in one.targets.items():
        assert torch.equal(target.value, other.targets[name].value), name
    assert torch.equal(one.camera.world_from_camera, other.camera.world_from_camera)


def test_views_at_the_end_look_back(root: Path) -> None:
    dataset = VirtualKitti2(root, scenes=["Scene02"], views=3, stride=2)
    assert [frame[-1] for frame in dataset.views(4)] == ["4", "2", "0"]
    assert [frame[-1] for frame in dataset.views(2)] == ["2", "4", "0"]
    with pytest.raises(BadSample, match="1 neighbours of Scene02/15-deg-left/00001 at stride 2, asked for 2"):
        dataset.views(1)


def test_problems_name_what_is_missing(root: Path) -> None:
    (root / "Scene06/15-deg-left/frames").mkdir(parents=True)
    every = VirtualKitti2(root, scenes=["Scene02", "Scene06", "Scene18"])
    found = {problem.file: problem for problem in every.problems()}
    assert [file for file in found if "Scene18" in file] == [f"{root}/Scene18/15-deg-left"], "told once"
    rgb = found[f"{root}/Scene06/15-deg-left/frames/rgb/Camera_0"]
    assert rgb.problem == "missing" and "vkitti_2.0.3_rgb.tar" in rgb.remedy
    assert found[f"{root}/{DRIVE}/frames/rgb/Camera_0"].problem == "5 images, published are 0 to 232"
    assert "textgt" in found[f"{root}/Scene06/15-deg-left/extrinsic.txt"].remedy
    with pytest.raises(BadSample, match=r"vkitti_2\.0\.3_rgb\.tar; `polyscene data prepare virtual_kitti2`"):
        VirtualKitti2(root, scenes=["Scene06"])
    (root / DRIVE / "colors.txt").write_text("Category r g b\nTerrain 210 0 200\nGuardRail 1 2 3\n")
    problems = [problem.problem for problem in VirtualKitti2(root, scenes=["Scene02"]).problems()]
    assert problems[-1] == "GuardRail is (1 2 3), in release 2.0.3 it is (250, 100, 255)"


def test_spoilt_files_are_named(root: Path) -> None:
    dataset = VirtualKitti2(root, scenes=["Scene02"])
    label = root / DRIVE / "frames" / "classSegmentation" / "Camera_0" / "classgt_00000.png"
    save(label, np.full((*SIZE, 3), 7, np.uint8))
    with pytest.raises(BadSample, match=r"classgt_00000.png: holds the colour \(7, 7, 7\) of no class"):
        dataset.read(0)
    (root / DRIVE / "frames" / "depth" / "Camera_0" / "depth_00001.png").unlink()
    with pytest.raises(BadSample, match=r"depth_00001\.png: missing; `polyscene data prepare virtual_kitti2`"):
        dataset.read(1)
    save(root / DRIVE / "frames" / "depth" / "Camera_0" / "depth_00002.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(BadSample, match="expected is one channel of 16 bit"):
        dataset.read(2)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("extrinsic", "frame cameraID\n0 0 1 2 3\n", "3 numbers for frame 0 and camera 0, expected are 16"),
        ("extrinsic", "frame cameraID\n0 0 " + "1 " * 16, "frame 0 is no rigid motion"),
        ("intrinsic", "frame cameraID\nx y\n", "no table of frame, camera and 4 numbers"),
        ("intrinsic", f"f c\n0 0 {FX} {FY} 620.5 187", "do not fit 48x32"),
        ("intrinsic", f"f c\n1 0 {FX} {FY} {CX} {CY}", "0 numbers for frame 0"),
    ],
)
def test_spoilt_cameras_are_named(root: Path, name: str, text: str, words: str) -> None:
    (root / DRIVE / f"{name}.txt").write_text(text)
    with pytest.raises(BadSample, match=words) as caught:
        VirtualKitti2(root, scenes=["Scene02"], tasks=["semseg"]).read(0)
    assert caught.value.file == str(root / DRIVE / f"{name}.txt")


def test_unknown_choices_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="'Scene03' is no scene"):
        VirtualKitti2(root, scenes=["Scene03"])
