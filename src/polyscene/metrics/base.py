"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from polyscene.types import Target


class Metric(ABC):
    """An accumulator over images: ``update`` any number of times, then ``compute``.

    ``state`` is one flat tensor of sums, so that the accumulators of several processes add up. ``key`` is the headline
    among the figures and ``higher_is_better`` its direction.
    """

    key: ClassVar[str]
    higher_is_better: ClassVar[bool]
    state: Tensor

    @abstractmethod
    def update(self, value: Tensor, target: Target) -> None:
        """``value``: an activated prediction, (..., c, h, w) like ``target.value``."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Figures by name; NaN where nothing valid was seen."""
