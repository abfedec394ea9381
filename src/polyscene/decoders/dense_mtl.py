from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import Aspp, resize
from polyscene.decoders.xtam import Merge, Transfer, extraction, xTAM
from polyscene.heads import Head
from polyscene.ranges import Amount, Positive
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

Exchanges = Literal["pairwise", "hub"]
Fusion = Literal["add", "multiply", "concat"]
Maps = dict[str, Tensor]


class DenseMTL(Decoder):
    """DenseMTL: a decoder a task, which talk to each other by ``xTAM`` before their last stages.

    Stage n - 1, for a pyramid of n maps, sees the coarsest by atrous pooling; every further one brings its map to the
    next finer level and joins it; stage 0 doubles once more. ``channels`` are the widths of the stages, 0 first; of
    shorter pyramids the coarse end counts. After each of ``stages`` every task is predicted, for supervision, and
    its features are enriched by the others'. The published network is the default on ``resnet101`` with
    ``out_indices: [0, 1, 2, 3, 4], output_stride: 16, mean: 0.45, std: 0.225``.

    ``exchange``: "pairwise", an ``xTAM`` for every ordered pair of tasks, as published; or "hub", one a task, which
    asks the mean of what all others offer: the same network for two tasks, and of linear cost in their number.
    ``fusion``: the messages, mixed, are added to the map, multiplied with it, or mixed together with it.
    ``self_attention``, ``correlation``, ``gated``, ``full_width``: see ``xTAM``. ``attention_stride``: of the grid on
    which tasks are correlated, or the stage's own where that is coarser. ``auxiliary_weight`` 1 is the paper's,
    where the two predictions count alike; its losses are their mean, ours the sum.

    Pyramids of one stride, as plain ViTs have, are stretched by 2 a stage. Lopes et al. (WACV 2023).
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (64, 128, 128, 256, 256),
        rates: tuple[int, ...] = (6, 12, 18),
        stages: tuple[int, ...] = (1,),
        exchange: Exchanges = "pairwise",
        fusion: Fusion = "add",
        self_attention: bool = True,
        correlation: bool = True,
        gated: bool = True,
        full_width: bool = False,
        attention_stride: Positive = 8.0,
        auxiliary_weight: Amount = 1.0,
    ) -> None:
        super().__init__()
        if attention_stride <= 0:
            raise ValueError(f"dense_mtl: attention_stride must be positive, got {attention_stride}")
        count = len(in_channels)
        if count < 2:
            raise ValueError(f"dense_mtl: needs a pyramid of at least two maps; the encoder gives {count}")
        if not channels or min((*channels, *rates)) < 1:
            raise ValueError(f"dense_mtl: channels and rates must be positive, got {channels} and {rates}")
        if beyond := sorted(set(stages) - set(range(count))):
            raise ValueError(f"dense_mtl: no stages {beyond}: a pyramid of {count} maps has stages 0 to {count - 1}")
        if exchange not in get_args(Exchanges) or fusion not in get_args(Fusion):
            raise ValueError(f"dense_mtl: exchange is one of {get_args(Exchanges)}, fusion one of {get_args(Fusion)}")
        widths = [*channels[-count:], *[channels[-1]] * (count - len(channels))]
        # How far a level must be stretched for the stages to double: 1 in a pyramid, 4, 2, 1 for blocks of a ViT.
        self.stretch = [max(1, round(strides[i] * 2 ** (count - 2 - i) / strides[-1])) for i in range(count - 1)]
        self.stages = nn.ModuleList()
        for stage in range(count):
            last = stage + 1 == count
            inner = in_channels[-1] if last else widths[stage + 1]
            joined = in_channels[stage - 1] if stage else 0
            steps = {}
            for name in tasks:
                first = Aspp(inner, widths[stage], rates) if last else Reflected(inner, widths[stage])
                steps[name] = Step(first, Reflected(widths[stage] + joined, widths[stage]))
            self.stages.append(EachTask(steps))

        levels = [stride / stretch for stride, stretch in zip(strides, self.stretch, strict=False)]
        reached = [levels[0] / 2, *levels]  # the strides after the stages
        self.tasks, self.auxiliary_weight = tasks, auxiliary_weight
        self.initial, self.exchanges = nn.ModuleDict(), nn.ModuleDict()
        for stage in stages:
            self.initial[str(stage)] = EachTask({name: Head(widths[stage], task) for name, task in tasks.items()})
            if len(tasks) > 1:
                self.exchanges[str(stage)] = (Pairwise if exchange == "pairwise" else Hub)(
                    list(tasks),
                    widths[stage],
                    fusion,
                    cell=max(1, round(attention_stride / reached[stage])),
                    self_attention=self_attention,
                    correlation=correlation,
                    gated=gated,
                    full_width=full_width,
                )
        self.channels = dict.fromkeys(tasks, widths[0])

    def forward(self, features: Features) -> tuple[Maps, list[Auxiliary]]:
        maps = dict.fromkeys(self.tasks, features.maps[-1])
        auxiliary = []
        for place in reversed(range(len(self.stages))):
            level = None
            if place > 0:
                finer, stretch = features.maps[place - 1], self.stretch[place - 1]
                level = resize(finer, [stretch * side for side in finer.shape[-2:]])
            maps = self.stages[place](maps, level)
            if str(place) in self.initial:
                size = tuple(next(iter(maps.values())).shape[-2:])
                initial = {name: raw[:, None] for name, raw in self.initial[str(place)](maps, size).items()}
                auxiliary.append(Auxiliary(initial, self.tasks, self.auxiliary_weight, f"stage{place}"))
            if str(place) in self.exchanges:
                maps = self.exchanges[str(place)](maps)
        return maps, auxiliary


class EachTask(nn.Module):
    """A module a task, each called on its task's map and whatever they share."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.of = nn.ModuleDict(modules)

    def forward(self, maps: Maps, *shared: Any) -> Maps:
        return {name: module(maps[name], *shared) for name, module in self.of.items()}


class Step(nn.Module):
    """One stage of one task: convolve, bring to the level's size and join it, or double; convolve."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, tensor: Tensor, level: Tensor | None) -> Tensor:
        tensor = self.first(tensor)
        if level is None:
            tensor = F.interpolate(tensor, scale_factor=2, mode="nearest")
        else:
            if tensor.shape[-2:] != level.shape[-2:]:
                tensor = F.interpolate(tensor, tuple(level.shape[-2:]), mode="nearest")
            tensor = torch.cat([tensor, level], 1)
        result: Tensor = self.second(tensor)
        return result


class Reflected(nn.Module):
    """3x3 convolution of the reflected map, ELU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3)

    def forward(self, tensor: Tensor) -> Tensor:
        alone = min(tensor.shape[-2:]) < 2  # nothing to reflect
        return F.elu(self.conv(F.pad(tensor, (1, 1, 1, 1), mode="replicate" if alone else "reflect")), inplace=True)


class Pairwise(nn.Module):
    """Every task hears every other through an ``xTAM`` of its own."""

    def __init__(self, names: Sequence[str], channels: int, fusion: Fusion, **options: Any) -> None:
        super().__init__()
        self.hear = nn.ModuleDict()
        for name in names:
            others = {other: xTAM(channels, **options) for other in names if other != name}
            self.hear[name] = Hearing(name, others, channels, fusion)

    def forward(self, maps: Maps) -> Maps:
        return {name: hear(maps[name], maps) for name, hear in self.hear.items()}


class Hub(nn.Module):
    """Every task hears the mean of what all others offer."""

    def __init__(self, names: Sequence[str], channels: int, fusion: Fusion, **options: Any) -> None:
        super().__init__()
        self.extract = nn.ModuleDict({name: extraction(channels) for name in names})
        hear = {name: Hearing(name, {"hub": Transfer(channels, **options)}, channels, fusion) for name in names}
        self.hear = nn.ModuleDict(hear)

    def forward(self, maps: Maps) -> Maps:
        offered = {name: extract(maps[name]) for name, extract in self.extract.items()}
        total = torch.stack(list(offered.values())).sum(0)
        others = {name: (total - own) / (len(maps) - 1) for name, own in offered.items()}
        return {name: hear(maps[name], {"hub": others[name]}) for name, hear in self.hear.items()}


class Hearing(nn.Module):
    """One task's map enriched by messages, each from the source of its name."""

    def __init__(self, name: str, sources: Mapping[str, nn.Module], channels: int, fusion: Fusion) -> None:
        super().__init__()
        self.name, self.fusion = name, fusion
        self.sources = nn.ModuleDict(sources)
        mixed = [name, *sources] if fusion == "concat" else [*sources]
        self.merge = Merge(dict.fromkeys(mixed, channels), channels)

    def forward(self, own: Tensor, offered: Maps) -> Tensor:
        messages = {source: block(own, offered[source]) for source, block in self.sources.items()}
        mixed: Tensor = self.merge({self.name: own, **messages}, own.shape[-2:])
        match self.fusion:
            case "add":
                return own + mixed
            case "multiply":
                return own * mixed
            case "concat":
                return mixed
