"""What methods that learn without labels ask of a task: what a raw output says, how sure that is, and what an adversary
gets to see of it. One function a question, registered by task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.metrics.normals import angles
from polyscene.tasks.base import Task
from polyscene.tasks.depth import Depth, inverse_linear
from polyscene.tasks.normals import Normals
from polyscene.tasks.probability import Probability
from polyscene.tasks.semseg import SemanticSegmentation
from polyscene.types import Target

SLACK = 0.1, 15.0  # of log depth, degrees: what two looks may differ by until only 1/e of the confidence is left


@singledispatch
def belief(task: Task, raw: Tensor) -> Tensor:
    """What the raw output (..., c, h, w) says, in a form that can be averaged and mirrored like a label: probabilities
    by class, metres, unit vectors, a probability."""
    raise ValueError(f"task {task.name!r} ({type(task).__name__}) has no belief; register it in tasks/belief.py")


@singledispatch
def consensus(task: Task, beliefs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The value that several beliefs of the same pixels come to, and the confidence (..., 1, h, w) in [0, 1] that they
    deserve: classes by their probability, depth and normals by how well the looks agree."""
    raise ValueError(f"task {task.name!r} ({type(task).__name__}) has no consensus; register it in tasks/belief.py")


@singledispatch
def evidence(task: Task, raw: Tensor, label: Target | None = None) -> Tensor:
    """The maps by which a discriminator is to tell labelled from unlabelled pictures (Lopes et al., WACV 2023, 3.4):
    the weighted self-information of segmentation, -p log p / log C by class (Vu et al., CVPR 2019); inverse depth
    brought to [0, 1] by the range of the labels; unit normals. ``label``: the batch's, where there is one."""
    raise ValueError(f"task {task.name!r} ({type(task).__name__}) gives no evidence; register it in tasks/belief.py")


def regions(task: Task, target: Target) -> tuple[Tensor, int] | None:
    """Which of how many classes each pixel is of, if the task has classes."""
    return (target.value, len(task.classes)) if len(task.classes) > 1 else None


def information(probability: Tensor, classes: int) -> Tensor:
    """-p log p / log C, whose sum over the classes is 1 where all are as likely."""
    return torch.special.entr(probability) / math.log(classes)


# -- segmentation ------------------------------------------------------------------------------------------------------
@belief.register
def _(task: SemanticSegmentation, raw: Tensor) -> Tensor:
    return raw.softmax(-3)


@consensus.register
def _(task: SemanticSegmentation, beliefs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    confidence, value = torch.stack(list(beliefs)).mean(0).max(-3, keepdim=True)
    return value, confidence


@evidence.register
def _(task: SemanticSegmentation, raw: Tensor, label: Target | None = None) -> Tensor:
    return information(raw.softmax(-3), task.channels)


# -- edges, saliency ---------------------------------------------------------------------------------------------------
@belief.register
def _(task: Probability, raw: Tensor) -> Tensor:
    return task.activate(raw)


@consensus.register
def _(task: Probability, beliefs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean = torch.stack(list(beliefs)).mean(0)
    return (mean > 0.5).to(mean.dtype), (2 * mean - 1).abs()


@evidence.register
def _(task: Probability, raw: Tensor, label: Target | None = None) -> Tensor:
    probability = task.activate(raw)
    return information(torch.cat([probability, 1 - probability], -3), 2)


# -- depth -------------------------------------------------------------------------------------------------------------
@belief.register
def _(task: Depth, raw: Tensor) -> Tensor:
    return task.activate(raw).clamp_min(1e-3)


@consensus.register
def _(task: Depth, beliefs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    logs = torch.stack(list(beliefs)).log()
    middle = logs.mean(0)
    return middle.exp(), (-2 * (logs - middle).abs().mean(0) / SLACK[0]).exp()


@evidence.register
def _(task: Depth, raw: Tensor, label: Target | None = None) -> Tensor:
    """The reference's inverse depth, 65536 / (centimetres + 1), as the network gives it or as its depth makes it."""
    inverse = raw.relu() if task.encoding == "inverse_linear" else inverse_linear(belief(task, raw))
    known = None if label is None else label.value[label.valid]
    metres = raw.new_tensor([task.near, task.far]) if known is None or not known.numel() else known
    low, high = inverse_linear(metres).aminmax()
    return (inverse - low) / (high - low).clamp_min(1e-6)


# -- normals -----------------------------------------------------------------------------------------------------------
@belief.register
def _(task: Normals, raw: Tensor) -> Tensor:
    return task.activate(raw)


@consensus.register
def _(task: Normals, beliefs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean = F.normalize(torch.stack(list(beliefs)).mean(0), dim=-3, eps=1e-6)
    apart = torch.stack([angles(each, mean) for each in beliefs]).mean(0)[..., None, :, :]
    return mean, (-2 * apart / SLACK[1]).exp()


@evidence.register
def _(task: Normals, raw: Tensor, label: Target | None = None) -> Tensor:
    return task.activate(raw)
