"""Files that one process holds at a time. The system frees what a process that dies has held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REMEDY = "the file system takes no locks; mount it with them (NFS: with its lock service), or use a folder elsewhere"


class Held(Exception):
    """Another process holds the file; the message is its number."""


@contextmanager
def held(file: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """``Held`` while another process holds it, unless this is to ``wait``. ``shared``: together with others that share
    it. The number of the process is in the file, which stays. ``OSError`` where files cannot be locked."""
    import fcntl  # only where it is needed: not every system has it

    with file.open("a+") as opened:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(opened, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.seek(0)
            raise Held(opened.read().strip() or "unknown") from None
        except OSError as error:
            told = f"{error.strerror}: {REMEDY}"
            raise OSError(error.errno, told, str(file)) from None
        if not shared:
            opened.truncate(0)
            opened.write(str(os.getpid()))
            opened.flush()
        yield
