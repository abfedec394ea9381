"""metrics.jsonl: one JSON object a line, as training and evaluation go."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


class Records:
    """Written at once and flushed; ``keep_until`` drops what a resumed run will write again. Without ``writes`` they
    are kept in memory alone."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.all: list[dict[str, Any]] = read(path)

    def append(self, record: dict[str, Any]) -> None:
        record = without_nan(record)
        self.all.append(record)
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def keep_until(self, step: int) -> None:
        """Only records of steps up to ``step``; a line cut short by a kill goes too."""
        self.all = [record for record in self.all if record["step"] <= step]
        if not self.writes:
            return
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(record) + "\n" for record in self.all))
        fresh.replace(self.path)

    def kind(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.all if record["kind"] == kind]


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def without_nan(node: Any) -> Any:
    """None for what JSON cannot say."""
    match node:
        case dict():
            return {key: without_nan(item) for key, item in node.items()}
        case float():
            return node if math.isfinite(node) else None
    return node
