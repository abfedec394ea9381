"""Bad input: one clear line each, the rest goes on, and the exit code tells."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscene import cli, pictures, weights
from polyscene.pictures import BadPicture
from polyscene.predict import Predictor, predict_paths


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes could fill."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b"")]
    made = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def saved(photo: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(photo).save(path, **options)  # type: ignore[arg-type]
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadPicture) as refused:
        pictures.read(path)
    told = str(refused.value)
    assert told.startswith(f"{path}: ") and "\n" not in told
    return told.removeprefix(f"{path}: ")


def test_a_text_file_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("no picture at all")
    assert refusal(tmp_path / "note.jpg").startswith("cannot be read as a picture (none of JPEG, PNG")
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "empty.png") == "cannot be read as a picture (empty); replace or remove the file"


def test_programs_are_not_started_for_a_picture(tmp_path: Path) -> None:
    (tmp_path / "drawn.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    assert "none of JPEG" in refusal(tmp_path / "drawn.jpg")


def test_a_truncated_jpeg(photo: np.ndarray, tmp_path: Path) -> None:
    whole = saved(photo, tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(tmp_path / "cut.jpg")


def test_decompression_bombs(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(claiming(60_000, 60_000))
    assert refusal(tmp_path / "bomb.png") == "has more than 128 million pixels; reduce it"
    (tmp_path / "lesser.png").write_bytes(claiming(13_000, 13_000))  # below the limit of PIL
    assert refusal(tmp_path / "lesser.png") == "13000x13000 are more than 128 million pixels; reduce it"
    jpeg = saved(np.zeros((16, 16, 3), np.uint8), tmp_path / "bomb.jpg").read_bytes()
    claimed = jpeg.replace(struct.pack(">HH", 16, 16), struct.pack(">HH", 60_000, 60_000))
    (tmp_path / "bomb.jpg").write_bytes(claimed)
    assert refusal(tmp_path / "bomb.jpg") == "60000x60000 are more than 1000 million pixels; reduce it"


def test_a_panorama_of_thirty_thousand_pixels_is_reduced(tmp_path: Path, predictor: Predictor) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 43  # mm on film: the focal length is about the diagonal
    Image.new("RGB", (30_000, 2_000), (90, 160, 30)).save(tmp_path / "wide.jpg", exif=exif)
    picture = pictures.read(tmp_path / "wide.jpg")
    assert picture.size == (2_000, 30_000) and picture.reduced and picture.pixels.shape == (1_000, 15_000, 3)
    assert np.abs(picture.pixels[::50, ::50].astype(int) - (90, 160, 30)).max() <= 2
    assert picture.focal == pytest.approx(np.hypot(1_000, 15_000), rel=0.01)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_what_is_too_large_is_reduced_and_said(
    suffix: str, photo: np.ndarray, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = saved(np.kron(photo, np.ones((4, 4, 1), np.uint8)), tmp_path / f"large.{suffix}")  # 256 x 384
    monkeypatch.setattr(pictures, "LARGEST", 64 * 96)
    outcome = predict_paths([path], tmp_path / "out", predictor, write=["panels"])
    assert outcome.exit_code == 0 and "384x256 is reduced to 96x64" in capsys.readouterr().out
    assert np.abs(pictures.read(path).pixels.astype(int) - photo).mean() < 6


def test_one_pixel(tmp_path: Path, predictor: Predictor) -> None:
    path = saved(np.full((1, 1, 3), 77, np.uint8), tmp_path / "one.png")
    scene = predictor(path)
    assert scene.depth.shape == (1, 1) and scene.normals.shape == (1, 1, 3)
    names = {file.name for file in predict_paths([path], tmp_path / "out", predictor).written[path]}
    assert names == {"one.panel.png", "one.npz"}


def test_cmyk_and_animation(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (10, 200, 30)).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    assert np.abs(pictures.read(tmp_path / "print.jpg").pixels.astype(int) - (10, 200, 30)).max() <= 4
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (pictures.read(tmp_path / "moving.gif").pixels == (200, 0, 0)).all()


def test_heic_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    assert refusal(tmp_path / "phone.HEIC") == "HEIC needs pillow-heif: pip install pillow-heif, or save it as JPEG"


def test_damaged_exif_is_passed_over(photo: np.ndarray, tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\xff\xff\xff\xff\xff\xff\xff\xff"
    path = saved(photo, tmp_path / "odd.jpg", exif=exif)
    assert pictures.read(path).pixels.shape == photo.shape


def test_the_rest_goes_on_and_the_exit_code_tells(
    photo: np.ndarray, tmp_path: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    good = saved(photo, folder / "good.png")
    (folder / "bad.png").write_text("no")
    (folder / "bomb.png").write_bytes(claiming(60_000, 60_000))
    weights.save(predictor.model, tmp_path / "net", size=(64, 96))
    common = ["--weights", str(tmp_path / "net"), "--device", "cpu", "--write", "depth"]
    assert cli.main(["predict", str(good), "--out", str(tmp_path / "a"), *common]) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(folder), "--out", str(tmp_path / "b"), *common]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("failed")] == [
        f"failed {folder / 'bad.png'}: cannot be read as a picture (none of {', '.join(pictures.FORMATS)}); "
        "replace or remove the file",
        f"failed {folder / 'bomb.png'}: has more than 128 million pixels; reduce it",
    ]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["good.depth.png"]
    assert cli.main(["predict", str(folder / "bad.png"), "--out", str(tmp_path / "c"), *common]) == 2


def test_a_folder_without_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing to see")
    assert cli.main(["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 2
    assert "no picture in" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/deeper"])
def test_an_output_folder_that_cannot_be_written_to(
    out: str, photo: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(photo, tmp_path / "photo.png")
    (tmp_path / "file").touch()
    assert cli.main(["predict", str(path), "--out", str(tmp_path / out)]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"polyscene: {tmp_path / out}: cannot be written to (") and told.endswith(
        "give another --out"
    )


def test_a_file_that_cannot_be_written_is_one_failure(photo: np.ndarray, tmp_path: Path, predictor: Predictor) -> None:
    paths = [saved(photo, tmp_path / name) for name in ("one.png", "two.png")]
    (tmp_path / "out" / "one.panel.png").mkdir(parents=True)
    outcome = predict_paths(paths, tmp_path / "out", predictor, write=["panels"])
    assert list(outcome.written) == [paths[1]] and list(outcome.failed) == [paths[0]] and outcome.exit_code == 1
