"""Pictures of data sets with what one network sees in them, a row each:

python docs/pictures/facets.py RUN OUT.jpg SOURCE:INDEX...       a SOURCE is rooms, streets or a polyscene.yaml
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
from polyscene.data.streets.dataset import Streets
from polyscene.predict import Predictor
from polyscene.transforms import cover

RENDERED = {"rooms": Rooms, "streets": Streets}
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


def source(name: str) -> Dataset:
    found = RENDERED[name](60, split="val") if name in RENDERED else Folder(name, None)
    found.prepare()
    return found


def main() -> None:
    run, out, *wanted = sys.argv[1:]
    predictor = polyscene.load(run)
    places = [item.rpartition(":") for item in wanted]
    rows = [row(predictor, source(name), int(index)) for name, _, index in places]
    titles = ["picture", *(TITLES.get(name, name) for name in predictor.model.tasks)]

    height, width = CELL
    page = Image.new("RGB", (len(titles) * (width + GAP) - GAP, TOP + len(rows) * (height + GAP) - GAP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP) + 2, 4), title, fill=(60, 60, 60), font=font)
        for line, cells in enumerate(rows):
            page.paste(cells[column], (column * (width + GAP), TOP + line * (height + GAP)))
    page.save(out, quality=88)


if __name__ == "__main__":
    main()
