"""Loops that let go of the interpreter, in as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def cuts(length: int) -> list[tuple[int, int]]:
    """``range(length)`` in one contiguous part for each thread."""
    parts = max(1, min(torch.get_num_threads(), length))
    return [(length * part // parts, length * (part + 1) // parts) for part in range(parts)]


def run(jobs: Sequence[Callable[[], None]]) -> None:
    threads = torch.get_num_threads()
    if threads == 1 or len(jobs) == 1:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(min(threads, len(jobs))) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()
