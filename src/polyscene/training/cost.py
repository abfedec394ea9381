"""What a network costs: its parameters and multiply-adds, and the time and memory of a training step."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from torch.utils.flop_counter import FlopCounterMode

from polyscene import devices
from polyscene.adaptation.supervised import Supervised
from polyscene.config import Config
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks import Task
from polyscene.training import tasks
from polyscene.training.trainer import Trainer
from polyscene.types import Batch, Camera, Target

STEPS = 4  # the first of which does not count


@dataclass(frozen=True)
class Cost:
    """``gmacs``: 1e9 multiply-adds of one picture in evaluation, half of what torch's ``FlopCounterMode`` counts.

    ``milliseconds`` of a step over a batch: the least of a few; on a processor those of one thread, counted in the
    time of the process, so that what else runs does not matter; on a device, by the clock. ``megabytes``: the peak over
    these steps, weights, gradients and optimiser with them; on a processor that of a process, less what it held before
    there was a network.
    """

    parameters: int
    gmacs: float
    milliseconds: float
    megabytes: float


def measure(config: Config) -> Cost:
    """Of the network that ``config`` describes, in a process of its own, on random pictures of its size and batch.
    ``ValueError`` where the parts do not go together."""
    parameters, gmacs = count(config)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return Cost(parameters, gmacs, *alone.submit(_step, config).result())


def count(config: Config) -> tuple[int, float]:
    """Parameters, and 1e9 multiply-adds of one picture; without memory."""
    return counted(lambda: _build(config, tasks.choose(config)), config.data.size)


def counted(build: Callable[[], MultiTaskModel], size: tuple[int, int]) -> tuple[int, float]:
    """The same of the network that ``build`` makes."""
    with torch.device("meta"):
        model = build().eval()
        image = torch.empty(1, 1, 3, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2e9


def _step(config: Config) -> tuple[float, float]:
    """Milliseconds and megabytes."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    chosen, device = tasks.choose(config), devices.pick(config.training.device)
    batches = {
        name: random_batch(chosen, source.batch, *config.data.size, views=source.dataset.options.get("views", 1))
        for name, source in config.data.train.items()
    }
    before = _peak(device)
    trainer = Trainer(_build(config, chosen), Supervised(chosen), config.training, device, config.seed)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for step in range(STEPS):
        began = clock()
        losses, _ = trainer.update(step, STEPS, [batches])
        losses["loss"].item()  # waits for the device
        times.append(clock() - began)
    return min(times[1:]) * 1e3, (_peak(device) - before) / 1e6


def random_batch(
    chosen: Mapping[str, Task], batch: int, height: int, width: int, views: int = 1, source: str = "random"
) -> Batch:
    """Pictures and labels of noise, all of them valid; the cameras are not known."""
    lead = batch, views

    def target(task: Task) -> Target:
        shape = *lead, task.value_channels, height, width
        value = torch.randint(0, len(task.classes), shape) if task.classes else torch.rand(shape)
        return Target(value, torch.ones(*lead, 1, height, width, dtype=torch.bool))

    yes = torch.ones(lead, dtype=torch.bool)
    camera = Camera(torch.eye(3).expand(*lead, 3, 3), torch.eye(4).expand(*lead, 4, 4), ~yes)
    labels = {name: target(task) for name, task in chosen.items()}
    return Batch(torch.rand(*lead, 3, height, width), labels, camera, yes, source)


def _build(config: Config, chosen: dict[str, Task]) -> MultiTaskModel:
    return create_model(chosen, **config.model.model_dump(exclude={"pretrained"}))


def _peak(device: torch.device) -> float:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
