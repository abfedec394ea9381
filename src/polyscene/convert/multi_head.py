from __future__ import annotations

from torch import Tensor

from polyscene.convert import hrnet, resnet
from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions


class MultiHead(Converter):
    """The multi-task baseline as published in the code of the survey "Multi-Task Learning for Dense Prediction Tasks"
    (Vandenhende et al., TPAMI 2021). ``backbone``: HRNet-w18-small-v2, with its own heads, which is what it is unless
    given; or a dilated ResNet ("ResNet-50..."), with DeepLab heads (see ``OnResNet``)."""

    mark = "decoders."
    branch = "decoders."

    def build(self) -> MultiTaskModel:
        tasks = list(self.tasks.values())
        if self._on_resnet:
            return create_model(tasks, resnet.encoder_of(self.meta), "deeplab")
        head = {"fuse": "concat", "separate": True, "channels": hrnet.WIDTH, "context": "none", "depth": 0}
        return create_model(tasks, hrnet.encoder(self.meta), {"name": "multi_head", **head})

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        return {f"final_{name}": predictions.final[ours][:, 0] for name, ours in self.ours.items()}

    def state(self, source: Source) -> State:
        if self._on_resnet:
            ours = resnet.encoder(source, "backbone.", "encoder.")
            for name, task in self.ours.items():
                ours |= resnet.deeplab(source, f"decoders.{name}.", f"decoder.branches.{task}.")
                ours |= prefixed(f"heads.{task}.project.", source.under(f"decoders.{name}.4."))
            return ours
        ours = prefixed("encoder.net.", source.under("backbone."))
        for name, task in self.ours.items():
            layers = source.under(f"decoders.{name}.last_layer.")
            ours |= prefixed(f"decoder.fuse.{task}.", hrnet.concat(layers))
            ours |= prefixed(f"heads.{task}.project.", hrnet.below("3.", layers))
        return ours

    @property
    def _on_resnet(self) -> bool:
        return "resnet" in self.meta.get("backbone", "").lower().replace("-", "")
