from __future__ import annotations

from torch import Tensor

from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.convert.hrnet import below, distillation, encoder, initial, tower
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions


class PadNet(Converter):
    """PAD-Net on HRNet-18-small-v2 as published in the code of the survey "Multi-Task Learning for Dense Prediction
    Tasks" (Vandenhende et al., TPAMI 2021)."""

    mark = "multi_modal_distillation."

    def build(self) -> MultiTaskModel:
        return create_model(list(self.tasks.values()), encoder(self.meta), "pad_net")

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        (early,) = predictions.auxiliary
        kinds = {"initial": early.maps, "final": predictions.final}
        return {f"{kind}_{name}": maps[ours][:, 0] for kind, maps in kinds.items() for name, ours in self.ours.items()}

    def state(self, source: Source) -> State:
        ours = prefixed("encoder.net.", source.under("backbone.0."))
        ours |= prefixed("decoder.initial.", initial(source, self.ours))
        ours |= prefixed("decoder.distil.", distillation(source, "multi_modal_distillation.", self.tasks))
        return ours | final(source, self.ours)


def final(source: Source, tasks: dict[str, str]) -> State:
    """The last towers, and the heads."""
    ours: State = {}
    for name, task in tasks.items():
        layers = source.under(f"heads.{name}.")
        head = below("2.", layers)
        blocks = {key: tensor for key, tensor in layers.items() if not key.startswith("2.")}
        ours |= prefixed(f"decoder.final.{task}.", tower(blocks)) | prefixed(f"heads.{task}.project.", head)
    return ours
