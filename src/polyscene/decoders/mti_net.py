from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import Concat, resize
from polyscene.decoders.pad_net import Distillation
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

SCALES = 4
REDUCTION = 16  # of squeeze-and-excitation


class MtiNet(Decoder):
    """MTI-Net: tasks help one another at every scale of a pyramid, as a pair of tasks may be alike at one scale only.

    Vandenhende, Georgoulis, Van Gool, "MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning",
    ECCV 2020: initial predictions and multi-scale multi-modal distillation (section 3.2), the feature propagation
    module (3.3), feature aggregation (3.4). The initial predictions of every scale are auxiliaries
    ``scale_0`` (finest)... in the size of their scale.

    The features of all T tasks lie side by side in one map, T·c channels in channels-last order, so that what the
    tasks do alike is one grouped convolution. What a task sends to all others is one convolution too, and aggregation
    mixes channels before it resizes, which commutes: the result is the paper's, save for rounding.

    ``reference_compatible``: the published code means the softmax of the propagation module to run over tasks, but
    groups T neighbouring channels, mostly of one task; true does as it does, which its checkpoints need.

    Takes pyramids of at least four scales. Raises ``ValueError`` for others, such as those of a plain ViT.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        reference_compatible: bool = False,
    ) -> None:
        super().__init__()
        if len(set(strides)) < SCALES:
            raise ValueError(
                f"mti_net: needs a pyramid of at least {SCALES} scales, got strides {tuple(strides)}; "
                "take an encoder with stages, such as an HRNet, ResNet, ConvNeXt or Swin"
            )
        self.tasks = tasks
        count = len(tasks)
        finer = list(pairwise(in_channels))
        self.scales = nn.ModuleList([*(Initial(tasks, *pair) for pair in finer), Initial(tasks, in_channels[-1])])
        self.propagate = nn.ModuleList(Propagation(count, width, reference_compatible) for width in in_channels[1:])
        self.distil = nn.ModuleList(Distillation(count, width) for width in in_channels)
        self.aggregate = nn.ModuleDict({name: Concat(in_channels, sum(in_channels)) for name in tasks})
        self.channels = dict.fromkeys(tasks, sum(in_channels))

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        taps = [tensor.contiguous(memory_format=torch.channels_last) for tensor in features.maps]
        auxiliary: list[Auxiliary] = []
        distilled: list[list[Tensor]] = []
        coarser: Tensor | None = None
        for scale in reversed(range(len(taps))):
            together, by_task, maps = self.scales[scale](taps[scale], coarser)
            if scale > 0:
                coarser = self.propagate[scale - 1](together)
            auxiliary.insert(0, Auxiliary(maps, self.tasks, name=f"scale_{scale}"))
            distilled.insert(0, self.distil[scale](by_task))
        pyramids = dict(zip(self.tasks, zip(*distilled, strict=True), strict=True))
        return {name: self.aggregate[name](maps) for name, maps in pyramids.items()}, auxiliary


class Initial(nn.Module):
    """Every task's own features at one scale, from the encoder's map and what the coarser scale passes on, if there is
    one; and a prediction from them."""

    def __init__(self, tasks: dict[str, Task], channels: int, coarser: int = 0) -> None:
        super().__init__()
        count = len(tasks)
        self.enter = Entry(count, channels, coarser)
        self.settle = Block(count * channels, count * channels, count)
        self.project = nn.ModuleDict({name: nn.Conv2d(channels, task.channels, 1) for name, task in tasks.items()})

    def forward(self, tap: Tensor, coarser: Tensor | None) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Features of all tasks side by side, the same apart, and predictions (n, 1, c, h, w)."""
        together = self.settle(self.enter(tap, coarser))
        apart = [part.contiguous(memory_format=torch.channels_last) for part in together.chunk(len(self.project), 1)]
        pairs = zip(self.project.items(), apart, strict=True)
        return together, apart, {name: conv(tensor)[:, None] for (name, conv), tensor in pairs}


class Block(nn.Module):
    """Two 3x3 convolutions around which the input, brought to as many channels, is added (ResNet's basic block)."""

    def __init__(self, in_channels: int, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(in_channels, channels, 3, groups), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv(channels, channels, 3, groups), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != channels:
            self.shortcut = nn.Sequential(_conv(in_channels, channels, 1, groups), nn.BatchNorm2d(channels))

    def forward(self, tensor: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(tensor)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(tensor), inplace=True)


class Entry(nn.Module):
    """The block with which each of T tasks begins. All read the same map ``tap``, which is not repeated for them; each
    also reads its own part of ``coarser``, if there is one."""

    def __init__(self, tasks: int, channels: int, coarser: int = 0) -> None:
        super().__init__()
        width = tasks * channels
        self.tasks = tasks
        self.conv1, self.norm1 = _conv(channels, width, 3), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _conv(width, width, 3, tasks), nn.BatchNorm2d(width)
        if coarser:
            self.conv1_coarser = _conv(tasks * coarser, width, 3, tasks)
            self.shortcut, self.shortcut_norm = _conv(channels, width, 1), nn.BatchNorm2d(width)
            self.shortcut_coarser = _conv(tasks * coarser, width, 1, tasks)

    def forward(self, tap: Tensor, coarser: Tensor | None) -> Tensor:
        inner = self.conv1(tap)
        if coarser is None:
            around = tap.repeat(1, self.tasks, 1, 1)
        else:
            finer = resize(coarser, tap.shape[-2:])
            inner = inner + self.conv1_coarser(finer)
            around = self.shortcut_norm(self.shortcut(tap) + self.shortcut_coarser(finer))
        inner = F.relu(self.norm1(inner), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + around, inplace=True)


class Propagation(nn.Module):
    """Feature propagation: what all tasks have in common, each task's share of it and its own features on top."""

    def __init__(self, tasks: int, channels: int, reference_compatible: bool = False) -> None:
        super().__init__()
        width = tasks * channels
        narrow, squeezed = max(1, width // 4), max(1, channels // REDUCTION)
        self.groups, self.axis = ((channels, tasks), 4) if reference_compatible else ((tasks, channels), 3)
        self.tasks = tasks
        self.attend = nn.Sequential(Block(width, narrow), Block(narrow, narrow), nn.Conv2d(narrow, width, 1))
        self.reduce = Block(width, channels)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, tasks * squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(tasks * squeezed, width, 1, groups=tasks),
            nn.Sigmoid(),
        )

    def forward(self, together: Tensor) -> Tensor:
        """(n, T·c, h, w) to the same."""
        logits = self.attend(together).permute(0, 2, 3, 1).unflatten(3, self.groups)
        attention = logits.softmax(self.axis).flatten(3).permute(0, 3, 1, 2)
        shared = self.reduce(attention.to(together.dtype) * together)
        gates = self.gate(shared.mean((2, 3), keepdim=True))
        return torch.addcmul(together, gates, shared.repeat(1, self.tasks, 1, 1))


def _conv(in_channels: int, channels: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
