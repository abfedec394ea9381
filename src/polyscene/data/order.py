"""The order in which training goes through samples that lie together, in groups such as shards."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def turn(batch: int, window: int) -> int:
    """Positions in which batches of ``batch`` come by all of ``window`` lanes, after which these repeat."""
    return batch * -(-window // batch)


def together(groups: Tensor, batch: int, window: int, first: int, generator: Generator) -> Tensor:
    """A permutation of the samples whose ``groups`` (n,) are given, for batches of ``batch`` that begin at multiples of
    it; the epoch begins at position ``first``.

    Groups come in random order, and so do the samples of each. This sequence is cut into ``window`` lanes, and each
    batch takes equal pieces of all of them, side by side, or if it is smaller than ``window`` of some, in turns: this
    mixes ``window`` groups, and whoever reads a part of every batch reads lanes, and so groups, of its own. The order
    is the same however many read.
    """
    shuffled = torch.randperm(len(groups), generator=generator)
    drawn = torch.randperm(int(groups.max()) + 1, generator=generator)
    sequence = shuffled[drawn[groups[shuffled].long()].argsort(stable=True)]
    positions = first + torch.arange(len(groups))
    turns = turn(batch, window) // batch
    slots = positions % batch * turns + positions // batch % turns
    order = torch.empty_like(sequence)
    order[(slots * window // (batch * turns)).argsort(stable=True)] = sequence
    return order
