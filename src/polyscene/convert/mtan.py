from __future__ import annotations

from polyscene.convert.base import Source, State, prefixed
from polyscene.convert.hrnet import tower
from polyscene.convert.resnet import OnResNet, encoder

STAGES = 4


class Mtan(OnResNet):
    """MTAN on a ResNet, of "Multi-Task Learning for Dense Prediction Tasks: A Survey" (Vandenhende et al., TPAMI
    2021). The biases of its masks' convolutions say the same as the means of the norms that follow."""

    decoder = "mtan"
    mark = "attention_1."

    def state(self, source: Source) -> State:
        state = encoder(source, "backbone.", "encoder.shared.") | self.heads(source)
        for stage in range(STAGES):
            for theirs, ours in self.ours.items():
                layers = f"attention_{stage + 1}.{theirs}."
                state |= prefixed(f"encoder.masks.{stage}.{ours}.", _mask(source, layers, parts=2 if stage else 1))
        for stage in range(STAGES - 1):
            state |= prefixed(f"encoder.refine.{stage}.", tower(source.under(f"refine_{stage + 1}.0.")))
        return state


def _mask(source: Source, theirs: str, parts: int) -> State:
    weights = source.take(f"{theirs}0.weight").chunk(parts, 1)
    state = {f"{part}.weight": weight for part, weight in zip(("read", "carry"), weights, strict=False)}
    state |= prefixed("norm.", _norm(source, f"{theirs}1.", f"{theirs}0.bias"))
    state["widen.0.weight"] = source.take(f"{theirs}3.weight")
    return state | prefixed("widen.1.", _norm(source, f"{theirs}4.", f"{theirs}3.bias"))


def _norm(source: Source, theirs: str, bias: str) -> State:
    state = source.under(theirs)
    return state | {"running_mean": state["running_mean"] - source.take(bias)}
