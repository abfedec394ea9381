"""Which of very many inputs are one machine's."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from polyscene import pictures
from polyscene.predict import video
from polyscene.shard import Shard

SUFFIXES = pictures.SUFFIXES | video.SUFFIXES
MADE = re.compile(rf"(_({'|'.join(suffix[1:] for suffix in sorted(SUFFIXES))})(_\d+)*)+$", re.IGNORECASE)


@dataclass
class Listing:
    """A shard's inputs, paths and names as ``pictures.find`` gives them, but for those that ``leave`` takes out.
    ``total``: how many there are for all shards together. Compact, for there may be millions."""

    total: int = 0
    roots: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    marks: array[int] = field(default_factory=lambda: array("Q"))
    todo: np.ndarray = field(default_factory=lambda: np.empty(0, np.intp))

    @classmethod
    def of(cls, inputs: Collection[str | Path], leave_out: Path, shard: Shard) -> Listing:
        """``inputs`` are what ``pictures.walk`` takes. Each belongs to a shard by its name alone, whatever else there
        is and in whatever order it is found; those whose names may have to be told apart belong to one shard, so that
        no two shards write one file. ``FileNotFoundError`` names a missing input."""
        made = cls()
        for root, name in _once(inputs, leave_out):
            made.total += 1
            if shard.has(family(name)):
                made.roots.append(root)
                made.names.append(name)
                made.marks.append(pictures.mark(os.path.join(root, name)))
        made.todo = np.arange(len(made.names))
        return made

    def leave(self, marks: np.ndarray) -> int:
        """Takes out the inputs whose paths have one of these ``pictures.mark``s; how many there were."""
        before = len(self.todo)
        own = np.frombuffer(self.marks, np.uint64) if len(self.marks) else np.empty(0, np.uint64)
        self.todo = self.todo[~np.isin(own[self.todo], marks)]
        return before - len(self.todo)

    def __len__(self) -> int:
        return len(self.todo)

    def __iter__(self) -> Iterator[tuple[Path, Path]]:
        other = pictures.renamed(self.names)
        for place in self.todo.tolist():
            name = self.names[place]
            yield Path(self.roots[place], name), Path(other.get(place) or pictures.bare(name))


def family(name: str) -> str:
    """The same of all names that may have to be told apart: ``a.jpg``, ``a.png`` and ``a_png.tif``."""
    return MADE.sub("", pictures.bare(name).replace(".", "_"))


def _once(inputs: Collection[str | Path], leave_out: Path) -> Iterator[tuple[str, str]]:
    """A file that is in several of the inputs counts in the first."""
    found = pictures.walk(inputs, leave_out, SUFFIXES)
    if len(inputs) < 2:
        yield from found
        return
    real: dict[str, str] = {}
    seen: set[int] = set()
    for root, name in found:
        if root not in real:
            real[root] = os.path.realpath(root)
        mark = pictures.mark(os.path.join(real[root], name))
        if mark not in seen:
            seen.add(mark)
            yield root, name
