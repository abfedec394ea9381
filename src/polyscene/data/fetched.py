"""Files of other machines, kept for a while in a folder of this one."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from polyscene.data.base import BadSample
from polyscene.lock import held

PIECE = 1 << 20  # bytes
TRIES = 3
AHEAD = 2  # files that are fetched at once before they are needed
LOST = "copy it again from where it was packed, or pack the set again"


class Here:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str, most: int) -> bytes:
        """A small file. ``BadSample`` if it is not there, or larger than ``most`` bytes."""
        return _all(self.at(name), (self.folder / name).open, most)

    def open(self, name: str, size: int, digest: str) -> BinaryIO:
        """The file, opened. ``BadSample`` if it is missing, or has not this ``size``; its ``digest`` is not taken."""
        self.check(name, size)
        return (self.folder / name).open("rb")

    def check(self, name: str, size: int) -> None:
        """``BadSample`` if the file is missing, or has not this ``size``."""
        try:
            found = (self.folder / name).stat().st_size
        except FileNotFoundError:
            raise BadSample(self.at(name), "missing", LOST) from None
        if found != size:
            raise BadSample(self.at(name), f"has {found:,} bytes, not {size:,}", LOST)

    def expect(self, name: str, size: int, digest: str) -> None:
        """Nothing to be done for it."""

    def drop(self, digest: str) -> bool:
        """Whether the file could be fetched again: it is the only one."""
        return False


class Elsewhere:
    """A folder that fsspec opens, by its ``url``. Whole files of it are kept in ``folder`` by their sha256 while they
    fit into ``most`` bytes: those that were used least recently go. Threads and processes may share the folder; a file
    is fetched by one of them. ``ValueError`` if the address is none."""

    def __init__(self, url: str, folder: Path, most: float) -> None:
        import fsspec

        self.url, self.folder, self.most = url.rstrip("/"), folder, most
        try:
            self._system, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{url}: fsspec cannot open it: {error}") from None
        self._expected: set[str] = set()
        self._guard, self._turns = threading.Lock(), threading.BoundedSemaphore(AHEAD)

    def at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str, most: int) -> bytes:
        """As of ``Here``; ``OSError`` if it cannot be fetched."""
        return _all(self.at(name), lambda mode: self._system.open(f"{self._root}/{name}", mode), most)

    def open(self, name: str, size: int, digest: str) -> BinaryIO:
        """The file, opened; it stays readable if it is thrown out meanwhile. ``BadSample`` if it is missing there, or
        is not the one of that ``size`` and ``digest``; ``OSError`` if it cannot be fetched."""
        kept = self.folder / digest
        if (found := _used(kept, size)) is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder / f"{digest[:2]}.lock", wait=True):
            return _used(kept, size) or self._fetch(name, size, digest, kept)

    def check(self, name: str, size: int) -> None:
        """Nothing: it is checked when it is fetched."""

    def expect(self, name: str, size: int, digest: str) -> None:
        """Fetches it in the background, if it is not there. What goes wrong is told when it is opened."""
        if digest in self._expected or (self.folder / digest).exists():
            return
        with self._guard:
            if digest in self._expected:
                return
            self._expected.add(digest)
        threading.Thread(target=self._ahead, args=(name, size, digest), name="fetch", daemon=True).start()

    def drop(self, digest: str) -> bool:
        """Throws the file away, which has changed since it was fetched; it can be fetched again."""
        (self.folder / digest).unlink(missing_ok=True)
        return True

    def _ahead(self, name: str, size: int, digest: str) -> None:
        try:
            with self._turns:
                self.open(name, size, digest).close()
        except Exception:  # what the file systems behind fsspec raise has no end
            return  # and is not tried again
        self._expected.discard(digest)

    def _fetch(self, name: str, size: int, digest: str, kept: Path) -> BinaryIO:
        where = self.at(name)
        self._make_room(size)
        attempt = 0
        while True:
            attempt += 1
            part = self.folder / f"{uuid.uuid4().hex}.part"
            try:
                with part.open("xb") as file:
                    told, got = self._copy(name, size, file)
                    file.flush()
                    os.fsync(file.fileno())
                if (told, got) != (digest, size):
                    problem = f"has {got:,} bytes of sha256 {told[:12]}, not {size:,} of {digest[:12]}"
                    raise BadSample(where, problem, LOST)
                opened = part.open("rb")  # before another process can throw it out
                os.replace(part, kept)
                return opened
            except BadSample:
                raise
            except FileNotFoundError:
                raise BadSample(where, "missing", LOST) from None
            except Exception as error:  # what the file systems behind fsspec raise has no end
                if attempt == TRIES:
                    raise OSError(f"{where} cannot be fetched: {error}") from error
            finally:
                part.unlink(missing_ok=True)
            time.sleep(attempt**2)

    def _copy(self, name: str, size: int, part: BinaryIO) -> tuple[str, int]:
        """Digest and bytes; one byte too many is as good as any more."""
        digest, got = hashlib.sha256(), 0
        with self._system.open(f"{self._root}/{name}", "rb") as file:
            while got <= size and (piece := file.read(min(PIECE, size + 1 - got))):
                digest.update(piece)
                part.write(piece)
                got += len(piece)
        return digest.hexdigest(), got

    def _make_room(self, size: int) -> None:
        there = []
        for path in self.folder.iterdir():
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            if not path.suffix:
                there.append((about.st_mtime_ns, about.st_size, path))
            elif path.suffix == ".part" and time.time() - about.st_mtime > 3600:  # of a process that was killed
                path.unlink(missing_ok=True)
        total = sum(each for _, each, _ in there)
        for _, each, path in sorted(there):
            if total + size <= self.most:
                return
            path.unlink(missing_ok=True)
            total -= each


def _used(kept: Path, size: int) -> BinaryIO | None:
    """The file, opened and marked as used just now; None if it is not there, or not whole."""
    try:
        opened = kept.open("rb")
    except FileNotFoundError:
        return None
    if os.fstat(opened.fileno()).st_size != size:  # the machine may have lost power
        opened.close()
        kept.unlink(missing_ok=True)
        return None
    with suppress(OSError):  # of another user, who may be the only one to mark it
        os.utime(opened.fileno())
    return opened


def _all(where: str, open_as: Callable[[str], Any], most: int) -> bytes:
    try:
        with open_as("rb") as file:
            content = bytes(file.read(most + 1))
    except (FileNotFoundError, NotADirectoryError):
        raise BadSample(where, "missing", "correct the path, or pack the set there: `polyscene data pack`") from None
    if len(content) > most:
        raise BadSample(where, f"has more than {most:,} bytes", LOST)
    return content
