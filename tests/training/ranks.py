"""Runs for ``test_distributed``: the same in one process or as one of several ranks."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

from polyscene.config import Config
from polyscene.data import DATASETS
from polyscene.evaluate import command
from polyscene.training import distributed, loop
from polyscene.training.loop import Stopped, train
from polyscene.training.meter import NonFinite
from polyscene.types import Sample, Target

from . import toy

STEPS = 20
EVALUATION = -1


class Holes(toy.Toy):
    """Labels with holes of any size, up to the whole picture."""

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        chance = torch.rand(1, 1, *toy.SIZE, generator=torch.Generator().manual_seed(100 + index))
        valid = chance < (index % 5) / 4
        return replace(sample, targets={name: Target(one.value, valid) for name, one in sample.targets.items()})


DATASETS["holes"] = f"{__name__}:Holes"


def config(
    out: Path, ranks: int, balancing: str = "fixed", adversarial: bool = False, poison: int = -1, **training: Any
) -> Config:
    """Batches of four and of two, of all ranks together."""
    ranks = 1 if training.get("elastic") else ranks
    settings = toy.config(out, steps=STEPS, balancing={"name": balancing}).model_dump(mode="json")
    settings["data"]["train"] = {
        "holes": {"dataset": {"name": "holes"}, "batch": 4 // ranks},
        "toy": {"dataset": {"name": "toy", "count": 5, "poison": poison}, "batch": 2 // ranks},
    }
    settings["data"]["evaluate"]["toy"]["dataset"] = {"name": "holes", "count": 7}
    settings["tasks"] = ["depth", {"type": "SemanticSegmentation", "balance": 0.5}]
    settings["training"]["optimiser"] |= {"name": "sgd", "lr": 0.01, "momentum": 0.9}
    settings["training"] |= training
    if adversarial:
        settings["data"]["target"] = {"photographs": {"dataset": {"name": "toy", "count": 5}, "batch": 2 // ranks}}
        settings["method"] = {"name": "adversarial", "channels": 4}
    return Config.model_validate(settings)


@contextmanager
def changed(norm: str = "group", stop: tuple[int, int, int] | None = None) -> Iterator[list[loop.Run]]:
    """Inside, networks have group norms and nothing is drawn; ``stop`` (rank, step, signal): that rank sends it to
    itself in that step, or in evaluation if it is ``EVALUATION``. Yields the runs that are made."""
    runs: list[loop.Run] = []
    create, update, begin = loop.create_model, loop.Trainer.update, loop.Run.__init__
    pace = loop.Run._unless_stopped
    draw, large = (loop.curves.draw, loop.samples.draw), distributed.LARGE

    def created(*arguments: Any, **keywords: Any) -> Any:
        model = create(*arguments, **keywords)
        if norm == "group":
            grouped(model)
        return model

    def updated(self: Any, step: int, *rest: Any) -> Any:
        if stop is not None and (distributed.rank(), step) == stop[:2]:
            os.kill(os.getpid(), stop[2])
        return update(self, step, *rest)

    def paced(self: loop.Run, batches: Any) -> Iterator[Any]:
        for batch in pace(self, batches):
            if stop is not None and (distributed.rank(), EVALUATION) == stop[:2]:
                os.kill(os.getpid(), stop[2])
            yield batch

    def begun(self: loop.Run, *arguments: Any) -> None:
        begin(self, *arguments)
        runs.append(self)

    loop.create_model, loop.Trainer.update, loop.Run.__init__ = created, updated, begun  # type: ignore[method-assign]
    loop.Run._unless_stopped = paced  # type: ignore[method-assign]
    loop.curves.draw = loop.samples.draw = lambda *_: None  # type: ignore[assignment]
    distributed.LARGE = 20_000
    try:
        yield runs
    finally:
        (loop.curves.draw, loop.samples.draw), distributed.LARGE = draw, large
        loop.create_model, loop.Trainer.update, loop.Run.__init__ = create, update, begin  # type: ignore[method-assign]
        loop.Run._unless_stopped = pace  # type: ignore[method-assign]


def grouped(module: nn.Module) -> None:
    """Group norms in place of batch norms."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            norm = nn.GroupNorm(1, child.num_features)
            activation = getattr(child, "act", nn.Identity())
            setattr(module, name, nn.Sequential(norm, getattr(child, "drop", nn.Identity()), activation))
        else:
            grouped(child)


def run(out: Path, ranks: int, change: dict[str, Any], settings: dict[str, Any]) -> str:
    """What it says; weights of this rank go to ``rank_K.safetensors``."""
    told = io.StringIO()
    with changed(**change) as runs:
        try:
            train(config(out, ranks, **settings), Console(file=told, width=200))
        except Stopped as stopped:
            told.write(f"\nexit {stopped.code}")
        except NonFinite as error:
            told.write(f"\n{error}")
    for one in runs:
        state = {
            name: distributed.owned(tensor).clone(memory_format=torch.contiguous_format)
            for name, tensor in one.trainer.model.state_dict().items()
        }
        save_file(state, out / f"rank_{os.environ.get('RANK', '0')}.safetensors")
    return told.getvalue()


def judge(run: Path, out: Path) -> None:
    """``polyscene eval`` of a run, on seven samples."""
    data = {"evaluate": {"toy": {"dataset": {"name": "toy", "count": 7}, "batch": 2}}}
    out.mkdir(exist_ok=True)
    told = out / f"data_{distributed.rank()}.yaml"
    told.write_text(json.dumps({"tasks": [], "data": data}))
    command.run(run, str(told), out=out, device="cpu")


if __name__ == "__main__":  # a list of [port, out, change, settings]
    torch.set_num_threads(1)
    for port, out, change, settings in json.loads(sys.argv[1]):
        os.environ["MASTER_PORT"] = str(port)
        if change.get("stop"):
            change["stop"] = (change["stop"][0], change["stop"][1], int(getattr(signal, change["stop"][2])))
        if "judged" in settings:
            judge(Path(settings["judged"]), Path(out))
            continue
        told = run(Path(out), int(os.environ["WORLD_SIZE"]), change, settings)
        print(told, flush=True)
