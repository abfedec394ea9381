"""Who is whose neighbour: which views of a sample a view is matched with, and where their cameras stand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from polyscene.geometry.cost_volume import projection
from polyscene.types import Camera, Travels

MOST = 2


@dataclass(frozen=True)
class Neighbours(Travels):
    """Each of v views and its k neighbours, places 0..v-1 in the same sample.

    A view with fewer neighbours than k has one of them twice, which changes neither an attention nor a mean; one with
    none (``exist`` false) has itself, at its own place. ``source_from_reference`` carries points of a view to its
    neighbour's axes. ``intrinsics`` are the images', of every view. ``apart`` counts the pairs that see nothing in
    common.
    """

    places: Int64[Tensor, "b v k"]
    exist: Bool[Tensor, "b v"]
    source_from_reference: Float[Tensor, "b v k 4 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    apart: Int64[Tensor, ""]

    @property
    def rows(self) -> Int64[Tensor, "bv k"]:
        """``places`` among all b·v views."""
        batch, views, _ = self.places.shape
        first = torch.arange(0, batch * views, views, device=self.places.device)
        return (self.places + first[:, None, None]).flatten(0, 1)

    def shuffled(self) -> Neighbours:
        """With wrong poses, for controls: the inverse of those of the sample before in the batch."""
        return replace(self, source_from_reference=inverse(self.source_from_reference.roll(1, 0)))


@torch.no_grad()
def find(
    camera: Camera,
    usable: Bool[Tensor, "b v"],
    size: tuple[int, int],
    reach: tuple[float, float],
    in_baselines: bool = False,
) -> Neighbours:
    """The other views of each view, the nearest two by camera centre where there are more than three.

    Neither a view that is not ``usable`` (padded, of unknown camera) nor one that shows nothing of what lies within
    ``reach``, nearest and farthest, is a neighbour. ``size``: of the images, (h, w). With ``in_baselines``, the mean
    distance of a view to its neighbours is the unit of length, of ``reach`` too.
    """
    eye = torch.eye(4, device=usable.device, dtype=camera.world_from_camera.dtype)
    pose = torch.where(usable[..., None, None], camera.world_from_camera, eye)
    intrinsics = torch.where(usable[..., None, None], camera.intrinsics, eye[:3, :3])
    motion = _product(inverse(pose)[:, None], pose[:, :, None])  # of view i, first, to view j
    distance = motion[..., :3, 3].norm(dim=-1)

    views = usable.shape[1]
    others = usable[:, :, None] & usable[:, None] & ~torch.eye(views, device=usable.device, dtype=torch.bool)
    meet = _meet(intrinsics, _scaled(motion, distance) if in_baselines else motion, size, reach)
    wanted = others & meet

    near, places = distance.masked_fill(~wanted, torch.inf).topk(min(views - 1, MOST), largest=False)
    places = torch.where(near.isfinite(), places, places[..., :1])
    exist = wanted.any(-1)
    itself = torch.arange(views, device=usable.device)[:, None]
    places = torch.where(exist[..., None], places, itself)
    chosen = motion.gather(2, places[..., None, None].expand(-1, -1, -1, 4, 4))
    chosen = torch.where(exist[..., None, None, None], chosen, eye)
    if in_baselines:
        chosen = _scaled(chosen, chosen[..., :3, 3].norm(dim=-1).mean(-1)[..., None])
    return Neighbours(places, exist, chosen, intrinsics, (others & ~meet).sum())


def inverse(motion: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Of a rigid motion."""
    turned = motion[..., :3, :3].mT
    return torch.cat([torch.cat([turned, -_product(turned, motion[..., :3, 3:])], -1), motion[..., 3:, :]], -2)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Of matrices, by numbers: autocast would round a matrix product of cameras to half precision."""
    return (left[..., None] * right[..., None, :, :]).sum(-2)


def _scaled(motion: Tensor, length: Tensor) -> Tensor:
    """With the translation in units of ``length``; where that is zero there is nothing to scale."""
    unit = torch.where(length > 0, length, 1.0)[..., None, None]
    return torch.cat([motion[..., :3], torch.cat([motion[..., :3, 3:] / unit, motion[..., 3:, 3:]], -2)], -1)


def _meet(
    intrinsics: Float[Tensor, "b v 3 3"],
    motion: Float[Tensor, "b v v 4 4"],
    size: tuple[int, int],
    reach: tuple[float, float],
) -> Bool[Tensor, "b v v"]:
    """Whether any of some pixels at any of some depths falls into the other view."""
    (height, width), (batch, views) = size, intrinsics.shape[:2]

    def steps(first: float, last: float, count: int) -> Tensor:
        return torch.linspace(first, last, count, device=motion.device, dtype=motion.dtype)

    grid = torch.meshgrid(
        steps(0.0, width - 1.0, 9), steps(0.0, height - 1.0, 9), steps(1 / reach[1], 1 / reach[0], 8), indexing="ij"
    )
    x, y, inverse_depth = (each.flatten() for each in grid)
    points = torch.stack([x, y, torch.ones_like(x), inverse_depth])
    to_pixels = projection(
        intrinsics[:, :, None].expand(-1, -1, views, 3, 3).flatten(0, 2),
        intrinsics[:, None].expand(-1, views, -1, 3, 3).flatten(0, 2),
        motion.flatten(0, 2),
    )
    across, down, depth = _product(to_pixels.to(points), points).unbind(-2)
    across, down = across / depth, down / depth
    inside = (depth > 0) & (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    return inside.any(-1).unflatten(0, (batch, views, views))
