"""Threads that read data beside the computation."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Threads in which torch computes on one core: they work beside the training, and sums come out alike however many
    cores there are. Torch's setting is the thread's own once made, but also the default of threads to come, so it is
    put back when all have it."""
    usual = torch.get_num_threads()
    ready = threading.Barrier(workers + 1)

    def alone() -> None:
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="data")
    for _ in range(workers):
        pool.submit(alone)
    ready.wait()
    torch.set_num_threads(usual)
    return pool
