"""Attention from one task to another: what DenseMTL exchanges between its decoders. All maps are (n, c, h, w)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.blocks import ConvNormAct


class xTAM(nn.Module):
    """Cross-task attention in one direction: ``xTAM(channels)(x, y)`` is what task ``y`` has to say to task ``x``.

    Two branches look at features G = relu(conv(y)) of the source: a gate that keeps what is worth passing on
    (self-attention), and attention of every place of ``x`` over all places of G (correlation), on grids ``cell`` times
    coarser, whose part in the message starts at zero. Both are mixed into a map like ``x``; adding it is the caller's.

    ``self_attention`` and ``correlation`` may be left out, not both. ``gated`` is the learnt factor per channel that
    starts at zero; without it the correlation speaks from the beginning. ``full_width`` gives the gate all channels
    instead of half. ``ValueError`` for neither branch, for an odd number of channels to halve, and a ``cell`` below 1.
    Lopes, Vu, de Charette: Cross-task Attention Mechanism for Dense Multi-task Learning (WACV 2023).

    >>> message = xTAM(128)(torch.rand(1, 128, 64, 96), torch.rand(1, 128, 64, 96))
    """

    def __init__(
        self,
        channels: int,
        *,
        cell: int = 4,
        self_attention: bool = True,
        correlation: bool = True,
        gated: bool = True,
        full_width: bool = False,
    ) -> None:
        super().__init__()
        self.extract = extraction(channels)
        self.transfer = Transfer(
            channels,
            cell=cell,
            self_attention=self_attention,
            correlation=correlation,
            gated=gated,
            full_width=full_width,
        )

    def forward(self, x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        message: Tensor = self.transfer(x, self.extract(y))
        return message


def extraction(channels: int) -> nn.Sequential:
    """What a source offers."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))


class Transfer(nn.Module):
    """``xTAM`` on what the source offers, already extracted."""

    def __init__(
        self,
        channels: int,
        *,
        cell: int = 4,
        self_attention: bool = True,
        correlation: bool = True,
        gated: bool = True,
        full_width: bool = False,
    ) -> None:
        super().__init__()
        if not (self_attention or correlation):
            raise ValueError("xTAM: leave out self_attention or correlation, not both")
        if not full_width and channels % 2:
            raise ValueError(f"xTAM: {channels} channels cannot be halved; take an even number, or full_width")
        widths: dict[str, int] = {}
        self.gate: nn.Conv2d | None = None
        self.correlate: Correlation | None = None
        if self_attention:
            widths["gate"] = channels if full_width else channels // 2
            self.gate = nn.Conv2d(channels, 2 * widths["gate"], 3, padding=1, bias=False)
        if correlation:
            widths["correlate"] = channels
            self.correlate = Correlation(channels, cell, gated)
        self.merge = Merge(widths, channels)

    def forward(self, x: Float[Tensor, "n c h w"], offered: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        parts = {}
        if self.gate is not None:
            parts["gate"] = F.glu(self.gate(offered), 1)
        if self.correlate is not None:
            parts["correlate"] = self.correlate(x, offered)
        message: Tensor = self.merge(parts, x.shape[-2:])
        return message


class Correlation(nn.Module):
    """Every cell of ``x`` attends to all cells of ``y``; one value a cell comes out, (n, c, ⌈h / cell⌉, ⌈w / cell⌉).

    One head, no positions, no projection; the matrix of weights is never made. ``gain`` starts at zero.
    """

    def __init__(self, channels: int, cell: int = 4, gated: bool = True) -> None:
        super().__init__()
        if cell < 1:
            raise ValueError(f"Correlation: a cell is at least one pixel wide, got {cell}")
        self.cell = cell
        self.query, self.key, self.value = (ConvNormAct(channels, channels, 1) for _ in range(3))
        self.gain = nn.Parameter(torch.zeros(1, channels, 1, 1)) if gated else None

    def forward(self, x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        asking = x[..., :: self.cell, :: self.cell]
        asked = F.max_pool2d(y, self.cell, ceil_mode=True) if self.cell > 1 else y
        answer = attend(self.query(asking), self.key(asked), self.value(asked))
        return answer if self.gain is None else self.gain * answer


def attend(
    query: Float[Tensor, "n c h w"], key: Float[Tensor, "n c _h _w"], value: Float[Tensor, "n c _h _w"]
) -> Float[Tensor, "n c h w"]:
    """Softmax over the places of ``key`` of (query · key) / √c, times ``value``, without the matrix of weights."""
    # The fused kernels want the channels of one place side by side.
    asking, asked, answers = (tensor.flatten(2).transpose(1, 2).contiguous()[:, None] for tensor in (query, key, value))
    found = F.scaled_dot_product_attention(asking, asked, answers)[:, 0]
    return found.transpose(1, 2).unflatten(2, query.shape[-2:])


class Merge(nn.Module):
    """Named maps concatenated, then a 1x1 convolution, batch norm, ReLU. The concatenation is never made, and a map of
    whole cells is convolved before its values are repeated, which commutes."""

    def __init__(self, widths: Mapping[str, int], channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Conv2d(width, channels, 1, bias=False) for name, width in widths.items()})
        bound = sum(widths.values()) ** -0.5  # as one convolution would start
        for conv in self.parts.values():
            nn.init.uniform_(conv.get_parameter("weight"), -bound, bound)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        mixed = [spread(conv(maps[name]), size) for name, conv in self.parts.items()]
        return F.relu(self.norm(sum(mixed[1:], mixed[0])), inplace=True)


def spread(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Each cell's value at all its pixels; cells at the right and lower edge may stick out of ``size``."""
    height, width = size
    if tuple(cells.shape[-2:]) == (height, width):
        return cells
    cell = int(-(-height // cells.shape[-2]))
    return F.interpolate(cells, scale_factor=cell, mode="nearest")[..., :height, :width]
