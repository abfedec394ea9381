"""From a video to a described folder: all around structure from motion, and that itself where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from polyscene import cli
from polyscene.data import video
from polyscene.data.folder import Folder
from polyscene.geometry.alignment import align, turn_onto

SIZE = (24, 32)


def rotation(rng: np.random.Generator) -> np.ndarray:
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return turned * np.sign(np.linalg.det(turned))


def test_alignment_recovers_a_similarity() -> None:
    rng = np.random.default_rng(0)
    turn, points = rotation(rng), rng.normal(size=(9, 3))
    scale, found, shift = align(points, 2.5 * points @ turn.T + [1, 2, 3])
    assert scale == pytest.approx(2.5) and np.allclose(found, turn) and np.allclose(shift, [1, 2, 3])
    rigid, found, _ = align(points, 2.5 * points @ turn.T, scaled=False)
    assert rigid == 1 and np.allclose(found, turn)
    many = np.stack([rotation(rng) for _ in range(4)])
    assert np.allclose(turn_onto(many, turn @ many), turn)


def solution(frames: int, distortion: float = 0.0) -> video.Solution:
    """Cameras 0.1 units apart before a wall 1 unit away; every frame sees twenty points of it."""
    rng = np.random.default_rng(1)
    poses, seen = {}, {}
    for number in range(frames):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * number
        poses[f"{number:02d}"] = pose
        seen[f"{number:02d}"] = np.column_stack([rng.uniform(4, [28, 20], (20, 2)), np.ones(20)])
    return video.Solution(SIZE, 30.0, (15.5, 11.5), distortion, poses, seen, 0.5, 20)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five pictures, and their depth: 3 m, in frame 2 nothing."""
    for name in ("shots", "depth"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        cv2.imwrite(str(tmp_path / "shots" / f"{number:02d}.png"), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        depth = np.full(SIZE, 0 if number == 2 else 3000, np.uint16)
        cv2.imwrite(str(tmp_path / "depth" / f"{number:02d}.png"), depth)
    return tmp_path / "shots"


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Structure from motion that finds four of five frames; counts how often it is asked."""
    asked: list[int] = []

    def solve(*_: object) -> video.Solution:
        asked.append(1)
        return solution(4)

    monkeypatch.setattr(video, "_pycolmap", lambda: None)
    monkeypatch.setattr(video, "_solve", solve)
    return asked


def test_scale_is_the_median_of_depth_over_the_solutions(pictures: Path) -> None:
    depths = {path.stem: path for path in (pictures.parent / "depth").iterdir()}
    scale = video.fix_scale(solution(4), depths, 0.001)
    assert (scale.metres, scale.spread, scale.frames, scale.metric) == (pytest.approx(3.0), pytest.approx(0.0), 3, True)
    odd = pictures.parent / "depth" / "03.png"
    cv2.imwrite(str(odd), np.full(SIZE, 3600, np.uint16))
    assert video.fix_scale(solution(4), depths, 0.001).spread == pytest.approx(0.05)
    assert video.fix_scale(solution(4), {}, 0.001) == video.Scale(video.TYPICAL, 0.0, 0, False)


def test_a_prepared_folder_is_read_as_any_other(pictures: Path, tmp_path: Path, solved: list[int]) -> None:
    report = video.prepare(pictures, tmp_path / "out", pictures.parent / "depth")
    assert report.unregistered == ["04"] and report.registered == 4 and "left out: 04" in report.lines()[-1]
    folder = Folder(tmp_path / "out", views=2)
    assert len(folder) == 4 and folder.tasks.keys() == {"depth"}
    sample = folder.read(0)
    assert sample.camera.world_from_camera[:, 0, 3].tolist() == pytest.approx([0.0, 0.3])  # metres: 0.1 units of 3 m
    assert sample.camera.intrinsics[0, 0].tolist() == pytest.approx([30.0, 0.0, 15.5])
    assert (sample.targets["depth"].value[sample.targets["depth"].valid] - 3.0).abs().max() < 1e-5
    assert not folder.read(2).targets["depth"].valid[0].any()


def test_the_same_request_again_is_not_done_again(pictures: Path, tmp_path: Path, solved: list[int]) -> None:
    first = video.prepare(pictures, tmp_path / "out")
    again = video.prepare(pictures, tmp_path / "out")
    assert again == first and len(solved) == 1
    with pytest.raises(ValueError, match="another focal; give another --out"):
        video.prepare(pictures, tmp_path / "out", focal=30.0)


def test_what_was_interrupted_is_done(
    pictures: Path, tmp_path: Path, solved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(video, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            video.prepare(pictures, tmp_path / "out")
    assert video.prepare(pictures, tmp_path / "out").registered == 4 and len(Folder(tmp_path / "out")) == 4


def test_without_depth_the_scale_is_said_to_be_unknown(pictures: Path, tmp_path: Path, solved: list[int]) -> None:
    report = video.prepare(pictures, tmp_path / "out")
    assert "scale is unknown" in " ".join(report.lines())
    assert json.loads((tmp_path / "out" / "cameras.json").read_text())["metric"] is False
    assert "unknown scale" in (tmp_path / "out" / "polyscene.yaml").read_text()


def test_distortion_is_taken_out(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that barrel distortion bends is straight in what is written."""
    bend, lens = -0.3, np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
    x = (np.arange(32) - 15.5) / 30
    straight = np.stack([x, np.full(32, -8 / 30)])
    bent = straight * (1 + bend * (straight**2).sum(0))
    for file in pictures.iterdir():
        image = np.zeros((*SIZE, 3), np.uint8)
        places = np.round(bent * 30 + [[15.5], [11.5]]).astype(int)
        image[places[1].clip(0, 23), places[0].clip(0, 31)] = 255
        cv2.imwrite(str(file), cv2.dilate(image, np.ones((2, 2))))
    monkeypatch.setattr(video, "_pycolmap", lambda: None)
    monkeypatch.setattr(video, "_solve", lambda *_: solution(4, bend))
    video.prepare(pictures, tmp_path / "out")
    row = cv2.imread(str(tmp_path / "out" / "rgb" / "00.jpg"))[..., 0].astype(float)
    centre = (row * np.arange(24)[:, None]).sum(0) / row.sum(0).clip(1)
    assert np.ptp(centre[4:28]) < 1.2 and lens[0, 0] == 30


def test_a_film_gives_every_so_manieth_frame(
    tmp_path: Path, solved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE[::-1])
    for number in range(12):
        writer.write(np.full((*SIZE, 3), 20 * number, np.uint8))
    writer.release()
    if not film.exists() or film.stat().st_size < 1000:
        pytest.skip("this OpenCV writes no films")
    seen: list[list[str]] = []
    named = {f"{number:06d}": pose for number, pose in zip((0, 3, 6, 9), solution(4).poses.values(), strict=True)}
    points = {key: solution(4).seen["00"] for key in named}

    def solve(pycolmap: object, images: Path, names: list[str], *_: object) -> video.Solution:
        seen.append(list(names))
        return video.Solution(SIZE, 30.0, (15.5, 11.5), 0.0, named, points, 0.5, 20)

    monkeypatch.setattr(video, "_solve", solve)
    video.prepare(film, tmp_path / "out", every=3)
    assert seen == [["000000.jpg", "000003.jpg", "000006.jpg", "000009.jpg"]]
    assert abs(float(Folder(tmp_path / "out").read(1).images.mean()) - 60 / 255) < 0.02


def test_mistakes_are_named_with_their_remedy(pictures: Path, tmp_path: Path, solved: list[int]) -> None:
    with pytest.raises(ValueError, match="neither a folder of pictures nor a video"):
        video.prepare(tmp_path / "nothing.mp4", tmp_path / "a")
    with pytest.raises(ValueError, match="2 frames are too few"):
        video.prepare(pictures, tmp_path / "b", every=3)
    cv2.imwrite(str(pictures.parent / "depth" / "01.png"), np.full((12, 16), 9, np.uint16))
    with pytest.raises(ValueError, match=r"01.png: is 16x12, its picture 32x24"):
        video.prepare(pictures, tmp_path / "c", pictures.parent / "depth")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "polyscene.yaml").write_text("name: mine")
    with pytest.raises(ValueError, match="give another --out"):
        video.prepare(pictures, tmp_path / "d")
    (pictures / "00.jpg").write_bytes((pictures / "00.png").read_bytes())
    with pytest.raises(ValueError, match="one name"):
        video.prepare(pictures, tmp_path / "e")


def test_without_pycolmap_the_command_names_the_extra(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    status = cli.main(["data", "prepare", "video", str(pictures), "--out", str(tmp_path / "out")])
    assert status == 2 and "polyscene[sfm]" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_poses_of_real_frames(real_data: Path, tmp_path: Path) -> None:
    """Five kitchen frames at half size: the shape of the path comes out, and its scale near what the sensor says."""
    pytest.importorskip("pycolmap", reason="structure from motion is the extra `sfm`")
    kitchen = real_data / "kitchen_rgbd"
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
        for file in sorted((kitchen / name).iterdir())[:10:2]:
            whole = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            half = (
                cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                if name == "rgb"
                else whole[::2, ::2]
            )
            cv2.imwrite(str(tmp_path / name / f"{file.stem}.png"), half)
    report = video.prepare(
        tmp_path / "rgb", tmp_path / "out", tmp_path / "depth", focal=292.5, distortion=False, threads=1
    )
    assert report.registered >= 4 and report.reprojection_error < 1.5 and report.scale.metric
    given = {f["id"]: np.array(f["T_world_cam"]) for f in json.loads((kitchen / "cameras.json").read_text())["frames"]}
    found = {
        f["id"]: np.array(f["T_world_cam"]) for f in json.loads((tmp_path / "out/cameras.json").read_text())["frames"]
    }
    pairs = np.array([(found[key][:3, 3], given[key][:3, 3]) for key in found])
    scale, turn, shift = align(pairs[:, 0], pairs[:, 1])
    error = np.linalg.norm(scale * pairs[:, 0] @ turn.T + shift - pairs[:, 1], axis=1)
    assert 0.8 < scale < 1.2 and np.median(error) < 0.03
