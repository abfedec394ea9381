from __future__ import annotations

import copy
from typing import Any, Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from polyscene.decoders.base import Decoder
from polyscene.decoders.deeplab import DeepLab
from polyscene.decoders.multi_head import MultiHead
from polyscene.encoders.base import Encoder
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

HeadName = Literal["multi_head", "deeplab"]
HEADS: dict[str, type[Decoder]] = {"multi_head": MultiHead, "deeplab": DeepLab}


class SingleTask(Decoder):
    """The baseline: one encoder and one decoder a task, sharing nothing. ``head`` names the decoder, whose ``options``
    the others are. Methods that join such networks start from their weights (``training.init``)."""

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        head: HeadName = "multi_head",
        **options: Any,
    ) -> None:
        super().__init__()
        if head not in get_args(HeadName):
            raise ValueError(f"head is one of {get_args(HeadName)}, got {head!r}")
        build: Any = HEADS[head]
        decoders = {name: build({name: task}, in_channels, strides, **options) for name, task in tasks.items()}
        self.decoders = nn.ModuleDict(decoders)
        self.channels = {name: decoder.channels[name] for name, decoder in decoders.items()}

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        maps: dict[str, Tensor] = {}
        for name, decoder in self.decoders.items():
            maps |= decoder(Features(features.by_task[name]))[0]
        return maps, []

    @classmethod
    def wrap_encoder(cls, encoder: Encoder, tasks: dict[str, Task], **options: Any) -> Encoder:
        return EncoderPerTask(encoder, tasks)


class EncoderPerTask(Encoder):
    """A copy of the encoder for each task. The shared maps, which no decoder reads, are the mean over the tasks."""

    def __init__(self, encoder: Encoder, tasks: dict[str, Task]) -> None:
        nn.Module.__init__(self)
        self.name, self.channels, self.strides = encoder.name, encoder.channels, encoder.strides
        self.copies = nn.ModuleDict({name: copy.deepcopy(encoder) for name in tasks})

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return self._first.mean

    @property
    def std(self) -> Tensor:  # type: ignore[override]
        return self._first.std

    @property
    def _first(self) -> Encoder:
        return next(iter(self.copies.values()))  # type: ignore[return-value]

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        return together({name: encoder(images).maps for name, encoder in self.copies.items()})


def together(by_task: dict[str, list[Tensor]]) -> Features:
    """With their mean as the shared pyramid."""
    return Features([sum(maps[1:], maps[0]) / len(maps) for maps in zip(*by_task.values(), strict=True)], by_task)
