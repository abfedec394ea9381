"""``polyscene predict``: pictures, films and webcams through a network, into a folder."""

from __future__ import annotations

import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from polyscene import cores, panels, parts, pictures
from polyscene.data.cameras import Cameras
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.pictures import BadPicture, Picture
from polyscene.predict import video
from polyscene.predict.networks import Network, Soft
from polyscene.predict.predictor import Predictor, Prepared, load, nearest
from polyscene.predict.video import BadVideo, Film
from polyscene.scene import KINDS

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = max(2, min(8, cores.available()))
FAILURES = (OSError, ValueError, MemoryError, RuntimeError)  # of one input; the last is torch's want of memory
CALM = 0.9  # of the range that colours stand for stays from frame to frame: films do not flicker


@dataclass(frozen=True)
class Outcome:
    """What ``predict_paths`` did: files written by input, and what was wrong with others. A film that breaks off is
    among both."""

    written: dict[Path, list[Path]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: all went well; 1: some input failed; 2: nothing was written."""
        return 2 if not self.written else int(bool(self.failed))


def predict_paths(
    inputs: Sequence[str | Path],
    out: str | Path,
    network: str | Path | Predictor = "starter",
    device: str = "auto",
    *,
    write: Sequence[str] | None = None,
    tasks: Sequence[str] = (),
    size: Sequence[int] = (),
    tiles: int = 1,
    batch: int = 4,
    focal: float | None = None,
    cameras: Path | None = None,
    frames: int | None = None,
) -> Outcome:
    """Every picture and film among ``inputs`` (files, folders searched through, patterns, ``webcam:N``) into ``out``.

    ``write``: see ``Scene.save``; by default all three kinds of pictures, and of films panels. ``focal``: in pixels of
    the pictures. ``cameras``: a cameras.json, by whose poses a network with a neck sees pictures together; of films the
    frames are called 000000, 000001... ``frames``: of a film at most. The others: see ``Predictor.configure``.

    What cannot be read is named and the rest goes on. Raises ``FileNotFoundError`` for an input that is not there,
    ``ValueError`` where nothing was found or an option cannot be, ``OSError`` where ``out`` cannot be written, all
    before anything is looked at.
    """
    if focal is not None and not focal > 0:
        raise ValueError(f"focal {focal:g}: give pixels of the pictures, or leave it out")
    if frames is not None and frames < 1:
        raise ValueError(f"frames {frames}: it is a count, from 1 on")
    out = Path(out)
    films = [Path(str(entry)) for entry in inputs if str(entry).startswith(video.WEBCAM)]
    paths = [entry for entry in inputs if not str(entry).startswith(video.WEBCAM)]
    found = pictures.find(paths, leave_out=out, suffixes=pictures.SUFFIXES | video.SUFFIXES)
    named = [(path, Path(str(path).replace(":", ""))) for path in films] + found
    if not named:
        suffixes = ", ".join(sorted(pictures.SUFFIXES | video.SUFFIXES))
        raise ValueError(f"no picture in {', '.join(map(str, inputs))}; looked for {suffixes}")
    where = None if cameras is None else Cameras.load(cameras)
    _demand_writable(out)
    predictor = network if isinstance(network, Predictor) else load(network, device)
    predictor.configure(tasks, size, tiles, batch)
    known = [*KINDS, *predictor.tasks]
    for kind in write or ():
        if kind not in known:
            raise ValueError(parts.unknown(kind, known, "kind of file"))
    moving = [(path, name) for path, name in named if _is_film(path)]
    still = [(path, name) for path, name in named if not _is_film(path)]
    with _progress() as progress, _pool(predictor.network) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PIL and its like: what is wrong with a file is said once, in a line
        work = _Work(predictor, out, write, focal, where, frames, progress, pool)
        if still:
            work.look_at(still)
        for path, name in moving:
            work.watch(path, name)
    work.tell(len(named))
    return work.outcome


@dataclass
class _Work:
    predictor: Predictor
    out: Path
    write: Sequence[str] | None
    focal: float | None
    cameras: Cameras | None
    most: int | None
    progress: Progress
    pool: ThreadPoolExecutor
    outcome: Outcome = field(default_factory=Outcome)
    assumed: int = 0

    # -- pictures ------------------------------------------------------------------------------------------------------
    def look_at(self, found: Sequence[tuple[Path, Path]]) -> None:
        bar = self.progress.add_task("", total=len(found))
        places: dict[int, tuple[Path, Path]] = {}

        def ready() -> Iterator[Prepared]:
            for (path, name), prepared in zip(found, self._read(found), strict=True):
                self.progress.update(bar, description=path.name)
                if isinstance(prepared, Exception):
                    self._failed(path, prepared)
                    self.progress.advance(bar)
                else:
                    places[id(prepared)] = path, name
                    yield prepared

        def done(look: tuple[Prepared, Soft]) -> tuple[Prepared, list[Path] | Exception]:
            prepared, soft = look
            try:
                scene = self.predictor.finish(prepared, soft)
                return prepared, scene.save(self.out / places[id(prepared)][1], self.write or KINDS)
            except FAILURES as error:
                return prepared, error

        looks = self._together(found, places, bar) if self._has_views else self.predictor.look(ready())
        for prepared, written in ordered(self.pool, done, looks, 2 * THREADS):
            path, _ = places.pop(id(prepared))
            if isinstance(written, Exception):
                self._failed(path, written)
            else:
                self.outcome.written[path] = written
            self._note(prepared, path)
            self.progress.advance(bar)

    @property
    def _has_views(self) -> bool:
        return self.cameras is not None and self.predictor.sees_views

    def _read(self, found: Sequence[tuple[Path, Path]]) -> Iterator[Prepared | Exception]:
        return ordered(self.pool, lambda each: self._prepared(each[0]), found, 2 * self.predictor.batch)

    def _prepared(self, path: Path) -> Prepared | Exception:
        try:
            return self._prepare(pictures.read(path), path.stem)
        except FAILURES as error:
            return error

    def _together(
        self, found: Sequence[tuple[Path, Path]], places: dict[int, tuple[Path, Path]], bar: object
    ) -> Iterator[tuple[Prepared, Soft]]:
        """Each picture beside the two nearest of the cameras.json; a few are kept, so that it is seldom read again."""
        assert self.cameras is not None
        prepared = lru_cache(maxsize=8)(self._prepared)
        paths = {path.stem: path for path, _ in found}
        poses = {key: self.cameras.poses[key].numpy() for key in paths if self.cameras.posed(key)}
        for path, name in found:
            view = prepared(path)
            try:
                if isinstance(view, Exception):
                    raise view
                others = [prepared(paths[key]) for key in nearest(path.stem, poses)]
                soft = self.predictor.look_beside(view, [each for each in others if isinstance(each, Prepared)])
            except FAILURES as error:
                self._failed(path, error)
                continue
            places[id(view)] = path, name
            yield view, soft

    # -- films ---------------------------------------------------------------------------------------------------------
    def watch(self, path: Path, name: Path) -> None:
        """A film as a film of panels; other kinds of file for each frame, in a folder."""
        kinds = self.write or ("panels",)
        each = [kind for kind in kinds if kind != "panels"]
        stem = self.out / name
        try:
            film = Film.open(path)
            (stem if each else stem.parent).mkdir(parents=True, exist_ok=True)
        except (BadVideo, OSError) as error:
            self._failed(path, error)
            return
        bar = self.progress.add_task(path.name, total=min(filter(None, (film.announced, self.most)), default=None))
        panel = video.Panels(stem.with_name(stem.name + ".panels.mp4"), film.rate)
        written: list[Path] = []

        def drawn(look: tuple[Prepared, Soft, Mapping[str, Mapping[str, float]]]) -> tuple[np.ndarray, list[Path]]:
            prepared, soft, limits = look
            scene = self.predictor.finish(prepared, soft)
            files = scene.save(stem / prepared.picture.name, each) if each else []
            return np.asarray(panels.compose(scene.facets(limits))), files

        try:
            for page, files in ordered(self.pool, drawn, self._calm(self._seen(film)), 2 * THREADS):
                if "panels" in kinds:
                    panel.write(page)
                written += files
                self.progress.advance(bar)
        except KeyboardInterrupt:
            if not str(path).startswith(video.WEBCAM):
                raise
        except FAILURES as error:
            self._failed(path, error)
        finally:
            if made := panel.close():
                written.insert(0, made)
        if film.problem:
            self._failed(path, film.problem)
        if written:
            self.outcome.written[path] = written

    def _seen(self, film: Film) -> Iterator[tuple[Prepared, Soft]]:
        """Every frame and what the network says of it; of one with a neck, in the light of the frame before."""
        if not self._has_views:
            yield from self.predictor.look(self._frames(film))
            return
        memory = None
        for frame in self._frames(film):
            soft, memory = self.predictor.look_on(frame, memory)
            yield frame, soft

    def _frames(self, film: Film) -> Iterator[Prepared]:
        for number, pixels in enumerate(film.frames(self.most)):
            prepared = self._prepare(Picture(pixels, f"{number:06d}"), f"{number:06d}")
            if not number:
                self._note(prepared, Path(film.source))
            yield prepared

    def _calm(
        self, looks: Iterable[tuple[Prepared, Soft]]
    ) -> Iterator[tuple[Prepared, Soft, Mapping[str, Mapping[str, float]]]]:
        """With the range that each task's colours stand for, which follows slowly."""
        calm: dict[str, dict[str, float]] = {}
        for prepared, soft in looks:
            for name, task in self.predictor.tasks.items():
                now = task.limits(task.decide(soft[name]))
                before = calm.get(name, now)
                calm[name] = {key: CALM * before[key] + (1 - CALM) * now[key] for key in now}
            yield prepared, soft, dict(calm)

    # -- both ----------------------------------------------------------------------------------------------------------
    def _prepare(self, picture: Picture, key: str) -> Prepared:
        height, width = picture.pixels.shape[:2]
        if self.cameras is not None and self.cameras.posed(key):
            pose = self.cameras.pose(key, (height, width)).numpy()
            return self.predictor.prepare(picture, self.cameras.intrinsics.numpy(), pose)
        known = self.focal and assumed_intrinsics(height, width, self.focal / max(picture.size)).numpy()
        return self.predictor.prepare(picture, known)

    def _failed(self, path: Path, error: Exception) -> None:
        told = " ".join(str(error).split()) or type(error).__name__
        told = told if isinstance(error, (BadPicture, BadVideo)) else f"{path}: {told}"
        self.outcome.failed[path] = told
        self.progress.console.print(f"[red]failed[/] {escape(told)}", highlight=False, soft_wrap=True)

    def _note(self, prepared: Prepared, path: Path) -> None:
        self.assumed += prepared.camera == "assumed"
        if prepared.picture.reduced:
            (height, width), (low, narrow) = prepared.picture.size, prepared.picture.pixels.shape[:2]
            told = f"{path}: {width}x{height} is reduced to {narrow}x{low}"
            self.progress.console.print(f"[yellow]note[/] {escape(told)}", highlight=False, soft_wrap=True)

    def tell(self, count: int) -> None:
        if self.assumed:
            print(
                f"focal length assumed for {self.assumed} without EXIF: depth may be off by a factor; --focal gives it"
            )
        print(f"{len(self.outcome.written)} of {count} inputs -> {self.out}")


def ordered(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """``map`` by the threads of a pool, in order, at most ``ahead`` beyond what was taken."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(network: Network) -> Iterator[ThreadPoolExecutor]:
    """Threads that read, draw and write. Unless the network computes in them, torch's own would only stand in the way:
    each of ours would have as many as there are cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if network.wants_threads else 1)
    try:
        with ThreadPoolExecutor(THREADS, "predict") as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _progress() -> Progress:
    return Progress(
        TextColumn("[bold]predict"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )


def _is_film(path: Path) -> bool:
    return str(path).startswith(video.WEBCAM) or path.suffix.lower() in video.SUFFIXES


def _demand_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(f"{out}: cannot be written to ({error.strerror}); give another --out") from None
