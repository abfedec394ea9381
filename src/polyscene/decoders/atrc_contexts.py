"""What one task may take from another's features (Bruggemann et al., "Exploring Relational Context for Multi-Task Dense
Prediction", ICCV 2021, section 3.2), each usable alone: ``Context(c, d)`` makes of maps (n, c, h, w) of the target and
of the source, or of tokens (n, c, k, 1) of the source's k classes, a map (n, d, h, w) of any size.

>>> target, source, scores = torch.rand(1, 64, 32, 48), torch.rand(1, 64, 32, 48), torch.rand(1, 13, 32, 48)
>>> everywhere, nearby = GlobalContext(64, 32)(target, source), LocalContext(64, 32, window=5)(target, source)
>>> by_class = LabelContext(64, 32)(target, class_tokens(scores, source))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.blocks import ConvNormAct


class Attention(nn.Module):
    """Queries of the target, keys and values of the source. ``affine``: whether the values are scaled, which makes
    contexts that are to be compared unlike."""

    def __init__(self, in_channels: int, channels: int, last: type[nn.Module] = nn.ReLU, affine: bool = True) -> None:
        super().__init__()
        self.query, self.key = (_projection(in_channels, channels, last) for _ in range(2))
        self.value = ConvNormAct(in_channels, channels, 1)
        if not affine:
            self.value[1] = nn.BatchNorm2d(channels, affine=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def queries(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (n, d, h, w) of where they come from."""
        return self.query(target), self.key(source), self.value(source)


class GlobalContext(Attention):
    """Every pixel of the source, by kernelised attention: memory and time grow with the pixels, not their square.
    The sums over pixels are means, which no half precision overflows."""

    def __init__(self, in_channels: int, channels: int, affine: bool = True) -> None:
        super().__init__(in_channels, channels, nn.Softplus, affine)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        query, key, value = (tensor.flatten(2) for tensor in self.queries(target, source))
        summary = value @ (key / key.shape[2]).transpose(1, 2)
        likeness = key.mean(2)[:, None] @ query
        return ((summary @ query) / likeness.clamp_min(1e-12)).unflatten(2, target.shape[2:])


class LocalContext(Attention):
    """The pixels of the source within a window of ``window`` x ``window``. What lies outside the picture counts as
    zeros, like in a convolution. ``ValueError`` for an even ``window``."""

    def __init__(self, in_channels: int, channels: int, affine: bool = True, window: int = 9) -> None:
        super().__init__(in_channels, channels, nn.ReLU, affine)
        if window % 2 == 0:
            raise ValueError(f"a window has a pixel in its middle, which one of {window} x {window} has not; take odd")
        self.window = window

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return local_attention(*self.queries(target, source), self.window)


class LabelContext(Attention):
    """What the source says of each class: of the target's classes or of its own, as ``tokens`` were gathered."""

    def __init__(self, in_channels: int, channels: int, affine: bool = True) -> None:
        super().__init__(in_channels, channels, nn.ReLU, affine)

    def forward(self, target: Tensor, tokens: Tensor) -> Tensor:
        """``tokens``: (n, c, k, 1), see ``class_tokens``."""
        maps = self.queries(target, tokens)
        query, key, value = (tensor.flatten(2).transpose(1, 2)[:, None] for tensor in maps)
        context = F.scaled_dot_product_attention(query, key, value)
        return context[:, 0].transpose(1, 2).unflatten(2, target.shape[2:])


def class_tokens(scores: Tensor, source: Tensor) -> Tensor:
    """What a source's features (n, c, h, w) are like where each of k classes is, by its scores (n, k, h, w): their mean
    with the softmax of these over all pixels as weights, (n, c, k, 1)."""
    weights = scores.flatten(2).softmax(2)
    return (source.flatten(2) @ weights.transpose(1, 2))[..., None]


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Attention of every pixel to the ``window`` x ``window`` pixels around it, all (n, d, h, w), zeros outside.

    Tiles of the queries meet the keys of the tile and its surroundings under a mask: keys and values are copied four
    times, not ``window``² times, and the attention is never written out.
    """
    halo = window // 2
    tile = max(2 * halo, 1)
    height, width = query.shape[2:]
    down, right = -height % tile, -width % tile
    rows, columns = (height + down) // tile, (width + right) // tile
    own = _tiles(F.pad(query, (0, right, 0, down)), tile, tile)
    around = halo, right + halo, halo, down + halo
    keys, values = (_tiles(F.pad(tensor, around), 2 * halo + tile, tile) for tensor in (key, value))
    place = torch.arange(2 * halo + tile, device=query.device)
    close = (place - torch.arange(tile, device=query.device)[:, None] - halo).abs() <= halo
    mask = (close[:, None, :, None] & close[None, :, None, :]).flatten(2).flatten(0, 1)
    found = F.scaled_dot_product_attention(own, keys, values, attn_mask=mask)
    spread = found.unflatten(1, (rows, columns)).unflatten(3, (tile, tile)).permute(0, 5, 1, 3, 2, 4)
    return spread.flatten(4).flatten(2, 3)[..., :height, :width]


def _tiles(tensor: Tensor, side: int, step: int) -> Tensor:
    """(n, d, h, w) to squares (n, tiles, side², d)."""
    return tensor.unfold(2, side, step).unfold(3, side, step).permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(1, 2)


def _projection(in_channels: int, channels: int, last: type[nn.Module]) -> nn.Sequential:
    second = ConvNormAct(channels, channels, 1)
    second[2] = last()
    return nn.Sequential(ConvNormAct(in_channels, channels, 1), second)
