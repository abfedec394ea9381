"""What is wrong with a described folder, file by file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyscene.data.base import BadSample
from polyscene.data.description import BadDescription, locate
from polyscene.data.folder import Folder, Frame
from polyscene.data.threads import single_threaded_pool


@dataclass(frozen=True)
class Problem:
    file: str
    problem: str
    remedy: str


def verify(path: str | Path, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
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
    with single_threaded_pool(len(os.sched_getaffinity(0))) as pool:
        for done, found in enumerate(pool.map(lambda frame: _check(folder, frame), folder.frames), start=1):
            problems += found
            if progress is not None:
                progress(done, len(folder.frames))
    return list(dict.fromkeys(problems))


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
    attempts: list[Callable[[], Any]] = [lambda name=name: folder.label(name, frame, size) for name in folder.tasks]  # type: ignore[misc]
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
