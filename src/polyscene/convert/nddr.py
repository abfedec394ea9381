from __future__ import annotations

from polyscene.convert.base import Source, State, prefixed
from polyscene.convert.resnet import OnResNet

STAGES = ("conv", "layer1_without_conv", "layer2", "layer3", "layer4")


class Nddr(OnResNet):
    """NDDR-CNN of "Multi-Task Learning for Dense Prediction Tasks: A Survey" (Vandenhende et al., TPAMI 2021). The
    order of ``tasks`` is that in which the reference concatenated their features."""

    decoder = "nddr"
    mark = "nddr."

    def state(self, source: Source) -> State:
        state = self.towers(source) | self.heads(source)
        for place, stage in enumerate(STAGES):
            for own, theirs in enumerate(self.tasks):
                layer, ours = f"nddr.{stage}.layer.{theirs}.", f"encoder.units.{place}."
                state |= prefixed(f"{ours}convs.{own}.", source.under(f"{layer}0."))
                state |= prefixed(f"{ours}norms.{own}.", source.under(f"{layer}1."))
        return state
