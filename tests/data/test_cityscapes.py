from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.streets import SIZE, noise, off_the_wall, save, wall_depth

from polyscene.data.base import BadSample
from polyscene.data.cityscapes import GROUPS, LABELS, Cityscapes
from polyscene.data.driving import CLASSES_13, GROUPS_7, GROUPS_8, chosen
from polyscene.tasks.sets import CITYSCAPES_CLASSES, SYNTHIA_CLASSES

FX, FY, CX, CY, BASELINE = 300.0, 290.0, 24.5, 15.0, 0.22
INTRINSICS = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
PITCH = 0.1
CALIBRATION = {
    "extrinsic": {"baseline": BASELINE, "pitch": PITCH, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": 0.0, "z": 1.22},
    "intrinsic": {"fx": FX, "fy": FY, "u0": CX, "v0": CY},
}
FRAME = "zurich/zurich_000003_000019"
SPEED, RATE, TICK = 10.0, 0.5, 60_000_000  # metres and radians a second, nanoseconds


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


def disparity() -> np.ndarray:
    """That of the wall, unknown at the left."""
    stored = np.round(BASELINE * FX / wall_depth(INTRINSICS, np.eye(4)) * 256) + 1
    stored[:, :3] = 0
    return stored.astype(np.uint16)


def numbers() -> np.ndarray:
    """Every labelId there is, in columns of their own."""
    return np.broadcast_to(np.arange(SIZE[1]) % len(LABELS), SIZE).astype(np.uint8)


def make(folder: Path) -> None:
    for split in ("train", "val"):
        for kind, suffix, array in (
            ("leftImg8bit", "leftImg8bit", noise(19)),
            ("gtFine", "gtFine_labelIds", numbers()),
            ("disparity", "disparity", disparity()),
        ):
            save(folder / kind / split / f"{FRAME}_{suffix}.png", array)
        camera = folder / "camera" / split / f"{FRAME}_camera.json"
        camera.parent.mkdir(parents=True)
        camera.write_text(json.dumps(CALIBRATION))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "cityscapes")
    return tmp_path / "cityscapes"


@pytest.fixture
def sequence(root: Path) -> Path:
    for number in range(16, 24):
        stem = f"train/zurich/zurich_000003_{number:06d}"
        save(root / "leftImg8bit_sequence" / f"{stem}_leftImg8bit.png", noise(number))
        for name, suffix, text in (
            ("vehicle", "vehicle.json", json.dumps({"speed": SPEED, "yawRate": RATE, "gpsHeading": 1.0})),
            ("timestamp", "timestamp.txt", str(1_000_000_000 + number * TICK)),
        ):
            path = root / f"{name}_sequence" / f"{stem}_{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def test_every_value_is_read_as_it_was_stored(root: Path) -> None:
    sample = Cityscapes(root).read(0)
    assert torch.equal(sample.images[0], torch.from_numpy(noise(19)).movedim(-1, 0) / 255)
    assert sample.meta == (f"cityscapes/train/{FRAME}",)
    assert sample.camera.known.all()
    assert torch.equal(sample.camera.intrinsics[0], torch.tensor(INTRINSICS).float())

    semseg = sample.targets["semseg"]
    for number, label in enumerate(LABELS):
        known = label in CITYSCAPES_CLASSES
        assert bool(semseg.valid[0, 0, 3, number]) is known, label
        if known:
            assert CITYSCAPES_CLASSES[int(semseg.value[0, 0, 3, number])] == label

    found = sample.targets["depth"]
    stored = torch.from_numpy(disparity().astype(np.float32))
    assert torch.equal(found.valid[0, 0], stored > 1)
    expected = BASELINE * FX / ((stored - 1) / 256)
    assert torch.allclose(found.value[found.valid], expected[stored > 1])
    wall = torch.from_numpy(wall_depth(INTRINSICS, np.eye(4))).float()
    assert torch.allclose(found.value[0, 0, :, 3:], wall[:, 3:], rtol=3e-4)


@pytest.mark.parametrize(
    ("stored", "metres"), [(0, None), (1, None), (2, BASELINE * FX * 256), (257, BASELINE * FX), (25601, 0.66)]
)
def test_disparity_is_a_256th_less_one(root: Path, stored: int, metres: float | None) -> None:
    save(root / "disparity" / "train" / f"{FRAME}_disparity.png", np.full(SIZE, stored, np.uint16))
    found = Cityscapes(root, tasks=["depth"]).read(0).targets["depth"]
    if metres is None:
        assert not found.valid.any()
    else:
        assert found.valid.all()
        assert found.value[0, 0, 5, 7].item() == pytest.approx(metres, rel=1e-6)


def test_normals_are_those_of_the_wall_and_face_the_camera(root: Path) -> None:
    dataset = Cityscapes(root)
    normals = dataset.read(0).targets["normals"]
    assert "normals" in dataset.derived
    assert normals.valid.float().mean() > 0.5
    assert off_the_wall(normals) < 2


def test_normals_are_kept_in_the_cache_and_not_beside_the_data(root: Path, tmp_path: Path) -> None:
    before = sorted(root.rglob("*"))
    first = Cityscapes(root).read(0).targets["normals"]
    assert sorted(root.rglob("*")) == before
    assert len(list((tmp_path / "cache").rglob("*_000019.png"))) == 1
    again = Cityscapes(root).read(0).targets["normals"]
    assert torch.equal(first.value, again.value)


def test_edges_are_where_the_class_changes(root: Path) -> None:
    ids = np.full(SIZE, LABELS.index("road"), np.uint8)
    ids[:, 20:30] = LABELS.index("car")
    ids[:, 30:] = LABELS.index("static")  # no class: neither side of it is an edge
    save(root / "gtFine" / "train" / f"{FRAME}_gtFine_labelIds.png", ids)
    for classes in (19, 7):
        edges = Cityscapes(root, classes=classes).read(0).targets["edges"]
        assert edges.value[0, 0, 10].nonzero().flatten().tolist() == [19]
        assert edges.valid[0, 0, 10].nonzero().flatten().tolist() == list(range(30))


@pytest.mark.parametrize(
    ("classes", "names", "shares"),
    [
        (16, SYNTHIA_CLASSES, {"bus": "bus", "truck": None, "terrain": None, "train": None, "sky": "sky"}),
        (13, CLASSES_13, {"wall": None, "fence": None, "pole": None, "road": "road", "bicycle": "bicycle"}),
        (8, tuple(GROUPS_8), {"car": "vehicle", "bus": "vehicle", "truck": None, "sidewalk": None, "sky": "sky"}),
        (7, tuple(GROUPS_7), {"sidewalk": "flat", "fence": "construction", "wall": None, "rider": None,
                              "person": "human", "bicycle": "vehicle", "bus": None, "vegetation": "nature"}),
    ],
)  # fmt: skip
def test_fewer_classes(root: Path, classes: int, names: tuple[str, ...], shares: dict[str, str | None]) -> None:
    dataset = Cityscapes(root, classes=classes)
    assert dataset.tasks["semseg"].classes == names
    semseg = dataset.read(0).targets["semseg"]
    for label, group in shares.items():
        column = LABELS.index(label)
        assert bool(semseg.valid[0, 0, 0, column]) is (group is not None), label
        if group is not None:
            assert names[int(semseg.value[0, 0, 0, column])] == group


def test_sixteen_classes_have_the_numbers_of_dense_mtl(root: Path) -> None:
    published = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 23: 9, 24: 10, 25: 11, 26: 12, 28: 13,
                 32: 14, 33: 15}  # fmt: skip
    semseg = Cityscapes(root, classes=16).read(0).targets["semseg"]
    row = {i: int(semseg.value[0, 0, 0, i]) for i in range(len(LABELS)) if semseg.valid[0, 0, 0, i]}
    assert row == published


def test_views_are_the_nearest_frames_and_only_the_annotated_one_has_classes(sequence: Path) -> None:
    dataset = Cityscapes(sequence, views=3, stride=2)
    assert [frame[-6:] for frame in dataset.views(0)] == ["000019", "000021", "000017"]
    sample = dataset.read(0)
    assert torch.equal(sample.images[2], torch.from_numpy(noise(17)).movedim(-1, 0) / 255)
    assert sample.camera.known.tolist() == [False, False, False]
    assert sample.camera.intrinsics[2, 0, 0] == FX
    for name in ("semseg", "depth", "normals", "edges"):
        assert sample.targets[name].valid.flatten(1).any(1).tolist() == [True, False, False], name


def test_views_have_depth_where_their_disparity_is_there(sequence: Path) -> None:
    path = sequence / "disparity_sequence" / "train" / "zurich" / "zurich_000003_000020_disparity.png"
    save(path, np.full(SIZE, 513, np.uint16))
    depth = Cityscapes(sequence, views=2).read(0).targets["depth"]
    assert depth.value[1, 0, 0, 0].item() == pytest.approx(BASELINE * FX / 2)


def test_odometry_follows_the_arc(sequence: Path) -> None:
    sample = Cityscapes(sequence, views=3, stride=3, tasks=["semseg"], odometry=True).read(0)
    assert sample.camera.known.all()
    here, ahead, behind = sample.camera.world_from_camera.double()
    assert torch.allclose(here[:3, 3], torch.tensor([1.7, 0.1, 1.22]).double(), atol=1e-6)
    look = here[:3, 2]
    assert torch.allclose(look, torch.tensor([math.cos(PITCH), 0, -math.sin(PITCH)]).double(), atol=1e-6)
    turned = RATE * 3 * TICK * 1e-9
    assert math.atan2(ahead[1, 2], ahead[0, 2]) == pytest.approx(turned, abs=1e-5)  # to the left
    assert math.atan2(behind[1, 2], behind[0, 2]) == pytest.approx(-turned, abs=1e-5)
    radius = SPEED / RATE
    mount = torch.tensor([[math.cos(turned), -math.sin(turned)], [math.sin(turned), math.cos(turned)]]).double()
    arc = torch.tensor([radius * math.sin(turned), radius * (1 - math.cos(turned))]).double()
    assert torch.allclose(ahead[:2, 3], arc + mount @ here[:2, 3], atol=1e-3)
    relative = torch.linalg.inv(here) @ ahead
    assert relative[2, 3] > 1.7 and relative[0, 3] < 0


def test_a_split_with_other_counts_is_told(root: Path) -> None:
    dataset = Cityscapes(root, split="val")
    assert dataset.notes == ["cityscapes val: 1 images; published are 500"]
    assert [str(problem) for problem in dataset.problems()] == [
        f"{root}/leftImg8bit/val: 1 images of val, published are 500; unpack the archive again; "
        "`polyscene data prepare cityscapes` says which archive holds it"
    ]


@pytest.mark.parametrize(
    "lost",
    [
        f"gtFine/train/{FRAME}_gtFine_labelIds.png",
        f"camera/train/{FRAME}_camera.json",
        f"disparity/train/{FRAME}_disparity.png",
    ],
)
def test_a_missing_file_is_named(root: Path, lost: str) -> None:
    (root / lost).unlink()
    with pytest.raises(BadSample, match="missing; `polyscene data prepare cityscapes`") as caught:
        Cityscapes(root).read(0)
    assert caught.value.file == str(root / lost)


@pytest.mark.parametrize("text", ["{", "{}", '{"intrinsic": {"fx": 1}, "extrinsic": {}}'])
def test_a_spoilt_calibration_is_named(root: Path, text: str) -> None:
    path = root / "camera" / "train" / f"{FRAME}_camera.json"
    path.write_text(text)
    with pytest.raises(BadSample, match=r"no JSON|no calibration") as caught:
        Cityscapes(root, tasks=["depth"]).read(0)
    assert caught.value.file == str(path)


def test_odometry_that_is_missing_is_named(sequence: Path) -> None:
    path = sequence / "timestamp_sequence" / "train" / "zurich" / "zurich_000003_000020_timestamp.txt"
    path.unlink()
    with pytest.raises(BadSample, match="missing") as caught:
        Cityscapes(sequence, views=2, odometry=True, tasks=["semseg"]).read(0)
    assert caught.value.file == str(path)


def test_other_files_under_the_right_names_are_refused(root: Path) -> None:
    label = root / "gtFine" / "train" / f"{FRAME}_gtFine_labelIds.png"
    for array, words in (
        (np.full(SIZE, 255, np.uint8), "holds 255, which is none of the labelIds 0 to 33"),
        (np.zeros((8, 8), np.uint8), "8x8, its image is 48x32"),
        (np.zeros(SIZE, np.uint16), "uint16 of 1 channels, expected is labelIds, one channel of 8 bit"),
    ):
        save(label, array)
        with pytest.raises(BadSample, match=words):
            Cityscapes(root, tasks=["semseg"]).read(0)
    save(root / "disparity" / "train" / f"{FRAME}_disparity.png", np.full(SIZE, 9, np.uint8))
    with pytest.raises(BadSample, match="expected is one channel of 16 bit"):
        Cityscapes(root, tasks=["depth"]).read(0)
    (root / "leftImg8bit" / "train" / f"{FRAME}_leftImg8bit.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadSample, match="cannot be read"):
        Cityscapes(root, tasks=["semseg"]).read(0)


def test_images_of_another_size_do_not_fit_the_calibration(root: Path) -> None:
    calibration = {**CALIBRATION, "intrinsic": {"fx": 2262.52, "fy": 2265.3, "u0": 1096.98, "v0": 513.137}}
    (root / "camera" / "train" / f"{FRAME}_camera.json").write_text(json.dumps(calibration))
    with pytest.raises(BadSample, match="do not fit an image of 48x32"):
        Cityscapes(root, tasks=["semseg"]).read(0)


def test_what_is_not_there_is_said_when_made(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give `root`, or set POLYSCENE_CITYSCAPES"):
        Cityscapes(tmp_path / "nowhere")
    with pytest.raises(BadSample, match=r"missing, though there is .*move it there, or give .*cityscapes as root"):
        Cityscapes(tmp_path)
    (tmp_path / "mtan" / "train" / "image").mkdir(parents=True)
    with pytest.raises(BadSample, match="npy of 128x256"):
        Cityscapes(tmp_path / "mtan")
    with pytest.raises(ValueError, match="unknown label 'deph'; did you mean 'depth'"):
        Cityscapes(root, tasks=["deph"])
    with pytest.raises(ValueError, match="cityscapes: classes must be one of 19, 16, 13, 8, 7, got 20"):
        chosen(GROUPS, 20, "cityscapes")


def test_folders_that_the_labels_need_are_missed(root: Path) -> None:
    (root / "camera").rename(root / "cameras")
    counted = str(root / "leftImg8bit" / "train")
    for options, missed in (
        ({}, "camera"),
        ({"tasks": ["semseg"]}, None),
        ({"tasks": ["semseg"], "views": 2}, "leftImg8bit_sequence"),
    ):
        files = [problem.file for problem in Cityscapes(root, **options).problems()]
        assert files == ([str(root / missed), counted] if missed else [counted])


def test_too_few_neighbours(sequence: Path) -> None:
    with pytest.raises(BadSample, match="2 neighbours of train/zurich/zurich_000003_000019 at stride 3, asked for 3"):
        Cityscapes(sequence, tasks=["semseg"], views=4, stride=3).read(0)
