"""Fine-tuning: the weights of another network, as far as they fit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

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
            told.append(f"init: {len(self.fresh)} of this network start afresh: {', '.join(self.fresh)}")
        if self.unused:
            told.append(f"init: {len(self.unused)} of the file are not used: {', '.join(self.unused)}")
        return told


def start_from(model: nn.Module, source: str) -> Fit:
    """Copies every tensor whose name and shape agree. ``ValueError`` if none does; what ``weights.load`` raises if
    ``source`` (see ``info.locate``) is no run, weights folder or file of ours."""
    theirs = weights.load(source)[0].state_dict()
    mine = model.state_dict()
    taken = [name for name, tensor in mine.items() if name in theirs and theirs[name].shape == tensor.shape]
    if not taken:
        raise ValueError(f"training.init: no tensor of {source} fits this network; is it another encoder?")
    model.load_state_dict({name: theirs[name] for name in taken}, strict=False)
    chosen = set(taken)
    return Fit(taken, [n for n in mine if n not in chosen], [n for n in theirs if n not in chosen])
