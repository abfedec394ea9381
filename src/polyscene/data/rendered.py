"""What data sets that are rendered here have in common: made once by worker processes, kept memory-mapped."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

import polyscene
from polyscene import atomic, cores, lock
from polyscene.data.base import BadSample, Dataset
from polyscene.data.cache import cache_folder
from polyscene.data.rooms.record import NORMAL_STEP, Quality, Recipe
from polyscene.shard import Shard
from polyscene.tasks import Task
from polyscene.types import Camera, Sample, Target

FIRST = {"train": 0, "val": 10_000_000}  # scene numbers: no training scene is ever a held-out one


class RenderError(RuntimeError):
    """A scene could not be rendered; carries the worker's own report."""


class Rendered(Dataset):
    """Pictures of generated scenes. A subclass names itself and its ``tasks``, and gives the ``recipe`` of a scene,
    whose module renders when run.

    Scenes are numbered from ``first`` within their ``split``; a scene is a pure function of (``seed``, split, number),
    so more scenes add to those there are. They are rendered by ``prepare`` on ``workers`` cores (all by default) into
    ``root`` (the cache folder by default), in a folder named by everything that they depend on, code included.
    """

    def __init__(
        self,
        recipe: Recipe,
        tasks: Iterable[Task],
        scenes: int,
        views: int,
        split: str,
        first: int,
        root: str | Path | None,
        workers: int | None,
    ) -> None:
        self.views, self.windows, self.recipe = views, recipe.views // views, recipe
        self.numbers = range(FIRST[split] + first, FIRST[split] + first + scenes)
        self.workers = workers or cores.available()
        self.folder = (Path(root) if root is not None else cache_folder() / self.name) / recipe.key()
        self.tasks = {task.name: task for task in tasks}

    @classmethod
    def path(cls, scenes: int, views: int, split: str, first: int, quality: str, path: int | None) -> int:
        """Pictures a scene, ``views`` by default; ``ValueError`` says which keyword is wrong."""
        name = cls.name
        if split not in FIRST:
            raise ValueError(f"{name}: split {split!r} is none of {', '.join(FIRST)}")
        if quality not in get_args(Quality):
            raise ValueError(f"{name}: quality {quality!r} is none of {', '.join(get_args(Quality))}")
        if scenes < 1 or views < 1 or first < 0 or first + scenes > FIRST["val"]:
            raise ValueError(f"{name}: needs scenes, views >= 1 and first >= 0; got {scenes}, {views}, {first}")
        path = views if path is None else path
        if path % views:
            raise ValueError(f"{name}: a path of {path} pictures does not divide into samples of {views} views")
        return path

    def __len__(self) -> int:
        return len(self.numbers) * self.windows

    def prepare(self, shard: Shard | None = None) -> None:
        """Renders what is not there yet, or one machine's ``shard`` of the scenes. May be killed at any moment and run
        by several processes at once: shards of one folder work beside each other, whoever wants the same waits."""
        numbers = self.numbers if shard is None else shard.of(self.numbers)
        if not self._missing(numbers):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder, shard, self.name):
            for part in self.folder.glob("[0-9]*.part"):
                if shard is None or int(part.name.partition(".")[0]) in numbers:
                    part.unlink()
            with atomic.whole(self.folder / "recipe.json", alone=False) as told:
                told.write_text(json.dumps(asdict(self.recipe), indent=2))
            if missing := self._missing(numbers):
                _render(self.name, self.recipe, self.folder, missing, self.workers)

    def _missing(self, numbers: Iterable[int]) -> list[int]:
        return [number for number in numbers if not self.recipe.done(self.folder, number)]

    def read(self, index: int) -> Sample:
        records, size = self.records(index), self.recipe.size
        number, window = self._place(index)
        seen = _bits(records["valid"], size)
        read: dict[str, Callable[[], Tensor]] = {
            "semseg": lambda: torch.from_numpy(records["semseg"]).long(),
            "depth": lambda: torch.from_numpy(records["depth"]).clone(),
            "normals": lambda: torch.from_numpy(records["normals"]).float().mul_(NORMAL_STEP),
            "edges": lambda: _bits(records["edges"], size).float(),
        }
        return Sample(
            images=torch.from_numpy(records["rgb"]).float().div_(255),
            targets={name: Target(read[name](), self.known(name, seen)) for name in self.tasks},
            camera=Camera(
                torch.from_numpy(records["intrinsics"]).clone(),
                torch.from_numpy(records["world_from_camera"]).clone(),
                torch.ones(len(records), dtype=torch.bool),
            ),
            present=torch.ones(len(records), dtype=torch.bool),
            source=self.name,
            meta=(f"{self.name} seed {self.recipe.seed} scene {number} window {window}",),
        )

    def known(self, task: str, seen: Tensor) -> Tensor:
        """Where ``task`` is known, given where a ray met something."""
        return seen

    def instances(self, index: int) -> Tensor:
        """(v, 1, h, w) ids, unique to each object of the scene and the same in all its views."""
        return torch.from_numpy(self.records(index)["instance"].astype(np.int32))

    def _place(self, index: int) -> tuple[int, int]:
        """Neighbouring indices are different scenes, so that a run over the first of them sees as many as can be."""
        window, scene = divmod(index, len(self.numbers))
        if not 0 <= window < self.windows:
            raise IndexError(f"{self.name}: index {index} of {len(self)} samples")
        return self.numbers[scene], window

    def records(self, index: int) -> np.ndarray:
        """The stored views (v,), memory-mapped; see ``Recipe.dtype``."""
        number, window = self._place(index)
        try:
            return self.recipe.open(self.folder, number)[window * self.views : (window + 1) * self.views]
        except (FileNotFoundError, ValueError):
            file = self.recipe.file(self.folder, number)
            raise BadSample(file, "not rendered", "call prepare(), or run `polyscene data render`") from None


def _bits(packed: np.ndarray, size: tuple[int, int]) -> Tensor:
    flat = np.unpackbits(packed, axis=1, count=size[0] * size[1])
    return torch.from_numpy(flat.reshape(-1, 1, *size)).view(torch.bool)


@contextmanager
def _locked(folder: Path, shard: Shard | None, name: str) -> Iterator[None]:
    """One process a shard at a time; who renders all is alone."""
    with ExitStack() as stack:

        def take(file: Path, shared: bool) -> None:
            try:
                stack.enter_context(lock.held(file, shared))
            except lock.Held:
                print(f"{name}: another process is rendering these scenes; waiting for it", file=sys.stderr)
                stack.enter_context(lock.held(file, shared, wait=True))

        take(folder / "lock", shard is not None)
        if shard is not None:
            take(folder / f"lock.{shard.name}", False)
        yield


def _render(name: str, recipe: Recipe, folder: Path, numbers: list[int], workers: int) -> None:
    """All ``numbers`` by worker processes, each served by a thread."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        todo.put(number)
    columns = (
        TextColumn(f"rendering {name}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    if not console.is_terminal:  # a log shows no bar until it is done
        console.print(f"rendering {len(numbers)} scenes of {name} into {folder}", highlight=False, soft_wrap=True)
    with Progress(*columns, console=console) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task("", total=len(numbers))
        threads = [
            pool.submit(_serve, recipe, folder, todo, lambda: bar.advance(task))
            for _ in range(min(workers, len(numbers)))
        ]
        try:
            for thread in threads:
                thread.result()
        finally:
            while not todo.empty():  # after a failure or Ctrl-C the others stop at their next scene
                todo.get_nowait()


def _serve(recipe: Recipe, folder: Path, todo: queue.SimpleQueue[int], advance: Callable[[], None]) -> None:
    package = str(Path(polyscene.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    single = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", type(recipe).__module__, json.dumps(asdict(recipe)), str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **single, "PYTHONPATH": path},
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        while True:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
            if not answer:
                raise RenderError(f"the process rendering scene {number} died (exit status {worker.wait()})")
            if report := json.loads(answer):
                raise RenderError(f"scene {number} of {recipe} cannot be rendered:\n{report}")
            advance()
