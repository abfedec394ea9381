"""The image door under damaged files: mutated headers and bodies of seven formats. Nothing but ``BadPicture`` may come
out, no file may take long, and memory must stay bounded; exits with 1 otherwise."""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks._damage import scrambled
from PIL import Image

from polyscene import pictures
from polyscene.pictures import BadPicture

KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "jpg": ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    "png": ("PNG", {}),
    "gif": ("GIF", {"save_all": True}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff": ("TIFF", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
}
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16")


def seeds() -> list[tuple[str, bytes]]:
    """Whole files of every format in every mode that it has."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    made = []
    for suffix, (format, options) in KINDS.items():
        for mode in MODES:
            buffer = io.BytesIO()
            image = Image.fromarray(noise)
            image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
            more = {"append_images": [image.rotate(90)]} if format == "GIF" else {}
            try:
                image.save(buffer, format, **options, **more)
            except (OSError, ValueError, KeyError):  # the format has no such mode
                continue
            made.append((suffix, buffer.getvalue()))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=5.0, help="seconds of CPU time that one file may take")
    parser.add_argument("--keep", type=Path, help="folder for the files that broke the rule")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng, whole, said = random.Random(options.seed), seeds(), Counter[str]()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.inputs):
            suffix, data = rng.choice(whole)
            file = Path(folder) / f"picture.{suffix}"
            file.write_bytes(scrambled(data, rng))
            start, verdict = time.process_time(), "read"
            try:
                pictures.read(file)
            except BadPicture as error:
                verdict = "refused" if "\n" not in str(error) else "refused in several lines"
            except BaseException as error:
                verdict = type(error).__name__
            taken = time.process_time() - start
            longest = max(longest, taken)
            verdict = "slow" if taken > options.slow else verdict
            said[verdict] += 1
            if verdict not in ("read", "refused") and options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                file.rename(options.keep / f"{number}_{verdict}.{suffix}")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = {
        "benchmark": "fuzz_pictures",
        "inputs": options.inputs,
        "seed": options.seed,
        **said,
        "seconds": round(time.process_time() - began, 1),
        "longest_seconds": round(longest, 3),
        "peak_mib": after // 1024,
        "grown_mib": (after - before) // 1024,
    }
    print(json.dumps(row))
    return int(bool(set(said) - {"read", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
