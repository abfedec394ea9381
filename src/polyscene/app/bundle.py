"""Everything about a scene in one archive."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from polyscene.scene import Scene

ABOUT = """Made with Polyscene from one photograph.

photo.panel.png   every facet, side by side
photo.npz         the values at {width} x {height}; polyscene.Scene.load("photo.npz") reads them again
photo.glb         the coloured surface, metres, y up (Blender, three.js, Windows and macOS open it)
photo.depth.png   depth in millimetres, 16 bit; 0 where there is none

{camera}
"""
FARTHEST = 65.535  # metres that 16 bits of millimetres hold


def pack(scene: Scene, words: str) -> bytes:
    """A zip of the panel, the values, the surface and depth; ``words`` say what camera it is."""
    height, width = scene.image.shape[:2]
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="polyscene-") as name, zipfile.ZipFile(buffer, "w") as archive:
        folder = Path(name)
        files = scene.save(folder / "photo")
        if "depth" in scene.values:
            files.append(folder / "photo.depth.png")
            Image.fromarray(millimetres(scene.depth)).save(files[-1])
        for file in files:
            kept = file.suffix == ".glb"  # the others are compressed as they are
            archive.write(file, file.name, zipfile.ZIP_DEFLATED if kept else zipfile.ZIP_STORED)
        archive.writestr("README.txt", ABOUT.format(width=width, height=height, camera=words), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def millimetres(depth: np.ndarray) -> np.ndarray:
    """(h, w) metres -> uint16; 0 where depth is unknown or beyond 65.535 m."""
    usable = np.isfinite(depth) & (depth > 0) & (depth <= FARTHEST)
    return np.where(usable, np.round(depth * 1000), 0).astype(np.uint16)
