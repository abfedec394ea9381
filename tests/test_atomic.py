"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from polyscene import atomic


@pytest.mark.parametrize("alone", [True, False])
def test_what_fails_leaves_what_was_there(alone: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    umask = os.umask(0o027)
    try:
        with atomic.whole(file, sync=True, alone=alone) as part:
            part.write_text("old")
    finally:
        os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o640, "the mode is what the umask leaves"
    with pytest.raises(ZeroDivisionError), atomic.whole(file, alone=alone) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_two_that_write_the_same_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    (tmp_path / ".a.txt.1-1.part").touch()
    (tmp_path / ".b.txt.1-1.part").touch()
    os.utime(tmp_path / ".b.txt.1-1.part", (time.time() - 2 * atomic.LEFT,) * 2)
    with atomic.whole(file, alone=False) as one, atomic.whole(tmp_path / "b.txt", alone=False) as other:
        assert one.name not in (f".{file.name}.part", ".a.txt.1-1.part")
        one.write_text("one"), other.write_text("other")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".a.txt.1-1.part", "a.txt", "b.txt"], (
        "what was left a day ago is gone, what is being written is not"
    )
