from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

ENCODER = {"name": "resnet101", "out_indices": [0, 1, 2, 3, 4], "output_stride": 16, "mean": 0.45, "std": 0.225}
LEVELS = 5
SECOND_NAMES = "a second name of a tensor under heads. or m."


class DenseMTL(Converter):
    """astra-vision/DenseMTL, its xTAM network on ResNet-101 ("ours").

    ``source_order_used_in_post_concat``, in ``meta``: for every task the others in the order in which the reference
    concatenated their messages. It is that of a Python set, which a checkpoint does not tell; from three tasks on
    one has to try. Without it, the order of ``tasks``. ``config``: ``active_scales`` in the order of its configuration.
    """

    normalised = False
    mark = "backbone.encoder."

    def build(self) -> MultiTaskModel:
        config: dict[str, Any] = self.meta.get("config", {})
        decoder: dict[str, Any] = {"name": "dense_mtl", "stages": self._stages}
        decoder |= {"channels": tuple(config["num_ch_dec"])} if "num_ch_dec" in config else {}
        decoder |= {"rates": tuple(config["aspp_rates"])} if "aspp_rates" in config else {}
        return create_model(list(self.tasks.values()), ENCODER, decoder)

    def state(self, source: Source) -> State:
        source.drop("params.", SECOND_NAMES)
        state = prefixed("encoder.net.", source.under("backbone.encoder."))
        for theirs, ours in self.ours.items():
            state |= self._decoder(source, f"heads.{theirs}.decoder.", ours)
            for stage in self._stages:
                state |= self._hearing(source, theirs, stage)
        return state

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        """``*_scale0``, final and of full size, and the initial ones, which are half the size of stage 1."""
        maps = {f"{theirs}_scale0": predictions.final[ours].flatten(0, 1) for theirs, ours in self.ours.items()}
        for stage, early in zip(self._stages, predictions.auxiliary, strict=True):
            maps |= {f"{theirs}_scale{stage}": early.maps[ours].flatten(0, 1) for theirs, ours in self.ours.items()}
        return maps

    @property
    def _stages(self) -> tuple[int, ...]:
        return tuple(self.meta.get("config", {}).get("stages", (1,)))

    def _decoder(self, source: Source, theirs: str, ours: str) -> State:
        """Their layers are numbered through, from the coarsest stage, with gaps where they double the size."""
        state: State = {}
        for stage in range(LEVELS):
            own, place = f"decoder.stages.{stage}.of.{ours}.", 3 * (LEVELS - 1 - stage)
            first, second = f"{theirs}{place}.", f"{theirs}{place + (2 if stage else 1)}."
            if stage == LEVELS - 1:
                state |= self._pooling(source, first, f"{own}first.")
            else:
                state |= prefixed(f"{own}first.conv.", source.under(f"{first}block.0.conv."))
            state |= prefixed(f"{own}second.conv.", source.under(f"{second}block.0.conv."))
        for place, scale in enumerate(self.meta.get("config", {}).get("active_scales", (0, 1))):
            head = f"decoder.initial.{scale}.of.{ours}.project." if scale else f"heads.{ours}.project."
            state |= prefixed(head, source.under(f"{theirs}{3 * LEVELS - 1 + place}."))
        return state

    def _pooling(self, source: Source, theirs: str, ours: str) -> State:
        rates = len(self.meta.get("config", {}).get("aspp_rates", (6, 12, 18)))
        state = prefixed(f"{ours}near.", source.under(f"{theirs}convs.0."))
        for rate in range(rates):
            state |= prefixed(f"{ours}far.{rate}.", source.under(f"{theirs}convs.{rate + 1}."))
        state |= prefixed(f"{ours}whole.", source.under(f"{theirs}convs.{rates + 1}.1."))
        state |= prefixed(f"{ours}whole_norm.", source.under(f"{theirs}convs.{rates + 1}.2."))
        return state | prefixed(f"{ours}merge.", source.under(f"{theirs}project."))

    def _hearing(self, source: Source, target: str, stage: int) -> State:
        theirs, ours = f"m.{target}.{stage}.", f"decoder.exchanges.{stage}.hear.{self.ours[target]}."
        others = [name for name in self.ours if name != target]
        order = self.meta.get("source_order_used_in_post_concat", {}).get(target, others)
        if sorted(order) != sorted(others):
            raise ValueError(f"source_order_used_in_post_concat of {target}: {order} is no order of {others}")
        state = prefixed(f"{ours}merge.norm.", source.under(f"{theirs}post.1."))
        shares = source.take(f"{theirs}post.0.weight").chunk(len(others), 1)
        for name, share in zip(order, shares, strict=True):
            own = f"{ours}sources.{self.ours[name]}."
            state[f"{ours}merge.parts.{self.ours[name]}.weight"] = share
            state |= prefixed(f"{own}extract.", source.under(f"{theirs}extract_{name}."))
            state |= prefixed(f"{own}transfer.", _transfer(source, theirs, name))
        return state


def _transfer(source: Source, theirs: str, name: str) -> State:
    values, gates = (source.take(f"{theirs}SA_{name}.{part}.weight") for part in ("conv", "attention.0"))
    state = {"gate.weight": torch.cat([values, gates])}
    state["correlate.gain"] = source.take(f"{theirs}SxTAM_{name}.alpha")
    for conv, own in {"conv_b": "query", "conv_c": "key", "conv_d": "value"}.items():
        state |= prefixed(f"correlate.{own}.", source.under(f"{theirs}SxTAM_{name}.{conv}."))
    mix = source.take(f"{theirs}proj_{name}.0.weight").split([len(values), len(state["correlate.query.0.weight"])], 1)
    state |= {f"merge.parts.{part}.weight": share for part, share in zip(("gate", "correlate"), mix, strict=True)}
    return state | prefixed("merge.norm.", source.under(f"{theirs}proj_{name}.1."))
