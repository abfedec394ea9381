"""Members of tar files, as bytes: nothing is ever unpacked to a file of a name that an archive gives."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

BLOCK = 512
LEAST = 2 * BLOCK  # of a member that is not empty
END = bytes(2 * BLOCK)
NAME = re.compile(rb"[0-9A-Za-z][0-9A-Za-z_-]*(\.[0-9A-Za-z_-]+)+")


class BadTar(ValueError):
    """What is wrong with an archive, in one line."""


def member(name: str, content: bytes) -> bytes:
    """A member that depends on nothing but its name and content. ``BadTar`` where the name is none that is read."""
    if not NAME.fullmatch(name.encode()) or len(name) > 100:
        raise BadTar(f"{name!r} cannot name a member; letters, digits, - and _ with dots between can, 100 at most")
    about = tarfile.TarInfo(name)
    about.size = len(content)
    return about.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % BLOCK)


def members(content: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Names and contents of whole members, one after the other. ``BadTar`` for whatever is no plain file with a plain
    name."""
    place = 0
    while place < len(content):
        header = bytes(content[place : place + BLOCK])
        name, size = header[:100].rstrip(b"\0"), _size(header)
        if not NAME.fullmatch(name) or header[156:157] not in (b"0", b"\0"):
            raise BadTar(f"holds {name[:100]!r}, which is no plain file with a plain name")
        start = place + BLOCK
        if size > len(content) - start:
            raise BadTar(f"{name.decode()} says it has {size} bytes, more than there are")
        yield name.decode(), content[start : start + size]
        place = start + size + -size % BLOCK


def _size(header: bytes) -> int:
    digits = header[124:136].strip(b"\0 ")
    if len(header) < BLOCK or not re.fullmatch(rb"[0-7]+", digits):
        raise BadTar("holds what is no header of a tar file")
    return int(digits, 8)
