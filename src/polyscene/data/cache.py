"""Where rendered and decoded data are kept: ``$POLYSCENE_CACHE``, else ``~/.cache/polyscene``."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    chosen = os.environ.get("POLYSCENE_CACHE")
    return Path(chosen).expanduser() if chosen else Path("~/.cache/polyscene").expanduser()
