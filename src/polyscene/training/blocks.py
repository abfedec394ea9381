"""The blocks of a network: what is gathered, or computed once more, as one piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from polyscene.encoders.base import Encoder
from polyscene.model import MultiTaskModel

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(model: MultiTaskModel) -> Iterator[nn.Module]:
    """The members of containers that have parts of their own, outermost first; the regularizer's not. Whoever uses one
    calls it as a whole: an encoder, which some methods drive stage by stage, is none, nor is a container."""
    for part in (model.encoder, model.neck, model.decoder, model.heads):
        if part is not None:
            yield from _inside(part)


def _inside(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        whole = isinstance(module, CONTAINERS) and not isinstance(child, (Encoder, *CONTAINERS))
        if whole and any(True for _ in child.children()):
            yield child
        else:
            yield from _inside(child)


def recompute(model: MultiTaskModel) -> None:
    """From now on what blocks make in between is made again on the way back rather than kept. Copies of the model are
    to be taken before."""
    for block in blocks(model):
        block.forward = partial(_forward, block, block.forward)


def _forward(block: nn.Module, usual: Any, *arguments: Any, **keywords: Any) -> Any:
    if not torch.is_grad_enabled():
        return usual(*arguments, **keywords)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _remembering_nothing(block)

    return checkpoint(usual, *arguments, use_reentrant=False, context_fn=contexts, **keywords)


@contextmanager
def _remembering_nothing(block: nn.Module) -> Iterator[None]:
    """Inside, batch norms that train leave statistics and counters alone: the first time has counted."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training]
    usual = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, usual, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
