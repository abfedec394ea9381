"""Any data set, written as shards: tar files of many samples, in the WebDataset convention."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from polyscene import cores
from polyscene.data import stored, tar
from polyscene.data.base import BadSample, Dataset
from polyscene.data.fetched import Here
from polyscene.data.shards import FILE, FORMAT, Facts, Shard, facts
from polyscene.data.threads import single_threaded_pool
from polyscene.document import from_json
from polyscene.lock import Held, held

Progress = Callable[[int, int], None]
"""Samples done, and all."""
SIZE = 256.0  # MB a shard, about
PROBED = 8  # samples, to tell how large they are, and which set they are of
LOCK = ".lock"


class Stopped(Exception):
    """Another thread has failed."""


class PackError(ValueError):
    """The set cannot be packed there; says why and what to do."""


def pack(
    dataset: Dataset,
    out: Path,
    prefix: str = "shard",
    megabytes: float = SIZE,
    samples: int | None = None,
    skip: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> Facts:
    """Writes shards of about ``megabytes``, or of so many ``samples``, into ``out``, where the same call carries on if
    it was stopped at any moment; the result is the same to the byte. Samples that cannot be read end it with
    ``BadSample``, or are left out (``skip``) and listed. ``options``: what the set was made with, but where it lies.
    ``PackError`` where ``out`` holds anything else, told by these, the tasks, and some samples; nothing is written."""
    dataset.prepare()
    contents = _probe(dataset, skip)
    plan = Facts(
        format=FORMAT,
        name=dataset.name,
        options=dict(options or {}),
        probe=_digest(contents),
        samples=len(dataset),
        per_shard=samples or _samples(contents, megabytes),
        prefix=prefix,
        skip=skip,
        tasks={name: task.describe() for name, task in dataset.tasks.items()},
        labels={name: label for name, label in dataset.labels.items() if name in dataset.tasks},
        notes=tuple(dataset.notes),
    )
    plan = Facts.model_validate(from_json(_text(plan)))  # as it will be read
    _check(out, plan)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with held(out / LOCK):
            if not _check(out, plan):
                _write(out / FILE, _text(plan))
            for path in out.iterdir():
                if _unfinished(path.name, prefix):
                    path.unlink()
            return _pack(dataset, out, plan, workers or cores.available(), progress)
    except Held as error:
        raise PackError(f"{out}: process {error} is packing into it; wait for it, or give another folder") from None


def _pack(dataset: Dataset, out: Path, plan: Facts, workers: int, progress: Progress | None) -> Facts:
    each, prefix = plan.per_shard, plan.prefix
    starts = range(0, len(dataset), each)
    work = _Work(dataset, out, plan.skip, progress)
    shards: list[Shard] = []
    left_out: dict[str, str] = {}
    with single_threaded_pool(min(workers, len(starts))) as pool:
        written = [
            pool.submit(work.shard, f"{prefix}-{number:06d}", range(start, min(start + each, len(dataset))))
            for number, start in enumerate(starts)
        ]
        try:
            for one in written:
                shard, lost = one.result()
                shards += [shard] if shard else []
                left_out |= lost
        except BaseException:
            work.stopped = True
            pool.shutdown(cancel_futures=True)
            raise
    if not shards:
        raise PackError(f"{dataset.name}: none of its samples can be read; `polyscene data verify` lists what is wrong")
    whole = plan.model_copy(update={"shards": tuple(shards), "left_out": left_out})
    _write(out / FILE, _text(whole))
    return whole


def _probe(dataset: Dataset, skip: bool) -> list[bytes]:
    """Some samples, spread over the set, as they are packed; empty for what may be skipped."""
    count = min(PROBED, len(dataset))
    contents = [_sample(dataset, place * len(dataset) // count, skip) for place in range(count)]
    return [content if isinstance(content, bytes) else b"" for content in contents]


def _digest(contents: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def _samples(contents: list[bytes], megabytes: float) -> int:
    """A shard."""
    sizes = [len(content) for content in contents if content]
    return max(1, round(megabytes * 1e6 * len(sizes) / sum(sizes))) if sizes else 1


def _unfinished(name: str, prefix: str) -> bool:
    """Whether it is what a packing that was killed leaves."""
    return re.fullmatch(rf"({re.escape(prefix)}-\d{{6,}}\.(tar|json)|{re.escape(FILE)})\.part", name) is not None


def _check(out: Path, plan: Facts) -> bool:
    """Whether the folder was begun with just this; ``PackError`` if with anything else. What was begun without ``skip``
    may go on with it: no sample is left out of what is there."""
    if not (out / FILE).exists():
        names = sorted(path.name for path in out.iterdir()) if out.exists() else []
        if others := [name for name in names if name != LOCK and not _unfinished(name, plan.prefix)]:
            raise PackError(f"{out}: holds other files ({', '.join(others[:3])}); give an empty folder")
        return False
    there = facts(Here(out)).model_copy(update={"shards": (), "left_out": {}})
    mine, its = plan.model_dump(mode="json"), there.model_dump(mode="json")
    differ = [key for key in mine if json.dumps(mine[key]) != json.dumps(its[key])]
    if differ == ["skip"] and plan.skip:
        return False
    if differ:
        told = "; ".join(f"{key} is {_short(its[key])}, not {_short(mine[key])}" for key in differ[:3])
        raise PackError(f"{out}: holds the shards of another packing ({told}); give another folder, or remove that one")
    return True


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sample(dataset: Dataset, index: int, skip: bool) -> bytes | BadSample:
    """The members of a sample; why there are none, if it may be skipped."""
    try:
        sample = dataset.read(index)
        return stored.pack(f"{index:08d}", sample, dataset.tasks, dataset.labels, dataset.raw_files(index))
    except BadSample as error:
        if skip:
            return error
        raise
    except (stored.Unreadable, tar.BadTar) as error:
        raise PackError(f"{dataset.name}, sample {index}: {error}") from None


class _Work:
    """What threads that write shards share."""

    def __init__(self, dataset: Dataset, out: Path, skip: bool, progress: Progress | None) -> None:
        self.dataset, self.out, self.skip, self.progress = dataset, out, skip, progress
        self.stopped, self.done, self.guard = False, 0, threading.Lock()

    def shard(self, name: str, indices: range) -> tuple[Shard | None, dict[str, str]]:
        """What it holds, and what was left out of it. It is written unless it is there."""
        path, listing = self.out / f"{name}.tar", self.out / f"{name}.json"
        if _finished(path, listing):
            self._advance(len(indices))
        else:
            self._write(path, listing, indices)
        told = _told(listing)
        if not told["samples"]:
            return None, told["left_out"]
        shard = Shard(
            name=path.name,
            samples=len(told["samples"]),
            bytes=told["bytes"],
            sha256=told["sha256"],
            listing=hashlib.sha256(listing.read_bytes()).hexdigest(),
        )
        return shard, told["left_out"]

    def _write(self, path: Path, listing: Path, indices: range) -> None:
        """The listing, which says all there is to know of the shard, is there before it."""
        rows: list[tuple[int, int]] = []
        lost, digest, place = {}, hashlib.sha256(), 0
        part = Path(f"{path}.part")
        with part.open("wb") as file:
            for index in indices:
                if self.stopped:
                    raise Stopped
                content = _sample(self.dataset, index, self.skip)
                if isinstance(content, BadSample):
                    lost[str(index)] = str(content)
                else:
                    rows.append((place, zlib.crc32(content)))
                    file.write(content)
                    digest.update(content)
                    place += len(content)
                self._advance(1)
            file.write(tar.END)
            digest.update(tar.END)
            file.flush()
            os.fsync(file.fileno())
        told = {"bytes": place + len(tar.END), "sha256": digest.hexdigest(), "left_out": lost, "samples": rows}
        _write(listing, json.dumps(told, separators=(",", ":")).encode())
        os.replace(part, path) if rows else part.unlink()

    def _advance(self, count: int) -> None:
        with self.guard:
            self.done += count
            if self.progress is not None:
                self.progress(self.done, len(self.dataset))


def _finished(path: Path, listing: Path) -> bool:
    if not listing.exists():
        return False
    told = _told(listing)
    return not told["samples"] or (path.exists() and path.stat().st_size == told["bytes"])


def _told(listing: Path) -> dict[str, Any]:
    return dict(json.loads(listing.read_bytes()))


def _text(plan: Facts) -> bytes:
    return json.dumps(plan.model_dump(mode="json"), indent=1).encode()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    part = Path(f"{path}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
