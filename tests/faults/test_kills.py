"""SIGKILL at random moments, in the short form of ``benchmarks/kills.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.faults.disk import ROOT


def test_killed_training_and_adaptation_end_alike() -> None:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    words = ["--kills", "2", "--each", "2", "--steps", "8", "--work", "training", "adaptation"]
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert [row["work"] for row in rows] == ["training", "adaptation"]
    assert all(row["kills"] == 2 and row["results"] > 100 for row in rows) and last["all_identical"]
