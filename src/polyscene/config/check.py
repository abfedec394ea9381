from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polyscene.config.problems import ConfigError, Problem
from polyscene.config.schema import Config, Training

if TYPE_CHECKING:
    from polyscene.model import MultiTaskModel
    from polyscene.tasks import Task


def check(config: Config, tasks: dict[str, Task]) -> None:
    """What only torch and timm can judge, together and before any data is read: that the encoder exists, that its
    weights can be had, that the parts fit each other and the size of the pictures (the network is built and run without
    memory, on the meta device), that every pattern matches a parameter, and that device, tracker and the weights to
    start from are there. ``tasks``: what the network is to learn.

    Raises ``ConfigError``.
    """
    problems: list[Problem] = []
    if config.model.pretrained not in (False, "hub"):
        from polyscene.encoders.pretrained import state_of

        try:
            state_of(config.model.encoder.name.partition(".")[0], config.model.pretrained)
        except (ValueError, RuntimeError, OSError) as error:
            problems.append(Problem(("model", "pretrained"), _said(error), config.model.pretrained))
    try:
        model = _built(config, tasks)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        problems.append(Problem(("model",), _said(error)))
    else:
        problems += _patterns(config, [name for name, _ in model.named_parameters()])
    problems += _place_of_work(config.training)
    if problems:
        raise ConfigError(problems)


def _place_of_work(settings: Training) -> Iterator[Problem]:
    """Of device, number format, tracker and the weights to start from."""
    from polyscene import devices, info
    from polyscene.training import track

    try:
        device = devices.pick(settings.device)
    except ValueError as error:
        yield Problem(("training", "device"), _said(error), settings.device)
    else:
        if settings.autocast == "fp16" and device.type != "cuda":
            yield Problem(("training", "autocast"), f"fp16 needs a cuda device, this one is {device.type}; use bf16")
    try:
        track.find(settings.track)
    except ImportError as error:
        yield Problem(("training", "track"), _said(error), settings.track)
    for start in [settings.init] if isinstance(settings.init, str) else settings.init or ():
        try:
            info.find(start)
        except FileNotFoundError as error:
            yield Problem(("training", "init"), _said(error), start)


def _built(config: Config, tasks: dict[str, Task]) -> MultiTaskModel:
    import torch

    from polyscene.model import create_model
    from polyscene.types import Camera

    wanted: dict[str, Any] = {
        kind: getattr(config.model, kind) for kind in ("encoder", "decoder", "neck", "regularizer", "canonical_focal")
    }
    with torch.device("meta"):
        model = create_model(tasks, **wanted, pretrained=False)
        camera = Camera(torch.empty(1, 2, 3, 3), torch.empty(1, 2, 4, 4), torch.ones(1, 2, dtype=torch.bool))
        model.train()(torch.empty(1, 2, 3, *config.data.size), camera)
    return model


def _patterns(config: Config, names: list[str]) -> list[Problem]:
    found = []
    for index, group in enumerate(config.training.optimiser.groups):
        if not any(re.search(group.pattern, name) for name in names):
            tops = ", ".join(sorted({".".join(name.split(".")[:2]) for name in names}))
            place = ("training", "optimiser", "groups", index, "pattern")
            found.append(Problem(place, f"matches no parameter; they begin with {tops}", group.pattern))
    return found


def _said(error: Exception) -> str:
    return " ".join(str(error).removeprefix("pretrained: ").split())
