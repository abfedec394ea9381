from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Uniform:
    """Any number between ``low`` and ``high``."""

    low: float
    high: float

    def draw(self, chance: Chance) -> float:
        return chance.uniform(self.low, self.high)


@dataclass(frozen=True)
class OneOf:
    """One of some numbers, each as likely."""

    numbers: tuple[float, ...]

    def draw(self, chance: Chance) -> float:
        return self.numbers[chance.integer(0, len(self.numbers) - 1)]


@dataclass(frozen=True)
class Chance:
    """Plain numbers from a generator."""

    generator: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def integer(self, least: int, most: int) -> int:
        """Both ends included."""
        return int(torch.randint(least, most + 1, (), generator=self.generator))

    def coin(self) -> bool:
        return self.integer(0, 1) == 1
