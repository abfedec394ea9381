"""Photographs as they come: files, PIL images, arrays, tensors -> upright 8-bit RGB."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

HEIF = frozenset((".heic", ".heif"))
SUFFIXES = HEIF | {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif"}
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF")  # others may start programs, as EPS does
LARGEST = 50_000_000  # pixels; a larger picture is reduced
DECODED = 128_000_000  # pixels that are decoded at most; JPEG is reduced while it is decoded, so that it may have more
DECODED_JPEG = 1_000_000_000
FILM_DIAGONAL = 43.2666  # mm, of the 24 x 36 frame that "35 mm equivalent" refers to
WILD = frozenset("*?[")
Source = str | Path | Image.Image | np.ndarray | Tensor


class BadPicture(ValueError):
    """A picture that cannot be used: the message names it, what is wrong, and the remedy."""


@dataclass(frozen=True)
class Picture:
    """``pixels``: (h, w, 3) uint8 RGB, upright. ``focal``: pixels, where the file tells it. ``size``: (h, w) that the
    file has, larger than that of ``pixels`` where it was reduced."""

    pixels: np.ndarray
    name: str = "picture"
    focal: float | None = None
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not all(self.size):
            object.__setattr__(self, "size", self.pixels.shape[:2])

    @property
    def reduced(self) -> bool:
        return self.size != self.pixels.shape[:2]


def read(source: Source) -> Picture:
    """A path, PIL image, array (h, w[, 1 | 3 | 4]) or tensor (1 | 3 | 4, h, w). Arrays and tensors are 8 or 16 bit
    integers, or floats in [0, 1]. Transparency is laid over white; of an animation the first frame is taken; files of
    more than 50 million pixels are reduced. Whatever a file holds, nothing but ``BadPicture`` is raised."""
    if isinstance(source, str | Path):
        return _file(Path(source))
    if isinstance(source, Image.Image):
        return _guarded(source, "image", "picture")
    if isinstance(source, Tensor):
        array = source.detach().cpu().numpy()
        if array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        return Picture(_rgb(array, "tensor, channels first,"))
    if isinstance(source, np.ndarray):
        return Picture(_rgb(source, "array"))
    raise BadPicture(f"cannot read a picture from {type(source).__name__}: give a path, PIL image, array or tensor")


def find(
    inputs: Iterable[str | Path], leave_out: Path | None = None, suffixes: Collection[str] = SUFFIXES
) -> list[tuple[Path, Path]]:
    """All that ``walk`` finds, each file once, with the name it has below the input it was found in, suffix dropped
    unless two files would then share the name."""
    once: dict[str, tuple[Path, str]] = {}
    for root, name in walk(inputs, leave_out, suffixes):
        path = Path(root, name)
        once.setdefault(os.path.realpath(path), (path, name))
    other = renamed([name for _, name in once.values()])
    return [(path, Path(other.get(place) or bare(name))) for place, (path, name) in enumerate(once.values())]


def walk(
    inputs: Iterable[str | Path], leave_out: Path | None = None, suffixes: Collection[str] = SUFFIXES
) -> Iterator[tuple[str, str]]:
    """Files with one of ``suffixes`` below ``inputs`` (files, folders searched through, or patterns such as
    ``shots/**/left_*.jpg``), as the folder that each was looked for in and its name below that; sorted within each
    input, with never more than one folder's names in memory. A file given by name is kept whatever its suffix; hidden
    files and what lies in the folder ``leave_out`` are not looked at. ``FileNotFoundError`` names a missing input,
    ``ValueError`` a pattern that leads out of the folder it begins in."""
    hidden = None if leave_out is None else os.path.realpath(leave_out)
    for entry in map(str, inputs):
        if os.path.isdir(entry):
            if hidden is None or not _within(os.path.realpath(entry), hidden):
                for name in _below(entry, "", hidden, suffixes):
                    yield entry, name
        elif os.path.exists(entry):
            yield os.path.split(entry)
        elif WILD & set(entry):
            fixed = str(_fixed(Path(entry)))
            for match in sorted(glob.iglob(entry, recursive=True), key=lambda match: match.split(os.sep)):
                if _wanted(os.path.basename(match), suffixes) and os.path.isfile(match):
                    if hidden is None or not _within(os.path.realpath(match), hidden):
                        name = os.path.relpath(match, fixed)
                        if name.startswith(os.pardir + os.sep):
                            raise ValueError(
                                f"{entry}: {match} is not in {fixed}; write it without .. behind wildcards"
                            )
                        yield fixed, name
        else:
            raise FileNotFoundError(f"{entry}: no such file or folder")


def roots(inputs: Iterable[str | Path]) -> list[str]:
    """The folders that ``walk`` gives names below, each once."""

    def root(entry: str) -> str:
        if os.path.isdir(entry):
            return entry
        return os.path.dirname(entry) if os.path.exists(entry) else str(_fixed(Path(entry)))

    return list(dict.fromkeys(root(str(entry)) for entry in inputs))


def bare(name: str) -> str:
    """Without its suffix."""
    return os.path.splitext(name)[0]


def renamed(names: Sequence[str]) -> dict[int, str]:
    """What those are called that share their name without suffix, by their places among ``names``: the suffix joined
    to it by "_", and a number where that is taken, too."""
    marks = np.fromiter((mark(bare(name)) for name in names), np.uint64, len(names))
    plain, counts = np.unique(marks, return_counts=True)
    shared = set(plain[counts > 1].tolist())
    own, used = set() if not shared else set(plain[counts == 1].tolist()), set[str]()
    given: dict[int, str] = {}
    for place in np.flatnonzero(np.isin(marks, plain[counts > 1])).tolist():
        folder, file = os.path.split(names[place])
        stem = os.path.join(folder, file.replace(".", "_"))
        unique, count = stem, 1
        while unique in used or mark(unique) in own:
            count += 1
            unique = f"{stem}_{count}"
        used.add(unique)
        given[place] = unique
    return given


def mark(text: str) -> int:
    """64 bits in place of a text: of a million, two are alike once in 37 million times."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _below(root: str, inside: str, hidden: str | None, suffixes: Collection[str]) -> Iterator[str]:
    """Of a folder ``inside`` another."""
    try:
        with os.scandir(os.path.join(root, inside)) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except PermissionError:  # a folder of somebody else's among ours
        return
    for name, folder in found:
        place = os.path.join(inside, name)
        path = os.path.join(root, place)
        if not folder:
            if _wanted(name, suffixes) and os.path.isfile(path):
                yield place
        elif hidden is None or os.path.realpath(path) != hidden:
            yield from _below(root, place, hidden, suffixes)


def _wanted(name: str, suffixes: Collection[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _fixed(pattern: Path) -> Path:
    """The folder that a pattern starts from."""
    while WILD & set(str(pattern)):
        pattern = pattern.parent
    return pattern


def _file(path: Path) -> Picture:
    if not path.exists():
        raise BadPicture(f"{path}: no such file")
    if path.is_dir():
        raise BadPicture(f"{path}: is a folder; give the pictures in it, or use `polyscene predict {path} --out DIR`")
    formats = [*FORMATS, "HEIF"] if path.suffix.lower() in HEIF and _heif(path) else FORMATS
    try:
        image = _opened(path, formats)
    except UnidentifiedImageError:
        why = f"none of {', '.join(formats)}" if path.stat().st_size else "empty"
        raise _bad(path, ValueError(why)) from None
    except BadPicture:
        raise
    except Exception as error:  # what the decoders of damaged files raise has no end
        raise _bad(path, error) from error
    with image:
        return _guarded(image, str(path), path.stem)


def _opened(path: Path, formats: Iterable[str]) -> Image.Image:
    """Not decoded yet. ``BadPicture`` if it has too many pixels to be."""
    try:
        image = Image.open(path, formats=list(formats))
    except Image.DecompressionBombError:
        try:
            image = JpegImagePlugin.JpegImageFile(path)
        except SyntaxError:
            raise BadPicture(f"{path}: has more than {DECODED // 10**6} million pixels; reduce it") from None
    sequential = image.format == "JPEG" and not image.info.get("progressive")
    limit = DECODED_JPEG if sequential else DECODED
    if math.prod(image.size) > limit:
        width, height = image.size
        raise BadPicture(f"{path}: {width}x{height} are more than {limit // 10**6} million pixels; reduce it")
    return image


def _heif(path: Path) -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise BadPicture(f"{path}: HEIC needs pillow-heif: pip install pillow-heif, or save it as JPEG") from None
    register_heif_opener()
    return True


def _bad(where: object, error: Exception) -> BadPicture:
    told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return BadPicture(f"{where}: cannot be read as a picture ({told}); replace or remove the file")


def _guarded(image: Image.Image, where: str, name: str) -> Picture:
    try:
        return _image(image, name, where)
    except BadPicture:
        raise
    except Exception as error:  # see _file
        raise _bad(where, error) from error


def _image(image: Image.Image, name: str, where: str) -> Picture:
    full = max(image.size)
    if math.prod(image.size) > LARGEST:  # JPEG's decoder reduces by itself, others take no notice
        share = math.sqrt(LARGEST / 4 / math.prod(image.size))
        image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))
    try:
        focal, upright = _focal(image), ImageOps.exif_transpose(image)
    except Exception:  # a picture with damaged EXIF is a picture
        focal, upright = None, image
    pixels = rgb(upright, where)
    factor = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / LARGEST))
    if factor > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(factor))
    share = max(pixels.shape[:2]) / max(upright.size)
    times = full / max(upright.size)
    size = round(upright.height * times), round(upright.width * times)
    return Picture(pixels, name, focal and focal * share, size)


def rgb(image: Image.Image, where: str = "image") -> np.ndarray:
    """(h, w, 3) uint8 of any kind of PIL image, as it lies. Raises ``BadPicture``, which says ``where``."""
    if image.mode.startswith("I;16"):
        return _rgb(np.asarray(image).astype(np.uint16), where)
    if image.mode == "I":
        return _rgb(np.asarray(image).clip(0, 65535).astype(np.uint16), where)
    if image.mode == "F":
        return _rgb(np.asarray(image), where)
    if image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    return _rgb(np.asarray(image.convert("RGB")), where)


def _rgb(array: np.ndarray, where: str) -> np.ndarray:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim == 4:
        raise BadPicture(f"{where} of shape {array.shape} is a stack of pictures: give list(stack)")
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or not array.size:
        raise BadPicture(f"{where} of shape {array.shape}: a picture has 1, 3 or 4 channels and at least one pixel")
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise BadPicture(f"{where} of floats outside [0, 1]: divide by the largest value a pixel can have")
        array = (array * 255 + 0.5).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadPicture(f"{where} of {array.dtype}: give uint8, uint16, or floats in [0, 1]")
    if array.shape[-1] == 4:
        alpha = array[..., 3:].astype(np.uint32)
        array = ((array[..., :3] * alpha + (255 - alpha) * 255 + 127) // 255).astype(np.uint8)
    return np.broadcast_to(array, (*array.shape[:2], 3)).copy()


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
