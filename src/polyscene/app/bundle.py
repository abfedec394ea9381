"""Everything about a scene in one archive."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

from polyscene.scene import KINDS, Scene

ABOUT = """Made with Polyscene from one photograph.

photo.panel.png   every facet, side by side
photo.npz         the values at {width} x {height}; polyscene.Scene.load("photo.npz") reads them again
photo.glb         the coloured surface, metres, y up (Blender, three.js, Windows and macOS open it)
photo.TASK.png    each facet's value in 8 or 16 bits: class ids, millimetres...

{camera}
"""


def pack(scene: Scene, words: str) -> bytes:
    """A zip of all that ``Scene.save`` can write; ``words`` say what camera it is."""
    height, width = scene.image.shape[:2]
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="polyscene-") as name, zipfile.ZipFile(buffer, "w") as archive:
        folder = Path(name)
        for file in scene.save(folder / "photo", [*KINDS, *scene.tasks]):
            loose = file.suffix == ".glb"  # the others are compressed as they are
            archive.write(file, file.name, zipfile.ZIP_DEFLATED if loose else zipfile.ZIP_STORED)
        archive.writestr("README.txt", ABOUT.format(width=width, height=height, camera=words), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
