"""Pictures without labels: folders, patterns, videos, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from polyscene.config import Data
from polyscene.data import sources, video
from polyscene.data.base import BadSample
from polyscene.data.photographs import Photographs
from polyscene.tasks import Depth


def save(path: Path, size: tuple[int, int] = (20, 30), grey: int = 90, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), grey, np.uint8)).save(path, **options)


def film(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()


def test_a_folder_is_searched_through(tmp_path: Path) -> None:
    save(tmp_path / "b.jpg")
    save(tmp_path / "a" / "deep" / "c.png", (12, 8))
    (tmp_path / "notes.txt").write_text("no picture")
    found = Photographs(tmp_path)
    assert len(found) == 2 and found.tasks == {}
    samples = [found.read(index) for index in range(2)]
    assert {tuple(sample.images.shape) for sample in samples} == {(1, 3, 20, 30), (1, 3, 12, 8)}
    assert all(sample.targets == {} and not sample.camera.known.any() for sample in samples)


def test_a_pattern_and_every_so_manieth(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"left_{number}.png", grey=10 * number)
        save(tmp_path / f"right_{number}.png")
    found = Photographs(tmp_path / "left_*.png", every=2)
    assert [round(float(found.read(index).images.mean()) * 255) for index in range(len(found))] == [0, 20, 40]


def test_pictures_are_upright_and_their_focal_length_is_known(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif.get_ifd(0x8769)[0xA405] = 43  # mm, on a film of 43.27 diagonal
    save(tmp_path / "turned.jpg", (30, 40), exif=exif)
    sample = Photographs(tmp_path).read(0)
    assert tuple(sample.images.shape[-2:]) == (40, 30) and sample.camera.known.all()
    assert float(sample.camera.intrinsics[0, 0, 0]) == pytest.approx(43 / 43.2666 * 50, rel=1e-3)


def test_frames_of_a_video_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    film(tmp_path / "walk.mp4", 10)
    found = Photographs(tmp_path / "walk.mp4", every=4)
    found.prepare()
    assert [round(float(found.read(index).images.mean()) * 255, -1) for index in range(len(found))] == [0, 80, 160]
    kept = {file: file.stat().st_mtime_ns for file in found.files}
    assert {file: file.stat().st_mtime_ns for file in Photographs(tmp_path / "walk.mp4", every=4).files} == kept


def test_frames_that_cannot_be_decoded_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    film(tmp_path / "walk.mp4", 4)
    lost: set[int] = {1}

    class Torn:
        def __init__(self, whole: cv2.VideoCapture) -> None:
            self.whole, self.number = whole, -1

        def grab(self) -> bool:
            self.number += 1
            return self.whole.grab()

        def retrieve(self) -> tuple[bool, object]:
            return (False, None) if self.number in lost else self.whole.retrieve()

    opened = video.opened
    monkeypatch.setattr(video, "opened", lambda path: Torn(opened(path)))
    assert [file.stem for file in Photographs(tmp_path / "walk.mp4").files] == ["000000", "000002", "000003"]
    lost |= {0, 2}
    with pytest.raises(ValueError, match="not one frame can be decoded"):
        Photographs(tmp_path / "walk.mp4", every=2).prepare()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("empty", "no picture is found there"),
        ("nowhere", "no such folder, picture or video"),
        ("*.jpg", "no picture is found there"),
        ("notes.txt", "neither a folder of pictures nor a video that can be read"),
        ("cut.mp4", "video that can be read|not one frame can be decoded"),
    ],
)
def test_what_cannot_be_used_is_told_when_it_is_named(tmp_path: Path, what: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    film(tmp_path / "whole.mp4", 5)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:500])
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / what))}.*({told})"):
        Photographs(tmp_path / what)


def test_a_broken_picture_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(BadSample, match=r"cut\.jpg: cannot be read as a picture .*; replace or remove the file$"):
        Photographs(tmp_path).read(0)


def test_pictures_of_any_size_make_batches(tmp_path: Path) -> None:
    for number, size in enumerate(((20, 30), (60, 40), (33, 95))):
        save(tmp_path / f"{number}.png", size)
    source = {"dataset": {"name": "photographs", "path": str(tmp_path)}, "batch": 3}
    built = sources.build(Data.model_validate({"size": (32, 48), "target": {"mine": source}}), {"depth": Depth()}, 0)
    batch = next(built.target["mine"].batches())
    assert tuple(batch.images.shape) == (3, 1, 3, 32, 48) and torch.isfinite(batch.images).all()
