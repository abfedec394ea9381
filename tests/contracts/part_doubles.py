"""The smallest parts that use everything the contracts allow."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.multi_head import MultiHead
from polyscene.encoders.base import Encoder
from polyscene.heads import Head
from polyscene.necks.base import Neck
from polyscene.regularizers.base import Regularizer
from polyscene.tasks import Depth, Task
from polyscene.types import Auxiliary, Camera, Features


class CrossViewDouble(Neck):
    """Adds to each view the mean colour of the others and of the frame before, and a level below the coarsest."""

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = (*in_channels, in_channels[-1])
        self.strides = (*strides, 2 * strides[-1])
        self.colours = nn.ModuleList(nn.Linear(3, width) for width in in_channels)

    def forward(
        self, features: Features, images: Tensor, camera: Camera | None, present: Tensor, memory: Any = None
    ) -> tuple[Features, Any]:
        colour = images.mean((-2, -1)) * present[..., None]
        seen = colour.sum(1, keepdim=True) - colour + (0 if memory is None else memory)
        new = {name: self._coloured(maps, seen) for name, maps in features.by_task.items()}
        return Features(self._coloured(features.maps, seen), new), colour.mean(1, keepdim=True)

    def _coloured(self, maps: list[Tensor], seen: Tensor) -> list[Tensor]:
        pairs = zip(maps, self.colours, strict=True)
        new = [tensor + linear(seen.flatten(0, 1))[..., None, None] for tensor, linear in pairs]
        return [*new, F.avg_pool2d(new[-1], 2, ceil_mode=True)]


class RenderingDouble(Regularizer):
    """Supervises each task on the coarsest map, moved by the camera's focal length."""

    def __init__(self, tasks: dict[str, Task], channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.weight, self.warmup = 0.5, 0.2
        self.tasks = tasks
        self.heads = nn.ModuleDict({name: Head(channels[-1], task) for name, task in tasks.items()})

    def forward(self, features: Features, camera: Camera) -> Auxiliary:
        coarsest = features.maps[-1] + camera.intrinsics[..., 0, 0].flatten()[:, None, None, None] / 1000
        views = camera.known.shape
        size = tuple(coarsest.shape[-2:])
        maps = {name: head(coarsest, size).unflatten(0, views) for name, head in self.heads.items()}
        return Auxiliary(maps, self.tasks, 1.0, "rendered")


class InitialDouble(MultiHead):
    """Initial predictions of depth as log-bins, whatever the model's own depth is."""

    def __init__(self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__(tasks, in_channels, strides, channels=16, context="none")
        self.variants: dict[str, Task] = {"depth": Depth(encoding="log_bins", bins=8)} if "depth" in tasks else {}
        self.initial = nn.ModuleDict({name: Head(in_channels[0], task) for name, task in self.variants.items()})

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        maps, _ = super().forward(features)
        finest = features.maps[0]
        size = tuple(finest.shape[-2:])
        initial = {name: head(finest, size)[:, None] for name, head in self.initial.items()}
        return maps, [Auxiliary(initial, self.variants, 0.25, "initial")]


class StitchDouble(Decoder):
    """After every stage, each task's features move a little towards the mean over tasks."""

    def __init__(self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = dict.fromkeys(tasks, in_channels[0])

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        maps = {
            name: task[0] + sum(tensor.mean((1, 2, 3), keepdim=True) for tensor in task[1:])
            for name, task in features.by_task.items()
        }
        return maps, []

    @classmethod
    def wrap_encoder(cls, encoder: Encoder, tasks: dict[str, Task], **options: Any) -> Encoder:
        return StitchedEncoder(encoder, tasks)


class StitchedEncoder(Encoder):
    def __init__(self, encoder: Encoder, tasks: dict[str, Task]) -> None:
        nn.Module.__init__(self)
        self.name, self.channels, self.strides = encoder.name, encoder.channels, encoder.strides
        self.inner, self.names = encoder, list(tasks)
        self.share = nn.ParameterList(torch.full((len(tasks),), 0.1) for _ in encoder.stages)

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        tracks = [self.inner.stem(images)] * len(self.names)
        pyramids: list[list[Tensor]] = [[] for _ in self.names]
        for stage, share in zip(self.inner.stages, self.share, strict=True):
            tracks = [stage(track) for track in tracks]
            mean = torch.stack(tracks).mean(0)
            tracks = [torch.lerp(track, mean, weight) for track, weight in zip(tracks, share, strict=True)]
            for pyramid, track in zip(pyramids, tracks, strict=True):
                pyramid.append(track)
        return Features(pyramids[0], dict(zip(self.names, pyramids, strict=True)))
