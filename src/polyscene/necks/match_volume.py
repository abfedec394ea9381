"""The cost volume of the cross-view module: how well each place of a view matches its neighbours at each depth."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyscene.geometry.cost_volume import plane_sweep
from polyscene.necks.matching import STRIDE
from polyscene.necks.neighbours import Neighbours

Alone = Literal["duplicate", "learned"]
Outside = Literal["zero", "learned"]


class CostVolume(nn.Module):
    """Dot products of a view's features with its neighbours', where they would be on fronto-parallel planes at
    ``inverse_depths``; the mean over neighbours, normalised.

    Under ``alone="duplicate"`` a view without neighbours is its own, at its own place: every plane then holds the same
    map. Under ``"learned"`` it has a learned value a plane. What lies outside a neighbour's picture counts 0, or is
    left out of the mean and, where no neighbour sees it, a learned value a plane (``outside``). ``constant`` gives
    every view the volume of a duplicated one.
    """

    inverse_depths: Tensor

    def __init__(
        self, inverse_depths: Float[Tensor, " planes"], alone: Alone, outside: Outside, constant: bool
    ) -> None:
        super().__init__()
        planes, self.constant = len(inverse_depths), constant
        self.register_buffer("inverse_depths", inverse_depths, persistent=False)
        self.norm = nn.GroupNorm(1, planes)
        self.alone = nn.Parameter(torch.zeros(planes, 1, 1)) if alone == "learned" else None
        self.outside = nn.Parameter(torch.zeros(planes, 1, 1)) if outside == "learned" else None

    def forward(
        self, maps: Float[Tensor, "b v c h w"], neighbours: Neighbours | None, views: int
    ) -> Float[Tensor, "bv planes h w"]:
        """Of the first ``views`` views of each sample; ``neighbours`` None says that nobody has any."""
        own = maps[:, :views].flatten(0, 1)
        volume = (own.square().sum(1, keepdim=True) * own.shape[1] ** -0.5).expand(-1, len(self.inverse_depths), -1, -1)
        exist = torch.zeros(len(own), 1, 1, 1, device=own.device, dtype=torch.bool)
        inside = exist.expand_as(volume) | ~exist
        if neighbours is not None and not self.constant:
            exist = neighbours.exist[:, :views].flatten()[:, None, None, None]
            swept, seen = self._sweep(own, maps.flatten(0, 1), neighbours, views)
            volume, inside = torch.where(exist, swept, volume), seen | ~exist
        if self.outside is not None:
            volume = torch.where(inside, volume, self.outside)
        volume = self.norm(volume)
        return volume if self.alone is None else torch.where(exist, volume, self.alone)

    @torch.no_grad()
    def best(
        self, maps: Float[Tensor, "b v c h w"], neighbours: Neighbours, views: int
    ) -> tuple[Float[Tensor, "bv 1 h w"], Bool[Tensor, "bv 1 h w"]]:
        """The depth of the plane that matches best, of those that a neighbour sees, and where there is any. Dot
        products as they are: the norm's weights prefer planes."""
        volume, seen = self._sweep(maps[:, :views].flatten(0, 1), maps.flatten(0, 1), neighbours, views)
        plane = volume.masked_fill(~seen, -torch.inf).argmax(1, keepdim=True)
        exist = neighbours.exist[:, :views].flatten()[:, None, None, None]
        return 1 / self.inverse_depths[plane], seen.any(1, keepdim=True) & exist

    def _sweep(self, own: Tensor, every: Tensor, neighbours: Neighbours, views: int) -> tuple[Tensor, Tensor]:
        """The mean over neighbours, and where any sees the plane."""
        to_map = neighbours.intrinsics.new_tensor([1 / STRIDE, 1 / STRIDE, 1])  # places are centred on pixels 0, 8, 16
        intrinsics = (to_map[:, None] * neighbours.intrinsics).flatten(0, 1)
        first = torch.arange(len(every), device=every.device).unflatten(0, neighbours.exist.shape)[:, :views].flatten()
        sources = neighbours.rows[first].unbind(1)
        motions = neighbours.source_from_reference.flatten(0, 1)[first].unbind(1)
        volumes, insides = [], []
        for source, motion in zip(sources, motions, strict=True):
            cameras = intrinsics[first], intrinsics[source], motion
            other = every.index_select(0, source)
            volume, inside = plane_sweep(own, other, *cameras, self.inverse_depths, return_inside=True, check=False)
            volumes.append(volume)
            insides.append(inside)
        seen, total = torch.stack(insides), torch.stack(volumes)
        if self.outside is None:
            return total.mean(0), seen.any(0)
        return (total * seen).sum(0) / seen.sum(0).clamp(min=1), seen.any(0)
