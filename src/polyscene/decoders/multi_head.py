from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import Field
from torch import Tensor, nn

from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import AttentionContext, Concat, ConvNormAct, Fpn, PooledContext, resize
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Features

Fuse = Literal["fpn", "concat"]
Context = Literal["none", "pool", "attention"]


class MultiHead(Decoder):
    """One fused map for all tasks, and a light branch for each: the plainest multi-task network.

    ``channels`` is the width of the fused map and of the branches, which are ``depth`` 3x3 convolutions deep;
    ``fuse`` says how the pyramid becomes one map, at stride 4; ``context`` lets the coarsest level see the whole
    picture: by averages, or by ``context_depth`` blocks of self-attention with ``context_channels``.

    ``separate`` gives every task a fused map of its own. With ``fuse: concat``, ``context: none``, ``depth: 0`` and as
    many ``channels`` as the pyramid has in all, this is HRNet's own head (Sun et al., "High-Resolution Representations
    for Labeling Pixels and Regions", 2019), the multi-task baseline of the survey of Vandenhende et al., TPAMI 2021.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Count = 64,
        fuse: Fuse = "fpn",
        context: Context = "attention",
        context_channels: Count = 128,
        context_depth: Count = 2,
        depth: Annotated[int, Field(ge=0)] = 1,
        separate: bool = False,
    ) -> None:
        super().__init__()
        if fuse not in get_args(Fuse) or context not in get_args(Context):
            raise ValueError(f"multi_head: fuse is one of {get_args(Fuse)}, context one of {get_args(Context)}")
        if depth < 0 or channels < 1:
            raise ValueError(f"multi_head: depth must be at least 0 and channels 1, got {depth} and {channels}")
        self.channels = dict.fromkeys(tasks, channels)
        *finer, coarsest = in_channels
        self.context: nn.Module = nn.Identity()
        if context != "none":
            pool = context == "pool"
            see = PooledContext(context_channels) if pool else AttentionContext(context_channels, context_depth)
            self.context = nn.Sequential(ConvNormAct(coarsest, context_channels, 1), see)
            coarsest = context_channels
        self.separate = separate
        kind, widths = Fpn if fuse == "fpn" else Concat, (*finer, coarsest)
        self.fuse: nn.Module
        if separate:
            self.fuse = nn.ModuleDict({name: kind(widths, channels) for name in tasks})
        else:
            self.fuse = kind(widths, channels)
        doublings = max(0, round(math.log2(strides[0] / 4)))  # plain ViTs have nothing finer than stride 14 or 16
        self.refine = nn.ModuleList(ConvNormAct(channels, channels) for _ in range(doublings))
        self.branches = nn.ModuleDict(
            {name: nn.Sequential(*(ConvNormAct(channels, channels) for _ in range(depth))) for name in tasks}
        )

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        *finer, coarsest = features.maps
        maps = [*finer, self.context(coarsest)]
        if self.separate:
            fused = {name: self._refined(fuse(maps)) for name, fuse in self.fuse.named_children()}
        else:
            fused = dict.fromkeys(self.branches, self._refined(self.fuse(maps)))
        return {name: branch(fused[name]) for name, branch in self.branches.items()}, []

    def _refined(self, fused: Tensor) -> Tensor:
        for conv in self.refine:
            fused = conv(resize(fused, (2 * fused.shape[-2], 2 * fused.shape[-1])))
        return fused
