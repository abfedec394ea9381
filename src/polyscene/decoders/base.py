"""The contract of a decoder: a pyramid of features in, one feature map a task out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from polyscene.encoders.base import Encoder
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class Decoder(nn.Module, ABC):
    """Built from ``(tasks, in_channels, strides)`` of the pyramid it will see, and its own keyword-only options.

    ``channels`` says how many channels each task's map has; the task's head takes it from there. ``progress``, the
    share of the training that is done, is set from outside.
    """

    channels: dict[str, int]
    progress: float = 1.0

    @abstractmethod
    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        """Maps (b·v, c, h', w') by task, and what else is to be supervised: maps (b·v, 1, c, h', w'), as a decoder
        takes every view for a picture of its own. The model puts the views together again."""

    @classmethod
    def wrap_encoder(cls, encoder: Encoder, tasks: dict[str, Task], **options: Any) -> Encoder:
        """The encoder this method needs: itself, unless the method keeps one a task or acts between the stages.
        What it returns fills ``Features.by_task`` and publishes its channels and strides. ``options`` are all those of
        the decoder."""
        return encoder


def need_stages(encoder: Encoder, method: str) -> None:
    """``ValueError``, naming ``method``, if ``encoder`` cannot be driven stage by stage."""
    try:
        encoder.stages  # noqa: B018
    except ValueError as error:
        raise ValueError(f"{method}: {error}") from None
