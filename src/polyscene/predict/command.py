"""``polyscene predict``: pictures, films and webcams through a network, into a folder."""

from __future__ import annotations

import errno
import hashlib
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from polyscene import cores, panels, parts, pictures
from polyscene.data.cameras import Cameras
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.pictures import BadPicture, Picture
from polyscene.predict import video
from polyscene.predict.listing import SUFFIXES, Listing
from polyscene.predict.manifest import FOLDER, Manifest
from polyscene.predict.networks import Network, Soft
from polyscene.predict.predictor import Predictor, Prepared, batches, load, nearest
from polyscene.predict.video import BadVideo, Film
from polyscene.scene import KINDS, Scene, file_of
from polyscene.shard import Shard

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = max(2, min(8, cores.available()))
FAILURES = (OSError, ValueError, MemoryError, RuntimeError)  # of one input; the last is torch's want of memory
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of no input, but of the disk
HELPLESS = 32  # failures of the network in a row that end the work
FILM = ".panels.mp4"
UNSURE = {"glb"}  # kinds of file that a picture may have nothing for
CALM = 0.9  # of the range that colours stand for stays from frame to frame: films do not flicker


@runtime_checkable
class Ledger(Protocol):
    """Where it is noted what became of each input. ``keeps``: whether files that are there already are left alone."""

    keeps: ClassVar[bool]

    def others(self, files: Sequence[Path]) -> Sequence[Path]: ...

    def broke(self, path: Path) -> bool: ...

    def note_found(self, path: Path, files: Sequence[Path]) -> None: ...

    def note_written(self, path: Path, files: Sequence[Path]) -> None: ...

    def note_failed(self, path: Path, error: str, files: Sequence[Path] = ()) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What ``predict_paths`` did: files written by input, and what was wrong with others. A film that breaks off is
    among both."""

    written: dict[Path, list[Path]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    keeps: ClassVar[bool] = False

    @property
    def exit_code(self) -> int:
        """0: all went well; 1: some input failed; 2: nothing was written."""
        return 2 if not self.written else int(bool(self.failed))

    def others(self, files: Sequence[Path]) -> Sequence[Path]:
        return ()

    def broke(self, path: Path) -> bool:
        return False

    def note_found(self, path: Path, files: Sequence[Path]) -> None:
        raise AssertionError("what is there is written anew")

    def note_written(self, path: Path, files: Sequence[Path]) -> None:
        self.written[path] = list(files)

    def note_failed(self, path: Path, error: str, files: Sequence[Path] = ()) -> None:
        self.failed[path] = error
        if files:
            self.written[path] = list(files)


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
    the pictures. ``cameras``: a cameras.json, by whose poses a network with a neck sees pictures together: it calls
    them by name without suffix, with as much of the folders before it as tells them apart; of films the frames are
    called 000000, 000001... ``frames``: of a film at most. The others: see ``Predictor.configure``.

    What cannot be read is named and the rest goes on. Raises ``FileNotFoundError`` for an input that is not there,
    ``ValueError`` where nothing was found or an option cannot be, ``OSError`` where ``out`` cannot be written, all
    before anything is looked at; and ``OSError`` when the disk is full.
    """
    out = Path(out)
    films = [Path(str(entry)) for entry in inputs if str(entry).startswith(video.WEBCAM)]
    paths = [entry for entry in inputs if not str(entry).startswith(video.WEBCAM)]
    _check(focal, frames)
    found = pictures.find(paths, leave_out=out, suffixes=SUFFIXES)
    named = [(path, Path(str(path).replace(":", ""))) for path in films] + found
    if not named:
        raise _nothing(inputs)
    where = None if cameras is None else Cameras.load(cameras)
    posed = {} if where is None else _posed((path for path, _ in found), where)
    _demand_writable(out)
    predictor = _configured(network, device, write, tasks, size, tiles, batch)
    outcome = Outcome()
    with _progress() as progress, _pool(predictor.network) as pool:
        work = _Work(predictor, out, write, focal, where, posed, frames, progress, pool, outcome)
        work.go(named)
    work.tell_assumed()
    print(f"{len(outcome.written)} of {len(named)} inputs -> {out}")
    return outcome


def predict_shard(
    inputs: Sequence[str | Path],
    out: str | Path,
    shard: Shard,
    network: str | Path | Predictor = "starter",
    device: str = "auto",
    *,
    retry: bool = False,
    write: Sequence[str] | None = None,
    tasks: Sequence[str] = (),
    size: Sequence[int] = (),
    tiles: int = 1,
    batch: int = 4,
    focal: float | None = None,
    cameras: Path | None = None,
    frames: int | None = None,
) -> Manifest:
    """One machine's part of what ``predict_paths`` does to very many ``inputs`` (no webcams). All may share ``out``,
    where ``Manifest`` tells what became of each; the same call again goes on where it was, whoever was killed, and
    writes nothing twice. Inputs that failed are left alone unless this is to ``retry``.

    Raises what ``predict_paths`` does, and ``manifest.Refused`` where ``out`` holds predictions made otherwise or
    another process does this shard.
    """
    out = Path(out)
    if webcams := [str(entry) for entry in inputs if str(entry).startswith(video.WEBCAM)]:
        raise ValueError(f"{webcams[0]} cannot be looked at in shards")
    _check(focal, frames)
    inputs = [Path(entry).absolute() for entry in inputs]  # the same, wherever each start is
    found = Listing.of(inputs, out, shard)
    if not found.total:
        raise _nothing(inputs)
    where = None if cameras is None else Cameras.load(cameras)
    posed = {} if where is None else _posed((Path(*place) for place in pictures.walk(inputs, out, SUFFIXES)), where)
    _demand_writable(out)
    predictor = _configured(network, device, write, tasks, size, tiles, batch)
    run = {
        "inputs": pictures.roots(inputs),
        "network": predictor.network.digest(),
        "write": write and list(write),
        "tasks": list(predictor.tasks),
        "size": list(predictor.scale),
        "tiles": tiles,
        "focal": focal,
        "cameras": None if cameras is None else hashlib.sha256(cameras.read_bytes()).hexdigest(),
        "frames": frames,
    }
    endings = [*(file_of(Path("-"), kind).name[1:] for kind in write or KINDS), FILM]
    with Manifest.open(out, shard, run, endings) as manifest, _progress() as progress, _pool(predictor.network) as pool:
        well, badly = manifest.done(retry)
        before, failed = found.leave(well), found.leave(badly)
        mine = len(found.names)
        told = f"shard {shard}: {mine} of {found.total} inputs; {before} are done"
        told += f", {failed} failed before (--retry tries them again)" if failed else ""
        progress.console.print(told, highlight=False, soft_wrap=True)
        work = _Work(predictor, out, write, focal, where, posed, frames, progress, pool, manifest)
        work.go(found)
    work.tell_assumed()
    kept = f", {manifest.found} were there" if manifest.found else ""
    lost = f", {manifest.failed} failed" if manifest.failed else ""
    print(f"{manifest.written} of {mine} inputs{kept}{lost} -> {out}; {out / FOLDER / shard.name}.jsonl")
    return manifest


def _check(focal: float | None, frames: int | None) -> None:
    if focal is not None and not focal > 0:
        raise ValueError(f"focal {focal:g}: give pixels of the pictures, or leave it out")
    if frames is not None and frames < 1:
        raise ValueError(f"frames {frames}: it is a count, from 1 on")


def _nothing(inputs: Sequence[str | Path]) -> ValueError:
    return ValueError(f"no picture in {', '.join(map(str, inputs))}; looked for {', '.join(sorted(SUFFIXES))}")


def _configured(
    network: str | Path | Predictor,
    device: str,
    write: Sequence[str] | None,
    tasks: Sequence[str],
    size: Sequence[int],
    tiles: int,
    batch: int,
) -> Predictor:
    predictor = network if isinstance(network, Predictor) else load(network, device)
    predictor.configure(tasks, size, tiles, batch)
    known = [*KINDS, *predictor.tasks]
    for kind in write or ():
        if kind not in known:
            raise ValueError(parts.unknown(kind, known, "kind of file"))
    return predictor


def _posed(paths: Iterable[Path], cameras: Cameras) -> dict[str, Path]:
    """Pictures by the frame of ``cameras`` that they are: the longest end of folders and name that is one there.
    ``ValueError`` where two pictures would be the same."""
    posed: dict[str, Path] = {}
    for path in paths:
        steps = path.with_suffix("").parts
        ends = ("/".join(steps[start:]) for start in range(len(steps)))
        frame = next((end for end in ends if end in cameras.poses), None)
        if frame is None or not cameras.posed(frame):
            continue
        if posed.setdefault(frame, path) != path:
            raise ValueError(
                f"{cameras.file}: frame {frame} may be {posed[frame]} or {path}; give one of them, or write the id of "
                "each frame with its folder, as in left/0001"
            )
    return posed


@dataclass
class _Work:
    predictor: Predictor
    out: Path
    write: Sequence[str] | None
    focal: float | None
    cameras: Cameras | None
    posed: Mapping[str, Path]
    most: int | None
    progress: Progress
    pool: ThreadPoolExecutor
    ledger: Ledger
    assumed: int = 0
    helpless: int = 0

    def __post_init__(self) -> None:
        self.frames = {path: frame for frame, path in self.posed.items()}
        self.places: dict[int, tuple[Path, Path, Sequence[str]]] = {}

    def go(self, found: Listing | Sequence[tuple[Path, Path]]) -> None:
        """Pictures first, films as they were met."""
        bar = self.progress.add_task("", total=len(found))
        moving: list[tuple[Path, Path]] = []

        def still() -> Iterator[tuple[Path, Path]]:
            for each in found:
                if _is_film(each[0]):
                    moving.append(each)
                    self.progress.update(bar, total=len(found) - len(moving))
                else:
                    yield each

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PIL and its like: what is wrong with a file is said once, in a line
            self.look_at(still(), bar)
            if len(moving) == len(found):
                self.progress.remove_task(bar)
            for path, name in moving:
                self.watch(path, name)

    # -- pictures ------------------------------------------------------------------------------------------------------
    def look_at(self, found: Iterable[tuple[Path, Path]], bar: TaskID) -> None:
        def done(look: tuple[Prepared, Soft | Exception]) -> tuple[Prepared, list[Path] | Exception]:
            prepared, soft = look
            if isinstance(soft, Exception):
                return prepared, soft
            _, stem, kinds = self.places[id(prepared)]
            try:
                return prepared, _saved(self.predictor.finish(prepared, soft), stem, kinds, self.write or KINDS)
            except FAILURES as error:
                return prepared, error

        looks = self._together(found, bar) if self._has_views else self._looks(self._ready(found, bar))
        for prepared, written in ordered(self.pool, done, looks, 2 * THREADS):
            path, _, _ = self.places.pop(id(prepared))
            if isinstance(written, Exception):
                self._failed(path, written)
            else:
                self.ledger.note_written(path, written)
            self._note(prepared, path)
            self.progress.advance(bar)

    @property
    def _has_views(self) -> bool:
        return self.cameras is not None and self.predictor.sees_views

    def _todo(self, found: Iterable[tuple[Path, Path]], bar: TaskID) -> Iterator[tuple[Path, Path, Sequence[str]]]:
        """Those that are not complete: path, stem of the files, and kinds that are lacking."""
        for path, name in found:
            stem, kinds = self.out / name, self.write or KINDS
            files = [file_of(stem, kind) for kind in kinds]
            if others := self.ledger.others(files):
                self._failed(path, _others(others))
                self.progress.advance(bar)
            elif lacking := kinds if self.ledger.broke(path) else self._lacking(stem, kinds):
                yield path, stem, lacking
            else:
                self.ledger.note_found(path, [file for file in files if file.exists()])
                self.progress.advance(bar)

    def _lacking(self, stem: Path, kinds: Sequence[str]) -> Sequence[str]:
        """The kinds of file to write, where what is there is kept: none if all are that every picture has, and the last
        to be written is always such a one."""
        if not self.ledger.keeps:
            return kinds
        sure = [kind for kind in kinds if kind not in UNSURE] or kinds
        missing = [kind for kind in kinds if not file_of(stem, kind).exists()]
        return sorted(missing, key=lambda kind: kind not in UNSURE) if set(missing) & set(sure) else []

    def _ready(self, found: Iterable[tuple[Path, Path]], bar: TaskID) -> Iterator[Prepared]:
        def read(
            each: tuple[Path, Path, Sequence[str]],
        ) -> tuple[tuple[Path, Path, Sequence[str]], Prepared | Exception]:
            return each, self._prepared(each[0])

        for place, prepared in ordered(self.pool, read, self._todo(found, bar), 2 * self.predictor.batch):
            self.progress.update(bar, description=place[0].name)
            if isinstance(prepared, Exception):
                self._failed(place[0], prepared)
                self.progress.advance(bar)
            else:
                self.places[id(prepared)] = place
                yield prepared

    def _prepared(self, path: Path) -> Prepared | Exception:
        try:
            return self._prepare(pictures.read(path), self.frames.get(path))
        except FAILURES as error:
            return error

    def _looks(self, ready: Iterable[Prepared]) -> Iterator[tuple[Prepared, Soft | Exception]]:
        """What the network says of each; where it fails at several together, each is looked at alone."""
        for together in batches(ready, self.predictor.batch):
            try:
                looks = list(self.predictor.look(together))
            except Exception as error:  # what engines raise has no end
                if len(together) == 1:
                    yield together[0], self._helpless(error)
                else:
                    yield from (look for each in together for look in self._looks([each]))
            else:
                self.helpless = 0
                yield from looks

    def _helpless(self, error: Exception) -> Exception:
        """The error itself, unless the network fails at everything: then it is no picture's."""
        self.helpless += 1
        if self.helpless == HELPLESS:
            raise RuntimeError(f"the network failed at {HELPLESS} pictures, one after another: {error}") from error
        return error

    def _together(self, found: Iterable[tuple[Path, Path]], bar: TaskID) -> Iterator[tuple[Prepared, Soft | Exception]]:
        """Each picture beside the two nearest of the cameras.json; a few are kept, so that it is seldom read again."""
        assert self.cameras is not None
        prepared = lru_cache(maxsize=8)(self._prepared)
        poses = {frame: self.cameras.poses[frame].numpy() for frame in self.posed}
        for path, stem, kinds in self._todo(found, bar):
            view = prepared(path)
            if isinstance(view, Exception):
                self._failed(path, view)
                self.progress.advance(bar)
                continue
            self.places[id(view)] = path, stem, kinds
            others = [prepared(self.posed[frame]) for frame in nearest(self.frames.get(path, ""), poses)]
            try:
                yield view, self.predictor.look_beside(view, [each for each in others if isinstance(each, Prepared)])
            except FAILURES as error:
                yield view, error

    # -- films ---------------------------------------------------------------------------------------------------------
    def watch(self, path: Path, name: Path) -> None:
        """A film as a film of panels; other kinds of file for each frame, in a folder."""
        kinds = self.write or ("panels",)
        each = [kind for kind in kinds if kind != "panels"]
        stem = self.out / name
        whole = stem.with_name(stem.name + FILM)
        if others := self.ledger.others([whole]):
            self._failed(path, _others(others))
            return
        broke = self.ledger.broke(path)
        if self.ledger.keeps and "panels" in kinds and whole.exists() and not broke:
            self.ledger.note_found(path, [whole])
            return
        try:
            film = Film.open(path)
            (stem if each else stem.parent).mkdir(parents=True, exist_ok=True)
        except (BadVideo, OSError) as error:
            self._failed(path, error)
            return
        bar = self.progress.add_task(path.name, total=min(filter(None, (film.announced, self.most)), default=None))
        panel = video.Panels(whole, film.rate)
        problem: Exception | None = None
        written: list[Path] = []

        def drawn(look: tuple[Prepared, Soft, Mapping[str, Mapping[str, float]]]) -> tuple[np.ndarray, list[Path]]:
            prepared, soft, limits = look
            scene = self.predictor.finish(prepared, soft)
            place = stem / prepared.picture.name
            lacking = each if broke else self._lacking(place, each)
            files = _saved(scene, place, lacking, each)
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
            problem = error
        except BaseException:
            panel.drop()
            raise
        if problem:
            panel.drop()
        else:
            try:
                written[:0] = filter(None, [panel.close()])
            except OSError as error:
                problem = error
        if problem := problem or film.problem:
            self._failed(path, problem, written)
        elif written:
            self.ledger.note_written(path, written)

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
    def _prepare(self, picture: Picture, frame: str | None) -> Prepared:
        height, width = picture.pixels.shape[:2]
        if self.cameras is not None and frame is not None and self.cameras.posed(frame):
            pose = self.cameras.pose(frame, (height, width)).numpy()
            return self.predictor.prepare(picture, self.cameras.intrinsics.numpy(), pose)
        known = self.focal and assumed_intrinsics(height, width, self.focal / max(picture.size)).numpy()
        return self.predictor.prepare(picture, known)

    def _failed(self, path: Path, error: Exception, files: Sequence[Path] = ()) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        told = " ".join(str(error).split()) or type(error).__name__
        told = told if isinstance(error, (BadPicture, BadVideo)) else f"{path}: {told}"
        self.ledger.note_failed(path, told, files)
        self.progress.console.print(f"[red]failed[/] {escape(told)}", highlight=False, soft_wrap=True)

    def _note(self, prepared: Prepared, path: Path) -> None:
        self.assumed += prepared.camera == "assumed"
        if prepared.picture.reduced:
            (height, width), (low, narrow) = prepared.picture.size, prepared.picture.pixels.shape[:2]
            told = f"{path}: {width}x{height} is reduced to {narrow}x{low}"
            self.progress.console.print(f"[yellow]note[/] {escape(told)}", highlight=False, soft_wrap=True)

    def tell_assumed(self) -> None:
        if self.assumed:
            print(
                f"focal length assumed for {self.assumed} without EXIF: depth may be off by a factor; --focal gives it"
            )


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


def _saved(scene: Scene, stem: Path, lacking: Sequence[str], kinds: Sequence[str]) -> list[Path]:
    """All files of these kinds in their order, those that an earlier start wrote as well."""
    written = scene.save(stem, lacking) if lacking else []
    there = {kind: file_of(stem, kind) for kind in kinds}
    return [file for kind, file in there.items() if file in written or (kind not in lacking and file.exists())]


def _others(files: Sequence[Path]) -> ValueError:
    return ValueError(f"{files[0]} is the output of another input, which had this name; give another --out")


def _is_film(path: Path) -> bool:
    return str(path).startswith(video.WEBCAM) or path.suffix.lower() in video.SUFFIXES


def _demand_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(f"{out}: cannot be written to ({error.strerror}); give another --out") from None
