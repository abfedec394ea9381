from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import resize
from polyscene.decoders.enlarged_conv import enlarged_conv
from polyscene.decoders.prompted_vit import PromptedViT
from polyscene.encoders.base import Encoder
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features


class TaskPrompter(Decoder):
    """Task prompts in a ViT (Ye and Xu, ICLR 2023): one token a task goes through the blocks with the patches, and its
    attention to places and to channels says what of them the task takes (see ``PromptedViT``). The levels are summed,
    enlarged four times and convolved.

    The options stand as published for PASCAL-Context on ViT-L. There, ViT-B has ``width`` 780, ``channels`` 1024 and
    ``windows`` 4; ViT-L on NYUv2 768, 768 and 4, without ``reweight``. ``ValueError`` for encoders other than plain
    ViTs; pictures of a size other than the encoder's ``img_size`` are resized to it.

    Tensors that cannot matter are not built: biases ahead of a normalisation, and what the last prompts would hear.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        width: Count = 300,
        channels: Count = 350,
        windows: Count = 1,
        reweight: bool = True,
    ) -> None:
        super().__init__()
        self.enlargement = max(round(strides[0] / 4), 1)
        self.channels = dict.fromkeys(tasks, channels)
        self.merge = nn.ModuleDict({name: _Merge(in_channels, channels) for name in tasks})

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        height, width = features.maps[0].shape[-2:]
        size = self.enlargement * height, self.enlargement * width
        return {name: merge(features.by_task[name], size) for name, merge in self.merge.items()}, []

    @classmethod
    def wrap_encoder(
        cls,
        encoder: Encoder,
        tasks: dict[str, Task],
        *,
        width: int = 300,
        channels: int = 350,
        windows: int = 1,
        reweight: bool = True,
        **_: Any,
    ) -> Encoder:
        return PromptedViT(encoder, list(tasks), width=width, channels=channels, windows=windows, reweight=reweight)


class _Merge(nn.Module):
    """One task's levels to its map. Levels of another width, which a neck may have added, are projected."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Identity() if own == channels else nn.Conv2d(own, channels, 1) for own in in_channels
        )
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        finest = levels[0].shape[-2:]
        brought = [resize(project(level), finest) for project, level in zip(self.project, levels, strict=True)]
        total = sum(brought[1:], brought[0])
        return F.gelu(self.norm(enlarged_conv(total, self.conv.weight, size)))
