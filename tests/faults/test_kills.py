"""SIGKILL at random moments, in the short form of ``benchmarks/kills.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.faults.disk import ROOT

WORKS = ["training", "adaptation", "evaluation", "export", "packing", "prediction"]


def test_what_is_killed_ends_alike() -> None:
    """Rendering has its own test beside the rooms."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    words = ["--kills", "1", "--steps", "4", "--work", *WORKS]
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert [row["work"] for row in rows] == WORKS and last["all_identical"]
    assert all(row["kills"] == 1 and row["runs"] for row in rows)
    least = {"training": 100, "adaptation": 100, "evaluation": 2, "export": 3, "packing": 10, "prediction": 30}
    assert all(row["results"] >= least[row["work"]] for row in rows)
    assert not any(row.get("halves") or row.get("twice") for row in rows)
