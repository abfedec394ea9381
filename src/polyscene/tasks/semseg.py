from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.metrics import protocols
from polyscene.metrics.protocols import Protocol
from polyscene.metrics.segmentation import MeanIoU
from polyscene.ranges import Share
from polyscene.tasks.base import Legend, Metric, Task, summed
from polyscene.training import distributed
from polyscene.types import Target

CHOSEN = (  # calm on a page
    (196, 78, 82), (221, 132, 82), (222, 219, 205), (129, 91, 164), (146, 116, 90), (72, 149, 141), (236, 190, 84),
    (218, 139, 195), (76, 114, 176), (96, 170, 98), (58, 63, 72), (176, 190, 206), (122, 200, 230),
)  # fmt: skip
INDOORS = ("bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv",
           "wall", "window")  # fmt: skip
OWN = {  # classes that look alike in every network that has them
    **dict(zip(INDOORS, CHOSEN, strict=True)),
    "sky": (164, 208, 246), "building": (178, 112, 88), "road": (128, 132, 142), "pavement": (206, 168, 206),
    "tree": (92, 146, 78), "pole": (66, 72, 86), "sign": (250, 140, 40), "fence": (158, 140, 110), "car": (44, 96, 196),
    "pedestrian": (214, 44, 76), "bicyclist": (132, 24, 68),
}  # fmt: skip


@dataclass(frozen=True)
class SemanticSegmentation(Task):
    """Class ids (1 channel) among ``classes``. ``class_weights`` weigh the cross-entropy; () is alike. ``balance`` in
    [0, 1] weighs each class by its share of the batch's pixels to the power of -balance, so that rare ones are learnt.

    Human parts are this task with another name and class list.
    """

    name: str = "semseg"
    class_weights: tuple[float, ...] = ()
    balance: Share = 0.0
    unit: ClassVar[str] = "class id"
    error_unit: ClassVar[str] = "another class"

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"{self.name}: segmentation needs at least two class names, got {list(self.classes)}")
        if self.class_weights and len(self.class_weights) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.class_weights)} class weights for {len(self.classes)} classes")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"{self.name}: balance must lie in [0, 1], got {self.balance}")

    @property
    def channels(self) -> int:
        return len(self.classes)

    def accept(self, target: Target) -> Target:
        ids = target.value.round().long()
        beyond = target.valid & ((ids < 0) | (ids >= self.channels))
        if beyond.any():
            found = ", ".join(map(str, ids[beyond].unique().tolist()[:8]))
            raise ValueError(f"class id {found} beyond the {self.channels} classes; declare in `ignore` or `classes`")
        return Target(torch.where(target.valid, ids, 0), target.valid)

    def activate(self, raw: Tensor) -> Tensor:
        return raw.argmax(-3, keepdim=True)

    def soft(self, raw: Tensor) -> Tensor:
        return raw.softmax(-3)

    def decide(self, value: Tensor) -> Tensor:
        return value.max(-3, keepdim=True).indices  # argmax, 5 times as fast on a CPU

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        raw, classes, valid = (tensor.flatten(0, -4) for tensor in (raw, target.value, target.valid))
        weights = torch.tensor(self.class_weights, device=raw.device) if self.class_weights else None
        if self.balance:
            count = distributed.total(torch.bincount(classes[valid].long(), minlength=self.channels).float()) + 1
            rarity = (count / count.sum()) ** -self.balance
            weights = rarity if weights is None else weights * rarity
        return losses.cross_entropy(raw, classes, valid, weights)

    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        return MeanIoU(self.classes, protocols.find(protocol).segmentation)

    def error(self, value: Tensor, truth: Tensor) -> Tensor:
        return (value != truth).float()

    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        """``agreement``: percent of the pixels that are of the same class."""
        return {"agreement": summed((own == carried.value) * 100.0, carried.valid)}

    def constant(self, targets: list[Target]) -> Tensor:
        """The commonest class."""
        ids = torch.cat([target.value[target.valid].flatten().long() for target in targets])
        return torch.bincount(ids, minlength=self.channels).argmax()[None]

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        return palette(self.classes)[value[0].long().cpu()]

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        """The classes present, largest first."""
        counts = torch.bincount(value.flatten().long().cpu(), minlength=len(self.classes))
        colours = palette(self.classes).tolist()
        present = [i for i in counts.argsort(descending=True).tolist() if counts[i]]
        return Legend(swatches=tuple((self.classes[i], tuple(colours[i])) for i in present))


@cache
def palette(classes: tuple[str, ...]) -> Tensor:
    """(n, 3) uint8 colours, stable: a class's own; for others chosen ones that no class has, then hues by the golden
    angle at three lightnesses."""
    index = torch.arange(len(classes))
    hue, light = (index * 0.61803399) % 1.0, 0.45 + 0.2 * (index % 3)
    wheel = ((hue[:, None] + torch.tensor([0.0, 2 / 3, 1 / 3])) % 1.0) * 6 - 3
    pure = (wheel.abs() - 1).clamp(0, 1)
    further = ((light[:, None] + 0.62 * (pure - 0.5)) * 255).clamp(0, 255).int().tolist()
    taken = {OWN[name] for name in classes if name in OWN}
    free = iter([*(colour for colour in CHOSEN if colour not in taken), *further])
    return torch.tensor([OWN[name] if name in OWN else next(free) for name in classes], dtype=torch.uint8)


def one_hot(ids: Tensor, count: int) -> Tensor:
    """(..., 1, h, w) ids -> (..., count, h, w) float."""
    return F.one_hot(ids.squeeze(-3).long(), count).movedim(-1, -3).float()
