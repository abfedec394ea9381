"""Means of losses between two records, and the watch for losses that are not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from polyscene.training import distributed


class NonFinite(FloatingPointError):
    """A loss or gradient became NaN or infinite: names the step, the losses and the samples."""


class Meter:
    """``every``: how many steps may pass before the device is asked for its losses."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.pending: list[tuple[int, list[str], Tensor, list[str]]] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, step: int, losses: dict[str, Tensor], norm: Tensor, samples: list[str]) -> None:
        """``samples`` are named if this step turns out not to be finite."""
        figures = torch.stack([*(loss.float() for loss in losses.values()), norm.float()])
        self.pending.append((step, [*losses, "gradient norm"], figures, samples))
        if len(self.pending) >= self.every:
            self.check()

    def check(self) -> None:
        """Raises ``NonFinite`` for the first of the steps since the last check that was not finite."""
        pending, self.pending = self.pending, []
        for step, names, figures, samples in pending:
            values = dict(zip(names, figures.tolist(), strict=True))
            bad = {name: value for name, value in values.items() if not math.isfinite(value)}
            if bad:
                found = ", ".join(f"{name} = {value}" for name, value in bad.items())
                every = [name for told in distributed.gather(samples) for name in told]
                raise NonFinite(f"step {step}: {found}; batch: {', '.join(every) or 'samples without names'}")
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Since the last call."""
        self.check()
        means = {name: self.sums[name] / self.counts[name] for name in self.sums}
        self.sums, self.counts = {}, {}
        return means

    def state(self) -> dict[str, Any]:
        self.check()
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def restore(self, state: dict[str, Any]) -> None:
        self.pending, self.sums, self.counts = [], dict(state["sums"]), dict(state["counts"])
