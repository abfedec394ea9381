from __future__ import annotations

import torch

from polyscene.convert.base import Source, State
from polyscene.convert.resnet import OnResNet

STAGES = ("layer1", "layer2", "layer3", "layer4")


class CrossStitch(OnResNet):
    """The cross-stitch network of "Multi-Task Learning for Dense Prediction Tasks: A Survey" (Vandenhende et al.,
    TPAMI 2021)."""

    decoder = "cross_stitch"
    mark = "cross_stitch."

    def state(self, source: Source) -> State:
        state = self.towers(source) | self.heads(source)
        for place, stage in enumerate(STAGES, 1):
            unit = f"cross_stitch.{stage}.cross_stitch_unit.{{}}.{{}}.param"
            rows = [torch.stack([source.take(unit.format(own, heard)) for heard in self.tasks]) for own in self.tasks]
            state[f"encoder.units.{place}.weight"] = torch.stack(rows)
        return state
