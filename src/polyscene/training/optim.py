"""The optimiser: parameters grouped by name pattern, each group with its own rate and decay."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from polyscene.config import Group, Optimiser


def groups(named: dict[str, nn.Parameter], settings: Optimiser) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser, each with ``lr_scale`` and ``weight_decay``.

    A parameter belongs to the first pattern that is found in its name, else to the default. Vectors and scalars (norms,
    biases) do not decay. ``ValueError`` lists every pattern that matches nothing, with the nearest names.
    """
    default = Group(pattern="", lr_scale=1.0)
    patterns = [*settings.groups, default]
    unmatched = [group.pattern for group in settings.groups if not any(re.search(group.pattern, n) for n in named)]
    if unmatched:
        raise ValueError("\n".join(_nothing_matches(pattern, list(named)) for pattern in unmatched))
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        if not parameter.requires_grad:
            continue
        group = next(group for group in patterns if re.search(group.pattern, name))
        decay = settings.weight_decay if group.weight_decay is None else group.weight_decay
        members.setdefault((group.lr_scale, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": part, "lr_scale": scale, "weight_decay": decay} for (scale, decay), part in members.items()]


def freeze(named: dict[str, nn.Parameter], settings: Optimiser) -> None:
    """Parameters whose group has ``lr_scale`` 0 need no gradient: what lies before them is not gone back through."""
    for name, parameter in named.items():
        group = next((group for group in settings.groups if re.search(group.pattern, name)), None)
        if group is not None and group.lr_scale == 0:
            parameter.requires_grad_(False)


def build(named: dict[str, nn.Parameter], settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser over the parameters by name; ``set_rate`` sets the rates before each step."""
    parts = groups(named, settings)
    match settings.name:
        case "sgd":
            return torch.optim.SGD(parts, lr=settings.lr, momentum=settings.momentum, fused=True)
        case "adam":
            return torch.optim.Adam(parts, lr=settings.lr, betas=settings.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(parts, lr=settings.lr, betas=settings.betas, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_scale"]


def _nothing_matches(pattern: str, names: list[str]) -> str:
    plain = re.sub(r"[^\w.]+", "", pattern)
    stems = sorted({name.rpartition(".")[0] or name for name in names} | {name.split(".")[0] for name in names})
    near = get_close_matches(plain, [*stems, *names], n=3, cutoff=0.3) or stems[:5]
    return f"training.optimiser.groups: no parameter's name matches {pattern!r}; near names: {', '.join(near)}"
