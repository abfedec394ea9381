"""The training loop: ``train(config)`` trains, or carries on with, one run."""

from __future__ import annotations

import copy
import io
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from rich.console import Console

import polyscene
from polyscene import devices, parts, weights
from polyscene import evaluate as evaluation
from polyscene.adaptation import METHODS
from polyscene.config import Config, Part, Source
from polyscene.data import sources
from polyscene.data.loader import Loader
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks import Task
from polyscene.training import checkpoint, curves, distributed, environment, init, length, rundir, samples, tasks
from polyscene.training.meter import Meter, NonFinite
from polyscene.training.progress import Bar
from polyscene.training.records import Records, without_nan
from polyscene.training.score import score
from polyscene.training.step import Step
from polyscene.training.track import open_tracker
from polyscene.training.trainer import Trainer
from polyscene.types import Batch

RECORDS = 200  # of training, about, a run
CHECKPOINTS = 10


class Stopped(SystemExit):
    """A signal ended the run, after a checkpoint; the exit code is the shell's for it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def train(config: Config, console: Console | None = None) -> Path:
    """Trains the run that ``config`` describes and returns its directory. The same call again resumes it where it was,
    or says that it is finished.

    Raises ``rundir.Refused`` (in use, or another configuration), ``checkpoint.BadCheckpoint``, ``meter.NonFinite``,
    ``Stopped`` on SIGINT and SIGTERM, and ``ValueError`` for what the configuration asks in vain. Started by
    ``torchrun`` it is one of several ranks, each of which makes its own part of every batch;
    ``distributed.RankFailed`` where another has stopped.
    """
    out = rundir.directory(config)
    with distributed.joined(config.training.device):
        config = of_this_rank(config)
        console = (console or Console()) if distributed.first() else Console(quiet=True, file=io.StringIO())
        with _claimed(out, config) as finished:
            if finished:
                console.print(f"{out} is finished; give another name to train again", highlight=False, soft_wrap=True)
            else:
                Run(config, out, console).go()
    return out


@contextmanager
def _claimed(out: Path, config: Config) -> Iterator[bool]:
    """Holds the directory, for all ranks; whether the run there is finished."""
    whole = of_all_ranks(config)
    with ExitStack() as held:

        def claim() -> bool:
            held.enter_context(rundir.locked(out))
            checkpoint.recover(out / "last")
            checkpoint.recover(out / "best")
            rundir.claim(out, whole)
            return bool(Records(out / "metrics.jsonl").kind("end"))

        yield distributed.of_first(claim)


def of_all_ranks(config: Config) -> Config:
    """The run of a single process that makes the same batches."""
    return _rebatched(config, lambda name, batch: batch * distributed.count())


def of_this_rank(config: Config) -> Config:
    """With its own batches, where those in the file are of all ranks. ``ValueError`` where they cannot be divided."""

    def part(name: str, batch: int) -> int:
        if batch % distributed.count():
            raise ValueError(
                f"{name}.batch: {batch} cannot be divided among {distributed.count()} ranks, as elastic is"
            )
        return batch // distributed.count()

    return _rebatched(config, part) if config.training.elastic else config


def _rebatched(config: Config, change: Callable[[str, int], int]) -> Config:
    def changed(section: str, sources: Mapping[str, Source]) -> dict[str, Source]:
        return {
            name: one.model_copy(update={"batch": change(f"data.{section}.{name}", one.batch)})
            for name, one in sources.items()
        }

    data = config.data
    every = {"train": changed("train", data.train), "target": changed("target", data.target)}
    return config.model_copy(update={"data": data.model_copy(update=every)})


def make_step(method: Part, tasks: Mapping[str, Task]) -> Step:
    maker = parts.load(METHODS, method.name, "method")
    try:
        return cast(Step, maker(tasks, **method.options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"method {method.name}: {error}") from None


class Run:
    """One run, built or restored at its last checkpoint."""

    def __init__(self, config: Config, out: Path, console: Console) -> None:
        self.config, self.settings, self.out, self.console = config, config.training, out, console
        self.device = devices.pick(self.settings.device)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        if not config.data.train and not config.data.target:
            raise ValueError("data.train: name at least one source to train on")
        self.tasks = tasks.choose(config)
        torch.manual_seed(config.seed)
        with distributed.in_turns():
            model = create_model(self.tasks, **config.model.model_dump())
        last = out / "last"
        resumed = checkpoint.load_state(last, self.settings.sharded) if last.exists() else None
        if self.settings.init and resumed is None:
            for line in init.start_from(model, self.settings.init).lines():
                self.say(line)
        distributed.as_first(chain(model.parameters(), model.buffers()))
        self.trainer = Trainer(model, make_step(config.method, self.tasks), self.settings, self.device, config.seed)
        part = distributed.rank(), distributed.count()
        with distributed.in_turns():
            relative = config.model.canonical_focal is not None
            self.sources = sources.build(config.data, self.tasks, config.seed, relative, part)
        self.began = time.monotonic()  # of the budget: rendering and unpacking are not training
        self.meter = Meter(every=1 if self.device.type == "cpu" else 10)
        self.step = 0
        self.waited = 0.0  # seconds, for batches
        self.stopped: int | None = None
        self.safe_to_leave = False
        if resumed is not None:
            self.step = resumed["at"]
            self.trainer.restore(resumed["trainer"])
            self.meter.restore(resumed["meter"])
            torch.set_rng_state(resumed["rng"])
            self.say(f"resuming {out} at step {self.step}")
        distributed.agree(None, f"{out} resumed at step {self.step}")
        for note in self.sources.notes:
            self.say(note)
        self.floors = self._floors()
        self.steps = self._length().steps
        self.records = Records(out / "metrics.jsonl", writes=distributed.first())
        self.records.keep_until(self.step)
        if distributed.first():
            environment.append(out / "environment.json", self.device)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def go(self) -> None:
        """To the end: step, record, checkpoint, evaluate."""
        track = self.settings.track if distributed.first() else None
        self.tracker = open_tracker(track, self.config.name, self.out, self.config.model_dump(mode="json"), self.step)
        record_every = max(1, self.steps // RECORDS)
        checkpoint_every = self.settings.checkpoint_every or max(1, math.ceil(self.steps / CHECKPOINTS))
        batches = self._batches(self.step)
        self.saved = self.step
        with Bar(self.console, self.steps, self.step) as self.bar, self._signals():
            while True:
                evaluate = self._evaluation_is_due()
                if evaluate or self.step % checkpoint_every == 0 or self.step == self.steps:
                    self._save()
                if evaluate:
                    self._evaluate()
                if self.step == self.steps:
                    break
                self._advance(self._next(batches))
                if self.step % record_every == 0 or self.step == self.steps:
                    self._record()
        if not self.sources.evaluate and distributed.first():
            self._draw_curves()
        self.records.append({"kind": "end", "step": self.step})
        self.tracker.close()
        for part in (self.trainer.model.neck, self.trainer.model.regularizer, self.trainer.method):
            for line in part.remarks() if part else ():
                self.say(line)
        self.say(f"finished: {self.out}")

    @property
    def _trained_on(self) -> dict[str, Loader]:
        return self.sources.train | self.sources.target

    # -- one step ------------------------------------------------------------------------------------------------------
    def _batches(self, start: int) -> Iterator[list[dict[str, Batch]]]:
        """From step ``start`` on: a batch a source for each accumulated part of a step."""
        each = self.settings.optimiser.accumulate
        streams = {name: loader.batches(start * each) for name, loader in self._trained_on.items()}
        while True:
            yield [{name: next(stream) for name, stream in streams.items()} for _ in range(each)]

    def _next(self, batches: Iterator[list[dict[str, Batch]]]) -> list[dict[str, Batch]]:
        """Unless some rank has had a signal: then all save and leave."""
        asked = time.monotonic()
        micro = next(batches)
        self.waited += time.monotonic() - asked
        if self._all_stop([shapes(batches) for batches in micro]):
            self._save()
            self._leave()
        return micro

    def _advance(self, micro: list[dict[str, Batch]]) -> None:
        losses, norm = self.trainer.update(self.step, self.steps, micro)
        self._finite(lambda: self.meter.add(self.step, losses, norm, samples_of(micro)))
        self.step += 1
        self.bar.advance(images_in(micro) * distributed.count())

    def _record(self) -> None:
        losses = self._finite(self.meter.means)
        rate = self.trainer.rate(self.step - 1, self.steps)
        figures = {"lr": rate, "images/s": self.bar.images_a_second, "waited": self.waited}
        self.waited = 0.0
        self.records.append({"kind": "train", "step": self.step, "losses": losses, **figures})
        self.bar.show(losses)
        self.tracker.log(self.step, {f"train/{name}": loss for name, loss in losses.items()} | figures)

    def _finite(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except NonFinite as error:
            raise self._explained(error) from None

    def _explained(self, error: NonFinite) -> NonFinite:
        last = self.out / "last"
        kept = f"the last good checkpoint is kept in {last}" if last.exists() else "there was no checkpoint yet"
        return NonFinite(f"{error}; {kept}. Lower the rate, clip harder, or look at these samples")

    # -- checkpoints ---------------------------------------------------------------------------------------------------
    def _save(self) -> None:
        """Unless it is."""
        if self.step == self.saved:
            return
        meter = self._finite(self.meter.state)
        if not self.trainer.finite():
            raise self._explained(NonFinite(f"step {self.step}: weights are not finite"))
        state = {"at": self.step, "trainer": self.trainer.state(), "meter": meter, "rng": torch.get_rng_state()}
        self._write("last", self._facts(), state)
        self.saved = self.step

    def _write(self, name: str, facts: dict[str, Any], state: dict[str, Any] | None = None) -> None:
        """The weights as they are used, what is known of them, and ``state``."""
        model = self.trainer.best_model
        with for_use(model):
            tensors = distributed.whole(model.state_dict())

            def fill(directory: Path) -> None:
                if distributed.first():
                    weights.save(model, directory, tensors, **facts)
                if state is not None:
                    checkpoint.save_state(directory, state)

            checkpoint.replace(self.out / name, fill)

    def _facts(self) -> dict[str, Any]:
        return {
            "version": polyscene.__version__,
            "step": self.step,
            "steps": self.steps,
            "size": list(self.config.data.size),
            "seed": self.config.seed,
            "pretrained": self.config.model_dump(mode="json")["model"]["pretrained"],
            "init": self.settings.init or "none",
            "method": self.config.method.written(),
            "data": {name: source.dataset.model_dump() for name, source in self.config.data.trained_on.items()},
        }

    # -- evaluation ----------------------------------------------------------------------------------------------------
    def _evaluation_is_due(self) -> bool:
        every = self.settings.evaluate_every
        due = self.step == self.steps or bool(every and self.step and self.step % every == 0)
        done = any(record["step"] == self.step for record in self.records.kind("evaluate"))
        return bool(self.sources.evaluate) and due and not done

    def _evaluate(self) -> None:
        """Figures of every evaluation source; the weights become ``best`` if their score is."""
        began = time.monotonic()
        self.safe_to_leave = True  # the checkpoint of this step is written
        if self._all_stop():
            self._leave()
        model = self.trainer.best_model.eval()
        with _for_each_rank(model):
            figures = {
                name: evaluation.evaluate(model, loader, device=self.device, ranks=True, pace=self._unless_stopped)
                for name, loader in self.sources.evaluate.items()
            }
        reached = score(figures, self.floors, self.tasks)
        before = [record["score"] for record in self.records.kind("evaluate") if record["score"] is not None]
        if distributed.of_first(lambda: not (self.out / "best").exists() or all(reached > other for other in before)):
            facts = {**self._facts(), "metrics": figures, "floors": self.floors, "score": reached}
            self._write("best", without_nan(facts))
        self.records.append({"kind": "evaluate", "step": self.step, "score": reached, "figures": figures})
        self.tracker.log(self.step, flat(figures))
        self.bar.say(f"step {self.step}: " + self._headlines(figures))
        with _for_each_rank(model):
            if distributed.first():
                self._draw_curves()
                for name, loader in self.sources.evaluate.items():
                    samples.draw(model, loader, self.device, self.out / "samples" / f"{name}_{self.step:07}.png")
        self.safe_to_leave = False
        self.bar.pause(time.monotonic() - began)

    def _draw_curves(self) -> None:
        curves.draw(self.records.all, self.tasks, self.floors, self.out / "curves.png")

    def _headlines(self, figures: Mapping[str, Any]) -> str:
        told = []
        for source, by_task in figures.items():
            for name, table in by_task.items():
                key = self.tasks[name].metric().key
                told.append(f"{source} {name} {key} {table[key]:.3g} (floor {self.floors[source][name][key]:.3g})")
        return ", ".join(told)

    def _floors(self) -> dict[str, Any]:
        """Of predictions that do not look at the image; computed once a run."""
        path = self.out / "floors.json"
        known = distributed.of_first(lambda: json.loads(path.read_text()) if path.exists() else None)
        if known is not None:
            return dict(known)
        first = next(iter(self.sources.train.values()), None)
        floors = {
            name: evaluation.floors(
                self.sources.train.get(name, first or loader).whole(), loader, self.tasks, ranks=True
            )
            for name, loader in self.sources.evaluate.items()
        }

        def write() -> None:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(floors))
            fresh.replace(path)

        distributed.of_first(write)
        return floors

    # -- length --------------------------------------------------------------------------------------------------------
    def _length(self) -> length.Length:
        """The first rank's, which all help to find."""
        path = self.out / "length.json"
        if not distributed.of_first(path.exists):
            found = self._find_length()
            distributed.of_first(lambda: asdict(length.stored(path, lambda: found)))
        return length.Length(**distributed.of_first(lambda: asdict(length.stored(path, self._find_length))))

    def _find_length(self) -> length.Length:
        if self.settings.minutes is None:
            return length.of_epochs(self.settings, len(next(iter(self._trained_on.values()))))
        before = copy.deepcopy(self.trainer.state())
        batches = self._batches(0)
        durations = []
        for _ in range(length.WARM + length.TIMED):
            began = time.monotonic()
            losses, _norm = self.trainer.update(0, 1_000_000, next(batches))
            losses["loss"].item()  # waits for the device
            durations.append(time.monotonic() - began)
        evaluation_time = sum(self._evaluation_time(loader) for loader in self.sources.evaluate.values())
        self.trainer.restore(before)
        spent = time.monotonic() - self.began
        return length.of_minutes(self.settings, length.seconds_a_step(durations), evaluation_time, spent)

    def _evaluation_time(self, loader: Any) -> float:
        """Estimated from a few batches."""
        few = min(2, len(loader))
        began = time.monotonic()
        model = self.trainer.best_model.eval()
        with _for_each_rank(model):
            evaluation.evaluate(model, loader, limit=few, device=self.device, ranks=True)
        return (time.monotonic() - began) * len(loader) / (few * distributed.count())

    # -- signals -------------------------------------------------------------------------------------------------------
    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run after the step; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        single = distributed.count() == 1
        usual = {number: signal.getsignal(number) for number in (int(signal.SIGINT), int(signal.SIGTERM))}

        def stop(number: int, frame: FrameType | None) -> None:
            if single:  # torchrun passes on signals that ranks may have had already
                signal.signal(number, usual[number])
            self.stopped = number
            if self.safe_to_leave and single:
                self._leave()

        for number in usual:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)

    def _unless_stopped(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Leaves where some rank has had a signal."""

        def ask(more: bool) -> bool:
            stopped, goes_on = distributed.greatest(torch.tensor([self.stopped or 0, more])).tolist()
            if stopped:
                self.stopped = stopped
                self._leave()
            return bool(goes_on)

        return distributed.in_rounds(batches, ask)

    def _all_stop(self, likeness: Any = None) -> bool:
        """Whether some rank has had a signal."""
        agreed = distributed.agree(self.stopped, likeness)
        if agreed is not None:
            self.stopped = agreed
        return agreed is not None

    def _leave(self) -> None:
        assert self.stopped is not None
        self.tracker.close()
        self.bar.say(f"stopped at step {self.step} of {self.steps}; the same command again carries on")
        raise Stopped(self.stopped)


@contextmanager
def for_use(model: MultiTaskModel) -> Iterator[None]:
    """Inside, it is without what only training needs."""
    regularizer, parts = model.regularizer, model.parts
    model.strip()
    try:
        yield
    finally:
        model.regularizer, model.parts = regularizer, parts


@contextmanager
def _for_each_rank(model: MultiTaskModel) -> Iterator[None]:
    """Inside, every rank may call it as often as it likes, with pictures of any size."""
    with distributed.gathered(model), torch.compiler.set_stance("force_eager"):
        yield


def samples_of(micro: list[dict[str, Batch]]) -> list[str]:
    return [f"{batch.source}: {name}" for batches in micro for batch in batches.values() for name in batch.meta]


def shapes(batches: dict[str, Batch]) -> dict[str, Any]:
    """What of them decides which losses there will be: labels, and how many views at most are there and known."""
    return {
        name: (
            tuple(batch.images.shape),
            sorted(batch.targets),
            *(int(seen.sum(1).max()) for seen in (batch.present, batch.present & batch.camera.known)),
        )
        for name, batch in batches.items()
    }


def images_in(micro: list[dict[str, Batch]]) -> int:
    return sum(batch.images.shape[0] * batch.images.shape[1] for batches in micro for batch in batches.values())


def flat(figures: Mapping[str, Any], path: str = "") -> dict[str, float]:
    """``{"rooms": {"depth": {"RMSE": 1}}}`` -> ``{"rooms/depth/RMSE": 1}``."""
    found: dict[str, float] = {}
    for key, item in figures.items():
        found |= flat(item, f"{path}{key}/") if isinstance(item, Mapping) else {f"{path}{key}": item}
    return found
