"""Data sets as `polyscene data pack` writes them: shards of many samples each, on this machine or any other."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from polyscene import tasks as task_table
from polyscene.data import stored, tar
from polyscene.data.base import BadSample, Dataset
from polyscene.data.cache import cache_folder
from polyscene.data.description import Label
from polyscene.data.fetched import LOST, Elsewhere, Here
from polyscene.document import BadText, from_json
from polyscene.ranges import Count, Positive
from polyscene.tasks import Task
from polyscene.types import Sample

FILE = "shards.json"
FORMAT = 1
MOST = 1 << 28  # samples
NUMBER = 1 << 16  # in what a task is made with, such as its bins
LARGEST = 1 << 26  # bytes of shards.json, and of the list of a shard
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Whole = Annotated[int, Field(gt=0, lt=1 << 50)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(Strict):
    """One tar file, and the JSON file beside it that says where in it each sample lies (``listing`` is its sha256)."""

    name: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]*\.tar$", max_length=100)]
    samples: Whole
    bytes: Whole
    sha256: Digest
    listing: Digest


class Facts(Strict):
    """What ``shards.json`` says. ``tasks`` are as ``Task.describe`` tells them, ``labels`` how those of their files are
    read that were kept as they are. ``options``: what the set was made with, where known; ``probe``: a digest of some
    of its samples; ``skip``: what cannot be read is left out. ``shards`` are none until all are packed."""

    format: int
    name: str
    options: dict[str, Any] = {}
    probe: Digest | None = None
    samples: Whole
    per_shard: Whole
    prefix: str
    skip: bool = False
    tasks: dict[str, dict[str, Any]]
    labels: dict[str, Label] = {}
    notes: tuple[str, ...] = ()
    left_out: dict[str, str] = {}
    shards: tuple[Shard, ...] = ()


class Shards(Dataset):
    """``path``: a folder with shards, here, or elsewhere by any address that fsspec opens (``s3://...``,
    ``https://...``).

    Here samples are read where they lie. From elsewhere whole shards are fetched, the next ones ahead, checked, and
    kept in the cache folder while they take up at most ``cache`` GB; those used least recently go. Training mixes the
    samples of ``window`` shards. ``BadSample`` when made if ``shards.json`` is not there or not whole, or shards that
    lie here are missing or of other sizes.
    """

    def __init__(self, path: str | Path, cache: Positive = 20.0, window: Count = 8) -> None:
        self._source = source(path, cache)
        self.facts = facts(self._source)
        where = self._source.at(FILE)
        if not self.facts.shards:
            raise BadSample(where, "not finished", "call the `polyscene data pack` that began it again; it carries on")
        if self.facts.samples > MOST:
            raise BadSample(where, f"speaks of more than {MOST:,} samples", LOST)
        if sum(shard.samples for shard in self.facts.shards) + len(self.facts.left_out) != self.facts.samples:
            raise BadSample(where, "lists fewer samples than it should have", LOST)
        for shard in self.facts.shards:
            if shard.bytes < tar.LEAST * shard.samples:
                raise BadSample(
                    where, f"{shard.name}: {shard.bytes:,} bytes cannot hold {shard.samples:,} samples", LOST
                )
            self._source.check(shard.name, shard.bytes)
        self.name, self.notes, self.labels = self.facts.name, self.facts.notes, self.facts.labels
        self.tasks = {name: _task(name, about, where) for name, about in self.facts.tasks.items()}
        for name, label in self.labels.items():
            _check(name, label, self.tasks.get(name), where)
        self._ends = list(accumulate(shard.samples for shard in self.facts.shards))
        self.window = min(window, len(self._ends))
        self._opened = _Opened(self._source, 2 * self.window)

    @cached_property
    def groups(self) -> Tensor:  # type: ignore[override]
        counts = torch.tensor([shard.samples for shard in self.facts.shards])
        return torch.arange(len(counts), dtype=torch.int32).repeat_interleave(counts)

    def __len__(self) -> int:
        return self._ends[-1]

    def expect(self, index: int) -> None:
        shard = self.facts.shards[bisect_right(self._ends, index)]
        self._source.expect(shard.name, shard.bytes, shard.sha256)

    def read(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: index {index} of {len(self)} samples")
        number = bisect_right(self._ends, index)
        shard = self.facts.shards[number]
        place = index - self._ends[number] + shard.samples
        try:
            content = self._opened.sample(shard, place)
            return stored.unpack(memoryview(content), self.tasks, self.labels)
        except stored.Unreadable as error:
            raise BadSample(f"{self._source.at(shard.name)} sample {place}", str(error), LOST) from None


class Altered(stored.Unreadable):
    """Bytes are others than were packed."""


class _Listed:
    """A shard that is open. Threads may read of it at once."""

    def __init__(self, file: BinaryIO, rows: list[tuple[int, int]], end: int) -> None:
        self.file, self.rows, self.end = file, rows, end

    def sample(self, place: int) -> bytes:
        start, checksum = self.rows[place]
        end = self.rows[place + 1][0] if place + 1 < len(self.rows) else self.end
        content = os.pread(self.file.fileno(), end - start, start)
        if len(content) != end - start or zlib.crc32(content) != checksum:
            raise Altered("its checksum is not that of what was packed")
        return content


class _Opened:
    """The shards that were read last."""

    def __init__(self, where: Here | Elsewhere, most: int) -> None:
        self.where, self.most = where, most
        self._shards: OrderedDict[str, _Listed] = OrderedDict()  # one that goes is closed when nobody reads of it
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._again: set[str] = set()

    def sample(self, shard: Shard, place: int) -> bytes:
        """``Altered`` if the bytes are others than were packed, also when the shard was fetched once more."""
        opened = self.shard(shard)
        try:
            return opened.sample(place)
        except Altered:
            if not self._dropped(shard, opened):
                raise
        return self.shard(shard).sample(place)

    def _dropped(self, shard: Shard, opened: _Listed) -> bool:
        """Whether it is worth opening it again: what was kept of it is thrown away, once."""
        with self._guard:
            now = self._shards.get(shard.name)
            if now is opened or (now is None and shard.name not in self._again):
                if shard.name in self._again or not self.where.drop(shard.sha256):
                    return False
                self._again.add(shard.name)
                self._shards.pop(shard.name, None)
            return True

    def shard(self, shard: Shard) -> _Listed:
        with self._guard:
            if (found := self._shards.get(shard.name)) is not None:
                self._shards.move_to_end(shard.name)
                return found
            turn = self._turns.setdefault(shard.name, threading.Lock())
        with turn:  # others read on meanwhile
            if (found := self._shards.get(shard.name)) is None:
                found = _listed(self.where, shard)
                with self._guard:
                    self._shards[shard.name] = found
                    if len(self._shards) > self.most:
                        self._shards.popitem(last=False)
            return found


def _listed(where: Here | Elsewhere, shard: Shard) -> _Listed:
    name = Path(shard.name).with_suffix(".json").name
    content = where.read(name, LARGEST)
    if hashlib.sha256(content).hexdigest() != shard.listing:
        raise BadSample(where.at(name), "is not the one that was packed, by its sha256", LOST)
    try:
        rows = [(int(start), int(checksum)) for start, checksum in from_json(content)["samples"]]
    except (BadText, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadSample(where.at(name), f"lists no samples ({error})", LOST) from None
    places = [*(start for start, _ in rows), shard.bytes - len(tar.END)]
    if len(rows) != shard.samples or places[0] < 0 or any(a >= b for a, b in pairwise(places)):
        raise BadSample(where.at(name), "lists other samples than there are", LOST)
    return _Listed(where.open(shard.name, shard.bytes, shard.sha256), rows, places[-1])


def source(path: str | Path, cache: float) -> Here | Elsewhere:
    """Where ``path`` leads: to a folder, or by any other address elsewhere."""
    text = str(path)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif SCHEME.match(text):
        return Elsewhere(text, cache_folder() / "shards", cache * 1e9)
    return Here(Path(text).expanduser())


def facts(where: Here | Elsewhere) -> Facts:
    """What ``shards.json`` says. ``BadSample`` if it is not there, or none of ours."""
    content = where.read(FILE, LARGEST)
    try:
        found = Facts.model_validate(from_json(content))
        if found.format != FORMAT:
            raise ValueError(f"format {found.format}, which this version cannot read")
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]
        raise BadSample(where.at(FILE), f"is no description of shards ({told})", LOST) from None
    except ValueError as error:
        raise BadSample(where.at(FILE), f"is no description of shards ({str(error)[:300]})", LOST) from None
    return found


def _check(name: str, label: Label, task: Task | None, where: str) -> None:
    for key in ("scale", "offset", "invalid"):
        numbers = getattr(label, key)
        if task is None or (isinstance(numbers, tuple) and len(numbers) != task.value_channels):
            raise BadSample(where, f"labels.{name}.{key} fits no task", LOST)


def _task(name: str, about: Mapping[str, Any], where: str) -> Task:
    try:
        task = task_table.build(dict(about))
        if task.name != name or not all(isinstance(label, str) for label in task.classes):
            raise ValueError("names and classes are words")
        for key, value in about.items():
            if isinstance(value, int) and abs(value) > NUMBER:
                raise ValueError(f"{key} is more than {NUMBER:,}")
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise BadSample(where, f"tasks.{name} cannot be made ({str(error)[:300]})", LOST) from None
    return task
