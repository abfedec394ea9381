"""Optional experiment trackers, beside the files every run writes."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Tracker(ABC):
    @abstractmethod
    def log(self, step: int, figures: dict[str, float]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Silent(Tracker):
    def log(self, step: int, figures: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoard(Tracker):
    def __init__(self, directory: Path, start: int) -> None:
        self.writer = find("tensorboard").SummaryWriter(str(directory / "tensorboard"), purge_step=start or None)

    def log(self, step: int, figures: dict[str, float]) -> None:
        for name, figure in figures.items():
            self.writer.add_scalar(name, figure, step)

    def close(self) -> None:
        self.writer.close()


class Service(Tracker):
    """wandb and trackio, which share an interface. ``options`` are theirs for carrying on a run."""

    def __init__(self, module: str, name: str, config: dict[str, Any], **options: Any) -> None:
        self.module = find(module)
        self.module.init(project="polyscene", name=name, config=config, **options)

    def log(self, step: int, figures: dict[str, float]) -> None:
        self.module.log(figures, step=step)

    def close(self) -> None:
        self.module.finish()


def open_tracker(kind: str | None, name: str, directory: Path, config: dict[str, Any], start: int) -> Tracker:
    """``start``: the step the run carries on from, 0 if new. ``ImportError`` says how to install what is missing."""
    match kind:
        case None:
            return Silent()
        case "tensorboard":
            return TensorBoard(directory, start)
        case "wandb":
            return Service(kind, name, config, dir=str(directory), id=name, resume="allow")
        case "trackio":
            return Service(kind, name, config, resume="allow")
    raise ValueError(f"unknown tracker {kind!r} (there are: tensorboard, trackio, wandb)")


def find(kind: str | None) -> Any:
    """The module behind a tracker. ``ImportError`` says how to install it."""
    if kind is None:
        return None
    try:
        return importlib.import_module("torch.utils.tensorboard" if kind == "tensorboard" else kind)
    except ImportError as error:
        raise ImportError(
            f"{kind} is not installed; `pip install {kind}` or `pip install polyscene[track]`, "
            "or leave track out: metrics.jsonl and curves.png are written anyway"
        ) from error
