"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

LEFT = 24 * 3600.0  # seconds after which nobody writes a part any more


@contextmanager
def whole(path: Path, *, sync: bool = False, alone: bool = True) -> Iterator[Path]:
    """A hidden name beside ``path`` to write to, which takes its place when all went well. A process that is killed
    leaves ``path`` as it was; its next attempt writes over what it left. ``sync``: not before the disk has it.
    ``alone``: nobody else writes ``path`` meanwhile; else each has a name of its own, and what was left a day ago is
    removed."""
    own = "" if alone else f".{os.getpid()}-{threading.get_native_id()}"
    part = path.with_name(f".{path.name}{own}.part")
    if not alone:
        _sweep(path.parent)
    try:
        yield part
        if sync:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@cache
def _sweep(folder: Path) -> None:
    """Once a process."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > LEFT:
                part.unlink()
        except FileNotFoundError:  # another process was quicker
            pass
