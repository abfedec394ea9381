"""Labels that were computed from others, kept as pictures in the cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscene.data.cache import cache_folder


class Derived:
    """One kind of label of one set: ``recipe`` names how it is made, so that another recipe is another folder."""

    def __init__(self, name: str, root: Path, recipe: str) -> None:
        key = hashlib.sha256(f"{root.resolve()} {recipe}".encode()).hexdigest()[:16]
        self.folder = cache_folder() / "derived" / name / key

    def get(self, frame: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture of a frame, (h, w) or (h, w, 3) uint8: read, or made and kept. Several processes may ask."""
        file = self.folder / f"{frame}.png"
        if file.exists():
            with Image.open(file) as picture:
                return np.asarray(picture)
        made = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            Image.fromarray(made).save(part, "PNG")
        os.replace(part.name, file)
        return made
