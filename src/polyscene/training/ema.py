"""The exponential moving average of a model's weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from polyscene.training import distributed

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """``model`` follows the trained one: average += (1 - d) (weight - average), d = min(decay, (1 + t) / (10 + t)) at
    update t from 0, so that the first updates are not lost in the initial weights. Statistics of batch norms are
    averaged alike, counters are copied."""

    def __init__(self, model: Network, decay: float) -> None:
        self.model: Network = deepcopy(model)
        self.model.requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        kept, theirs = _tensors(self.model), _tensors(model)
        mine = {name: distributed.owned(tensor) for name, tensor in kept.items()}
        theirs = {name: distributed.as_kept(tensor, kept[name]) for name, tensor in theirs.items()}
        floating = [name for name in mine if mine[name].is_floating_point()]
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_([mine[name] for name in floating], [theirs[name] for name in floating], 1 - decay)
        for name in mine.keys() - set(floating):
            mine[name].copy_(theirs[name])
        self.updates += 1


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
