"""What the networks on HRNet-18-small-v2 in the code of the survey "Multi-Task Learning for Dense Prediction Tasks"
(Vandenhende et al., TPAMI 2021), and in code made from it, have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from polyscene.convert.base import Source, State, prefixed

HRNET: dict[str, Any] = {"name": "hrnet_w18_small_v2", "upsample": "bilinear"}
WIDTHS = (18, 36, 72, 144)
WIDTH = sum(WIDTHS)


def encoder(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, by name and options. ``ValueError`` if ``backbone`` names another."""
    backbone = meta.get("backbone", "HRNet-w18")
    if "hrnet" not in backbone.lower() or "18" not in backbone:
        raise ValueError(f"backbone {backbone!r}: of this family only networks on HRNet-w18-small-v2 can be converted")
    return HRNET


def concat(layers: State) -> State:
    """``Concat``: one convolution a level; its bias, which the norm takes away again, as a shift of the mean."""
    mixes = layers["0.weight"].split(WIDTHS, 1)
    norm = below("1.", layers)
    norm["running_mean"] = norm["running_mean"] - layers["0.bias"]
    return {f"mix.{level}.weight": weight for level, weight in enumerate(mixes)} | prefixed("norm.", norm)


def distillation(source: Source, prefix: str, tasks: Iterable[str]) -> State:
    """``Distillation``: the reference's weights by target and sender, ours by sender alone."""
    order = list(tasks)
    if len(order) == 1:
        return {}
    pair = f"{prefix}self_attention.{{}}.{{}}.{{}}.weight"
    return {
        f"send.{place}.weight": torch.cat(
            [
                source.take(pair.format(target, sender, kind))
                for kind in ("conv", "attention.0")
                for target in order
                if target != sender
            ]
        )
        for place, sender in enumerate(order)
    }


def initial(source: Source, tasks: Mapping[str, str]) -> State:
    """``Initial``; ``tasks`` are our names by the reference's."""
    ours = prefixed("fuse.", concat(source.under("backbone.1.last_layer.")))
    for name, task in tasks.items():
        ours |= prefixed(f"features.{task}.", tower(source.under(f"initial_task_prediction_heads.layers.{name}.")))
        ours |= prefixed(f"project.{task}.", source.under(f"initial_task_prediction_heads.conv_out.{name}."))
    return ours


def tower(state: State) -> State:
    """Blocks of ResNet, one after another."""
    names = {"bn1": "norm1", "bn2": "norm2", "bn3": "norm3", "downsample": "shortcut"}
    return {".".join(names.get(word, word) for word in key.split(".")): tensor for key, tensor in state.items()}


def below(prefix: str, state: State) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
