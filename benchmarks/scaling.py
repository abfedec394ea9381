"""What more processes reach, and why not more: steps of one process, of two that know nothing of each other, and of two
that train together, measured in turns; each predicted from its parts (computing, loading, messages, and how unequal
steps are); then the same prediction for machines that are not here. One JSON line a row.

    polyscene bench scaling [--steps 20] [--rounds 3] [--teraflops 100] [--only measured|predicted]

What is not measured here is assumed, stands in ``CLUSTER`` and in the options, and is printed before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from polyscene import config as configuration
from polyscene import cores
from polyscene.adaptation.supervised import Supervised
from polyscene.config import Augment as AugmentSettings
from polyscene.config import Training
from polyscene.data.loader import Loader
from polyscene.data.rooms.dataset import Rooms
from polyscene.model import create_model
from polyscene.training import cost, distributed
from polyscene.training.trainer import Trainer
from polyscene.transforms import Augment

ROOT = Path(__file__).resolve().parents[1]
SIZE, BATCH, SCENES = (192, 256), 4, 8
MESSAGES = (1 << 12, 1 << 20, 1 << 24)  # bytes
SMALL = 7  # messages a step of few numbers: what losses of four tasks are divided by, what ranks agree on
LITTLE = 4096  # bytes; what is larger are gradients and statistics
DRAWS = 400  # of a step, in a prediction
BLOCKS = 10  # whose weights go together, where they are sharded
NETWORKS = ("mti_net_base", "invpt_base")  # of experiments/nyuv2, at their own batch


# -- the model ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Link:
    """Between processes: ``latency`` seconds a message, ``rate`` bytes a second into and out of each process."""

    latency: float
    rate: float


@dataclass(frozen=True)
class Machine:
    """``processes`` on each, which share ``cores`` that load; ``computes`` says whether these also do the computing.
    ``storage``: bytes a second that all machines together can read."""

    processes: int
    cores: float
    computes: bool
    inside: Link
    between: Link
    storage: float = float("inf")


@dataclass(frozen=True)
class Work:
    """One process's step: seconds of ``compute``, processor seconds of ``loading``, ``threads`` that load, the bytes
    ``read``, those of the ``gradients`` and of the ``statistics`` of batch norms, which go together, and how many
    ``small`` messages there are besides; ``jitter`` are lengths of steps over their mean."""

    compute: float
    loading: float
    threads: int
    read: float
    gradients: float
    statistics: float = 0.0
    small: int = SMALL
    jitter: tuple[float, ...] = (1.0,)


CLUSTER = Machine(8, 96, False, Link(10e-6, 300e9), Link(20e-6, 40e9), 20e9)  # GPUs: 8 a node, 400 Gb/s for each


def all_reduce(size: float, count: int, machine: Machine) -> float:
    """Seconds of a ring (or, of what is small, a tree) within every machine, and of one over machines, in which each
    process carries its own part."""
    local = min(count, machine.processes)
    machines = -(-count // machine.processes)

    def among(size: float, count: int, link: Link) -> float:
        ring = 2 * (count - 1) * (link.latency + size / count / link.rate)
        tree = 2 * math.ceil(math.log2(count)) * (link.latency + size / link.rate)
        return min(ring, tree)

    return among(size, local, machine.inside) + among(size / local, machines, machine.between)


def predict(work: Work, count: int, machine: Machine, sharded: bool = False) -> dict[str, Any]:
    """Seconds of a step of ``count`` processes that train together, and of what they are made. Gradients go after
    backward; of ``sharded`` weights, which go twice besides, all messages but those of one block of ``BLOCKS`` go while
    others compute."""
    local = min(count, machine.processes)
    demand = local * (work.loading + work.compute * machine.computes) / machine.cores
    data = max(work.loading / work.threads, demand, count * work.read / machine.storage)
    draws = np.random.default_rng(0).choice(np.asarray(work.jitter), (DRAWS, count))
    slowest = work.compute * float(draws.max(1).mean())
    small = work.small * all_reduce(64, count, machine)
    shown = all_reduce(work.gradients + work.statistics, count, machine)
    if sharded:
        volume = 1.5 * shown
        shown = max(volume / BLOCKS, volume - slowest)
    parts = {
        "data": max(0.0, data - slowest),
        "the slowest": slowest - work.compute,
        "gradients": shown,
        "other messages": small,
    }
    step = work.compute + sum(parts.values())
    return {"step": step, "efficiency": work.compute / step, "limit": max(parts, key=parts.__getitem__), "parts": parts}


# -- what is measured --------------------------------------------------------------------------------------------------
def worker(root: str, steps: int, loads: bool) -> None:
    """One process, of a run or alone: says that it is ready, waits for a line, trains, and prints what it measured.
    Without ``loads`` the same batch is trained on again and again."""
    torch.set_num_threads(1)
    with distributed.joined("cpu"):
        part = distributed.rank() if distributed.count() > 1 else 0, distributed.count()
        dataset = Rooms(SCENES, 1, SIZE, root=root)
        torch.manual_seed(0)
        model = create_model(dataset.tasks, "tf_efficientnet_lite0", {"name": "multi_head"}, pretrained=False)
        settings = Training(steps=steps, optimiser={"name": "adamw", "lr": 1e-3})
        trainer = Trainer(model, Supervised(dataset.tasks), settings, torch.device("cpu"), 0)
        transform = Augment(SIZE, **AugmentSettings().model_dump(exclude={"name"}))
        loader = Loader(dataset, dataset.tasks, BATCH, transform, 0, part=part)
        still = loader.number(0)
        stream: Iterator[Any] = loader.batches() if loads else iter(lambda: still, None)
        messages = {size: least(lambda size=size: distributed.average([torch.zeros(size // 4)])) for size in MESSAGES}
        loading = least(lambda: loader.number(1), 3, time.thread_time)
        for step in range(2):
            trainer.update(step, steps, [{"rooms": next(stream)}])
        print(flush=True)
        sys.stdin.readline()
        seconds = []
        sent = messages_of_a_step()
        for step in range(steps):
            sent.clear()
            began = time.perf_counter()
            micro = [{"rooms": next(stream)}]
            distributed.agree(None, [list(batches) for batches in micro])
            trainer.update(step, steps, micro)
            seconds.append(time.perf_counter() - began)
        gradients = sum(parameter.numel() * parameter.element_size() for parameter in trainer.trained)
        told = {
            "seconds": seconds,
            "loading": loading,
            "messages": messages,
            "gradients": gradients,
            "statistics": statistics_of(model),
            "small": sum(size < LITTLE for size in sent),
            "read": dataset.records(0).nbytes * BATCH,
        }
        print(json.dumps(told))


def messages_of_a_step() -> list[int]:
    """Filled with the bytes of every message that is sent from now on."""
    sent: list[int] = []
    collect = distributed._collect

    def counting(function: Any, *arguments: Any) -> None:
        (tensor, *_) = [each for each in reversed(arguments) if isinstance(each, torch.Tensor)]
        sent.append(tensor.numel() * tensor.element_size())
        collect(function, *arguments)

    distributed._collect = counting
    return sent


def statistics_of(model: torch.nn.Module) -> int:
    """Bytes of what batch norms remember."""
    return sum(4 * buffer.numel() for name, buffer in model.named_buffers() if name.endswith(("_mean", "_var")))


def least(call: Callable[[], object], rounds: int = 8, clock: Callable[[], float] = time.perf_counter) -> float:
    taken = []
    for _ in range(rounds):
        began = clock()
        call()
        taken.append(clock() - began)
    return min(taken)


def together(count: int, joined: bool, root: str, steps: int, loads: bool = True) -> list[dict[str, Any]]:
    """``count`` processes that begin at the same moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--worker", root, str(steps), str(int(loads))]
    with ExitStack() as stack:
        workers = []
        for rank in range(count):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)} if joined else {}
            environment = {**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            workers.append(stack.enter_context(subprocess.Popen(command, text=True, env=environment, **pipes)))
        for each in workers:
            if not each.stdout.readline():
                raise RuntimeError(f"a process ended with status {each.wait()} before it began")
        for each in workers:
            each.stdin.write("\n")
            each.stdin.flush()
        return [json.loads(each.stdout.readline()) for each in workers]


def measured(steps: int, rounds: int) -> None:
    """Rows of what was measured beside what its parts predict."""
    rows: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in ("parts", "pair", "one", "apart", "joined")}
    with tempfile.TemporaryDirectory() as root:
        Rooms(SCENES, 1, SIZE, root=root).prepare()
        for _ in range(rounds):
            rows["parts"].append(together(1, False, root, steps, loads=False))
            rows["one"].append(together(1, False, root, steps))
            rows["pair"].append(together(2, False, root, steps, loads=False))
            rows["apart"].append(together(2, False, root, steps))
            rows["joined"].append(together(2, True, root, steps))

    def all_of(name: str) -> list[float]:
        return [second for round_ in rows[name] for each in round_ for second in each["seconds"]]

    first = rows["parts"][0][0]
    small = rows["joined"][0][0]["small"]
    loading = min(each["loading"] for round_ in rows["parts"] for each in round_)
    costs = [min(round_[0]["messages"][str(size)] for round_ in rows["joined"]) for size in MESSAGES]
    rate = (MESSAGES[-1] - MESSAGES[0]) / (costs[-1] - costs[0])
    link = Link(costs[0] / 2, rate)  # a ring of two sends twice half of everything
    here = Machine(2, cores.available(), True, link, link)
    say(
        "parts",
        compute_ms=ms(median(all_of("parts"))),
        compute_of_two_at_once_ms=ms(median(all_of("pair"))),
        loading_ms=ms(loading),
        gradients_mb=round(first["gradients"] / 1e6, 1),
        statistics_kb=round(first["statistics"] / 1e3, 1),
        small_messages=small,
        message_ms={size: ms(each) for size, each in zip(MESSAGES, costs, strict=True)},
        read_kb_a_sample=round(first["read"] / BATCH / 1e3),
        batch=BATCH,
        size=SIZE,
    )
    sizes = first["read"], first["gradients"], first["statistics"], small
    alone = Work(median(all_of("parts")), loading, 1, *sizes, jitter(all_of("parts")))
    beside = replace(alone, compute=median(all_of("pair")), jitter=jitter(all_of("pair")))
    for name, work, count in (("one", alone, 1), ("joined", beside, 2)):
        found, told = mean(all_of(name)), predict(work, count, here)["step"]
        off = f"{100 * (told / found - 1):+.1f} %"
        say(f"{count} process{'es' * (count > 1)}", measured_ms=ms(found), predicted_ms=ms(told), off=off)
    shares = [mean_of(apart) / mean_of(joined) for apart, joined in zip(rows["apart"], rows["joined"], strict=True)]
    say(
        "throughput of two processes over two apart",
        share=round(median(shares), 3),
        rounds=[round(each, 3) for each in shares],
        apart_ms=ms(mean(all_of("apart"))),
        joined_ms=ms(mean(all_of("joined"))),
        steps=steps,
    )


def say(row: str, **figures: Any) -> None:
    print(json.dumps({"row": row, **figures}), flush=True)


def mean_of(processes: list[dict[str, Any]]) -> float:
    return mean(second for each in processes for second in each["seconds"])


def jitter(seconds: list[float]) -> tuple[float, ...]:
    middle = median(seconds)
    return tuple(each / middle for each in seconds)


def ms(seconds: float) -> float:
    return round(1e3 * seconds, 2)


# -- what is not here --------------------------------------------------------------------------------------------------
def predicted(teraflops: float, sample_ms: float, sample_kb: float, spread: float) -> None:
    jitters = tuple(np.exp(np.random.default_rng(0).normal(0, spread, 4096)))
    assumed = {"teraflops": teraflops, "sample_ms": sample_ms, "sample_kb": sample_kb, "spread": spread}
    say("assumed", **assumed, **asdict(CLUSTER))
    for name in NETWORKS:
        settings = configuration.load(ROOT / f"experiments/nyuv2/{name}.yaml")
        parts = settings.model.model_dump(exclude={"pretrained"})
        build = partial(create_model, "nyuv2", **parts)
        parameters, gmacs = cost.counted(build, settings.data.size)
        with torch.device("meta"):
            statistics = statistics_of(build())
        batch = sum(source.batch for source in settings.data.train.values())
        compute = batch * 3 * 2 * gmacs / (1e3 * teraflops)  # backward costs two forwards
        work = Work(
            compute, batch * sample_ms / 1e3, 8, batch * sample_kb * 1e3, 4.0 * parameters, statistics, jitter=jitters
        )
        say(
            name,
            gmacs=round(gmacs, 1),
            gradients_mb=round(4e-6 * parameters),
            batch_a_gpu=batch,
            compute_ms=ms(compute),
        )
        for count in (8, 64, 512):
            for sharded in (False, True):
                told = predict(work, count, CLUSTER, sharded)
                say(
                    name,
                    gpus=count,
                    weights="sharded" if sharded else "whole",
                    images_a_second=round(count * batch / told["step"]),
                    efficiency=round(told["efficiency"], 3),
                    limit=told["limit"],
                    step_ms=ms(told["step"]),
                    parts_ms={key: ms(each) for key, each in told["parts"].items()},
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("measured", "predicted"))
    parser.add_argument("--teraflops", type=float, default=100.0, help="that a GPU sustains in training")
    parser.add_argument("--sample-ms", type=float, default=40.0, help="of one core, to load a sample at 448x576")
    parser.add_argument("--sample-kb", type=float, default=900.0, help="that are read for it")
    parser.add_argument("--spread", type=float, default=0.02, help="of the logarithm of a step's length")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], int(options.worker[1]), options.worker[2] == "1")
        return
    if options.only != "predicted":
        measured(options.steps, options.rounds)
    if options.only != "measured":
        predicted(options.teraflops, options.sample_ms, options.sample_kb, options.spread)


if __name__ == "__main__":
    main()
