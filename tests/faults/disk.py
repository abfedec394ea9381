"""Disks of a few kilobytes, and folders that cannot be written to: real ones, in a mount namespace of their own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import polyscene

ROOT = Path(polyscene.__file__).parents[2]


@functools.cache
def can_mount() -> bool:
    try:
        return subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, timeout=20
        ).returncode == 0  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False


def inside(mounts: str, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``code`` of Python after shell commands that mount; seen by nobody else, gone when it ends."""
    if not can_mount():
        pytest.skip("this system lets nobody mount a file system of its own (unshare -rm)")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = f'set -e; {mounts}; exec "$0" -c "$1"'
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable, code],
        cwd=cwd, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
