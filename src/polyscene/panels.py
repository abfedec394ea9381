"""Panels: a scene's facets side by side, each titled and with its legend."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from polyscene.tasks.base import Legend, Task

INK, FAINT, PAPER, UNLABELLED = (32, 33, 36), (110, 114, 120), (255, 255, 255), (128, 128, 128)
GAP, TITLE, LINE, SWATCH = 20, 30, 22, 11
TALLEST = 2  # times as high as wide is a cell at most


@dataclass(frozen=True)
class Facet:
    """A titled (h, w, 3) uint8 picture and how to read it."""

    title: str
    picture: np.ndarray
    legend: Legend = field(default_factory=Legend)


def facet(
    task: Task,
    value: np.ndarray,
    title: str | None = None,
    limits: Mapping[str, float] | None = None,
    valid: np.ndarray | None = None,
) -> Facet:
    """A task's value, (h, w) or (h, w, c), drawn by the task, within ``limits`` as ``Task.limits`` gives them; grey
    where it is not ``valid`` (h, w)."""
    title = task.name if title is None else title
    tensor = as_tensor(value)
    if valid is None:
        seen = tensor
    elif valid.any():
        seen = tensor[:, torch.from_numpy(valid)][:, None]
    else:
        return Facet(title, np.full((*value.shape[:2], 3), UNLABELLED, np.uint8))
    chosen = dict(limits or task.limits(seen))
    drawn = task.draw(tensor, **chosen).numpy()
    if valid is not None:
        drawn = np.where(valid[..., None], drawn, np.array(UNLABELLED, np.uint8))
    return Facet(title, drawn, task.legend(seen, **chosen))


def as_tensor(value: np.ndarray) -> torch.Tensor:
    """(h, w) or (h, w, c) -> (c, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.atleast_3d(value), -1, 0)))


def compose(facets: Sequence[Facet], columns: int | None = None, width: int | None = None) -> Image.Image:
    """The facets in rows. ``width`` is that of each picture, by default its own within 240 to 420 pixels."""
    if not facets:
        raise ValueError("a panel needs at least one picture")
    columns = columns or min(len(facets), 3)
    width = width or int(np.clip(facets[0].picture.shape[1], 240, 420))
    rows = [facets[start : start + columns] for start in range(0, len(facets), columns)]
    cells = [[_cell(item, width) for item in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in cells]
    page = Image.new("RGB", (GAP + columns * (width + GAP), sum(heights) + GAP * (len(rows) + 1)), PAPER)
    top = GAP
    for row, height in zip(cells, heights, strict=True):
        for column, cell in enumerate(row):
            page.paste(cell, (GAP + column * (width + GAP), top))
        top += height + GAP
    return page


def stack(pages: Sequence[Image.Image]) -> Image.Image:
    """One below the other."""
    page = Image.new("RGB", (max(each.width for each in pages), sum(each.height for each in pages)), PAPER)
    top = 0
    for each in pages:
        page.paste(each, (0, top))
        top += each.height
    return page


def _cell(item: Facet, width: int) -> Image.Image:
    import cv2  # twice as fast as PIL

    across, down = item.picture.shape[1], item.picture.shape[0]
    scale = min(width / across, TALLEST * width / down)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = Image.fromarray(cv2.resize(item.picture, size, interpolation=smooth))
    legend = _legend(item.legend, width)
    cell = Image.new("RGB", (width, TITLE + size[1] + legend.height), PAPER)
    ImageDraw.Draw(cell).text((0, TITLE - 8), item.title, INK, _font(14, bold=True), anchor="ls")
    cell.paste(picture, (0, TITLE))
    cell.paste(legend, (0, TITLE + size[1]))
    return cell


def _legend(legend: Legend, width: int) -> Image.Image:
    font = _font(12)
    places, x, y = [], 0, 10
    for name, colour in legend.swatches:
        length = SWATCH + 6 + round(font.getlength(name))
        if x and x + length > width:
            x, y = 0, y + LINE
        places.append((x, y, name, colour))
        x += length + 16
    height = (y + LINE if places else 0) + (10 + 2 * LINE - 6 if legend.ramp is not None else 0)
    strip = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(strip)
    for x, y, name, colour in places:
        pen.rounded_rectangle((x, y + 3, x + SWATCH, y + 3 + SWATCH), 2, fill=colour)
        pen.text((x + SWATCH + 6, y + 3 + SWATCH / 2), name, FAINT, font, anchor="lm")
    if legend.ramp is not None:
        top = y + LINE if places else 12
        strip.paste(Image.fromarray(legend.ramp.numpy()).resize((width, 8), Image.Resampling.BILINEAR), (0, top))
        pen.rectangle((0, top, width - 1, top + 7), outline=(225, 226, 228))
        for place, name in legend.ticks:
            anchor = "la" if place == 0 else "ra" if place == 1 else "ma"
            pen.text((place * (width - 1), top + 13), name, FAINT, font, anchor=anchor)
    return strip


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    home = importlib.util.find_spec("matplotlib")  # its package carries the typeface; importing it takes time
    assert home is not None and home.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(home.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)
