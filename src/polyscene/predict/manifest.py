"""What a shard of ``polyscene predict`` has done, so that nothing is done twice."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np

from polyscene import atomic, document, lock
from polyscene.pictures import mark
from polyscene.shard import Shard

FOLDER = "manifest"
RUN = "run.json"


class Refused(ValueError):
    """The folder is in use, or holds other predictions."""


class Manifest:
    """``out``/manifest/00003-of-00008.jsonl: a line for each input when its files are in place, an object with
    ``input`` (its path), ``size`` and ``mtime_ns`` (as it was then), ``outcome`` (``written``, ``failed``, or ``found``
    where a process died between files and line), ``files`` (below ``out``), and of failures ``error``. Counts are of
    this start."""

    keeps: ClassVar[bool] = True

    def __init__(self, out: Path, shard: Shard, file: TextIO) -> None:
        self.out, self.shard, self.file = out, shard, file
        self.written = self.found = self.failed = 0
        self.taken = self.broken = np.empty(0, np.uint64)

    @classmethod
    @contextmanager
    def open(cls, out: Path, shard: Shard, run: Mapping[str, Any], endings: Collection[str]) -> Iterator[Manifest]:
        """``run``: all that the outputs depend on besides the input; ``endings`` of their names. ``Refused`` while
        another process has this shard, or shards of another count are at work, and where ``out`` holds predictions of
        another ``run``, or such that nothing tells how they were made."""
        folder = out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(lock.held(folder / f".{shard.name}.lock"))
                for other in folder.glob(".*.lock"):
                    if not other.stem.endswith(shard.of_all):
                        with lock.held(other, shared=True):
                            pass
            except lock.Held as holder:
                raise Refused(
                    f"{out}: another process (number {holder} of its machine) writes what shard {shard} would; wait, "
                    "or give another --out"
                ) from None
            with lock.held(folder / "run.lock", wait=True):
                _claim(folder / RUN, run, endings)
            file = folder / f"{shard.name}.jsonl"
            _mend(file)
            yield cls(out, shard, stack.enter_context(file.open("a", encoding="utf-8")))

    @property
    def exit_code(self) -> int:
        """Of this start alone. 0: all went well, or nothing was left to do; 1: some input failed; 2: all did."""
        return 0 if not self.failed else 1 if self.written or self.found else 2

    def done(self, retry: bool) -> tuple[np.ndarray, np.ndarray]:
        """``pictures.mark``s of inputs that need no more: of those that went well, and of those that failed; the latter
        none if they are to be tried again. What shards of another count did is among them. ``ValueError`` names a
        damaged line."""
        good, bad, taken = array("Q"), array("Q"), array("Q")
        for file in sorted((self.out / FOLDER).glob("*.jsonl")):
            if file.stem.endswith(self.shard.of_all) and file.stem != self.shard.name:
                continue
            for path, outcome, files in _lines(file):
                (bad if outcome == "failed" else good).append(mark(path))
                if outcome != "failed":
                    taken.extend(map(mark, files))
        well, badly, self.taken = (np.unique(np.array(marks, np.uint64)) for marks in (good, bad, taken))
        self.broken = np.setdiff1d(badly, well)
        return well, self.broken[:0] if retry else self.broken

    def others(self, files: Sequence[Path]) -> list[Path]:
        """Those of the files of an input that is not done which a line says are another's."""
        return [file for file in files if _among(mark(file.relative_to(self.out).as_posix()), self.taken)]

    def broke(self, path: Path) -> bool:
        """Whether an input failed before: what is there of it is not to be trusted."""
        return _among(mark(str(path)), self.broken)

    def note_found(self, path: Path, files: Sequence[Path]) -> None:
        self.found += 1
        self._tell(path, "found", files)

    def note_written(self, path: Path, files: Sequence[Path]) -> None:
        self.written += 1
        self._tell(path, "written", files)

    def note_failed(self, path: Path, error: str, files: Sequence[Path] = ()) -> None:
        self.failed += 1
        self._tell(path, "failed", files, error=error)

    def _tell(self, path: Path, outcome: str, files: Sequence[Path], **more: str) -> None:
        facts: dict[str, Any] = {"input": str(path)}
        try:
            stat = path.stat()
            facts |= {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        except OSError:  # it is gone, which may be why it failed
            pass
        facts |= {"outcome": outcome, "files": [file.relative_to(self.out).as_posix() for file in files], **more}
        self.file.write(json.dumps(facts) + "\n")
        self.file.flush()


def _among(mark: int, marks: np.ndarray) -> bool:
    place = int(np.searchsorted(marks, np.uint64(mark)))
    return place < len(marks) and int(marks[place]) == mark


def _lines(file: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Input, outcome and files of each."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            if not line.endswith(b"\n"):  # another shard is just writing it, or died meanwhile
                return
            try:
                facts = json.loads(line)
                yield str(facts["input"]), str(facts["outcome"]), [str(name) for name in facts["files"]]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                told = f"{file}, line {number}: is damaged ({type(error).__name__}: {error})"
                raise ValueError(f"{told}; remove the line: what is there of its input will be found") from None


def _claim(file: Path, run: Mapping[str, Any], endings: Collection[str]) -> None:
    mine, out = json.loads(json.dumps(run)), file.parents[1]
    if not file.exists():
        if unknown := next((path for path in out.rglob("*") if path.name.endswith(tuple(endings))), None):
            raise Refused(f"{unknown} is there, but no {file} that tells how it was made; give another --out")
        with atomic.whole(file, sync=True) as part:
            part.write_text(json.dumps(mine, indent=2), encoding="utf-8")
    try:
        there = dict(document.from_json(file.read_bytes()))
    except (TypeError, ValueError) as error:
        raise Refused(f"{file} is damaged ({error}); give another --out") from None
    changed = [key for key in mine if there.get(key) != mine[key]]
    if changed:
        told = "; ".join(f"{key}: {there.get(key)!r} there, {mine[key]!r} now" for key in changed)
        raise Refused(f"{out} holds predictions made otherwise ({told}); give another --out")


def _mend(file: Path) -> None:
    """Cuts a last line that a dying process left unfinished: its files will be found."""
    if not file.exists():
        return
    with file.open("r+b") as opened:
        end = opened.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            opened.seek(start)
            if (last := opened.read(end - start).rfind(b"\n")) >= 0:
                end = start + last + 1
                break
            end = start
        opened.truncate(end)
