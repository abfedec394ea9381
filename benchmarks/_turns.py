"""Candidates side by side on one thread: they take turns, and each shows its memory in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

Round = Callable[[], Sequence[float]]
"""Does the work once; processor seconds of each of its phases."""
Build = Callable[[], Round]
"""Makes a candidate; what processes can hand to each other, such as a partial of a module's function."""


class Measured(NamedTuple):
    """``seconds``: of each phase the least of all rounds. ``peak_mb``: the most that two rounds need above what was
    there before; the second has gradients to add to."""

    seconds: list[float]
    peak_mb: float

    def row(self, phases: Sequence[str], first: Measured | None = None) -> dict[str, float]:
        """For printing; ``first`` is what the others are compared with."""
        row = {f"{phase}_s": round(spent, 3) for phase, spent in zip(phases, self.seconds, strict=True)}
        row["peak_mb"] = round(self.peak_mb)
        if first is not None:
            row["times_faster"] = round(sum(first.seconds) / sum(self.seconds), 2)
            row["times_leaner"] = round(first.peak_mb / self.peak_mb, 2)
        return row


def least(updates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least processor seconds of each, by one thread, in turns after one that warms up."""
    torch.set_num_threads(1)
    found = dict.fromkeys(updates, float("inf"))
    for round_ in range(rounds + 1):
        for name, update in updates.items():
            began = time.process_time()
            update()
            if round_:
                found[name] = min(found[name], time.process_time() - began)
    return found


def measure(builds: Mapping[str, Build], rounds: int) -> dict[str, Measured]:
    torch.set_num_threads(1)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # while this process is small
        peaks = pool.map(_peak, builds.values(), chunksize=1)
    candidates = [build() for build in builds.values()]
    times: list[list[Sequence[float]]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, spent in zip(candidates, times, strict=True):
            spent.append(candidate())
    least = [[min(phase) for phase in zip(*spent, strict=True)] for spent in times]
    return {name: Measured(spent, peak) for name, spent, peak in zip(builds, least, peaks, strict=True)}


def _peak(build: Build) -> float:
    torch.set_num_threads(1)
    candidate = build()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _most()
    for _ in range(2):
        candidate()
    return _most() - before


def _most() -> float:
    """MB that this process has had since the peak was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
