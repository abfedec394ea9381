"""Labels that were computed from others, kept as pictures in the cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from polyscene import atomic
from polyscene.data.cache import cache_folder

MADE_OF = "made of"


class Derived:
    """One kind of label of one set: ``recipe`` names how it is made, so that another recipe is another folder."""

    def __init__(self, name: str, root: Path, recipe: str) -> None:
        key = hashlib.sha256(f"{root.resolve()} {recipe}".encode()).hexdigest()[:16]
        self.folder = cache_folder() / "derived" / name / key

    def get(self, frame: str, sources: Iterable[Path], make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture of a frame, (h, w) or (h, w, 3) uint8: read if it is there and was made of ``sources`` as they
        are now, by size and time; else made and kept. Several processes may ask."""
        file, state = self.folder / f"{frame}.png", " ".join(map(_state, sources))
        if file.exists():
            with Image.open(file, formats=["PNG"]) as picture:
                if picture.info.get(MADE_OF) == state:
                    return np.asarray(picture)
        made = make()
        told = PngImagePlugin.PngInfo()
        told.add_text(MADE_OF, state)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic.whole(file, alone=False) as part:
            Image.fromarray(made).save(part, "PNG", pnginfo=told)
        return made


def _state(file: Path) -> str:
    try:
        facts = file.stat()
    except OSError:  # which ``make`` tells better
        return "missing"
    return f"{facts.st_size}@{facts.st_mtime_ns}"
