from __future__ import annotations

from torch import Tensor

from polyscene.convert.base import Converter, Source, State, joined, prefixed
from polyscene.convert.hrnet import below, concat, distillation, encoder
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

SCALES = range(4)


class MtiNet(Converter):
    """MTI-Net on HRNet-18-small-v2 as published in the code of the survey "Multi-Task Learning for Dense Prediction
    Tasks" (Vandenhende et al., TPAMI 2021)."""

    mark = "fpm_scale_1."

    def build(self) -> MultiTaskModel:
        return create_model(
            list(self.tasks.values()),
            encoder(self.meta),
            {"name": "mti_net", "reference_compatible": True},
        )

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        final = {f"final_{name}": predictions.final[ours][:, 0] for name, ours in self.ours.items()}
        scales = {item.name: item.maps for item in predictions.auxiliary}
        return final | {
            f"{scale}_{name}": maps[ours][:, 0] for scale, maps in scales.items() for name, ours in self.ours.items()
        }

    def state(self, source: Source) -> State:
        ours = prefixed("encoder.net.", source.under("backbone."))
        for scale in SCALES:
            ours |= prefixed(f"decoder.scales.{scale}.", self._initial(source, f"scale_{scale}."))
            ours |= prefixed(
                f"decoder.distil.{scale}.", distillation(source, f"distillation_scale_{scale}.", self.tasks)
            )
        for scale in SCALES[1:]:
            ours |= prefixed(f"decoder.propagate.{scale - 1}.", self._propagation(source, f"fpm_scale_{scale}."))
        for name, task in self.ours.items():
            layers = source.under(f"heads.{name}.last_layer.")
            ours |= prefixed(f"heads.{task}.project.", below("3.", layers))
            ours |= prefixed(f"decoder.aggregate.{task}.", concat(layers))
        return ours

    def _initial(self, source: Source, prefix: str) -> State:
        first, second = (
            joined([_block(source.under(f"{prefix}refinement.{name}.{place}.")) for name in self.tasks])
            for place in (0, 1)
        )
        predictions = {
            f"project.{task}.{key}": tensor
            for name, task in self.ours.items()
            for key, tensor in source.under(f"{prefix}decoders.{name}.").items()
        }
        channels = second["conv1.weight"].shape[1]
        entry = dict(first)
        if first["conv1.weight"].shape[1] > channels:  # the tap's channels come first, then the coarser scale's
            for key in ("conv1", "shortcut.0"):
                ours = key.partition(".")[0]
                weight = entry.pop(f"{key}.weight")
                entry[f"{ours}.weight"], entry[f"{ours}_coarser.weight"] = weight[:, :channels], weight[:, channels:]
            entry |= {f"shortcut_norm.{key}": entry.pop(f"shortcut.1.{key}") for key in below("shortcut.1.", first)}
        return prefixed("enter.", entry) | prefixed("settle.", second) | predictions

    def _propagation(self, source: Source, prefix: str) -> State:
        blocks = {"attend.0.": "non_linear.0.", "attend.1.": "non_linear.1.", "reduce.": "dimensionality_reduction."}
        ours: State = {}
        for here, there in blocks.items():
            ours |= prefixed(here, _block(source.under(prefix + there)))
        ours |= prefixed("attend.2.", source.under(f"{prefix}non_linear.2."))
        gates = joined([source.under(f"{prefix}se.{name}.squeeze.") for name in self.tasks])
        return ours | {
            f"gate.{key}": tensor[..., None, None] if key.endswith("weight") else tensor
            for key, tensor in gates.items()
        }


def _block(state: State) -> State:
    names = {"bn1": "norm1", "bn2": "norm2", "downsample": "shortcut"}
    parts = {key: key.partition(".") for key in state}
    return {f"{names.get(head, head)}.{rest}": state[key] for key, (head, _, rest) in parts.items()}
