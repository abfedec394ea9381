"""Scenes of labelled samples, whose pictures and cameras are tensors already."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polyscene.geometry import camera
from polyscene.scene import Scene
from polyscene.tasks import Task
from polyscene.types import Batch


def of_views(batch: Batch, values: Mapping[str, Tensor], tasks: Mapping[str, Task]) -> list[Scene]:
    """The present views of the first sample; ``values`` (b, v, c, h, w) by task, as ``MultiTaskModel.infer`` gives
    them, at the size of the pictures."""
    return [_of_view(batch, values, tasks, view) for view in torch.nonzero(batch.present[0])[:, 0].tolist()]


def _of_view(batch: Batch, values: Mapping[str, Tensor], tasks: Mapping[str, Task], view: int) -> Scene:
    picture = (batch.images[0, view].movedim(0, -1) * 255).round().clamp(0, 255).byte().cpu().numpy()
    arrays = {name: value[0, view].movedim(0, -1).cpu().numpy() for name, value in values.items()}
    known = bool(batch.camera.known[0, view])
    matrix = batch.camera.intrinsics[0, view] if known else camera.assumed_intrinsics(*picture.shape[:2])
    return Scene(
        picture,
        {name: array[..., 0] if array.shape[-1] == 1 else array for name, array in arrays.items()},
        {name: tasks[name] for name in values},
        matrix.cpu().numpy(),
        "known" if known else "assumed",
        batch.meta[0] if batch.images.shape[1] == 1 else f"{batch.meta[0]}, view {view + 1}",
    )
