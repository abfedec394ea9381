"""The directory of a run: whose it is, which configuration it holds, and that only one process writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from polyscene import document, lock
from polyscene.config import Config

HARMLESS = (  # what may differ when a run is resumed: none of it changes the weights
    "name",
    "out",
    "data.workers",
    "training.evaluate_every",
    "training.checkpoint_every",
    "training.device",
    "training.threads",
    "training.track",
    "training.elastic",
    "training.sharded",
    "training.recompute",
    "training.compile",
)
LEFT_BY_A_START = ("length.json", "floors.json", "metrics.jsonl")


class Refused(ValueError):
    """The directory is in use, or holds another run."""


def directory(config: Config) -> Path:
    return config.out or Path("runs") / config.name


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """``Refused`` while another process holds it. A killed process holds nothing."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        with lock.held(path / ".lock"):
            yield
    except lock.Held as holder:
        raise Refused(f"{path} is being written by another run (process {holder}); wait or give --out") from None


def claim(path: Path, config: Config) -> None:
    """Writes ``config.yaml``. Once there is a checkpoint, the configuration must say the same as the one there, but for
    ``HARMLESS`` keys; ``Refused`` lists the others that differ. Without one, a changed configuration starts afresh."""
    file = path / "config.yaml"
    mine = config.model_dump(mode="json")
    if file.exists():
        changed = differences(document.from_yaml(file.read_text()), mine)
        wrong = {key: pair for key, pair in changed.items() if not _harmless(key)}
        if wrong and (path / "last").exists():
            told = "\n".join(f"  {key}: {old!r} there, {new!r} now" for key, (old, new) in wrong.items())
            raise Refused(f"{path} holds a run of another configuration:\n{told}\ngive another --name or --out")
        if wrong:
            for left in LEFT_BY_A_START:
                (path / left).unlink(missing_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(mine, sort_keys=False, allow_unicode=True))
    fresh.replace(file)


def differences(old: Any, new: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted paths at which two nested dictionaries differ, with both values (None where absent)."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*old, *(key for key in new if key not in old)]:
            found |= differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return {} if old == new else {path: (old, new)}


def _harmless(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in HARMLESS)
