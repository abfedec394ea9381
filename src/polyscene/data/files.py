"""Reading one image or label file as an array, with what can be wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscene import atomic, pictures
from polyscene.data.base import BadSample

Raw = NDArray[np.generic]
FORMATS = [*pictures.FORMATS, "JPEG2000", "TGA"]  # no plugin that starts other programs, as EPS does
MISSING = "restore it, or remove its frame from the split"


def read_image(path: Path, cache: Path | None = None) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB, of 8 or 16 bit; transparency is laid over white. ``BadSample`` if the file is missing, cut
    short or no image."""
    return _cached(path, cache, "image").view(np.uint8)


def read_label(path: Path, cache: Path | None = None) -> Raw:
    """(h, w) or (h, w, c) as stored: 8 or 16 bit pictures, float TIFF, or .npy."""
    return _cached(path, cache, "label")


def sized(path: Path, raw: Raw, shape: tuple[int, ...], remedy: str) -> Raw:
    """``raw``, if of the ``shape`` that its image asks for."""
    if raw.shape != shape:
        found, wanted = ("x".join(map(str, each)) for each in (raw.shape, shape))
        raise BadSample(path, f"is {found}, for its image {wanted}", remedy)
    return raw


def _cached(path: Path, cache: Path | None, kind: str) -> Raw:
    """Decoded once and memory-mapped from then on, if there is a ``cache`` folder."""
    if cache is None:
        return _decode(path, kind)
    try:
        stat = path.stat()
    except OSError:
        raise BadSample(path, "missing", MISSING) from None
    key = hashlib.sha256(f"{kind} {path.absolute()} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:24]
    kept = cache / f"{key}.npy"
    if not kept.exists():
        decoded = _decode(path, kind)
        cache.mkdir(parents=True, exist_ok=True)
        with atomic.whole(kept, alone=False) as part, part.open("wb") as file:
            np.save(file, decoded)
    return np.load(kept, mmap_mode="r", allow_pickle=False)


def _decode(path: Path, kind: str) -> Raw:
    try:
        if path.suffix == ".npy":
            return np.lib.format.open_memmap(path, mode="r")  # no more than the file holds, and nothing unpickled
        with Image.open(path, formats=FORMATS) as image:
            return pixels(image, kind, path.read_bytes)
    except FileNotFoundError:
        raise BadSample(path, "missing", MISSING) from None
    except Exception as error:  # what the decoders of damaged files raise has no end
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = f"cannot be read ({told.replace(str(path), 'the file')})"
        raise BadSample(path, problem, "restore the file from its source; it may be cut short") from None


def pixels(image: Image.Image, kind: str, content: Callable[[], bytes]) -> Raw:
    """Of an opened file with this ``content``: (h, w, 3) uint8 of the kind "image", else what is stored."""
    if kind == "image":
        return pictures.rgb(image)
    how: Any = getattr(image, "tile", None)
    if image.format == "PNG" and image.mode in ("RGB", "RGBA") and how and "16B" in str(how[0][-1]):
        return _deep(content())  # PIL reads colour PNGs of 16 bit as 8 bit
    return np.asarray(image.convert("L") if image.mode == "1" else image)


def _deep(content: bytes) -> Raw:
    import cv2

    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise OSError("16-bit PNG not decodable")
    return np.ascontiguousarray(array[..., 2::-1])
