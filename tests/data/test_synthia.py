from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.streets import SIZE, noise, off_the_wall, save, wall_depth

from polyscene.data.base import BadSample
from polyscene.data.driving import GROUPS_7
from polyscene.data.synthia import HELD_OUT, INTRINSICS, LABELS, Synthia
from polyscene.geometry.camera import resize_intrinsics
from polyscene.tasks.sets import SYNTHIA_CLASSES

FRAMES = (0, 1, HELD_OUT - 1, HELD_OUT, 9399)
SCALED = resize_intrinsics(INTRINSICS, SIZE[1] / 1280, SIZE[0] / 760).double().numpy()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


def numbers() -> np.ndarray:
    """Classes in red, in columns of their own; instances in green."""
    picture = np.zeros((*SIZE, 3), np.uint16)
    picture[..., 0] = np.arange(SIZE[1]) % len(LABELS)
    picture[..., 1] = 976
    return picture


def centimetres() -> np.ndarray:
    stored = np.round(wall_depth(SCALED, np.eye(4)) * 100)
    stored[:2] = 65535
    return stored.astype(np.uint16)


def make(folder: Path) -> None:
    for number in FRAMES:
        save(folder / "RGB" / f"{number:07d}.png", noise(number))
        save(folder / "GT" / "LABELS" / f"{number:07d}.png", numbers())
        save(folder / "Depth" / "Depth" / f"{number:07d}.png", centimetres())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "RAND_CITYSCAPES")
    return tmp_path / "RAND_CITYSCAPES"


def test_every_value_is_read_as_it_was_stored(root: Path) -> None:
    sample = Synthia(root).read(1)
    assert sample.meta == ("synthia/0000001",)
    assert torch.equal(sample.images[0], torch.from_numpy(noise(1)).movedim(-1, 0) / 255)
    semseg = sample.targets["semseg"]
    row = {i: int(semseg.value[0, 0, 4, i]) for i in range(len(LABELS)) if semseg.valid[0, 0, 4, i]}
    assert row == {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 1: 9, 10: 10, 17: 11, 8: 12, 19: 13, 12: 14,
                   11: 15}  # fmt: skip
    assert SYNTHIA_CLASSES[row[10]] == "person" and SYNTHIA_CLASSES[row[21]] == "wall"
    depth = sample.targets["depth"]
    stored = torch.from_numpy(centimetres().astype(np.float32))
    assert torch.equal(depth.valid[0, 0], stored < 65535)
    assert torch.allclose(depth.value[0, 0], torch.where(stored < 65535, stored / 100, 0))
    assert sample.camera.known.all()
    assert np.allclose(sample.camera.intrinsics[0], SCALED)


def test_intrinsics_are_the_published_ones_at_the_published_size(root: Path) -> None:
    matrix, pose = Synthia(root).camera("0000000", (760, 1280))
    assert torch.equal(matrix, INTRINSICS) and pose is None


def test_depth_may_be_stored_in_three_equal_channels(root: Path) -> None:
    path = root / "Depth" / "Depth" / "0000000.png"
    save(path, np.repeat(centimetres()[..., None], 3, -1))
    one, other = (Synthia(root, tasks=["depth"]).read(i).targets["depth"] for i in (0, 1))
    assert torch.equal(one.value, other.value)
    save(path, numbers())
    with pytest.raises(BadSample, match="colours, expected is one depth a pixel"):
        Synthia(root, tasks=["depth"]).read(0)


def test_seven_groups(root: Path) -> None:
    dataset = Synthia(root, classes=7)
    assert dataset.tasks["semseg"].classes == tuple(GROUPS_7)
    semseg = dataset.read(0).targets["semseg"]
    row = {LABELS[i]: int(semseg.value[0, 0, 0, i]) for i in range(len(LABELS)) if semseg.valid[0, 0, 0, i]}
    assert row == {"road": 0, "sidewalk": 0, "building": 1, "fence": 1, "pole": 2, "traffic light": 2,
                   "traffic sign": 2, "vegetation": 3, "sky": 4, "person": 5, "car": 6, "bicycle": 6}  # fmt: skip


def test_normals_are_those_of_the_wall_and_face_the_camera(root: Path) -> None:
    size = (190, 320)
    intrinsics = resize_intrinsics(INTRINSICS, 0.25, 0.25).double().numpy()
    save(root / "RGB" / "0000000.png", np.zeros((*size, 3), np.uint8))
    stored = np.round(wall_depth(intrinsics, np.eye(4), size) * 100).clip(0, 65535).astype(np.uint16)
    save(root / "Depth" / "Depth" / "0000000.png", stored)
    normals = Synthia(root, tasks=["normals"]).read(0).targets["normals"]
    assert normals.valid.float().mean() > 0.8
    assert off_the_wall(normals) < 8  # stored in centimetres


def test_edges_are_where_the_class_changes(root: Path) -> None:
    picture = numbers()
    picture[..., 0] = LABELS.index("road")
    picture[10:, :, 0] = LABELS.index("sidewalk")
    picture[20:, :, 0] = LABELS.index("lane marking")
    save(root / "GT" / "LABELS" / "0000000.png", picture)
    edges = Synthia(root, classes=7).read(0).targets["edges"]
    assert edges.value[0, 0, :, 5].nonzero().flatten().tolist() == [9]
    assert edges.valid[0, 0, :, 5].nonzero().flatten().tolist() == list(range(20))


def test_splits_are_fixed_and_disjoint(root: Path) -> None:
    train, val = Synthia(root, "train"), Synthia(root, "val")
    assert [int(frame) for frame in train.frames] == [0, 1, HELD_OUT - 1]
    assert [int(frame) for frame in val.frames] == [HELD_OUT, 9399]
    assert val.notes == ["synthia val: 2 images; published are 1880"]
    assert [problem.problem for problem in train.problems()] == ["3 images of train, published are 7520"]


def test_other_archives_are_refused(root: Path, tmp_path: Path) -> None:
    label = root / "GT" / "LABELS" / "0000000.png"
    for array, words in (
        (numbers()[..., 0].astype(np.uint8), "uint8 of 1 channels, expected is colour of 16 bit"),
        (numbers()[..., 0], "one channel, expected is colour of 16 bit"),
        (numbers() + np.uint16(1), "class 23 of 23"),
        (numbers()[:9], "48x9, its image is 48x32"),
    ):
        save(label, array)
        with pytest.raises(BadSample, match=words):
            Synthia(root, tasks=["semseg"]).read(0)
    (tmp_path / "seqs" / "RGB" / "Stereo_Left").mkdir(parents=True)
    with pytest.raises(BadSample, match="the video sequences of SYNTHIA"):
        Synthia(tmp_path / "seqs")
    with pytest.raises(BadSample, match=r"though there is .*move it there, or give .*RAND_CITYSCAPES as root"):
        Synthia(tmp_path)


def test_missing_files_are_named(root: Path) -> None:
    (root / "Depth" / "Depth" / "0000001.png").unlink()
    with pytest.raises(BadSample, match=r"Depth/Depth/0000001.png: missing; `polyscene data prepare synthia`"):
        Synthia(root).read(1)
    (root / "GT" / "LABELS").rename(root / "GT" / "labels")
    assert next(problem.file for problem in Synthia(root).problems()) == str(root / "GT" / "LABELS")
    assert [p.file for p in Synthia(root, tasks=["depth"]).problems()] == [str(root / "RGB")]
