"""Whether an exported network says what torch says, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyscene.export.engine import Arrays
from polyscene.portable import Portable
from polyscene.types import Target

EXACT = 1e-3  # of the range of the values, at 32 bits
RUNS = 9


def torch_values(network: Portable, inputs: Arrays) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        values = network(*(torch.from_numpy(inputs[name]) for name in network.inputs))
    return {name: value.numpy() for name, value in values.items()}


def largest_differences(own: Sequence[Arrays], found: Sequence[Arrays]) -> dict[str, float]:
    """By task: the largest difference over the range of torch's ``own`` values; NaN if any of either is."""
    worst = {}
    for name in own[0]:
        spread = max(float(values[name].max()) for values in own) - min(float(values[name].min()) for values in own)
        apart = np.max([np.abs(a[name] - b[name]).max() for a, b in zip(own, found, strict=True)])
        worst[name] = float(apart) / max(spread, 1e-6)
    return worst


def agreement(network: Portable, own: Sequence[Arrays], found: Sequence[Arrays]) -> dict[str, dict[str, float]]:
    """By task and figure, how far what was ``found`` and torch's ``own`` values agree (``Task.agreement``)."""
    figures: dict[str, dict[str, float]] = {}
    for name, task in network.model.tasks.items():
        sums: dict[str, Tensor] = {}
        for a, b in zip(own, found, strict=True):
            truth, value = (task.decide(torch.from_numpy(np.array(each[name]))) for each in (a, b))
            label = Target(truth, torch.ones_like(truth[:, :1], dtype=torch.bool))
            sums = {key: sums.get(key, 0) + pair for key, pair in task.agreement(value, label).items()}
        figures[name] = {key: float(total / count) for key, (total, count) in sums.items() if count}
    return figures


def milliseconds(run: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The median time of each, taken in turns."""
    for function in run.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in run}
    for _ in range(RUNS):
        for name, function in run.items():
            began = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: float(np.median(each)) for name, each in times.items()}
