"""What decoders are made of. All maps are (n, c, h, w)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, ReLU; keeps the size."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, groups: int = 1, dilation: int = 1) -> None:
        around = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel, padding=around, dilation=dilation, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class Bottleneck(nn.Module):
    """A 3x3 convolution of few channels between two 1x1, around which the input, brought to as many channels, is added
    (ResNet's bottleneck)."""

    def __init__(self, in_channels: int, channels: int, reduction: int = 4) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.conv1, self.norm1 = nn.Conv2d(in_channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2, self.norm2 = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow)
        self.conv3, self.norm3 = nn.Conv2d(narrow, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, tensor: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(tensor)), inplace=True)
        inner = F.relu(self.norm2(self.conv2(inner)), inplace=True)
        return F.relu(self.norm3(self.conv3(inner)) + self.shortcut(tensor), inplace=True)


def resize(tensor: Tensor, size: Sequence[int]) -> Tensor:
    """To (h, w), bilinear, by pixel areas (``align_corners=False``)."""
    if tuple(tensor.shape[-2:]) == tuple(size):
        return tensor
    return F.interpolate(tensor, tuple(size), mode="bilinear", align_corners=False)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling of DeepLabV3: a 1x1 convolution, dilated ones, and the mean over the picture."""

    def __init__(self, in_channels: int, channels: int, rates: Sequence[int], dropout: float = 0.5) -> None:
        super().__init__()
        self.near = ConvNormAct(in_channels, channels, 1)
        self.far = nn.ModuleList(ConvNormAct(in_channels, channels, dilation=rate) for rate in rates)
        self.whole = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.whole_norm = nn.BatchNorm2d(channels)
        self.merge = ConvNormAct((2 + len(rates)) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tensor: Tensor) -> Tensor:
        whole = self.whole(tensor.mean((-2, -1), keepdim=True))
        norm = self.whole_norm
        if self.training and len(whole) == 1:  # one value has no variance: as in evaluation
            whole = F.batch_norm(whole, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            whole = norm(whole)
        seen = F.relu(whole).expand(-1, -1, *tensor.shape[-2:])
        maps = [self.near(tensor), *(far(tensor) for far in self.far), seen]
        merged: Tensor = self.dropout(self.merge(torch.cat(maps, 1)))
        return merged


class PooledContext(nn.Module):
    """Adds to every place what averages over the whole map, and over grids of its parts, say of it."""

    def __init__(self, channels: int, grids: tuple[int, ...] = (1, 2, 3)) -> None:
        super().__init__()
        self.grids = grids
        self.reduce = nn.ModuleList(nn.Conv2d(channels, channels // 4, 1) for _ in grids)
        self.merge = ConvNormAct(channels + len(grids) * (channels // 4), channels, 1)

    def forward(self, tensor: Tensor) -> Tensor:
        size = tensor.shape[-2:]
        pooled = [
            resize(F.relu(conv(F.adaptive_avg_pool2d(tensor, grid))), size)
            for grid, conv in zip(self.grids, self.reduce, strict=True)
        ]
        return tensor + self.merge(torch.cat([tensor, *pooled], 1))


class AttentionContext(nn.Module):
    """Self-attention over all places of a coarse map, which know where in the picture they are."""

    def __init__(self, channels: int, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.position = nn.Linear(2 + 4 * len(_FREQUENCIES), channels)
        self.blocks = nn.ModuleList(_AttentionBlock(channels, heads) for _ in range(depth))

    def forward(self, tensor: Tensor) -> Tensor:
        height, width = tensor.shape[-2:]
        tokens = tensor.flatten(2).transpose(1, 2) + self.position(_positions(tensor))
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.transpose(1, 2).unflatten(2, (height, width))


_FREQUENCIES = (0.5, 1.0, 2.0, 4.0)


def _positions(like: Tensor) -> Tensor:
    """(h·w, c): coordinates in [-1, 1] of the extent of a map (..., h, w), with sines and cosines of them."""
    height, width = like.shape[-2:]  # tensors while a network is traced for export
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2 / width) - 1
    place = torch.stack([y[:, None].expand(height, width), x.expand(height, width)], -1).flatten(0, 1)
    waves = torch.cat([place * (torch.pi * frequency) for frequency in _FREQUENCIES], -1)
    return torch.cat([place, waves.sin(), waves.cos()], -1)


class _AttentionBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron."""

    def __init__(self, channels: int, heads: int, widening: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.widen, self.narrow = nn.Linear(channels, widening * channels), nn.Linear(widening * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        return tokens + self.narrow(F.gelu(self.widen(self.norm2(tokens))))


class Fpn(nn.Module):
    """Top-down sum of 1x1 laterals, finest map out; the coarsest may already have ``channels`` of its own."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = ConvNormAct(channels, channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        sums = [lateral(tensor) for lateral, tensor in zip(self.laterals, maps, strict=True)]
        top = sums[-1]
        for lateral in reversed(sums[:-1]):
            top = lateral + resize(top, lateral.shape[-2:])
        return self.smooth(top)


class Concat(nn.Module):
    """All maps brought to the finest, concatenated, mixed by a 1x1 convolution. The convolution is applied before the
    resizing, which commutes with it and is cheaper so."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.mix = nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in in_channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        finest, *coarser = (conv(tensor) for conv, tensor in zip(self.mix, maps, strict=True))
        for tensor in coarser:
            finest = finest.add_(resize(tensor, finest.shape[-2:]))
        return F.relu(self.norm(finest), inplace=True)
