"""Films and webcams: frames in, a film of panels out."""

import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from polyscene import cli
from polyscene.predict import Manifest, Predictor, predict_paths, predict_shard, video
from polyscene.scene import Scene
from polyscene.shard import Shard

COUNT = 10


@pytest.fixture
def film(photo: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    for number in range(COUNT):
        writer.write(np.ascontiguousarray(np.roll(photo, 3 * number, 1)[..., ::-1]))
    writer.release()
    return path


def frames(path: Path) -> list[np.ndarray]:
    return list(video.Film.open(path).frames())


def test_a_film_of_panels(film: Path, photo: np.ndarray, predictor: Predictor, tmp_path: Path) -> None:
    outcome = predict_paths([film], tmp_path / "out", predictor)
    panels = tmp_path / "out" / "walk.panels.mp4"
    assert outcome.written == {film: [panels]} and outcome.exit_code == 0
    made = frames(panels)
    assert len(made) == COUNT and made[0].shape[0] > 2 * 64 and video.Film.open(panels).rate == 10
    left, top = 20, 50  # of the photograph in a panel, which is enlarged to 240
    shown = made[0][top : top + 160, left : left + 240]
    assert np.abs(shown.astype(int) - cv2.resize(photo, (240, 160), interpolation=cv2.INTER_CUBIC)).mean() < 12


def test_frames_on_request(film: Path, photo: np.ndarray, predictor: Predictor, tmp_path: Path) -> None:
    outcome = predict_paths([film], tmp_path, predictor, write=["npz", "depth"], frames=3)
    names = [str(path.relative_to(tmp_path)) for path in outcome.written[film]]
    expected = [f"walk/{number:06d}{end}" for number in range(3) for end in (".npz", ".depth.png")]
    assert names == expected and not (tmp_path / "walk.panels.mp4").exists()
    first = Scene.load(tmp_path / "walk" / "000000.npz")
    assert np.abs(first.image.astype(int) - photo).mean() < 12  # right way round, red first


def test_films_and_pictures_of_a_folder(film: Path, photo: np.ndarray, predictor: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "still.png"), photo)
    outcome = predict_paths([tmp_path], tmp_path / "out", predictor, write=["panels"], frames=2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["still.panel.png", "walk.panels.mp4"]
    assert len(outcome.written) == 2


def test_of_a_film_with_a_broken_tail_the_rest_is_kept(
    film: Path, predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) * 6 // 10])
    outcome = predict_paths([film], tmp_path / "out", predictor)
    kept = len(frames(tmp_path / "out" / "walk.panels.mp4"))
    assert 3 <= kept < COUNT and outcome.exit_code == 1 and outcome.written
    assert f"{film}: breaks off after {kept} of {COUNT} frames, which are kept" in capsys.readouterr().out


def test_a_film_of_a_shard_is_taken_up_where_it_was_left(film: Path, predictor: Predictor, tmp_path: Path) -> None:
    def go(**how: bool) -> Manifest:
        return predict_shard([film], out, Shard(1, 1), predictor, write=["panels", "depth"], frames=3, **how)  # type: ignore[arg-type]

    out = tmp_path / "out"
    assert go().written == 1
    whole, (told,) = out / "walk.panels.mp4", (out / "manifest").glob("*.jsonl")
    (line,) = map(json.loads, told.read_text().splitlines())
    assert line["files"] == ["walk.panels.mp4", *(f"walk/{number:06d}.depth.png" for number in range(3))]
    told.write_text("")
    assert go().found == 1
    told.write_text("")
    before = (out / "walk" / "000000.depth.png").stat()
    (out / "walk" / "000002.depth.png").unlink(), whole.unlink()
    assert go().written == 1 and whole.exists() and (out / "walk" / "000002.depth.png").exists()
    after = (out / "walk" / "000000.depth.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "nothing is written twice"
    film.write_bytes(film.read_bytes()[:6000])
    broken = predict_shard([film], tmp_path / "other", Shard(1, 1), predictor)
    (line,) = map(json.loads, next((tmp_path / "other" / "manifest").glob("*.jsonl")).read_text().splitlines())
    assert broken.exit_code == 2 and line["outcome"] == "failed" and "convert it" in line["error"]


def lines(out: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for file in (out / "manifest").glob("*.jsonl") for line in file.read_text().splitlines()]


@pytest.mark.parametrize("when", ["a page is written", "a film is closed"])
def test_of_a_full_disk_no_half_film_remains(
    when: str, film: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "out", video.Panels.write
    pages: list[np.ndarray] = []

    def failing(panel: video.Panels, page: np.ndarray) -> None:
        if len(pages) < 4:
            write(panel, page)
        elif when == "a page is written":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:  # the codec says nothing
            panel.pages += 1
        pages.append(page)

    with monkeypatch.context() as patch:
        patch.setattr(video.Panels, "write", failing)
        with pytest.raises(OSError, match=r"No space left|4 of 10 frames could be written; see that the disk has room"):
            predict_shard([film], out, Shard(1, 1), predictor)
    assert not list(out.rglob("*.mp4")) and not lines(out)
    assert predict_shard([film], out, Shard(1, 1), predictor).written == 1
    assert len(frames(out / "walk.panels.mp4")) == COUNT


def test_a_film_that_broke_off_is_done_again_on_request(film: Path, predictor: Predictor, tmp_path: Path) -> None:
    def go(retry: bool) -> Manifest:
        return predict_shard([film], out, Shard(1, 1), predictor, write=["panels", "depth"], retry=retry)

    out, whole = tmp_path / "out", film.read_bytes()
    film.write_bytes(whole[: len(whole) * 6 // 10])
    assert go(False).failed == 1 and 3 <= len(frames(out / "walk.panels.mp4")) < COUNT
    film.write_bytes(whole)
    assert (last := go(False)).written == last.found == 0
    assert go(True).written == 1 and len(frames(out / "walk.panels.mp4")) == COUNT
    assert [line["outcome"] for line in lines(out)] == ["failed", "written"] and len(lines(out)[1]["files"]) == 11
    assert (last := go(True)).written == last.found == 0


def test_a_film_that_is_none(tmp_path: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    outcome = predict_paths([tmp_path / "text.mp4"], tmp_path / "out", predictor)
    assert outcome.exit_code == 2
    assert "text.mp4: cannot be opened as a video; convert it" in capsys.readouterr().out


class Webcam:
    """One that sees a film."""

    def __init__(self, film: Path, interrupted: bool) -> None:
        self.film, self.interrupted, self.seen = cv2.VideoCapture(str(film)), interrupted, 0

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        return -1.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.seen += 1
        if self.interrupted and self.seen > 8:
            raise KeyboardInterrupt
        return self.film.read()

    def release(self) -> None:
        self.film.release()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_webcam(
    interrupted: bool, film: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(video, "webcam", lambda number: asked.append(number) or Webcam(film, interrupted))
    outcome = predict_paths(["webcam:3"], tmp_path, predictor)
    assert asked == [3] and outcome.exit_code == 0
    assert len(frames(tmp_path / "webcam3.panels.mp4")) >= (1 if interrupted else COUNT)


def test_a_webcam_that_is_not_there(tmp_path: Path, predictor: Predictor, capfd: pytest.CaptureFixture[str]) -> None:
    assert predict_paths(["webcam:97"], tmp_path, predictor).exit_code == 2
    assert "webcam:97: cannot be opened as a video; is it plugged in" in capfd.readouterr().out
    assert predict_paths(["webcam:front"], tmp_path, predictor).exit_code == 2
    assert "webcam:front: webcams have numbers; the first is webcam:0" in capfd.readouterr().out


def test_the_option_for_a_webcam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import polyscene.predict

    asked: list[object] = []

    def instead(inputs: list[str], *others: object, **options: object) -> polyscene.predict.Outcome:
        asked.append(inputs)
        return polyscene.predict.Outcome({Path("a"): []})

    monkeypatch.setattr(polyscene.predict, "predict_paths", instead, raising=False)
    assert cli.main(["predict", "--webcam", "0", "--out", str(tmp_path)]) == 0
    assert asked == [["webcam:0"]]
