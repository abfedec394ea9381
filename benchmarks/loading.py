"""How long a training step waits for its data: one JSON line a source.

    python benchmarks/loading.py [--step-ms 640] [--batches 12]

Training is stood in for by a computation on all other cores that takes ``step-ms`` a batch of 8 (80 ms an image, what a
small network needs on two cores). ``wait`` is the share of the step spent waiting, which means something on an idle
machine only; ``sample_ms`` the processor time that one sample costs the loader's thread; ``read_ms`` that of the
reading alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from polyscene.data.base import Dataset
from polyscene.data.description import BadDescription
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader
from polyscene.data.rooms.dataset import Rooms
from polyscene.transforms import Augment

SIZE, BATCH = (192, 256), 8
REAL = Path(__file__).resolve().parents[1] / "experiments" / "real" / "data"


def processor_ms(call: Callable[[int], object], count: int) -> float:
    """Median over ``count`` calls, in a thread in which torch computes on one core, as the loader's do."""

    def timed(number: int) -> float:
        torch.set_num_threads(1)
        start = time.thread_time()
        call(number)
        return time.thread_time() - start

    usual = torch.get_num_threads()
    with ThreadPoolExecutor(1) as alone:
        taken = sorted(alone.map(timed, range(count)))
    torch.set_num_threads(usual)
    return 1e3 * taken[count // 2]


def compute(seconds: float, load: torch.Tensor) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        torch.nn.functional.conv2d(load, load[:, :, :3, :3])


def measure(name: str, dataset: Dataset, step: float, batches: int) -> dict[str, object]:
    dataset.prepare()
    loader = Loader(dataset, dataset.tasks, BATCH, Augment(SIZE), seed=0)
    for index in range(min(len(dataset), 2 * BATCH)):  # the first epoch's decoding, if it is kept, is not what is asked
        dataset.read(index)
    read = processor_ms(lambda number: dataset.read(number % min(len(dataset), 2 * BATCH)), 15)
    drawn = processor_ms(loader.number, 5) / BATCH
    stream = loader.batches()
    next(stream)
    load = torch.rand(8, 8, 96, 128)
    waited = 0.0
    for _ in range(batches):
        compute(step, load)
        start = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - start
    stream.close()
    share = waited / (batches * step + waited)
    return {"source": name, "read_ms": round(read, 2), "sample_ms": round(drawn, 2), "wait": round(share, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-ms", type=float, default=640.0)
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        rows: dict[str, Callable[[], Dataset]] = {"rooms, 2 views": lambda: Rooms(8, 2, SIZE, root=root)}
        for name in ("kitchen", "office", "camvid11"):
            for cache in (False, True):
                rows[f"{name}{', kept decoded' * cache}"] = lambda name=name, cache=cache: Folder(  # type: ignore[misc]
                    REAL / f"{name}.yaml", "train", cache=cache
                )
        for name, make in rows.items():
            try:
                row = measure(name, make(), options.step_ms / 1e3, options.batches)
            except BadDescription as error:
                row = {"source": name, "skipped": str(error)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
