from __future__ import annotations

from torch import Tensor

from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.convert.hrnet import HRNET, WIDTH, below, concat
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions


class MultiHead(Converter):
    """The multi-task baseline on HRNet-18-small-v2 as published in the code of the survey "Multi-Task Learning for
    Dense Prediction Tasks" (Vandenhende et al., TPAMI 2021)."""

    def build(self) -> MultiTaskModel:
        head = {"fuse": "concat", "separate": True, "channels": WIDTH, "context": "none", "depth": 0}
        return create_model(list(self.tasks.values()), HRNET, {"name": "multi_head", **head})

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        return {f"final_{name}": predictions.final[ours][:, 0] for name, ours in self.ours.items()}

    def state(self, source: Source) -> State:
        ours = prefixed("encoder.net.", source.under("backbone."))
        for name, task in self.ours.items():
            layers = source.under(f"decoders.{name}.last_layer.")
            ours |= prefixed(f"decoder.fuse.{task}.", concat(layers))
            ours |= prefixed(f"heads.{task}.project.", below("3.", layers))
        return ours
