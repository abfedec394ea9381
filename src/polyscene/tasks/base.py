"""The contract of a task: everything that differs between segmentation, depth, normals... and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry.correspondence import Correspondence
from polyscene.metrics import Metric
from polyscene.metrics.protocols import Protocol
from polyscene.ranges import Amount
from polyscene.types import Target


@dataclass(frozen=True)
class Legend:
    """How to read what ``Task.draw`` drew: ``swatches`` name single colours; ``ramp`` is a (1, n, 3) uint8 strip of
    colours with ``ticks``, each a place in [0, 1] and what stands there."""

    swatches: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    ramp: Tensor | None = None
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Task(ABC):
    """One facet of the scene. Values are (..., c, h, w); raw network outputs have ``channels`` channels.

    ``name`` is the key in targets and predictions, ``weight`` its share of the objective.
    """

    name: str
    weight: Amount = 1.0
    classes: tuple[str, ...] = ()
    value_channels: ClassVar[int] = 1
    unit: ClassVar[str] = ""
    error_unit: ClassVar[str] = "difference"
    worst: ClassVar[float] = 1.0  # the error that is drawn darkest

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the raw network output."""

    def accept(self, target: Target) -> Target:
        """The label as a reader decoded it, in the type the task wants. ``ValueError`` ("problem; remedy")
        where a valid pixel holds what no label can be."""
        if not torch.where(target.valid, target.value, 0.0).isfinite().all():
            raise ValueError("holds NaN or infinity; declare such pixels `invalid` or repair the file")
        return target

    # -- geometry of a label: what the image undergoes, the label follows ---------------------------------------------
    def hflip(self, target: Target) -> Target:
        return Target(target.value.flip(-1), target.valid.flip(-1))

    def crop(self, target: Target, box: tuple[int, int, int, int]) -> Target:
        """``box``: top, left, height, width in pixels."""
        top, left, height, width = box
        window = (..., slice(top, top + height), slice(left, left + width))
        return Target(target.value[window], target.valid[window])

    def resize(self, target: Target, size: tuple[int, int]) -> Target:
        """To ``size`` (h, w), by nearest neighbour: labels are never mixed."""
        return Target(_nearest(target.value, size), _nearest(target.valid, size))

    def zoom(self, target: Target, scale: float | Tensor) -> Target:
        """The label if the same picture had been taken by a camera of ``scale`` times the focal length, as seen by a
        network that knows no focal length. Only depth changes. A tensor ``scale`` has the leading axes of the label."""
        return target

    def turn(self, target: Target, rotation: Tensor) -> Target:
        """The label in the axes of a camera turned about its optical axis: ``rotation`` (..., 3, 3) takes the old
        camera's axes to the new one's. Pixels stay where they are."""
        return target

    # -- the network's side --------------------------------------------------------------------------------------------
    @abstractmethod
    def activate(self, raw: Tensor) -> Tensor:
        """Raw output -> value: class ids, metres, unit vectors, probability."""

    def soft(self, raw: Tensor) -> Tensor:
        """Raw output -> value with gradient: of classes, their probabilities (..., c, h, w)."""
        return self.activate(raw)

    def decide(self, value: Tensor) -> Tensor:
        """Soft value, as it is or enlarged or averaged, -> value: ``decide(soft(raw))`` is ``activate(raw)``."""
        return value

    def align(self, value: Tensor, like: Tensor) -> Tensor:
        """A soft value, brought to agree with another of the same pixels in what a cut-out of a picture cannot tell."""
        return value

    @abstractmethod
    def loss(self, raw: Tensor, target: Target) -> Tensor:
        """Mean over valid pixels; zero, with gradient, if there are none."""

    @abstractmethod
    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        """An empty accumulator that counts as ``protocol`` (one, or a name in ``PROTOCOLS``) says."""

    def as_labelled(self, own: Task) -> Task:
        """This task as it is judged on a data set whose task of the name is ``own``."""
        return self

    def as_ray_depth(self, metric: bool) -> Task | None:
        """The task whose raw output is this one's value along a ray; None where the value is no depth. ``metric`` rays
        march in the picture's own metres, others in those of a network that knows no focal length (see ``zoom``)."""
        return None

    def evaluate_at(self, value: Tensor, size: tuple[int, int]) -> Tensor:
        """An activated prediction brought to the size of its target."""
        return value if tuple(value.shape[-2:]) == size else _nearest(value, size)

    def metres(self, target: Target) -> Target | None:
        """The depth that a label measures, for tasks that do."""
        return None

    def error(self, value: Tensor, truth: Tensor) -> Tensor:
        """(..., 1, h, w) how far a value is from the true one at each pixel, in ``error_unit``."""
        return (value.float() - truth.float()).abs().mean(-3, keepdim=True)

    # -- between views -------------------------------------------------------------------------------------------------
    def carry(self, value: Tensor, way: Correspondence) -> Target:
        """Another view's value (b, c, y, x) as the one would say it: at the one's pixels (b, c, h, w), in its axes, and
        where that is possible."""
        return Target(way.nearest(value), way.seen)

    @abstractmethod
    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        """How far a view's ``own`` value and that ``carried`` into it differ: by figure, its sum and the count it is
        divided by (2,)."""

    @abstractmethod
    def constant(self, targets: list[Target]) -> Tensor:
        """(c,) the best prediction that does not look at the image: the floor to be compared with."""

    def constant_map(self, targets: list[Target]) -> Tensor | None:
        """(c, h, w) the best prediction that knows where a pixel lies but not the image, from targets of one size; None
        for tasks that have none."""
        return None

    @abstractmethod
    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        """(c, h, w) value -> (h, w, 3) uint8 picture."""

    def limits(self, value: Tensor) -> dict[str, float]:
        """The range ``draw`` and ``legend`` would choose for this value, so that another can be drawn alike."""
        return {}

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        return Legend()

    def describe(self) -> dict[str, Any]:
        """Constructor keywords, from which ``tasks.build`` makes the task again (stored in checkpoints)."""
        return {"type": type(self).__name__, **asdict(self)}


def binary(target: Target) -> Target:
    """Refuses values other than 0 and 1."""
    other = target.valid & (target.value != 0) & (target.value != 1)
    if other.any():
        found = ", ".join(f"{number:g}" for number in target.value[other].unique().tolist()[:4])
        raise ValueError(f"values {found} are neither 0 nor 1; declare a `scale` or a `threshold`")
    return target


def summed(figures: Tensor, valid: Tensor) -> Tensor:
    """(2,): the sum of ``figures`` where ``valid``, and how many these are."""
    return torch.stack([torch.where(valid, figures.float(), 0.0).sum(), valid.sum().float()])


def mean_map(targets: list[Target]) -> Tensor:
    """(c, h, w) the mean over images of the valid values at each place; over all places where one is never valid."""
    flat = [(target.value.flatten(0, -4), target.valid.flatten(0, -4)) for target in targets]
    total = torch.stack([torch.where(valid, value, 0.0).sum(0) for value, valid in flat]).sum(0)
    count = torch.stack([valid.sum(0) for _, valid in flat]).sum(0)
    overall = total.sum((-2, -1), keepdim=True) / count.sum()
    return torch.where(count > 0, total / count.clamp_min(1), overall)


def _nearest(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    lead = tensor.shape[:-3]
    flat = tensor.reshape(-1, *tensor.shape[-3:])
    kept = flat if flat.dtype.is_floating_point else flat.float()  # one type, so that ties of value and valid agree
    return F.interpolate(kept, size, mode="nearest-exact").to(tensor.dtype).reshape(*lead, tensor.shape[-3], *size)
