"""Fine-tuning: the weights of another network, as far as they fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from polyscene import weights


@dataclass(frozen=True)
class Fit:
    """Names of tensors: taken over, of ours left as they were, of theirs without use."""

    taken: list[str]
    fresh: list[str]
    unused: list[str]

    def lines(self) -> list[str]:
        told = [f"init: {len(self.taken)} tensors taken over"]
        if self.fresh:
            told.append(f"init: {len(self.fresh)} of this network start afresh: {_summary(self.fresh)}")
        if self.unused:
            told.append(f"init: {len(self.unused)} of the file are not used: {_summary(self.unused)}")
        return told


def _summary(names: Iterable[str]) -> str:
    """Single names where they are few, else parts of the network with how many tensors are theirs."""
    names = list(names)
    if len(names) <= 8:
        return ", ".join(names)
    counts = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(f"{part} ({count})" for part, count in counts.items())


def start_from(model: nn.Module, sources: str | Sequence[str]) -> Fit:
    """Copies every tensor whose name and shape agree; of several sources, such as networks of ``single_task`` for one
    task each, the last that has it. ``ValueError`` if none of a source does; what ``weights.load`` raises if one (see
    ``info.locate``) is no run, weights folder or file of ours."""
    mine = model.state_dict()
    theirs: dict[str, Tensor] = {}
    for source in [sources] if isinstance(sources, str) else sources:
        held = weights.load(source)[0].state_dict()
        fits = {name: tensor for name, tensor in held.items() if name in mine and mine[name].shape == tensor.shape}
        if not fits:
            raise ValueError(f"training.init: no tensor of {source} fits this network; is it another encoder?")
        theirs |= {name: tensor for name, tensor in held.items() if name not in theirs} | fits
    taken = [name for name, tensor in mine.items() if name in theirs and theirs[name].shape == tensor.shape]
    model.load_state_dict({name: theirs[name] for name in taken}, strict=False)
    chosen = set(taken)
    return Fit(taken, [n for n in mine if n not in chosen], [n for n in theirs if n not in chosen])
