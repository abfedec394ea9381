"""The runs of a suite: a file each, and what they change in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from polyscene import config as configuration
from polyscene.config import Config
from polyscene.data import sources
from polyscene.training import loop


def load(file: Path, settings: Mapping[str, Any]) -> Config:
    """``file`` with what ``settings`` say, by dotted key; whole parts are mappings."""
    words = (
        (f"--{key}", json.dumps(value) if value is None or isinstance(value, dict | list) else str(value))
        for key, value in settings.items()
    )
    return configuration.load(file, [word for pair in words for word in pair])


def train(file: Path, settings: Mapping[str, Any], console: Console) -> Path:
    """Its run, data made ready first; resumed where it was, skipped where it is finished."""
    config = load(file, settings)
    for source in (*config.data.trained_on.values(), *config.data.evaluate.values()):
        sources.make(source.dataset).prepare()
    return loop.train(config, console=console)
