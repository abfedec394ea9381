"""Pasting a part of labelled pictures, with their labels, onto others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from polyscene.tasks import Task
from polyscene.tasks.belief import regions
from polyscene.types import Target


def half_of_the_classes(
    tasks: Mapping[str, Task], targets: Mapping[str, Target], small: float = 0.0
) -> Bool[Tensor, "n 1 h w"]:
    """The pixels of a random half of the classes that each picture shows (ClassMix; Olsson et al., WACV 2021), by the
    first task that has classes; of the half that shows least in the share ``small`` of the pictures. Those of a random
    box, at most half of the picture, where no task has classes. Labels are (n, c, h, w)."""
    for name, target in targets.items():
        found = regions(tasks[name], target)
        if found is not None:
            return _classes(target, *found, small)
    like = next(iter(targets.values())).valid
    return _box(like)


def _classes(target: Target, ids: Tensor, count: int, small: float) -> Tensor:
    flat, valid = ids.flatten(1).long(), target.valid.flatten(1)
    hits = torch.zeros(len(flat), count, device=flat.device).scatter_add_(1, torch.where(valid, flat, 0), valid.float())
    shown = hits > 0
    draw = torch.rand(hits.shape).to(hits.device)
    smallest = torch.rand(len(flat), 1).to(hits.device) < small
    draw = torch.where(smallest, hits / flat.shape[1], draw).masked_fill(~shown, 2.0)
    rank = draw.argsort(1).argsort(1)
    chosen = shown & (rank < (shown.sum(1, keepdim=True) + 1) // 2)
    return (chosen.gather(1, torch.where(valid, flat, 0)) & valid).reshape(target.valid.shape)


def _box(like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    place = torch.rand(len(like), 2, 1, 1, 1).to(like.device) * 0.5
    rows = torch.linspace(0, 1, height, device=like.device)[:, None]
    columns = torch.linspace(0, 1, width, device=like.device)[None]
    y, x = place[:, 0], place[:, 1]
    return ((rows >= y) & (rows <= y + 0.7) & (columns >= x) & (columns <= x + 0.7)).reshape(like.shape)
