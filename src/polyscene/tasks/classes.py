"""Every task as a choice among classes: what methods need that gather the pixels of one class."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.ranges import Several
from polyscene.tasks.base import Task
from polyscene.tasks.depth import Depth
from polyscene.tasks.normals import Normals
from polyscene.tasks.probability import Probability
from polyscene.tasks.semseg import SemanticSegmentation
from polyscene.types import Target

COUNT = 40  # classes of depths and of normals in ATRC (Bruggemann et al., ICCV 2021)


@singledispatch
def as_classes(task: Task) -> Task:
    """The task with one output channel a class, trained by cross-entropy on the same labels: segmentation is that
    already; edges and saliency have two classes; depth and normals are sorted into 40. ``ValueError`` for others."""
    raise ValueError(f"task {task.name!r} ({type(task).__name__}) cannot be told in classes; register it in as_classes")


@dataclass(frozen=True)
class DepthClasses(Depth):
    """Depth as one of ``bins`` classes of equal width in log depth from ``near`` to ``far``, the outermost of which
    hold what lies beyond. The value is the expectation of the logarithm over the classes' middles."""

    bins: Several = COUNT

    @property
    def channels(self) -> int:
        return self.bins

    def activate(self, raw: Tensor) -> Tensor:
        width = math.log(self.far / self.near) / self.bins
        middles = math.log(self.near) + width * (torch.arange(self.bins, device=raw.device, dtype=raw.dtype) + 0.5)
        return (raw.softmax(-3) * middles[:, None, None]).sum(-3, keepdim=True).exp()

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        depth = torch.where(target.valid, target.value, self.near).clamp(self.near, self.far)
        place = (depth / self.near).log() * (self.bins / math.log(self.far / self.near))
        return _cross_entropy(raw, place.long().clamp_max(self.bins - 1), target.valid)


@dataclass(frozen=True)
class NormalClasses(Normals):
    """Normals as the nearest of ``count`` directions, which are spread evenly over those that face the camera (a
    Fibonacci lattice). The value is their mean by probability."""

    count: Several = COUNT

    @property
    def channels(self) -> int:
        return self.count

    def directions(self, like: Tensor) -> Tensor:
        """(count, 3) unit vectors."""
        index = torch.arange(self.count, device=like.device, dtype=torch.float32)
        forward = -(index + 0.5) / self.count
        angle, radius = index * (math.pi * (3 - math.sqrt(5))), (1 - forward.square()).sqrt()
        return torch.stack([radius * angle.cos(), radius * angle.sin(), forward], 1).to(like)

    def activate(self, raw: Tensor) -> Tensor:
        mean = torch.einsum("...khw,kc->...chw", raw.softmax(-3), self.directions(raw))
        return F.normalize(mean, dim=-3, eps=1e-6)

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        normals = torch.where(target.valid, target.value, 0.0)
        likeness = torch.einsum("...chw,kc->...khw", normals, self.directions(normals))
        return _cross_entropy(raw, likeness.argmax(-3, keepdim=True), target.valid)


def _cross_entropy(raw: Tensor, classes: Tensor, valid: Tensor) -> Tensor:
    return losses.cross_entropy(*(tensor.flatten(0, -4) for tensor in (raw, classes, valid)))


@as_classes.register
def _(task: SemanticSegmentation) -> Task:
    return task


@as_classes.register
def _(task: Probability) -> Task:
    return replace(task, two_class=True)


@as_classes.register
def _(task: Depth) -> Task:
    return DepthClasses(task.name, task.weight, near=task.near, far=task.far)


@as_classes.register
def _(task: Normals) -> Task:
    return NormalClasses(task.name, task.weight)
