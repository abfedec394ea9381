from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyscene.decoders.base import Decoder
from polyscene.decoders.multi_head import MultiHead
from polyscene.encoders.base import Encoder
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class SingleTask(Decoder):
    """The baseline: one encoder and one ``MultiHead`` decoder a task, sharing nothing. ``options`` are MultiHead's."""

    def __init__(
        self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...], **options: Any
    ) -> None:
        super().__init__()
        decoders = {name: MultiHead({name: task}, in_channels, strides, **options) for name, task in tasks.items()}
        self.decoders = nn.ModuleDict(decoders)
        self.channels = {name: decoder.channels[name] for name, decoder in decoders.items()}

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        maps: dict[str, Tensor] = {}
        for name, decoder in self.decoders.items():
            maps |= decoder(Features(features.by_task[name]))[0]
        return maps, []

    @classmethod
    def wrap_encoder(cls, encoder: Encoder, tasks: dict[str, Task]) -> Encoder:
        return EncoderPerTask(encoder, tasks)


class EncoderPerTask(Encoder):
    """A copy of the encoder for each task. The shared maps, which no decoder reads, are the mean over the tasks."""

    def __init__(self, encoder: Encoder, tasks: dict[str, Task]) -> None:
        nn.Module.__init__(self)
        self.name, self.channels, self.strides = encoder.name, encoder.channels, encoder.strides
        self.copies = nn.ModuleDict({name: copy.deepcopy(encoder) for name in tasks})

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        by_task = {name: encoder(images).maps for name, encoder in self.copies.items()}
        shared = [torch.stack(maps).mean(0) for maps in zip(*by_task.values(), strict=True)]
        return Features(shared, by_task)
