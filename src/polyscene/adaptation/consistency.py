"""What two tasks of one picture say about each other: losses on their predictions alone, without a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry import planes
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation, Task
from polyscene.types import Camera

FLAT = 0.02  # a window whose inverse depth is farther from a plane's, as a share of it, lies over an edge
SLACK = 1  # pixels that a boundary may lie beside its edge


class Disagreement(NamedTuple):
    """Of each pixel, and how much the pixel counts."""

    value: Float[Tensor, "b v 1 h w"]
    weight: Float[Tensor, "b v 1 h w"]

    def mean(self, where: Bool[Tensor, "b v 1 h w"]) -> Tensor:
        """Zero, with gradient, if nothing counts."""
        weight = torch.where(where, self.weight, 0.0)
        return (torch.where(weight > 0, self.value, 0.0) * weight).sum() / weight.sum().clamp_min(1e-6)


def depth_normals(
    depth: Float[Tensor, "b v 1 h w"], normals: Float[Tensor, "b v 3 h w"], camera: Camera
) -> Disagreement:
    """1 - cos of the angle between the normal of a pixel and that of the plane through the depth around it.

    Scale does not turn a plane, so ``depth`` may be of the canonical camera; ``camera`` is the picture's own. Windows
    over a depth edge do not count, nor do pictures of unknown cameras; others by the cosine at which the ray meets the
    plane, since noise of the depth turns grazing planes most.
    """
    intrinsics = camera.intrinsics.flatten(0, 1)
    found, incidence, misfit = planes.fit(depth.flatten(0, 1), intrinsics)
    found, incidence, misfit = (each.unflatten(0, depth.shape[:2]) for each in (found, incidence, misfit))
    sure = (misfit < FLAT) & camera.known[..., None, None, None]
    return Disagreement(1 - (found * normals).sum(-3, keepdim=True), (incidence * sure).detach())


def segmentation_edges(
    classes: Float[Tensor, "b v c h w"], edges: Float[Tensor, "b v 1 h w"], camera: Camera
) -> Disagreement:
    """-log(1 - boundary (1 - edge)): how unlikely it is that wherever the class changes there is an edge, within
    ``SLACK`` pixels. Not the reverse: many edges lie within a class. Pixels count by how probable a boundary is there.

    A boundary is as probable as the class distributions of a pixel and of that to its right, below or to the lower
    right differ: by half the sum of absolute differences, the most of the three.
    """
    boundary = torch.cat([_changed(classes, *step) for step in ((0, 1), (1, 0), (1, 1))], -3).amax(-3, keepdim=True)
    near = F.max_pool2d(edges.flatten(0, 1), 2 * SLACK + 1, 1, SLACK).unflatten(0, edges.shape[:2])
    value = -torch.log1p(-(boundary * (1 - near)).clamp_max(1 - 1e-4))
    return Disagreement(value, boundary.detach())


def _changed(classes: Tensor, rows: int, columns: int) -> Tensor:
    height, width = classes.shape[-2:]
    here, there = classes[..., : height - rows, : width - columns], classes[..., rows:, columns:]
    return F.pad((here - there).abs().sum(-3, keepdim=True) / 2, (0, columns, 0, rows))


@dataclass(frozen=True)
class Pair:
    """Two kinds of task and how far their soft values (``Task.soft``) disagree."""

    first: type[Task]
    second: type[Task]
    disagreement: Callable[[Tensor, Tensor, Camera], Disagreement]

    def among(self, tasks: Mapping[str, Task]) -> list[tuple[str, str]]:
        """The names of all such pairs in a network."""
        return [
            (one, other)
            for one, task in tasks.items()
            for other, opposite in tasks.items()
            if isinstance(task, self.first) and isinstance(opposite, self.second)
        ]


PAIRS = {
    "depth_normals": Pair(Depth, Normals, depth_normals),
    "segmentation_edges": Pair(SemanticSegmentation, Edges, segmentation_edges),
}
