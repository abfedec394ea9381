"""How much of the machine this process may use."""

from __future__ import annotations

import os


def available() -> int:
    """Cores, of those that the system lets this process run on where it can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
