from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.metrics import Metric, protocols, saliency
from polyscene.metrics.protocols import Protocol
from polyscene.tasks.probability import Probability
from polyscene.types import Target


@dataclass(frozen=True)
class Saliency(Probability):
    """What catches the eye, as a probability; labels are {0, 1}. The loss balances the two classes image by image."""

    name: str = "saliency"

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        salient = torch.where(target.valid, target.value.to(raw.dtype), 0.0)
        count = target.valid.sum((-3, -2, -1), keepdim=True).clamp_min(1)
        share = salient.sum((-3, -2, -1), keepdim=True) / count
        weight = torch.where(salient > 0.5, 1 - share, share)
        values = F.binary_cross_entropy_with_logits(self.logit(raw), salient, weight=weight, reduction="none")
        return losses.mean_where(values, target.valid)

    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        return saliency.build(protocols.find(protocol).saliency)
