"""Photographs as they come: files, PIL images, arrays, tensors -> upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))
FILM_DIAGONAL = 43.2666  # mm, of the 24 x 36 frame that "35 mm equivalent" refers to
Source = str | Path | Image.Image | np.ndarray | Tensor


class BadPicture(ValueError):
    """A picture that cannot be used: the message names it, what is wrong, and the remedy."""


@dataclass(frozen=True)
class Picture:
    """``pixels``: (h, w, 3) uint8 RGB, upright. ``focal``: pixels, where the file tells it."""

    pixels: np.ndarray
    name: str = "picture"
    focal: float | None = None


def read(source: Source) -> Picture:
    """A path, PIL image, array (h, w[, 1 | 3 | 4]) or tensor (1 | 3 | 4, h, w). Arrays and tensors are 8 or 16 bit
    integers, or floats in [0, 1]. Transparency is laid over white. Raises ``BadPicture``."""
    if isinstance(source, str | Path):
        return _file(Path(source))
    if isinstance(source, Image.Image):
        return _image(source, "picture")
    if isinstance(source, Tensor):
        array = source.detach().cpu().numpy()
        if array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        return Picture(_rgb(array, "tensor, channels first,"))
    if isinstance(source, np.ndarray):
        return Picture(_rgb(source, "array"))
    raise BadPicture(f"cannot read a picture from {type(source).__name__}: give a path, PIL image, array or tensor")


def find(inputs: Iterable[str | Path], leave_out: Path | None = None) -> list[tuple[Path, Path]]:
    """Picture files below ``inputs`` (files, or folders searched through), each with the name it has below the input
    it was found in, suffix dropped unless two files would then share the name. A file given by name is kept whatever
    its suffix; what lies in the folder ``leave_out`` is not looked at. ``FileNotFoundError`` names a missing input."""
    found: list[tuple[Path, Path]] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            files = sorted(path for path in entry.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            kept = [path for path in files if leave_out is None or leave_out.resolve() not in path.resolve().parents]
            found += [(path, path.relative_to(entry)) for path in kept]
        elif entry.exists():
            found.append((entry, Path(entry.name)))
        else:
            raise FileNotFoundError(f"{entry}: no such file or folder")
    once: dict[Path, tuple[Path, Path]] = {}
    for path, name in found:
        once.setdefault(path.resolve(), (path, name))
    found = list(once.values())
    taken: dict[Path, int] = {}
    for _, name in found:
        taken[name.with_suffix("")] = taken.get(name.with_suffix(""), 0) + 1
    named: list[tuple[Path, Path]] = []
    used: set[Path] = set()
    for path, name in found:
        stem = name.with_suffix("") if taken[name.with_suffix("")] == 1 else name.with_name(name.name.replace(".", "_"))
        unique, count = stem, 1
        while unique in used:
            count += 1
            unique = stem.with_name(f"{stem.name}_{count}")
        used.add(unique)
        named.append((path, unique))
    return named


def _file(path: Path) -> Picture:
    if not path.exists():
        raise BadPicture(f"{path}: no such file")
    if path.is_dir():
        raise BadPicture(f"{path}: is a folder; give the pictures in it, or use `polyscene predict {path} --out DIR`")
    try:
        with Image.open(path) as image:
            image.load()
            return _image(image, path.stem, str(path))
    except BadPicture:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path}: cannot be read as a picture ({error}); replace or remove the file") from error


def _image(image: Image.Image, name: str, where: str = "image") -> Picture:
    return Picture(rgb(ImageOps.exif_transpose(image), where), name, _focal(image))


def rgb(image: Image.Image, where: str = "image") -> np.ndarray:
    """(h, w, 3) uint8 of any kind of PIL image, as it lies. Raises ``BadPicture``, which says ``where``."""
    if image.mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
    elif image.mode == "I":
        array = np.asarray(image).clip(0, 65535).astype(np.uint16)
    elif image.mode == "F":
        array = np.asarray(image)
    elif image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info:
        array = np.asarray(image.convert("RGBA"))
    else:
        array = np.asarray(image.convert("RGB"))
    return _rgb(array, where)


def _rgb(array: np.ndarray, where: str) -> np.ndarray:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim == 4:
        raise BadPicture(f"{where} of shape {array.shape} is a stack of pictures: give list(stack)")
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or not array.size:
        raise BadPicture(f"{where} of shape {array.shape}: a picture has 1, 3 or 4 channels and at least one pixel")
    if array.dtype == np.uint8 and array.shape[-1] < 4:
        return np.broadcast_to(array, (*array.shape[:2], 3)).copy()
    if array.dtype == np.uint16:
        pixels = array / 65535
    elif array.dtype == np.uint8:
        pixels = array / 255
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise BadPicture(f"{where} of floats outside [0, 1]: divide by the largest value a pixel can have")
        pixels = array
    else:
        raise BadPicture(f"{where} of {array.dtype}: give uint8, uint16, or floats in [0, 1]")
    if pixels.shape[-1] == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + 1 - alpha
    return np.broadcast_to((pixels * 255 + 0.5).astype(np.uint8), (*pixels.shape[:2], 3)).copy()


def _focal(image: Image.Image) -> float | None:
    """Pixels, from EXIF: the 35 mm equivalent, or the focal length with the resolution of the sensor."""
    tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
    longer, diagonal = max(image.size), float(np.hypot(*image.size))
    try:
        equivalent = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        if equivalent > 0:
            return equivalent / FILM_DIAGONAL * diagonal
        length = float(tags[ExifTags.Base.FocalLength])
        density = float(tags[ExifTags.Base.FocalPlaneXResolution])
        unit = {2: 25.4, 3: 10.0, 4: 1.0}[int(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))]
        taken = max(int(tags[ExifTags.Base.ExifImageWidth]), int(tags[ExifTags.Base.ExifImageHeight]))
        focal = length * density / unit * longer / taken
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return focal if 0.2 < focal / longer < 50 else None
