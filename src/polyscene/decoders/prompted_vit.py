from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.encoders.base import Encoder
from polyscene.encoders.timm_vit import TimmViT
from polyscene.types import Features


class PromptedViT(Encoder):
    """A plain ViT whose class token made way for one prompt a task, and at each of its blocks that gives a map, what
    every task makes of it: ``channels`` wide, by task, with their mean as the shared map.

    ``windows``: along each side, how many parts of the picture ask for channels of their own. ``width``: of what a
    task takes from places, and of what it takes from channels. ``reweight``: whether tasks are mixed by their prompts'
    attention to one another. Prompts also pass through maps over all patches, whose size is that of the layers, so
    pictures of other sizes are resized to the one that the ViT was built for (its ``img_size``).

    ``ValueError`` for encoders that are no plain ViT, and for ``windows`` that do not divide its patches.
    """

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], *, width: int, channels: int, windows: int, reweight: bool
    ) -> None:
        nn.Module.__init__(self)
        vit = _plain(encoder)
        net = vit.net
        self.name, self.strides, self.channels = encoder.name, encoder.strides, (channels,) * len(encoder.strides)
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("std", encoder.std)
        self.tasks, self.places = tuple(tasks), vit.blocks
        self.grid = height, columns = net.patch_embed.grid_size
        if height % windows or columns % windows:
            raise ValueError(
                f"taskprompter: {windows} windows a side do not divide the {height}x{columns} patches of "
                f"{encoder.name}; choose another number of windows, or img_size"
            )
        tiles = windows, height // windows, windows, columns // windows
        last, inner, count = self.places[-1], net.embed_dim, len(self.tasks)
        self.prompts = nn.Parameter(nn.init.trunc_normal_(torch.empty(count, inner), mean=1.0, std=1.0))
        self.patch_embed, self.enter, self.norm = net.patch_embed, nn.Sequential(net.pos_drop, net.norm_pre), net.norm
        self.position = nn.Parameter(net.pos_embed.detach()[:, -height * columns :].clone())
        self.layers = nn.ModuleList(
            _Layer(block, count, inner, tiles, ends=place == last) for place, block in enumerate(net.blocks[: last + 1])
        )
        heads = net.blocks[0].attn.num_heads
        self.levels = nn.ModuleList(_Level(count, inner, heads, tiles, width, channels, reweight) for _ in self.places)

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        size = tuple(side * self.strides[0] for side in self.grid)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        patches = self.patch_embed(self.normalise(images)).flatten(1, -2) + self.position
        tokens = self.enter(torch.cat([self.prompts.expand(patches.shape[0], -1, -1), patches], 1))
        levels: list[Tensor] = []
        for place, layer in enumerate(self.layers):
            tokens, spatial, channel = layer(tokens)
            if place in self.places:
                seen = self.norm(tokens) if layer is self.layers[-1] else tokens
                levels.append(self.levels[len(levels)](seen[:, len(self.tasks) :], spatial, channel))
        by_task = {name: [level[:, place] for level in levels] for place, name in enumerate(self.tasks)}
        return Features([level.mean(1) for level in levels], by_task)


def _plain(encoder: Encoder) -> TimmViT:
    if isinstance(encoder, TimmViT):
        net = encoder.net
        if isinstance(net, VisionTransformer) and net.pos_embed is not None and all(map(_is_plain, net.blocks)):
            return encoder
    raise ValueError(
        f"taskprompter puts prompts among the tokens of a plain ViT, which the encoder {encoder.name!r} is not; "
        "take one such as vit_base_patch16_384"
    )


def _is_plain(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    extras = (getattr(attention, name, None) for name in ("norm", "gate"))  # after the attention, in some
    known = type(block) is Block and type(attention) is Attention
    return known and all(extra is None or isinstance(extra, nn.Identity) for extra in extras)


class _Layer(nn.Module):
    """A block of the ViT over prompts and patches together; prompts hear besides what they are as maps. It tells what
    prompts asked for: raw scores (n, heads, tasks, tokens), and those of channels in each window (n, tasks, c, rows,
    columns)."""

    def __init__(self, block: nn.Module, prompts: int, channels: int, tiles: Sequence[int], ends: bool) -> None:
        super().__init__()
        self.prompts, self.tiles = prompts, tuple(tiles)
        self.block: Any = block
        pixels = tiles[0] * tiles[1] * tiles[2] * tiles[3]
        self.to_map = nn.Linear(channels, pixels)
        self.from_map = None if ends else nn.Linear(pixels, channels)  # nobody reads the last prompts
        for linear in (self.to_map, self.from_map):
            if linear is not None:
                nn.init.trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        block = self.block
        normed = block.norm1(tokens)
        prompts, patches = normed[:, : self.prompts], normed[:, self.prompts :]
        heard, spatial = self._attend(normed)
        maps = self.to_map(prompts)
        channel = torch.einsum("ntahbw,nahbwc->ntcab", maps.unflatten(2, self.tiles), patches.unflatten(1, self.tiles))
        if self.from_map is not None:
            heard = torch.cat([heard[:, : self.prompts] + self.from_map(maps), heard[:, self.prompts :]], 1)
        tokens = tokens + block.drop_path1(block.ls1(heard))
        return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens)))), spatial, channel

    def _attend(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.block.attn
        query, key, value = attention.qkv(tokens).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = attention.q_norm(query), attention.k_norm(key)
        dropped = attention.attn_drop.p if self.training else 0.0
        heard = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped).transpose(1, 2).flatten(2)
        return attention.proj_drop(attention.proj(heard)), query[:, :, : self.prompts] @ key.transpose(2, 3)


class _Level(nn.Module):
    """All tasks' maps (n, tasks, channels, h, w) of the patches after one block, by what their prompts asked for. Tasks
    are groups of the convolutions."""

    def __init__(
        self, tasks: int, in_channels: int, heads: int, tiles: Sequence[int], width: int, channels: int, reweight: bool
    ) -> None:
        super().__init__()
        self.tiles, self.tasks = tuple(tiles), tasks
        every = tasks * channels
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * tasks * in_channels, 2 * tasks * width, 1, groups=2 * tasks),
            nn.Conv2d(2 * tasks * width, every, 1, groups=tasks),
            nn.Conv2d(every, every, 3, padding=1, groups=tasks, bias=False),
            nn.BatchNorm2d(every),
            nn.GELU(),
            nn.Conv2d(every, every, 1, groups=tasks),
        )
        self.reweight = None
        if reweight:
            self.reweight = nn.Sequential(
                nn.Conv1d(tasks * heads, tasks * heads, 1, groups=tasks),
                nn.GELU(),
                nn.Conv1d(tasks * heads, tasks, 1, groups=tasks),
            )

    def forward(self, patches: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
        patches, spatial = patches.transpose(1, 2)[:, None], spatial.transpose(1, 2)
        heads, rows, columns = spatial.shape[2], self.tiles[0] * self.tiles[1], self.tiles[2] * self.tiles[3]
        by_place = patches.unflatten(2, (heads, -1)) * (1 + spatial[:, :, :, None, self.tasks :])
        by_channel = patches.unflatten(3, self.tiles) * (1 + channel[:, :, :, :, None, :, None])
        both = torch.stack([by_place.flatten(2, 3), by_channel.flatten(3)], 2)
        maps = self.fuse(both.flatten(1, 3).unflatten(2, (rows, columns))).unflatten(1, (self.tasks, -1))
        if self.reweight is None:
            return maps
        shares = self.reweight(spatial[..., : self.tasks].flatten(1, 2))
        return torch.einsum("nts,nschw->ntchw", shares, maps)
