"""The contract of a regularizer: a branch that exists in training only."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from polyscene.types import Auxiliary, Camera, Features


class Regularizer(nn.Module, ABC):
    """Built from ``(tasks, channels, strides)`` of the features the decoder sees, and its own keyword-only options.

    Its losses count ``weight``, reached by a straight line over the first ``warmup`` share of the training.
    """

    weight: float = 1.0
    warmup: float = 0.0

    @abstractmethod
    def forward(self, features: Features, camera: Camera) -> Auxiliary: ...

    def look(self, features: Features, camera: Camera) -> Auxiliary | None:
        """What a report shows of it: maps as ``forward`` has them, without chance. Nothing here."""
        return None

    def remarks(self) -> list[str]:
        """What a user should know of the views that it has seen, in words. Nothing here."""
        return []

    def weight_at(self, progress: float) -> float:
        """``progress``: the share of the training that is done, in [0, 1]."""
        return self.weight * min(1.0, progress / self.warmup) if self.warmup > 0 else self.weight
