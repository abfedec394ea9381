from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import ConvNormAct, resize
from polyscene.decoders.enlarged_conv import enlarged_conv
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

BASE = 32  # stride of the first stage; each of the next doubles the resolution
STAGES = 3


class InvPT(Decoder):
    """Inverted pyramid transformer (Ye and Xu, ECCV 2022): all tasks' tokens attend to one another, at 1/32, 1/16 and
    1/8 of the image, each stage also hearing the attention scores of the one before.

    Preliminary features of each task (``preliminary`` wide) come from the last level; their predictions are supervised
    as the auxiliary output ``preliminary``. Stages are ``channels``, half and a quarter of it wide, with ``heads``
    heads; the maps given are ``channels`` wide, at stride 4. As published, attention is scaled by the whole width
    rather than a head's. ``preliminary_weight`` is the share of the preliminary losses.

    The upper two stages each add earlier levels of the pyramid. Of levels with the stride of the last, as in plain
    ViTs, the first goes to the third stage, the second to the second, and the others are not read, as published;
    finer levels go to the stage whose stride is nearest, or to the other where that one would have none.
    ``ValueError`` for fewer than two such levels.

    Tensors that cannot matter are not built: biases of keys and of the mixing of scores, which the softmax cancels,
    and biases ahead of a normalisation or of one another.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Count = 576,
        preliminary: Count = 512,
        heads: Count = 2,
        preliminary_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if channels % (4 * heads):
            raise ValueError(f"invpt: channels must divide by 4 heads ({4 * heads}), got {channels}")
        self.tasks, self.channels = tasks, dict.fromkeys(tasks, channels)
        self.preliminary_weight = preliminary_weight
        self.reduction = max(1, round(BASE / strides[-1]))
        self.growth = max(1, round(strides[-1] / BASE))  # of levels that a neck added below 1/32
        widths = [channels // 2**stage for stage in range(STAGES)]
        count, last = len(tasks), in_channels[-1]

        self.preliminary = nn.Sequential(
            ConvNormAct(last, count * last), ConvNormAct(count * last, count * preliminary, groups=count)
        )
        self.initial = nn.ModuleDict({name: nn.Conv2d(preliminary, task.channels, 1) for name, task in tasks.items()})
        self.mix = nn.ModuleDict(
            {name: nn.Conv2d(preliminary + task.channels, channels, 1) for name, task in tasks.items()}
        )
        levels = skipped_to(strides, self.reduction * strides[-1] // self.growth)
        self.entries = nn.ModuleList(
            _Entry(list(tasks), wide, narrow, _skips(levels[stage], in_channels, strides, narrow, BASE // 2**stage))
            for stage, (wide, narrow) in enumerate(pairwise(widths), start=1)
        )
        self.stages = nn.ModuleList(_Stage(count, width, heads, 2**stage) for stage, width in enumerate(widths))
        self.gather = nn.ModuleDict({name: _Gather(widths) for name in tasks})
        self.norms = nn.ModuleList(nn.LayerNorm(count * width) for width in widths)

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        last = features.maps[-1]
        height, width = (max(side * self.growth // self.reduction, 1) for side in last.shape[-2:])
        early = self.preliminary(resize(last, (height, width))).chunk(len(self.tasks), 1)
        initial = {name: head(map_) for (name, head), map_ in zip(self.initial.items(), early, strict=True)}
        maps = [
            mix(torch.cat([map_, initial[name]], 1)) for (name, mix), map_ in zip(self.mix.items(), early, strict=True)
        ]
        scores, scales = None, []
        for stage, (attend, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            size = height * 2**stage, width * 2**stage
            if stage:
                maps = self.entries[stage - 1](maps, features.maps, size)
            stacked, scores = attend(torch.stack(maps, 1), scores)
            tokens = stacked.flatten(3).permute(0, 3, 1, 2)
            normed = norm(tokens.flatten(2)).transpose(1, 2).unflatten(2, size).chunk(len(self.tasks), 1)
            scales.append(normed)
            maps = list(stacked.unbind(1))
        size = 2 * size[0], 2 * size[1]
        final = {
            name: gather([scale[place] for scale in scales], size)
            for place, (name, gather) in enumerate(self.gather.items())
        }
        once = {name: raw[:, None] for name, raw in initial.items()}
        return final, [Auxiliary(once, self.tasks, self.preliminary_weight, "preliminary")]


def skipped_to(strides: tuple[int, ...], base: int) -> list[list[int]]:
    """For each stage, the levels of the pyramid that it adds."""
    *earlier, last = strides
    levels: list[list[int]] = [[] for _ in range(STAGES)]
    flat = [level for level, stride in enumerate(earlier) if stride == last]
    for level, stride in enumerate(earlier):
        if stride != last:
            nearest = round(math.log2(base / stride))
            levels[min(max(nearest, 1), STAGES - 1)].append(level)
    for level, stage in zip(flat, (2, 1), strict=False):
        levels[stage].append(level)
    if not levels[2]:
        levels[2], levels[1] = levels[1][:1], levels[1][1:]
    if not levels[1]:
        levels[2], levels[1] = levels[2][:-1], levels[2][-1:]
    if not all(levels[1:]):
        raise ValueError(
            f"invpt needs levels besides the last for strides near {BASE // 2} and {BASE // 4}, but the encoder's are "
            f"{strides}; take at least three stages of a pyramid, or three blocks of a plain ViT"
        )
    return levels


def _skips(
    levels: list[int], in_channels: tuple[int, ...], strides: tuple[int, ...], channels: int, stride: int
) -> dict[int, nn.Module]:
    return {level: _Skip(in_channels[level], channels, strides[level] > stride) for level in levels}


class _Skip(nn.Module):
    """A level of the encoder brought to a stage; ``doubles`` for one that is coarser."""

    def __init__(self, in_channels: int, channels: int, doubles: bool) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(in_channels, channels, 3, padding=1)
        if doubles:
            self.conv = nn.ConvTranspose2d(in_channels, channels, 3, stride=2, padding=1, output_padding=1)

    def forward(self, tensor: Tensor, size: tuple[int, int]) -> Tensor:
        if tensor.shape[-2] > size[0]:
            tensor = resize(tensor, size)
        return resize(self.conv(tensor), size)


class _Entry(nn.Module):
    """Into one of the upper stages: each task's map enlarged, and the encoder's ``skips`` added, by level."""

    def __init__(self, tasks: list[str], in_channels: int, channels: int, skips: dict[int, nn.Module]) -> None:
        super().__init__()
        self.enlarge = nn.ModuleDict({name: _Enlarge(in_channels, channels) for name in tasks})
        self.skips = nn.ModuleDict({str(level): skip for level, skip in skips.items()})

    def forward(self, maps: list[Tensor], pyramid: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        skip = torch.stack([add(pyramid[int(level)], size) for level, add in self.skips.items()]).sum(0)
        pairs = zip(self.enlarge.values(), maps, strict=True)
        return [enlarge(tensor, size) + skip for enlarge, tensor in pairs]


class _Enlarge(nn.Module):
    """To twice the resolution and another width, by two dilated convolutions."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=2, dilation=2, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, tensor: Tensor, size: tuple[int, int]) -> Tensor:
        tensor = F.relu(self.norm1(enlarged_conv(tensor, self.conv1.weight, size, dilation=2)))
        return F.relu(self.norm2(self.conv2(tensor)))


class _Stage(nn.Module):
    """One transformer block over the tokens of all tasks. Queries are at half resolution; keys and values are averages
    over ``2 * doublings`` pixels, so that their number is the same in every stage."""

    def __init__(self, tasks: int, channels: int, heads: int, doublings: int) -> None:
        super().__init__()
        self.heads, self.window, self.scale = heads, 2 * doublings, channels**-0.5
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        every = tasks * channels
        self.halve = nn.Conv2d(every, every, 3, stride=2, padding=1, groups=every, bias=False)
        self.halve_norm = nn.BatchNorm2d(every)
        self.query, self.value = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.hear = nn.Linear(2 * heads, heads, bias=False) if doublings > 1 else None
        self.widen, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps (n, tasks, c, h, w), and the scores of the stage before, to the same of this one. Scores are
        (n, heads, tasks, h', w', keys)."""
        count, size = maps.shape[1], maps.shape[-2:]
        tokens = maps.flatten(3).transpose(2, 3)
        normed = self.norm1(tokens).transpose(2, 3).unflatten(3, size).flatten(1, 2)
        queries = self.halve_norm(self.halve(normed))
        keys = F.avg_pool2d(normed, self.window, self.window, ceil_mode=True).unflatten(1, (count, -1))
        pairs = keys.flatten(3).transpose(2, 3).flatten(1, 2)
        query = self._split(self.query(queries.unflatten(1, (count, -1)).flatten(3).transpose(2, 3).flatten(1, 2)))
        scores = (query * self.scale) @ self._split(self.key(pairs)).transpose(2, 3)
        scores = scores.unflatten(2, (count, *queries.shape[-2:]))
        if self.hear is not None and before is not None:
            scores = self._listen(self.hear.weight, scores, before)
        heard = scores.flatten(2, 4).softmax(-1) @ self._split(self.value(pairs))
        attended = self.out(heard.transpose(1, 2).flatten(2)).unflatten(1, (count, -1)).transpose(2, 3)
        large = resize(attended.unflatten(3, queries.shape[-2:]).flatten(0, 1), size)
        tokens = tokens + large.flatten(2).transpose(1, 2).unflatten(0, (-1, count))
        tokens = tokens + self.narrow(F.gelu(self.widen(self.norm2(tokens))))
        return tokens.transpose(2, 3).unflatten(3, size), scores

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _listen(self, weight: Tensor, own: Tensor, before: Tensor) -> Tensor:
        """Scores mixed, head by head, with those of the stage before at the resolution of these queries."""
        lead, (height, width) = before.shape[1:3], own.shape[3:5]
        enlarged = resize(before.flatten(0, 2).permute(0, 3, 1, 2), (height, width)).permute(0, 2, 3, 1)
        both = torch.cat([own, enlarged.unflatten(0, (-1, *lead))], 1)
        return (weight @ both.flatten(2)).view_as(own)


class _Gather(nn.Module):
    """One task's map at stride 4: a 3x3 convolution of the sum of its stages, each brought to the first one's width.

    The projections are multiplied into the convolution, so that each stage is convolved at its own width."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        channels, *narrower = widths
        self.widen = nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in narrower)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)

    def forward(self, scales: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        total = enlarged_conv(scales[0], self.conv.weight, size)
        taps = self.conv.weight.permute(0, 2, 3, 1)
        for tensor, widen in zip(scales[1:], self.widen, strict=True):
            total = total + enlarged_conv(
                tensor, (taps @ widen.get_parameter("weight").flatten(1)).permute(0, 3, 1, 2), size
            )
        return F.relu(self.norm(total))
