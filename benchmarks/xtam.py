"""Cross-task attention: time and peak memory of forward and backward, one image, one thread.

Prints one JSON line a row: python benchmarks/xtam.py [--size 512 1024] [--tasks 2 3 4 6 8] [--rounds 3] [--inference]
First ``xTAM`` and its attention with the matrix of weights materialised and without it; then the exchange between so
many tasks, pairwise and through a hub. The size is the picture's; features have half of it, the attention an eighth.
The time is the least of several rounds in which candidates take turns, in seconds of the processor; memory is the peak
of a process of its own less what it held before.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from polyscene.decoders import xtam
from polyscene.decoders.dense_mtl import Hub, Pairwise

CHANNELS = 128
Run = Callable[[], Tensor]


def materialised(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2) / math.sqrt(query.shape[1])
    return (value.flatten(2) @ scores.softmax(-1).transpose(1, 2)).unflatten(2, query.shape[-2:])


def candidate(what: str, form: str, tasks: int, size: tuple[int, int], inference: bool) -> Run:
    torch.manual_seed(0)
    height, width = (side // (8 if what == "attention" else 2) for side in size)
    maps = [torch.randn(1, CHANNELS, height, width, requires_grad=not inference) for _ in range(tasks)]
    blocks: dict[str, Callable[[], nn.Module]] = {
        "correlation": lambda: xtam.Correlation(CHANNELS),
        "xTAM": lambda: xtam.xTAM(CHANNELS),
        "exchange": lambda: (Hub if form == "hub" else Pairwise)([str(i) for i in range(tasks)], CHANNELS, "add"),
    }
    block = blocks[what]() if what in blocks else None

    def run() -> Tensor:
        with mock.patch.object(xtam, "attend", materialised if form == "materialised" else xtam.attend):
            if what == "exchange" and block is not None:
                out = torch.stack(list(block({str(i): each for i, each in enumerate(maps)}).values()))
            else:
                out = (xtam.attend if block is None else block)(*maps)
            if not inference:
                out.backward(torch.ones_like(out))
        return out.detach()

    def guarded() -> Tensor:
        with torch.set_grad_enabled(not inference):
            return run()

    return guarded


def peak(arguments: tuple) -> float:
    """MB above what the process held before its first round."""
    torch.set_num_threads(1)
    run = candidate(*arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024))
    parser.add_argument("--tasks", type=int, nargs="*", default=(2, 3, 4, 6, 8))
    parser.add_argument("--exchange-size", type=int, nargs=2, default=(256, 512))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inference", action="store_true", help="forward alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    groups = [
        [(what, form, 3 if what == "attention" else 2, tuple(options.size)) for form in ("materialised", "ours")]
        for what in ("attention", "correlation", "xTAM")
    ]
    groups += [
        [("exchange", form, tasks, tuple(options.exchange_size)) for form in ("pairwise", "hub")]
        for tasks in options.tasks
    ]
    cases = [[(*case, options.inference) for case in group] for group in groups]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # while this process is small
        memory = [pool.map(peak, group, chunksize=1) for group in cases]
    for group, held in zip(cases, memory, strict=True):
        runs = [candidate(*case) for case in group]
        times: list[list[float]] = [[] for _ in group]
        for _ in range(options.rounds):
            for run, spent in zip(runs, times, strict=True):
                start = time.process_time()
                run()
                spent.append(time.process_time() - start)
        for (what, form, tasks, size, inference), spent, mb in zip(group, times, held, strict=True):
            row = {"what": what, "form": form, "size": list(size), "inference": inference}
            row |= {"tasks": tasks} if what == "exchange" else {}
            row |= {"seconds": round(min(spent), 3), "peak_mb": round(mb)}
            row |= {"times_faster": round(min(times[0]) / min(spent), 2), "times_leaner": round(held[0] / mb, 2)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
