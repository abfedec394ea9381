"""Which context each pair of tasks takes, learnt with the network itself (ATRC, section 3.3; Gumbel-softmax as in
Jang et al. and Maddison et al., ICLR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.decoders.atrc_genotypes import CONTEXTS, Context, Genotype

TEMPERATURE = 1.0, 0.05  # at the beginning and end of the training, linear between, as published
ENTROPY = -0.02, 0.06  # weight of the mean entropy: first all contexts are to be tried, then one is to be chosen
LEAD = 0.3  # by how much the likeliest context must be ahead of the next for its pair to be decided
CLOSED = -1e4  # score of what is no choice
OPEN = -1  # where nothing is decided
Shares = dict[Context, Tensor | float]


class Search(nn.Module):
    """``scores`` (t, t, 5) of the contexts by target and source. A task's own classes are target's and source's alike,
    so of itself it has no source_label. A pair once decided stays so, and its other contexts cost nothing more."""

    decided: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        count = len(tasks)
        self.tasks = tuple(tasks)
        self.scores = nn.Parameter(torch.zeros(count, count, len(CONTEXTS)))
        self.register_buffer("decided", torch.full((count, count), OPEN))

    @property
    def logits(self) -> Tensor:
        same = torch.eye(len(self.tasks), device=self.scores.device)[..., None]
        last = torch.arange(len(CONTEXTS), device=self.scores.device) == CONTEXTS.index("source_label")
        return self.scores + CLOSED * same * last

    def forward(self, progress: float) -> dict[str, dict[str, Shares]]:
        """By target and source the weights of what is to be mixed. In training these are random and the sharper the
        further ``progress`` in [0, 1]; a settled pair, in evaluation every one, takes one context, or nothing."""
        logits = self.logits
        if self.training:
            self._decide(logits.detach())
        first, last = TEMPERATURE
        weights = F.gumbel_softmax(logits, tau=first + progress * (last - first), dim=-1)
        settled = (self.decided if self.training else self._settled()).tolist()
        return {
            target: {
                source: self._shares(weights[row, column], settled[row][column], target == source)
                for column, source in enumerate(self.tasks)
            }
            for row, target in enumerate(self.tasks)
        }

    @staticmethod
    def _shares(weights: Tensor, settled: int, same: bool) -> Shares:
        shares: Shares = {CONTEXTS[settled]: 1.0}
        if settled == OPEN:
            shares = dict(zip(CONTEXTS, weights.unbind(), strict=True))
        left_out = ("none", "source_label") if same else ("none",)
        return {context: share for context, share in shares.items() if context not in left_out}

    def entropy(self, progress: float) -> Tensor:
        """The mean entropy of the pairs' choices times its weight at ``progress``: to be minimised beside the tasks'
        losses."""
        first, last = ENTROPY
        logits = self.logits
        mean = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        return (first + progress * (last - first)) * mean

    @property
    def genotype(self) -> Genotype:
        """What the training has decided, and the likeliest where it has not."""
        return {
            target: {source: CONTEXTS[place] for source, place in zip(self.tasks, row, strict=True)}
            for target, row in zip(self.tasks, self._settled().tolist(), strict=True)
        }

    def _settled(self) -> Tensor:
        return torch.where(self.decided == OPEN, self.logits.argmax(-1), self.decided)

    def _decide(self, logits: Tensor) -> None:
        best, next_best = logits.softmax(-1).topk(2, -1).values.unbind(-1)
        now = (self.decided == OPEN) & (best - next_best >= LEAD)
        self.decided.copy_(torch.where(now, logits.argmax(-1), self.decided))
