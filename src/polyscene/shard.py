"""One machine's part of work that several share."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part ``index``, counted from 1, of ``count``. ``ValueError`` if there is none such."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(
                f"shard {self.index}/{self.count}: shards are counted from 1, as in 1/{max(self.count, 1)}; to a "
                "number that begins with 0 add 1, as in --shard $((SLURM_ARRAY_TASK_ID + 1))/8"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Of ``3/8``."""
        read = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if read is None:
            raise ValueError(f"shard {text!r}: write which and of how many, as in 3/8")
        return cls(int(read[1]), int(read[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """For files; ends with ``of_all``."""
        return f"{self.index:05d}{self.of_all}"

    @property
    def of_all(self) -> str:
        return f"-of-{self.count:05d}"

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``count``-th: the parts are equally long, within one, and what is heavy at one end is spread."""
        return items[self.index - 1 :: self.count]

    def has(self, key: str) -> bool:
        """Whether what is called so belongs to this part, whatever else there is."""
        return zlib.crc32(key.encode("utf-8", "surrogateescape")) % self.count == self.index - 1
