"""What a run ran on: versions, hardware, commit, command."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from polyscene.training import distributed

PACKAGES = ("polyscene", "torch", "torchvision", "timm", "numpy", "safetensors")


def describe(device: torch.device) -> dict[str, Any]:
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "ranks": distributed.count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def append(path: Path, device: torch.device) -> None:
    """Adds this start of the run to the list in ``path``."""
    starts = json.loads(path.read_text()) if path.exists() else []
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([*starts, describe(device)], indent=2))
    fresh.replace(path)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this code lies in; ``+`` if it has changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    if not git("ls-files", "--", __file__):  # installed below a checkout of something else
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
