"""Makes a small folder of data, all labels exact, for the tests to spoil."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

DESCRIPTION = """
name: tiny
images: rgb/{id}.png
tasks:
  depth: {path: "depth/{id}.png", scale: 0.001, invalid: 0}
  normals: {path: "normals/{id}.png", scale: 0.00784313725490196, offset: -1, invalid: [0, 0, 0], size: 0.5}
  semseg: {path: "seg/{id}.png", classes: [floor, wall, chair], ignore: [255]}
  edges: {path: "edges/{id}.png", threshold: 127}
cameras: cameras.json
splits:
  train: {first: 0.8}
  val: {last: 0.2}
"""
SIZE = (24, 32)


def make_folder(root: Path, frames: int = 10) -> Path:
    """``frames`` frames of SIZE: depth is 1 m + frame number, columns 0-3 without label."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    for name in ("rgb", "depth", "normals", "seg", "edges"):
        (root / name).mkdir(parents=True)
    for frame in range(frames):
        file = f"frame_{frame}.png"  # natural order: frame_10 after frame_9
        save(root / "rgb" / file, rng.integers(0, 256, (height, width, 3), np.uint8))
        depth = np.full(SIZE, 1000 * (frame + 1), np.uint16)
        depth[:, :4] = 0
        save(root / "depth" / file, depth)
        normals = np.zeros((height // 2, width // 2, 3), np.uint8)
        normals[:, 2:] = np.round((np.array([0.6, 0.0, -0.8]) + 1) * 127.5)
        save(root / "normals" / file, normals)
        seg = rng.integers(0, 3, SIZE).astype(np.uint8)
        seg[:, :4] = 255
        save(root / "seg" / file, seg)
        save(root / "edges" / file, np.where(rng.random(SIZE) < 0.1, 255, 0).astype(np.uint8))
    poses = [{"id": f"frame_{frame}", "T_world_cam": pose(frame)} for frame in range(frames)]
    write_cameras(root, {"fx": 30.0, "fy": 30.0, "cx": 15.5, "cy": 11.5}, poses)
    (root / "polyscene.yaml").write_text(DESCRIPTION)
    return root


def pose(frame: int) -> list[list[float]]:
    matrix = np.eye(4)
    matrix[0, 3] = 0.1 * frame
    return matrix.tolist()


def write_cameras(root: Path, intrinsics: dict[str, float], frames: list[dict]) -> None:
    size = {"height": SIZE[0], "width": SIZE[1]}
    (root / "cameras.json").write_text(json.dumps({"image_size": size, "intrinsics": intrinsics, "frames": frames}))


def save(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path)


def cut_short(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
