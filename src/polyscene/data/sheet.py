"""A contact sheet: samples by rows, the picture and every label by columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from polyscene.tasks import Task
from polyscene.types import Sample

MARGIN, HEADING = 4, 16
UNLABELLED = 48  # grey


def contact_sheet(samples: Iterable[Sample], tasks: Mapping[str, Task], width: int = 256) -> Image.Image:
    """One row a view, cells ``width`` pixels wide; unlabelled pixels are dark grey."""
    rows = [_cells(sample, tasks, view) for sample in samples for view in range(sample.images.shape[0])]
    cells = [[_fitted(cell, width) for cell in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in cells]
    columns = 1 + len(tasks)
    sheet = Image.new("RGB", (columns * (width + MARGIN), HEADING + sum(heights) + MARGIN * len(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(["image", *tasks]):
        pen.text((column * (width + MARGIN) + 4, 2), name, fill="black")
    top = HEADING
    for row, height in zip(cells, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * (width + MARGIN), top))
        top += height + MARGIN
    return sheet


def _cells(sample: Sample, tasks: Mapping[str, Task], view: int) -> list[np.ndarray]:
    cells = [(sample.images[view].movedim(0, -1) * 255).round().byte().numpy()]
    for name, task in tasks.items():
        target = sample.targets[name]
        value, valid = target.value[view], target.valid[view]
        drawn = task.draw(value.where(valid, value[valid.expand_as(value)].median()) if valid.any() else value)
        cells.append(np.where(valid[0, ..., None].numpy(), drawn.numpy(), np.uint8(UNLABELLED)))
    return cells


def _fitted(cell: np.ndarray, width: int) -> Image.Image:
    return Image.fromarray(cell).resize((width, round(width * cell.shape[0] / cell.shape[1])), Image.Resampling.NEAREST)
