"""Panels of what the network makes of the first samples of each evaluation source."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from polyscene import panels
from polyscene.data.loader import Loader
from polyscene.model import MultiTaskModel
from polyscene.types import Batch

HOW_MANY = 4


def draw(model: MultiTaskModel, loader: Loader, device: torch.device, path: Path) -> None:
    """Rows of photograph, and for every labelled task truth over prediction; views other than the first left out."""
    pages: list[Image.Image] = []
    for batch in islice(loader.once(), HOW_MANY):
        images = batch.images[: HOW_MANY - len(pages)].to(device)
        values = model.eval().infer(images, batch.camera.to(device), batch.present.to(device))
        pages += [_page(model, batch, values, index) for index in range(len(images))]
        if len(pages) >= HOW_MANY:
            break
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name(f"{path.stem}.new.png")
    _stacked(pages).save(fresh)
    fresh.replace(path)


def _page(model: MultiTaskModel, batch: Batch, values: dict[str, torch.Tensor], index: int) -> Image.Image:
    photograph = (batch.images[index, 0].movedim(0, -1) * 255).round().byte().numpy()
    facets = [panels.Facet("photograph", photograph)]
    for name, value in values.items():
        shown = value[index, 0].float().cpu().movedim(0, -1).numpy()
        facets.append(panels.facet(model.tasks[name], shown, title=f"{name}, predicted"))
    facets.append(panels.Facet("photograph", photograph))
    for name in values:
        if name in batch.targets:
            target = batch.targets[name]
            truth = torch.where(target.valid, target.value, 0)[index, 0].float().movedim(0, -1).numpy()
            facets.append(panels.facet(model.tasks[name], truth, title=f"{name}, label"))
    return panels.compose(facets, columns=len(values) + 1, width=240)


def _stacked(pages: list[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (max(each.width for each in pages), sum(each.height for each in pages)), "white")
    top = 0
    for each in pages:
        page.paste(each, (0, top))
        top += each.height
    return page
