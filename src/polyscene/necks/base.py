"""The contract of a neck: features in, features out, with an eye on the images, the other views and the cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyscene.types import Auxiliary, Camera, Features


class Neck(nn.Module, ABC):
    """Built from ``(in_channels, strides)`` of the encoder and its own keyword-only options.

    ``channels`` and ``strides`` say what comes out, finest first; a neck may add a level. Where ``features.by_task``
    holds a pyramid a task, each of them comes out with the same channels and strides.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(
        self,
        features: Features,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None,
        present: Bool[Tensor, "b v"],
        memory: Any = None,
    ) -> tuple[Features, Any]:
        """The new features, and what a later frame can reuse (None if nothing): ``memory`` is that of the frame
        before, in streaming only. Maps are (b·v, c, h', w') in the order of ``images.flatten(0, 1)``."""

    def look(
        self, images: Float[Tensor, "b v 3 h w"], camera: Camera | None, present: Bool[Tensor, "b v"]
    ) -> Auxiliary | None:
        """What a report shows of it: raw maps (b, v, _, h, w) by the name of the task that draws them. Nothing here."""
        return None

    def remarks(self) -> list[str]:
        """What a user should know of the views that it has seen, in words. Nothing here."""
        return []
