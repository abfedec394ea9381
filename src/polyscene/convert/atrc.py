from __future__ import annotations

from typing import Any

from torch import Tensor

from polyscene.convert.base import Converter, Source, State, joined, prefixed
from polyscene.decoders import atrc_genotypes
from polyscene.decoders.atrc_genotypes import CONTEXTS, Genotype
from polyscene.decoders.blocks import resize
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

ENCODERS = {"HRNet18": "hrnet_w18_small_v2", "HRNet48": "hrnet_w48"}
LAYERS = {"conv": "0", "bn": "1"}
LOSSES = "of the loss alone; ours has directions of its own"


class Atrc(Converter):
    """brdav/atrc, on HRNet18-S or HRNet48 (``backbone``).

    ``config``: ``genotype``, target -> source -> the code of a context, as the reference's files have it: 0 none,
    1 global, 2 local, 3 label of the target, 4 label of the source. ``in_index``: its levels, all four if it is not
    given.
    """

    mark = "head.atrc_module."
    branch = "head.final_logits."

    def build(self) -> MultiTaskModel:
        backbone = self.meta.get("backbone", "HRNet18-S")
        encoder = next((ours for theirs, ours in ENCODERS.items() if backbone.startswith(theirs)), None)
        if encoder is None:
            raise ValueError(f"backbone {backbone!r} is none of {', '.join(ENCODERS)}")
        levels = [1 + level for level in self.meta["config"].get("in_index", range(4))]
        return create_model(
            list(self.tasks.values()),
            {"name": encoder, "upsample": "scaled_bilinear", "out_indices": levels},
            {"name": "atrc", "genotype": self.genotype},
        )

    @property
    def genotype(self) -> Genotype:
        given: dict[str, dict[str, int]] = self.meta["config"]["genotype"]
        codes = {code for name in self.tasks for code in given[name].values()}
        if unknown := sorted(codes - set(range(len(CONTEXTS)))):
            raise ValueError(f"genotype: code {unknown[0]} is no context; 0 to 4 are {', '.join(CONTEXTS)}")
        return {
            ours: {source: CONTEXTS[given[theirs][name]] for name, source in self.ours.items()}
            for theirs, ours in self.ours.items()
        }

    def state(self, source: Source) -> State:
        source.drop("criterion.", LOSSES)
        state = prefixed("encoder.net.", source.under("backbone."))
        entries = [_conv(source.under(f"head.bottleneck.{name}.")) for name in self.tasks]
        state |= prefixed("decoder.enter.", joined(entries))
        labelled = atrc_genotypes.labelled(self.genotype)
        for name in [name for name, ours in self.ours.items() if ours in labelled]:
            state |= prefixed(f"decoder.aside.{self.ours[name]}.", _conv(source.under(f"head.aux_conv.{name}.")))
            state |= prefixed(f"decoder.classify.{self.ours[name]}.", source.under(f"head.aux_logits.{name}."))
        for name, task in self.ours.items():
            state |= prefixed(f"decoder.targets.{task}.", self._target(source, name))
            state |= prefixed(f"heads.{task}.project.", source.under(f"head.final_logits.{name}."))
        return state

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        """``final_*`` and, of the tasks whose classes the genotype needs, ``aux_*``, all of the images' size."""
        final = {f"final_{name}": predictions.final[ours][:, 0] for name, ours in self.ours.items()}
        size = next(iter(final.values())).shape[-2:]
        maps: dict[str, Any] = {name: raw for item in predictions.auxiliary for name, raw in item.maps.items()}
        return final | {
            f"aux_{name}": resize(maps[ours][:, 0], size) for name, ours in self.ours.items() if ours in maps
        }

    def _target(self, source: Source, name: str) -> State:
        state: State = {}
        contexts = {other: context for other, context in self.genotype[self.ours[name]].items() if context != "none"}
        for other, ours in self.ours.items():
            if ours in contexts:
                blocks = f"head.atrc_module.cp_blocks.{name}.{other}."
                for kind in ("query", "key"):
                    for place in range(2):
                        layer = _conv(source.under(f"{blocks}{kind}_project.{place}."))
                        state |= prefixed(f"take.{ours}.{contexts[ours]}.{kind}.{place}.", layer)
                value = _conv(source.under(f"{blocks}value_project."))
                state |= prefixed(f"take.{ours}.{contexts[ours]}.value.", value)
        if contexts:
            state |= prefixed("project.", _conv(source.under(f"head.atrc_module.out_proj.{name}.")))
        return state | prefixed("merge.0.", _conv(source.under(f"head.atrc_module.bottleneck.{name}.0.")))


def _conv(state: State) -> State:
    """A convolution and its norm."""
    parts = {key: key.partition(".") for key in state}
    return {f"{LAYERS[layer]}.{rest}": state[key] for key, (layer, _, rest) in parts.items()}
