"""The doors under hostile input, in the short form of ``benchmarks/fuzz_doors.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import fuzz_doors

INPUTS = dict.fromkeys(fuzz_doors.DOORS, 200) | {"weights": 60, "configs": 60}  # those that build and look up much


@pytest.mark.parametrize("door", fuzz_doors.DOORS)
def test_nothing_but_the_documented_errors(door: str) -> None:
    row = fuzz_doors.fuzz(door, INPUTS[door], seed=1000)
    assert row["inputs"] == INPUTS[door] and row["found"] == []
    assert row["refused"] > INPUTS[door] / 10, "so few are refused that the inputs cannot be hostile"


class Careless(fuzz_doors.Entrance):
    """A door with every fault that the watch is there to see."""

    errors = (ValueError,)

    def attempt(self, rng: object) -> None:
        self.count = getattr(self, "count", 0) + 1
        match self.count:
            case 1:
                raise ValueError("documented")
            case 2:
                raise KeyError("not documented")
            case 3:
                (self.folder / "inside").write_text("")
            case 4:
                Path(self.folder.parent / "polyscene-outside").write_text("")
            case 5:
                Path("/etc/hostname").read_text()
            case 6:
                while True:
                    pass


def test_the_watch_sees_what_it_is_there_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz_doors.DOORS, "careless", Careless)
    monkeypatch.setattr(fuzz_doors, "SLOW", 0.2)
    try:
        row = fuzz_doors.fuzz("careless", 6, seed=0)
    finally:
        for name in Path("/tmp").glob("polyscene-outside"):
            name.unlink()
    assert (row["refused"], row["let in"], row["wrong"]) == (1, 1, 4)
    unknown, outside, read, hang = row["found"]
    assert "KeyError" in unknown and "polyscene-outside" in outside and "hostname" in read and "hang" in hang
