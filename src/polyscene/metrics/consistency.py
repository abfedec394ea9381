"""Do predictions of different views of one scene say the same of it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyscene.geometry.camera import resize_intrinsics
from polyscene.geometry.correspondence import TOLERANCE, correspond
from polyscene.types import Camera, Target

if TYPE_CHECKING:
    from polyscene.tasks.base import Task

Sums = dict[str, dict[str, list[float]]]  # by task and figure: sum, count


class Consistency:
    """Predictions of one view are carried into each other view by true depth and cameras, and compared with that view's
    own on the pixels that see the same point: figures "cross-view ...", pooled over both directions of all pairs.

    A point counts as seen by both where the other view's true depth is within ``tolerance`` (3 %) of what it should be.
    Truth serves to find the pixels alone, so this is no accuracy: a network that says the same everywhere is perfectly
    consistent. What is compared, each task says (``Task.carry``, ``Task.agreement``); "cross-view pixels" is the share
    of all pixels, in percent, on which it was.
    """

    def __init__(self, tasks: Mapping[str, Task], tolerance: float = TOLERANCE) -> None:
        self.tasks, self.tolerance = tasks, tolerance
        self.sums: dict[str, dict[str, Tensor]] = {name: {} for name in tasks}  # by task and figure: (2,) sum, count

    def update(
        self,
        values: Mapping[str, Tensor],
        depth: Target,
        camera: Camera,
        size: tuple[int, int],
        present: Bool[Tensor, "b v"],
    ) -> None:
        """``values``: activated predictions (b, v, c, h, w) by task, of the size of the true ``depth`` (b, v, 1, h, w).
        ``camera`` is for images of ``size`` (h, w). Views that are absent or of unknown camera are left out."""
        height, width = depth.value.shape[-2:]
        intrinsics = resize_intrinsics(camera.intrinsics, width / size[1], height / size[0])
        usable = present & camera.known
        for one, other in permutations(range(depth.value.shape[1]), 2):
            pair = usable[:, one] & usable[:, other]
            if not pair.any():
                continue
            way = correspond(
                _view(depth, one, pair),
                intrinsics[pair, one],
                _view(depth, other, pair),
                intrinsics[pair, other],
                between(camera.world_from_camera[pair, other], camera.world_from_camera[pair, one]),
                self.tolerance,
            )
            for name, value in values.items():
                task = self.tasks[name]
                carried = task.carry(value[pair, other], way)
                seen = torch.tensor([100.0 * int(carried.valid.sum()), carried.valid.numel()])
                for figure, sums in (*task.agreement(value[pair, one], carried).items(), ("pixels", seen)):
                    before = self.sums[name].get(figure, torch.zeros(2, dtype=torch.float64))
                    self.sums[name][figure] = before + sums.double().cpu()

    def told(self) -> Sums:
        """What it has counted, in numbers."""
        return {name: {key: pair.tolist() for key, pair in sums.items()} for name, sums in self.sums.items()}

    def take(self, told: Iterable[Sums]) -> None:
        """Counts what several have ``told`` in place of its own."""
        self.sums = {name: {} for name in self.tasks}
        for one in told:
            for name, sums in one.items():
                for figure, pair in sums.items():
                    before = self.sums[name].get(figure, torch.zeros(2, dtype=torch.float64))
                    self.sums[name][figure] = before + torch.tensor(pair, dtype=torch.float64)

    def compute(self) -> dict[str, dict[str, float]]:
        """Figures by task; none where no pair of views was seen, NaN where no pixel of them was comparable."""
        return {
            name: {f"cross-view {figure}": float(total / count) for figure, (total, count) in sums.items()}
            for name, sums in self.sums.items()
            if sums
        }


def between(world_from_one: Float[Tensor, "*b 4 4"], world_from_other: Float[Tensor, "*b 4 4"]) -> Tensor:
    """one_from_other; in float64 on the way, since worlds may be large and steps small."""
    relative = torch.linalg.solve(world_from_one.double(), world_from_other.double())
    return relative.to(world_from_one.dtype)


def _view(target: Target, index: int, chosen: Tensor) -> Target:
    return Target(target.value[chosen, index], target.valid[chosen, index])
