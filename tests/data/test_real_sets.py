"""The real sets are read as they lie: sizes, splits, validity, and geometry that agrees between frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyscene.data.folder import Folder
from polyscene.geometry import camera as geometry

HERE = Path(__file__).resolve().parents[2] / "experiments" / "real" / "data"


@pytest.fixture(autouse=True)
def _environment(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_DATA", str(real_data))


@pytest.mark.parametrize(
    ("name", "size", "train", "val", "every"), [("kitchen", (480, 640), 56, 14, 70), ("office", (360, 540), 53, 13, 66)]
)
def test_rgbd(name: str, size: tuple[int, int], train: int, val: int, every: int) -> None:
    file = HERE / f"{name}.yaml"
    assert [len(Folder(file, split)) for split in ("train", "val", None)] == [train, val, every]
    assert Folder(file, "val").frames == Folder(file).frames[-val:]
    sample = Folder(file, "val", views=2, stride=1).read(0)
    depth, normals = sample.targets["depth"], sample.targets["normals"]
    assert sample.images.shape == (2, 3, *size) and depth.value.shape == (2, 1, *size)
    assert normals.value.shape == (2, 3, size[0] // 2, size[1] // 2)
    assert 0.5 < depth.value[depth.valid].median() < 5 and depth.valid.float().mean() > 0.7
    facing = normals.value[:, 2:][normals.valid]
    assert (facing < 0.1).float().mean() > 0.99  # towards the camera, to the noise of the fit
    assert sample.camera.known.all()


@pytest.mark.parametrize("name", ["kitchen", "office"])
def test_neighbouring_frames_agree(name: str) -> None:
    sample = Folder(HERE / f"{name}.yaml", views=2).read(3)
    depth, view = sample.targets["depth"], sample.camera
    points = geometry.transform(geometry.unproject(depth.value[0], view.intrinsics[0]), view.world_from_camera[0])
    seen = geometry.transform(points, torch.linalg.inv(view.world_from_camera[1]))
    pixels, expected = geometry.project(seen, view.intrinsics[1])
    x, y = pixels.round().long()
    height, width = depth.value.shape[-2:]
    inside = depth.valid[0, 0] & (x >= 0) & (y >= 0) & (x < width) & (y < height) & (expected[0] > 0)
    inside &= depth.valid[1, 0, y.clamp(0, height - 1), x.clamp(0, width - 1)]
    error = (depth.value[1, 0, y[inside], x[inside]] - expected[0][inside]).abs()
    assert error.numel() > 20_000 and error.median() < 0.02


def test_street() -> None:
    file = HERE / "camvid11.yaml"
    assert [len(Folder(file, split)) for split in ("train", "val", None)] == [367, 101, 468]
    sample = Folder(file, "val").read(0)
    semseg = sample.targets["semseg"]
    assert sample.images.shape == (1, 3, 360, 480) and semseg.value[semseg.valid].max() <= 10
    road = semseg.valid & (semseg.value == Folder(file).tasks["semseg"].classes.index("road"))
    assert road[..., 180:, :].float().mean() > 0.3  # the lower half of a street is road
    assert not sample.camera.known.any()
