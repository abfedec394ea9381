from __future__ import annotations

from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import need_stages
from polyscene.decoders.blocks import Bottleneck, resize
from polyscene.decoders.single_task import SingleTask
from polyscene.encoders.base import Encoder
from polyscene.tasks import Task
from polyscene.types import Features


class Mtan(SingleTask):
    """MTAN: one shared encoder; each task weighs the output of every stage, channel by channel and place by place, by a
    mask that it makes from what goes into the stage's last block and from what it took of the stage before.

    The options are ``SingleTask``'s, of the decoder that each task has over what it took. With ``head: deeplab`` on a
    dilated ResNet it is the network of Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey",
    TPAMI 2021. Where a stage has one block only, or its last block changes the size, the mask reads the stage's output.

    Needs an encoder whose stages form a chain; raises ``ValueError`` for others. Liu, Johns, Davison, "End-to-End
    Multi-Task Learning with Attention", CVPR 2019.
    """

    def __init__(
        self, tasks: dict[str, Task], in_channels: tuple[int, ...], strides: tuple[int, ...], **options: Any
    ) -> None:
        super().__init__(tasks, in_channels, strides, **options)  # said here too, for the checker reads this file alone

    @classmethod
    def wrap_encoder(cls, encoder: Encoder, tasks: dict[str, Task], **options: Any) -> Encoder:
        need_stages(encoder, "mtan")
        return AttendedEncoder(encoder, tasks)


class AttendedEncoder(Encoder):
    """The shared pyramid, and for each task what it takes of it."""

    def __init__(self, encoder: Encoder, tasks: dict[str, Task]) -> None:
        nn.Module.__init__(self)
        self.name, self.channels, self.strides = encoder.name, encoder.channels, encoder.strides
        self.shared = encoder
        outline = encoder.outline()[1:]
        self.early = [len(shapes) > 1 and shapes[-2][2:] == shapes[-1][2:] for shapes in outline]
        read = [shapes[-2 if early else -1][1] for shapes, early in zip(outline, self.early, strict=True)]
        carried = (0, *self.channels[1:])
        self.masks = nn.ModuleList(
            nn.ModuleDict({name: Mask(*widths) for name in tasks})
            for widths in zip(read, carried, self.channels, strict=True)
        )
        self.refine = nn.ModuleList(Bottleneck(*widths) for widths in pairwise(self.channels))

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return self.shared.mean

    @property
    def std(self) -> Tensor:  # type: ignore[override]
        return self.shared.std

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        tensor = self.shared.stem(images)
        levels = []
        taken: list[dict[str, Tensor]] = []
        for place, (*first, last) in enumerate(self.shared.stage_blocks):
            for block in first:
                tensor = block(tensor)
            before, tensor = tensor, last(tensor)
            read = before if self.early[place] else tensor
            levels.append(tensor)
            carried = self._carried(place, taken[-1], read) if taken else {}
            masks: Any = self.masks[place]
            taken.append({name: mask(read, carried.get(name)) * tensor for name, mask in masks.items()})
        return Features(levels, {name: [maps[name] for maps in taken] for name in taken[0]})

    def _carried(self, place: int, maps: dict[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """To the stage ``place``, which works at the size of ``like``."""
        step = self.strides[place] // self.strides[place - 1]
        refined = {name: self.refine[place - 1](tensor) for name, tensor in maps.items()}
        if step > 1:
            refined = {name: F.max_pool2d(tensor, step, ceil_mode=True) for name, tensor in refined.items()}
        return {name: resize(tensor, like.shape[-2:]) for name, tensor in refined.items()}


class Mask(nn.Module):
    """In (0, 1), for each of ``channels`` and every place. A 1x1 convolution over the concatenation of what is read
    and what is carried, kept in two parts so that nothing is concatenated, and a second one."""

    def __init__(self, read: int, carried: int, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.read = nn.Conv2d(read, inner, 1, bias=False)
        self.carry = nn.Conv2d(carried, inner, 1, bias=False) if carried else None
        self.norm = nn.BatchNorm2d(inner)
        self.widen = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, read: Tensor, carried: Tensor | None) -> Tensor:
        inner = self.read(read)
        if self.carry is not None:
            inner = inner + self.carry(carried)
        opening: Tensor = self.widen(F.relu(self.norm(inner), inplace=True))
        return opening.sigmoid()
