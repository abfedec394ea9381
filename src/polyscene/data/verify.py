"""What is wrong with a data set, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from polyscene import cores
from polyscene.data.base import BadSample
from polyscene.data.description import BadDescription, locate
from polyscene.data.folder import Folder, Frame
from polyscene.data.original import Original
from polyscene.data.shards import Shards
from polyscene.data.threads import single_threaded_pool

Progress = Callable[[int, int], None]
"""Frames done, and all."""
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    file: str
    problem: str
    remedy: str


def verify(path: str | Path, progress: Progress | None = None) -> list[Problem]:
    """Everything found wrong in all splits of the folder (or description) at ``path``: a reader's own checks, run over
    every file on all cores. ``progress(done, all)`` is called as frames are done. Empty if all is well."""
    file = str(Path(path))
    try:
        file = str(locate(path))
        folder = Folder(path)
    except BadDescription as error:
        return [Problem(file, str(error).removeprefix(f"{file}: "), "correct the description")]
    problems: list[Problem] = []
    for split in folder.description.splits:
        try:
            Folder(path, split)
        except BadDescription as error:
            problems.append(Problem(file, str(error).removeprefix(f"{file}: "), f"correct splits.{split}"))
    problems += [_problem(error) for error in _attempts([lambda: folder.cameras])]
    problems += _without_image(folder)
    problems += _over(folder.frames, lambda frame: _check(folder, frame), progress)
    return list(dict.fromkeys(problems))


def verify_set(dataset: Original, progress: Progress | None = None) -> list[Problem]:
    """Everything found wrong in a split of one of the field's sets: what its reader says of the whole, then every file
    read, but for those in folders that are lost. What has to be derived is derived by this, and kept."""
    problems = [_problem(error) for error in dataset.problems()]
    lost = {problem.file for problem in problems if not Path(problem.file).exists()}

    def news(found: Iterable[Problem]) -> list[Problem]:
        return [each for each in found if lost.isdisjoint(map(str, Path(each.file).parents))]

    def check(frame: str) -> list[Problem]:
        try:
            image = dataset.image(frame)
        except BadSample as error:
            return news([_problem(error)])
        size = image.shape[-2], image.shape[-1]
        attempts: list[Callable[[], Any]] = [partial(dataset.labelled, name, frame, size) for name in dataset.tasks]
        return news(_problem(error) for error in _attempts([*attempts, partial(dataset.camera, frame, size)]))

    problems += _over(dataset.frames, check, progress)
    return list(dict.fromkeys(problems))


def verify_shards(path: str, progress: Progress | None = None) -> list[Problem]:
    """Every sample of shards read, here or elsewhere; each is compared with its checksum."""
    try:
        dataset = Shards(path)
    except BadSample as error:
        return [_problem(error)]

    def check(index: int) -> list[Problem]:
        return [_problem(error) for error in _attempts([lambda: dataset.read(index)])]

    return list(dict.fromkeys(_over(range(len(dataset)), check, progress)))


def _over(frames: Sequence[T], check: Callable[[T], list[Problem]], progress: Progress | None) -> list[Problem]:
    problems: list[Problem] = []
    with single_threaded_pool(cores.available()) as pool:
        for done, found in enumerate(pool.map(check, frames), start=1):
            problems += found
            if progress is not None:
                progress(done, len(frames))
    return problems


def _without_image(folder: Folder) -> Iterator[Problem]:
    """A lost image shows in the labels it leaves behind."""
    splits = dict.fromkeys(frame.split for frame in folder.frames)
    for split in splits:
        there = {frame.id for frame in folder.frames if frame.split == split}
        left: dict[str, list[str]] = {}
        for name in folder.tasks:
            for frame in folder.labelled(name, split).keys() - there:
                left.setdefault(frame, []).append(name)
        for frame, names in sorted(left.items()):
            image = folder.root / folder.description.images.replace("{split}", split or "").replace("{id}", frame)
            problem = f"missing, though frame {frame} has {' and '.join(names)}"
            yield Problem(str(image), problem, "restore it, or remove its labels")


def _check(folder: Folder, frame: Frame) -> list[Problem]:
    """An image that cannot be read hides its labels' sizes, so they are only looked at once it can."""
    try:
        image = folder.image(frame)
    except BadSample as error:
        return [_problem(error)]
    size = image.shape[-2], image.shape[-1]
    attempts: list[Callable[[], Any]] = [partial(folder.label, name, frame, size) for name in folder.tasks]
    try:
        cameras = folder.cameras
    except BadSample:
        cameras = None  # reported once
    if cameras is not None:
        attempts.append(lambda: cameras.pose(frame.id, size))
    return [_problem(error) for error in _attempts(attempts)]


def _attempts(attempts: list[Callable[[], Any]]) -> Iterator[BadSample]:
    for attempt in attempts:
        try:
            attempt()
        except BadSample as error:
            yield error


def _problem(error: BadSample) -> Problem:
    return Problem(error.file, error.problem, error.remedy)
