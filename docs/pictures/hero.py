"""The README's picture: a real office frame and an unseen rendered room, seen by one network.

python docs/pictures/hero.py RUN       (POLYSCENE_DATA names the folder of the real frames)
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import polyscene
from polyscene.data.base import Dataset
from polyscene.data.folder import Folder
from polyscene.data.rooms.dataset import Rooms
from polyscene.predict import Predictor
from polyscene.transforms import cover

HERE = Path(__file__).resolve().parent
TITLES = {"semseg": "segmentation"}
CELL, GAP, TOP = (192, 256), 4, 24


def row(predictor: Predictor, dataset: Dataset, index: int) -> list[Image.Image]:
    """The picture and its facets, each of CELL."""
    sample = cover(dataset.read(index), dataset.tasks, CELL)
    picture = (sample.images[0].movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    scene = predictor(picture)
    cells = [picture]
    for name, task in predictor.model.tasks.items():
        value = torch.from_numpy(np.ascontiguousarray(getattr(scene, name)))
        cells.append(task.draw(value.movedim(-1, 0) if value.ndim == 3 else value[None]).numpy())
    return [Image.fromarray(cell) for cell in cells]


def main() -> None:
    predictor = polyscene.load(sys.argv[1])
    rooms = Rooms(60, split="val")
    rooms.prepare()
    office = Folder(HERE.parents[1] / "experiments" / "real" / "data" / "office.yaml")
    rows = [row(predictor, office, 12), row(predictor, rooms, 33)]
    titles = ["picture", *(TITLES.get(name, name) for name in predictor.model.tasks)]

    height, width = CELL
    page = Image.new("RGB", (len(titles) * (width + GAP) - GAP, TOP + len(rows) * (height + GAP) - GAP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP) + 2, 4), title, fill=(60, 60, 60), font=font)
        for line, cells in enumerate(rows):
            page.paste(cells[column], (column * (width + GAP), TOP + line * (height + GAP)))
    page.save(HERE / "hero.jpg", quality=88)


if __name__ == "__main__":
    main()
