"""What becomes of the figures that a data set knows, when a network is exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.evaluate import shared
from polyscene.export.engine import Arrays
from polyscene.metrics import protocols
from polyscene.portable import Portable

if TYPE_CHECKING:
    from polyscene.data.loader import Loader
    from polyscene.metrics import Metric
    from polyscene.types import Batch

LIMIT = 64  # batches
Values = Callable[[Arrays], Mapping[str, np.ndarray]]


def judge(network: Portable, ways: Mapping[str, Values], loader: Loader) -> dict[str, dict[str, float]]:
    """The headline figure of each task, ``task figure``, by each of the ``ways`` to run ``network``, over the first
    batches of ``loader``; boundaries are counted the quick way."""
    tasks = shared(network.model.tasks, loader)
    meters: dict[str, dict[str, Metric]] = {way: {} for way in ways}
    for batch in islice(loader.once(), LIMIT):
        inputs = _inputs(network, batch)
        for way, values in ways.items():
            found = values(inputs)
            for name, target in batch.targets.items():
                if name in tasks:
                    meter = meters[way].setdefault(name, tasks[name].metric(protocols.find("polyscene").quick()))
                    size = target.value.shape[-2:]
                    value = F.interpolate(torch.from_numpy(found[name]), size, mode="bilinear")
                    meter.update(tasks[name].decide(value).unflatten(0, target.value.shape[:2]), target)
    return {
        way: {f"{name} {meter.key}": meter.compute()[meter.key] for name, meter in by_task.items()}
        for way, by_task in meters.items()
    }


def _inputs(network: Portable, batch: Batch) -> Arrays:
    images: Tensor = batch.images.flatten(0, 1)
    usual = (network.model.canonical_focal or 1.0) * images.shape[-1]
    focal = torch.where(batch.camera.known, batch.camera.intrinsics[..., 0, 0], usual).flatten()
    given = {"images": images.numpy(), "focal": focal.float().numpy()}
    return {name: given[name] for name in network.inputs}
