"""How long a training step waits for its data: one JSON line a source.

    python benchmarks/loading.py [--step-ms 640] [--batches 12]

Training is stood in for by a computation on all other cores that takes ``step-ms`` a batch of 8 (80 ms an image, what a
small network needs on two cores). ``wait`` is the share of the step spent waiting, which means something on an idle
machine only; ``sample_ms`` the processor time that one sample costs the loader's thread; ``read_ms`` that of the
reading alone.

    python benchmarks/loading.py --shards [--rounds 7]

packs the same sets into shards and reads both in turns: least processor and wall milliseconds a sample, kilobytes a
sample, and what share of a training step (lite0 and multi_head, batch of 8, per image) reading from shards takes of the
processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._turns import least

from polyscene.data.base import Dataset
from polyscene.data.description import BadDescription
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader
from polyscene.data.pack import pack
from polyscene.data.rooms.dataset import Rooms
from polyscene.data.shards import Shards
from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.training.cost import random_batch
from polyscene.transforms import Augment

SIZE, BATCH = (192, 256), 8
PROBED = 16  # samples, spread over the set
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


def step_ms(size: tuple[int, int], rounds: int) -> float:
    """Processor milliseconds an image of a training step, the least of some."""
    model = create_model("rooms", "tf_efficientnet_lite0", {"name": "multi_head"}).train()
    objective, optimiser = Objective(model.tasks), torch.optim.AdamW(model.parameters(), fused=True)
    batch = random_batch(model.tasks, BATCH, *size)

    def step() -> None:
        objective(model(batch.images, batch.camera, batch.present), batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()

    return 1e3 * least({"step": step}, rounds)["step"] / BATCH


def beside(name: str, dataset: Dataset, folder: Path, rounds: int, step: float) -> dict[str, object]:
    """The same samples from where they lie and from shards."""
    dataset.prepare()
    began = time.process_time()
    facts = pack(dataset, folder / name)
    packing = (time.process_time() - began) / len(dataset)
    shards = Shards(folder / name)
    indices = [place * len(dataset) // PROBED for place in range(PROBED)]
    wall = dict.fromkeys(("set", "shards"), float("inf"))

    def reads(kind: str, seen: Dataset) -> None:
        began = time.perf_counter()
        for index in indices:
            seen.read(index)
        wall[kind] = min(wall[kind], time.perf_counter() - began)

    spent = least({"set": lambda: reads("set", dataset), "shards": lambda: reads("shards", shards)}, rounds)
    cpu = {kind: 1e3 * seconds / PROBED for kind, seconds in spent.items()}
    here = {file for index in range(len(dataset)) for each in dataset.raw_files(index).values() for file in each}
    return {
        "source": name,
        "samples": len(dataset),
        "set_kb": round(sum(file.stat().st_size for file in here) / len(dataset) / 1e3) or None,
        "shards_kb": round(sum(shard.bytes for shard in facts.shards) / len(dataset) / 1e3),
        **{f"{kind}_cpu_ms": round(taken, 2) for kind, taken in cpu.items()},
        **{f"{kind}_wall_ms": round(1e3 * taken / PROBED, 2) for kind, taken in wall.items()},
        "speed": round(cpu["set"] / cpu["shards"], 2),
        "share_of_step": round(cpu["shards"] / step, 3),
        "packing_cpu_ms": round(1e3 * packing, 1),
    }


def compare(rounds: int) -> None:
    step = step_ms(SIZE, rounds)
    print(json.dumps({"step_cpu_ms": round(step, 1), "batch": BATCH, "size": SIZE}), flush=True)
    with tempfile.TemporaryDirectory() as root:
        rows: dict[str, Callable[[], Dataset]] = {
            name: lambda name=name: Folder(REAL / f"{name}.yaml", "train")  # type: ignore[misc]
            for name in ("kitchen", "office", "camvid11")
        }
        rows["rooms"] = lambda: Rooms(16, 1, SIZE, root=root)
        for name, make in rows.items():
            try:
                row = beside(name, make(), Path(root), rounds, step)
            except BadDescription as error:
                row = {"source": name, "skipped": str(error)}
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, default=640.0)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--shards", action="store_true", help="compare shards with what they were packed from")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.shards:
        return compare(options.rounds)
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
