"""Panels of what the network makes of the first samples of each evaluation source."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
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
        left = HOW_MANY - len(pages)
        first = batch.map(lambda tensor: tensor[:left]).to(device)  # noqa: B023  (used at once)
        values = model.eval().infer(first.images, first.camera, first.present)
        pages += [_page(model, batch, values, index) for index in range(len(first.images))]
        if len(pages) >= HOW_MANY:
            break
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name(f"{path.stem}.new.png")
    panels.stack(pages).save(fresh, compress_level=3)
    fresh.replace(path)


def _page(model: MultiTaskModel, batch: Batch, values: dict[str, torch.Tensor], index: int) -> Image.Image:
    photograph = (batch.images[index, 0].movedim(0, -1) * 255).round().byte().numpy()
    above, below = [panels.Facet("photograph", photograph)], []
    for name, value in values.items():
        task, predicted = model.tasks[name], value[index, 0].float().cpu()
        limits = None
        if name in batch.targets:
            target = batch.targets[name].map(lambda tensor: tensor[index, 0])
            truth = torch.where(target.valid, target.value, 0).float()
            limits = task.limits(truth)
            below.append(panels.facet(task, _last(truth), title=f"{name}, label", limits=limits))
        above.append(panels.facet(task, _last(predicted), title=f"{name}, predicted", limits=limits))
    below += [panels.Facet("photograph", photograph)] * (len(above) - len(below))
    return panels.compose([*above, *below[-1:], *below[:-1]], columns=len(above), width=240)


def _last(value: torch.Tensor) -> np.ndarray:
    """Channels last."""
    return value.movedim(0, -1).numpy()
