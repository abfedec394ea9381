"""What the page takes, and how it says no."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from polyscene import pictures
from polyscene.app.upload import FORMATS, Limits, Refused, read

LIMITS = Limits(megabytes=0.1, megapixels=1.0, side=64)


def encoded(image: Image.Image, kind: str = "png", **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG that says it is so large and has no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_each_kind_of_file_is_read(photo: Callable[..., bytes], kind: str) -> None:
    taken = read(photo(3, (50, 40), kind), LIMITS)
    assert taken.sent == taken.image.size == (50, 40)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_each_kind_of_pixel_is_read(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (90, 1)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    else:
        image = grey.convert("RGB").convert(mode) if mode != "LA" else grey.convert("LA")
    taken = read(encoded(image, "tiff"), LIMITS)
    assert taken.image.size == (64, 48) and taken.sent == (120, 90)
    pixels = pictures.read(taken.image).pixels.astype(int)
    assert abs(pixels.mean() - np.asarray(grey).mean()) < 12


def test_a_large_photo_keeps_its_way_up_and_its_lens() -> None:
    image = Image.fromarray(np.zeros((300, 400, 3), np.uint8))
    image.paste((255, 255, 255), (0, 0, 400, 150))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif.get_ifd(0x8769)[0xA405] = 43  # mm on 24 x 36 film: the focal length is about the diagonal
    taken = read(encoded(image, "jpeg", exif=exif), LIMITS)
    assert taken.sent == (400, 300) and taken.image.size == (48, 64)
    picture = pictures.read(taken.image)
    assert picture.pixels[:, 24:].mean() > 250 and picture.pixels[:, :24].mean() < 5
    assert picture.focal == pytest.approx(np.hypot(48, 64), rel=0.02)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "no picture was sent"),
        (b"hello, I am a text\n" * 20, 415, "not a picture"),
        (b"%PDF-1.7 and so on", 415, "not a picture"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", 415, "save the photo as JPEG"),
        (b"0" * 100_001, 413, r"0.1 MB is too much: at most 0.1 MB"),
        (claimed(30_000, 30_000), 413, "too many pixels: at most 1 megapixels"),
        (claimed(1001, 1000), 413, "1001 x 1000 pixels are too many: at most 1 megapixels"),
        (claimed(200, 200), 422, "the picture is damaged"),
        (claimed(1, 1), 422, "at least 16"),
        (claimed(800, 20), 422, "is a strip"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(data: bytes, status: int, words: str) -> None:
    with pytest.raises(Refused, match=words) as refusal:
        read(data, LIMITS)
    assert refusal.value.status == status


def test_pixels_are_counted_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(Refused, match="too many"):
        read(claimed(1001, 1000), LIMITS)


def test_formats_that_run_other_programs_stay_shut() -> None:
    with pytest.raises(Refused, match="not a picture"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", LIMITS)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(FORMATS), cut=st.integers(0, 400), at=st.integers(0, 5000), byte=st.integers(0, 255))
def test_damaged_files_are_refused_or_read(
    photo: Callable[..., bytes], kind: str, cut: int, at: int, byte: int
) -> None:
    data = bytearray(photo(1, (40, 30), kind))
    data[at % len(data)] = byte
    try:
        taken = read(bytes(data[: len(data) - cut]), LIMITS)
    except Refused as refusal:
        assert refusal.status in (413, 415, 422) and len(str(refusal)) < 300
    else:
        assert max(taken.image.size) <= LIMITS.side
