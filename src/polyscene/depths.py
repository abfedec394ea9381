"""Depth as finished runs see it: what they predict, and what their necks and regularizers show of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyscene import config as configuration
from polyscene import tasks, transforms, weights
from polyscene.config import Config
from polyscene.data import sources
from polyscene.evaluate import in_metres
from polyscene.model import MultiTaskModel, create_model
from polyscene.training import checkpoint
from polyscene.types import Auxiliary, Batch, Target, collate

PREDICTED = "predicted"


def trained(run: Path) -> MultiTaskModel:
    """The network of a run, on the CPU and in inference mode. With its regularizer, which only the training state in
    ``last`` holds, where it was trained with one and the state is still there."""
    config = configuration.load(run / "config.yaml")
    last = run / "last"
    if config.model.regularizer is None or not (last / checkpoint.TREE).exists():
        return weights.load(run)[0]
    parts = {**config.model.model_dump(), "pretrained": False}
    known = {task.name: task for task in map(tasks.build, weights.read_card(run)["model"]["tasks"])}
    model = create_model(known, **parts)
    state = checkpoint.load_state(last)["trainer"]
    try:
        model.load_state_dict((state["ema"] or state)["model"])
    except RuntimeError as error:
        raise checkpoint.BadCheckpoint(f"{last} does not fit {run / 'config.yaml'}: {error}") from error
    return model.eval()


def scenes(config: Config, model: MultiTaskModel, count: int) -> Batch | None:
    """``count`` samples, evenly spaced, of the first evaluation source that labels depth: of the first whose samples
    have several views, if any has. Pictures and labels at the network's size."""
    found = None
    for name, source in config.data.evaluate.items():
        dataset, _ = sources.join(sources.make(source.dataset), model.tasks, source, name)
        dataset.prepare()
        first = dataset.read(0)
        if in_metres(first.targets, model.tasks) is None:
            continue
        if found is None or len(first.images) > 1:
            found = dataset
        if len(first.images) > 1:
            break
    if found is None:
        return None
    resize, chance = transforms.testing(config.data, "network"), torch.Generator()
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int).tolist()
    return collate([resize(found.read(index), model.tasks, chance) for index in chosen])


@torch.no_grad()
def seen(model: MultiTaskModel, batch: Batch) -> dict[str, Target]:
    """Metres (b, v, 1, h, w) at the size of the pictures: ``predicted``, and what the neck and the regularizer show, by
    the name they give it."""
    images, camera = batch.images, batch.camera
    predictions = model(images, camera, batch.present)
    everywhere = torch.ones_like(images[:, :, :1], dtype=torch.bool)
    values = model.values(predictions, images, camera)
    found = {PREDICTED: in_metres({name: Target(value, everywhere) for name, value in values.items()}, model.tasks)}
    if model.neck is not None and (look := model.neck.look(images, camera, batch.present)):
        found[look.name] = _depth(look, torch.ones_like(camera.known, dtype=images.dtype))
    if model.regularizer is not None and (look := model.regularizer.look(predictions.shared, camera)):
        found[look.name] = _depth(look, 1 / model.focal_scale(camera, images.shape[-1]))
    size = (images.shape[-2], images.shape[-1])
    return {name: tasks.Depth().resize(target, size) for name, target in found.items() if target is not None}


def _depth(look: Auxiliary, back: Tensor) -> Target | None:
    """``back``: from the camera that the maps suppose to the picture's own."""
    targets = {}
    for name, raw in look.maps.items():
        task = look.tasks[name]
        value = task.activate(raw.float())
        valid = torch.ones_like(value[:, :, :1], dtype=torch.bool) if look.valid is None else look.valid
        targets[name] = task.zoom(Target(value, valid), back)
    return in_metres(targets, look.tasks)
