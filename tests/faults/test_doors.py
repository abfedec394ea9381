"""The doors under hostile input, in the short form of ``benchmarks/fuzz_doors.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import fuzz_doors

ROOT = Path(__file__).resolve().parents[2]
INPUTS = dict.fromkeys(fuzz_doors.DOORS, 200) | {"weights": 60, "configs": 60}  # those that build and look up much


@pytest.mark.parametrize("door", fuzz_doors.DOORS)
def test_nothing_but_the_documented_errors(door: str) -> None:
    row = fuzz_doors.fuzz(door, INPUTS[door], seed=1000)
    assert row["inputs"] == INPUTS[door] and row["found"] == []
    assert row["refused"] > INPUTS[door] / 10, "so few are refused that the inputs cannot be hostile"


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    """In a process of its own: the last of its faults is ended by a signal."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.careless"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    row = json.loads(done.stdout)
    assert (row["refused"], row["let in"], row["wrong"]) == (1, 1, 4)
    unknown, outside, read, hang = row["found"]
    assert "KeyError" in unknown and "polyscene-outside" in outside and "hostname" in read and "hang" in hang
