from __future__ import annotations

import torch
from torch import Tensor

from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.convert.hrnet import encoder, initial
from polyscene.convert.pad_net import final
from polyscene.decoders.blocks import resize
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions


class Pap(Converter):
    """PAP-Net on HRNet-18-small-v2 as re-implemented in Armanfard-Lab's CTAL and EMA-Net. ``config`` of ``meta`` holds
    ``beta`` and ``num_iters``, which the tensors do not tell. The outputs are the reference's for
    pictures whose sides are multiples of 4; others it brings to a quarter of their size, rounded down."""

    mark = "diffusion_module."

    def build(self) -> MultiTaskModel:
        config = self.meta.get("config", {})
        missing = {"beta", "num_iters"} - set(config)
        if missing:
            raise ValueError(f"config of META.json lacks {' and '.join(sorted(missing))}, with which PAP-Net diffuses")
        options = {"beta": config["beta"], "iterations": config["num_iters"], "reference_compatible": True}
        return create_model(list(self.tasks.values()), encoder(self.meta), {"name": "pap", **options})

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        (early,) = predictions.auxiliary
        found: dict[str, Tensor] = {}
        for kind, maps in (("initial", early.maps), ("final", predictions.final)):
            for name, ours in self.ours.items():
                found[f"{kind}_{name}"] = resize(maps[ours][:, 0], predictions.final[ours].shape[-2:])
        return found

    def state(self, source: Source) -> State:
        ours = prefixed("encoder.net.", source.under("backbone.0."))
        ours |= prefixed("decoder.initial.", initial(source, self.ours))
        for name, task in self.ours.items():
            ours |= prefixed(f"decoder.reduce.{task}.", source.under(f"affinity_learning_module.conv.{name}."))
        weights = [source.take(f"diffusion_module.weights.{name}") for name in self.tasks]
        return ours | {"decoder.propagate.weights": torch.stack(weights)} | final(source, self.ours)
