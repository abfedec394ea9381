"""The door of the web page: bytes that somebody sent -> an upright picture of a size to work with, or a refusal."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps

from polyscene import pictures

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
READ = ", ".join(FORMATS)
APPLE = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")  # brands of HEIC, which Pillow alone does not read
DEEP = ("I", "F")  # modes that do not resample well


class Refused(ValueError):
    """What was sent cannot be used: the message says why and what would do; ``status`` is HTTP's."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """Of one upload, and of how many may wait at once."""

    megabytes: float = 20.0
    megapixels: float = 64.0
    shortest: int = 16  # pixels of a side
    aspect: float = 8.0  # longer side over shorter
    side: int = 1024  # pixels: a larger picture is worked with at this many on its longer side
    waiting: int = 64

    @property
    def bytes(self) -> int:
        return round(self.megabytes * 1e6)

    @property
    def words(self) -> str:
        return f"{READ}; at most {self.megabytes:g} MB and {self.megapixels:g} megapixels"


@dataclass(frozen=True)
class Upload:
    """``image``: upright, at most ``Limits.side`` pixels on a side; ``sent``: (width, height) as it came."""

    image: Image.Image
    sent: tuple[int, int]


def read(data: bytes, limits: Limits | None = None) -> Upload:
    """The first picture in ``data``. Its size is checked before anything is decoded. Raises ``Refused``."""
    limits = limits or Limits()
    if not data:
        raise Refused(f"no picture was sent; send the bytes of a file ({limits.words})")
    if len(data) > limits.bytes:
        raise Refused(f"{len(data) / 1e6:.1f} MB is too much: at most {limits.megabytes:g} MB", 413)
    if data[4:8] == b"ftyp" and data[8:12] in APPLE:
        raise Refused(f"HEIC is not read; save the photo as JPEG (read are {READ})", 415)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and odd tags: ours are the limits
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                sent = _admit(image.size, limits)
                image.draft("RGB", (2 * limits.side, 2 * limits.side))  # JPEG decodes to a fraction at little cost
                image.load()
                return Upload(_shrink(image, limits.side), sent)
    except Image.UnidentifiedImageError:
        raise Refused(f"this is not a picture that can be read; read are {READ}", 415) from None
    except Image.DecompressionBombError:
        raise Refused(f"too many pixels: at most {limits.megapixels:g} megapixels", 413) from None
    except Refused:
        raise
    except Exception as error:  # what the decoders of damaged files raise has no end
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise Refused(f"the picture is damaged ({told}); send another copy") from None


def _admit(size: tuple[int, int], limits: Limits) -> tuple[int, int]:
    width, height = size
    told = f"{width} x {height} pixels"
    if width * height > limits.megapixels * 1e6:
        raise Refused(f"{told} are too many: at most {limits.megapixels:g} megapixels; make it smaller", 413)
    if min(size) < limits.shortest:
        raise Refused(f"{told} are too few: each side needs at least {limits.shortest}")
    if max(size) > limits.aspect * min(size):
        raise Refused(f"{told} is a strip: at most {limits.aspect:g} times as long as wide; send a part of it")
    return width, height


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Upright, with the EXIF that tells the focal length."""
    if image.mode.startswith(DEEP):
        image = Image.fromarray(pictures.rgb(image))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a picture with damaged EXIF is a picture
        return image
