"""Accumulating figures: the processor's time an image, one thread, on random maps of the NYUv2 test size.

Prints one JSON line a row: polyscene bench metrics [--size 425 560] [--images 654] [--repeats 3] [--protocol NAME ...]
A row is a protocol; ``ms`` an image by task, and ``all`` of them together: 40 classes, depth, normals and saliency.
``--images`` says how many images the whole set has, for ``set_s``; one is measured, the least of ``--repeats`` passes
over five pairs of maps. Boundaries are measured by ``polyscene bench boundary``.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.metrics.protocols import PROTOCOLS
from polyscene.tasks import Depth, Normals, Saliency, SemanticSegmentation, Task
from polyscene.types import Target

PAIRS = 5
TASKS: tuple[Task, ...] = (
    SemanticSegmentation(classes=tuple(map(str, range(40)))),
    Depth(),
    Normals(),
    Saliency(),
)


def maps(task: Task, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Target]:
    """A blotchy prediction and a truth near it, a tenth of it invalid."""

    def blotches() -> Tensor:
        raw = torch.randn(1, task.channels, size[0] // 16, size[1] // 16, generator=generator)
        return F.interpolate(raw, size, mode="bilinear")

    truth = blotches()
    value = task.activate((truth + 0.5 * blotches())[None])
    known = task.activate(truth[None])
    if isinstance(task, Saliency):
        known = (known > 0.5).float()
    return value, Target(known, torch.rand(1, 1, 1, *size, generator=generator) > 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(425, 560), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=654)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--protocol", nargs="*", choices=list(PROTOCOLS), default=["polyscene", "invpt", "mtlpt", "sak"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    size = options.size[0], options.size[1]
    pairs = {task.name: [maps(task, size, generator) for _ in range(PAIRS)] for task in TASKS}
    least = {(protocol, task.name): float("inf") for protocol in options.protocol for task in TASKS}
    for _ in range(options.repeats):
        for protocol in options.protocol:
            for task in TASKS:
                metric = task.metric(protocol)
                start = time.process_time()
                for value, target in pairs[task.name]:
                    metric.update(value, target)
                taken = (time.process_time() - start) / PAIRS * 1000
                least[protocol, task.name] = min(least[protocol, task.name], taken)
    for protocol in options.protocol:
        each = {task.name: round(least[protocol, task.name], 2) for task in TASKS}
        whole = sum(least[protocol, task.name] for task in TASKS)
        row = {"protocol": protocol, "size": list(size), "ms": {**each, "all": round(whole, 2)}}
        print(
            json.dumps(row | {"images": options.images, "set_s": round(whole * options.images / 1000, 1)}), flush=True
        )


if __name__ == "__main__":
    main()
