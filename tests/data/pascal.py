"""Makes a small PASCAL-Context in the layout and encoding of the archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WALL, FLOOR, CEILING, SKY, PLAIN = 440, 158, 68, 360, 12
SIZE = (12, 16)
Thing = tuple[str, int, Sequence[tuple[str, np.ndarray]]]


def save(file: Path, array: np.ndarray, palette: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:  # as VOC stores class ids
        picture.putpalette([place * 7 % 256 for place in range(768)])
    picture.save(file, **({"quality": 100} if file.suffix == ".jpg" else {}))


def save_classes(root: Path, frame: str, classes: np.ndarray) -> None:
    file = root / f"pascal-context/trainval/{frame}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"LabelMap": classes.astype(np.uint16)}, do_compression=True)


def save_parts(root: Path, frame: str, things: Sequence[Thing], size: tuple[int, int] = SIZE) -> None:
    """The struct ``anno`` of PASCAL-Part: things with class, number, mask, and parts with name and mask."""
    objects = np.zeros((1, len(things)), [(name, "O") for name in ("class", "class_ind", "mask", "parts")])
    for place, (name, number, drawn) in enumerate(things):
        parts = np.zeros((1, len(drawn)), [("part_name", "O"), ("mask", "O")])
        for each, (part, mask) in enumerate(drawn):
            parts[0, each] = (part, mask.astype(np.uint8))
        objects[0, place] = (name, float(number), np.ones(size, np.uint8), parts if drawn else np.zeros((0, 0)))
    anno = np.zeros((1, 1), [("imname", "O"), ("objects", "O")])
    anno[0, 0] = (frame, objects)
    file = root / f"human_parts/{frame}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"anno": anno}, do_compression=True)


def box(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def encoded(x: float, y: float, z: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """One normal everywhere, by 255 (n + 1) / 2."""
    return np.broadcast_to(np.round((np.array([x, y, z]) + 1) * 127.5), (*size, 3)).astype(np.uint8)


def make_lists(root: Path, train: str, val: str) -> None:
    folder = root / "ImageSets/Context"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(train.replace(" ", "\n") + "\n")
    (folder / "val.txt").write_text(val.replace(" ", "\n") + "\n")


def make_frame(
    root: Path, frame: str, size: tuple[int, int] = SIZE, facing: tuple[float, float, float] = (0, 0, 1)
) -> None:
    """A grey wall seen head-on: class 15 salient everywhere, nobody there."""
    save(root / f"JPEGImages/{frame}.jpg", np.full((*size, 3), 90, np.uint8))
    save(root / f"semseg/VOC12/{frame}.png", np.full(size, 15, np.uint8), palette=True)
    save(root / f"sal_distill/{frame}.png", np.full(size, 200, np.uint8))
    save(root / f"normals_distill/{frame}.png", encoded(*facing, size=size))
    save_parts(root, frame, [("tvmonitor", 20, [])], size)
    save_classes(root, frame, np.full(size, WALL))
