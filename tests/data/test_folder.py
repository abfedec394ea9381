"""The folder reader: what it reads, how frames are split and windowed, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import SIZE, cut_short, make_folder, save, write_cameras

from polyscene.data.base import BadSample
from polyscene.data.description import BadDescription, Split
from polyscene.data.folder import Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "tiny")


def test_reads_every_label_in_its_encoding_and_size(root: Path) -> None:
    sample = Folder(root).read(2)
    depth, normals, seg, edges = (sample.targets[name] for name in ("depth", "normals", "semseg", "edges"))
    assert sample.images.shape == (1, 3, *SIZE) and 0 <= sample.images.min() and 0.9 < sample.images.max() <= 1
    assert (depth.value[depth.valid] - 3.0).abs().max() < 1e-5 and depth.valid.float().mean() == 28 / 32
    assert normals.value.shape == (1, 3, 12, 16) and not normals.valid[..., :2].any() and normals.valid[..., 2:].all()
    seen = normals.value[0, :, 0, -1]
    assert torch.allclose(seen, torch.tensor([0.6, 0.0, -0.8]), atol=0.01) and abs(float(seen.norm()) - 1) < 1e-6
    assert seg.value.dtype == torch.int64 and seg.value[seg.valid].max() == 2 and not seg.valid[..., :4].any()
    assert set(edges.value.unique().tolist()) == {0.0, 1.0}
    assert sample.camera.known.all() and sample.camera.intrinsics[0, 0, 0] == 30
    assert torch.allclose(sample.camera.world_from_camera[0, 0, 3], torch.tensor(0.2))
    assert sample.meta[0].endswith("rgb/frame_2.png") and sample.source == "tiny"


def test_held_out_frames_are_the_last_in_natural_order(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "many", frames=12)
    train, val = Folder(root, "train"), Folder(root, "val")
    assert [frame.id for frame in val.frames] == ["frame_10", "frame_11"]
    assert [frame.id for frame in train.frames] == [f"frame_{number}" for number in range(10)]


@pytest.mark.parametrize("count", range(1, 40))
def test_first_and_last_shares_complement_each_other(count: int) -> None:
    frames = list(range(count))
    assert frames[Split(first=0.8).of(count)] + frames[Split(last=0.2).of(count)] == frames


def test_windows_keep_stride_and_step_within_the_split(root: Path) -> None:
    folder = Folder(root, "train", views=3, stride=2, step=3)
    assert [[int(frame.id[6:]) for frame in window] for window in folder.windows] == [[0, 2, 4], [3, 5, 7]]
    sample = folder.read(1)
    assert sample.images.shape[0] == 3
    assert sample.camera.world_from_camera[:, 0, 3].tolist() == pytest.approx([0.3, 0.5, 0.7])
    with pytest.raises(BadDescription, match="2 frames, too few for a sample of 3 views"):
        Folder(root, "val", views=3)


def test_splits_by_folder_and_by_list(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "train", 3)
    make_folder(tmp_path / "a" / "val", 2)
    (tmp_path / "a" / "few.txt").write_text("frame_2\nframe_0\n")
    (tmp_path / "a" / "polyscene.yaml").write_text(
        'name: a\nimages: "{split}/rgb/{id}.*"\n'
        'tasks: {depth: {path: "{split}/depth/{id}.png", scale: 0.001, invalid: 0}}\n'
        "splits: {train: train, val: val, few: {folder: train, file: few.txt}}\n"
    )
    assert [len(Folder(tmp_path / "a", split)) for split in ("train", "val", None)] == [3, 2, 5]
    few = Folder(tmp_path / "a", "few")
    assert [few.read(index).targets["depth"].value.max().item() for index in range(2)] == pytest.approx([3.0, 1.0])
    assert not few.read(0).camera.known.any()


def test_the_description_may_lie_elsewhere_and_read_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (root / "polyscene.yaml").read_text()
    away = tmp_path / "away" / "own.yaml"
    away.parent.mkdir()
    away.write_text("root: ${TINY_DATA:-../nowhere}/tiny\n" + text)
    with pytest.raises(BadDescription, match="no folder"):
        Folder(away)
    monkeypatch.setenv("TINY_DATA", str(tmp_path))
    assert len(Folder(away)) == 10


def test_decoded_cache_changes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    cached = Folder(root, cache=True)
    for _ in range(2):  # filled, then used
        ours, plain = cached.read(1), Folder(root).read(1)
        assert torch.equal(ours.images, plain.images)
        assert all(torch.equal(ours.targets[name].value, plain.targets[name].value) for name in plain.targets)
    save(root / "depth" / "frame_1.png", np.full(SIZE, 4321, np.uint16))
    assert cached.read(1).targets["depth"].value.max() == pytest.approx(4.321)


def test_deep_colour_is_not_cut_to_eight_bits(root: Path) -> None:
    import cv2

    normals = np.zeros((12, 16, 3), np.uint16)
    normals[:] = np.round((np.array([0.36, 0.48, -0.8]) + 1) / 2 * 65535)
    cv2.imwrite(str(root / "normals" / "frame_0.png"), normals[..., ::-1])
    text = (root / "polyscene.yaml").read_text().replace("0.00784313725490196", str(2 / 65535))
    (root / "polyscene.yaml").write_text(text)
    value = Folder(root).read(0).targets["normals"].value
    assert torch.allclose(value[0, :, 0, 0], torch.tensor([0.36, 0.48, -0.8]), atol=3e-5)


def test_images_of_sixteen_bits_keep_their_shades(root: Path) -> None:
    shades = np.tile(np.linspace(0, 65535, SIZE[1]).astype(np.uint16), (SIZE[0], 1))
    save(root / "rgb" / "frame_0.png", shades)
    image = Folder(root).read(0).images[0]
    assert torch.allclose(image, torch.linspace(0, 1, SIZE[1]).expand(3, *SIZE), atol=1 / 255)


def nan_depth(root: Path) -> None:
    depth = np.ones(SIZE, np.float32)
    depth[3, 4] = np.nan
    np.save(root / "depth" / "frame_0.npy", depth)
    text = (root / "polyscene.yaml").read_text()
    (root / "polyscene.yaml").write_text(text.replace("depth/{id}.png", "depth/{id}.npy"))


def intrinsics_elsewhere(root: Path) -> None:
    frames = json.loads((root / "cameras.json").read_text())["frames"]
    write_cameras(root, {"fx": 585.0, "fy": 585.0, "cx": 320.0, "cy": 240.0}, frames)


def intrinsics_of_twice_the_size(root: Path) -> None:
    frames = json.loads((root / "cameras.json").read_text())["frames"]
    write_cameras(root, {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}, frames)


def pose_missing(root: Path) -> None:
    facts = json.loads((root / "cameras.json").read_text())
    write_cameras(root, facts["intrinsics"], facts["frames"][1:])


def no_rotation(root: Path) -> None:
    facts = json.loads((root / "cameras.json").read_text())
    facts["frames"][0]["T_world_cam"][0][0] = 2.0
    write_cameras(root, facts["intrinsics"], facts["frames"])


SPOILT = {
    "image cut short": (lambda root: cut_short(root / "rgb" / "frame_0.png"), "rgb/frame_0.png", "cannot be read"),
    "label cut short": (lambda root: cut_short(root / "seg" / "frame_0.png"), "seg/frame_0.png", "cannot be read"),
    "no image at all": (
        lambda root: (root / "rgb/frame_0.png").write_text("hello"),
        "rgb/frame_0.png",
        "cannot be read",
    ),
    "label missing": (lambda root: (root / "depth/frame_0.png").unlink(), "depth/frame_0.png", "missing"),
    "undeclared size": (
        lambda root: save(root / "seg/frame_0.png", np.zeros((12, 16), np.uint8)),
        "seg/frame_0.png",
        "semseg is 16x12, declared is 32x24",
    ),
    "class beyond list": (
        lambda root: save(root / "seg/frame_0.png", np.full(SIZE, 7, np.uint8)),
        "seg/frame_0.png",
        "class id 7 beyond the 3 classes",
    ),
    "NaN depth": (nan_depth, "depth/frame_0.npy", "holds NaN"),
    "normals not unit": (
        lambda root: save(root / "normals/frame_0.png", np.full((12, 16, 3), 250, np.uint8)),
        "normals/frame_0.png",
        "not of unit length",
    ),
    "colour for ids": (
        lambda root: save(root / "seg/frame_0.png", np.zeros((*SIZE, 3), np.uint8)),
        "seg/frame_0.png",
        "3 channels where 1",
    ),
    "K does not fit": (intrinsics_elsewhere, "cameras.json", "do not fit an image of 32x24"),
    "K of twice the size": (intrinsics_of_twice_the_size, "cameras.json", "do not fit an image of 32x24"),
    "another image size": (
        lambda root: save(root / "rgb/frame_0.png", np.zeros((48, 64, 3), np.uint8)),
        "depth/frame_0.png",
        "declared is 64x48",
    ),
    "pose missing": (pose_missing, "cameras.json", "no pose for frame frame_0"),
    "pose no rigid motion": (no_rotation, "cameras.json", "no rigid motion"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files_are_refused_by_name(root: Path, case: str) -> None:
    spoil, file, problem = SPOILT[case]
    spoil(root)
    folder = Folder(root)
    with pytest.raises(BadSample) as caught:
        folder.read(0)
    assert str(root / file) == caught.value.file and problem in caught.value.problem and caught.value.remedy


def test_a_missing_image_shifts_nothing_silently(root: Path) -> None:
    folder = Folder(root)
    (root / "rgb" / "frame_3.png").unlink()
    with pytest.raises(BadSample, match=r"frame_3\.png: missing"):
        folder.read(3)


def test_optional_labels_may_lack(root: Path) -> None:
    (root / "seg" / "frame_0.png").unlink()
    text = (root / "polyscene.yaml").read_text().replace("ignore: [255]", "ignore: [255], optional: true")
    (root / "polyscene.yaml").write_text(text)
    target = Folder(root).read(0).targets["semseg"]
    assert not target.valid.any() and target.value.dtype == torch.int64


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("scale: 0.001", "scael: 0.001", "tasks.depth.scael = 0.001: unknown key; did you mean 'scale'?"),
        ("train: {first", "train: {frst", "splits.train.frst = 0.8: unknown key; did you mean 'first'?"),
        ("scale: 0.001", "scale: [0.001, 1]", "tasks.depth.scale: 2 numbers; give one number"),
        ("offset: -1", "offset: [-1, 1]", "tasks.normals.offset: 2 numbers; give one number or 3"),
        ("rgb/{id}.png", "rgb/*.png", "lacks {id}"),
        ("first: 0.8", "first: 0.8, last: 0.2", "not both"),
        ("first: 0.8", "first: 80", "splits.train.first"),
        ("classes: [floor, wall, chair], ", "", "at least two class names"),
        ("  edges:", "  outlines:", "give its `type`"),
        ("name: tiny", "name: [", "not YAML"),
        ("rgb/{id}.png", "colour/{id}.png", "too few"),
    ],
)
def test_bad_descriptions_are_refused_by_key(root: Path, old: str, new: str, complaint: str) -> None:
    text = (root / "polyscene.yaml").read_text()
    assert old in text
    (root / "polyscene.yaml").write_text(text.replace(old, new))
    with pytest.raises(BadDescription) as caught:
        Folder(root)
    assert complaint in str(caught.value) and "polyscene.yaml" in str(caught.value)


def test_unknown_split_names_those_there_are(root: Path) -> None:
    with pytest.raises(BadDescription, match=r"no split 'test' .*train, val"):
        Folder(root, "test")
