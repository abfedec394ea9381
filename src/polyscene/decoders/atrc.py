from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from polyscene.decoders import atrc_genotypes
from polyscene.decoders.atrc_contexts import GlobalContext, LabelContext, LocalContext, class_tokens
from polyscene.decoders.atrc_genotypes import Genotype
from polyscene.decoders.atrc_search import Search, Shares
from polyscene.decoders.base import Decoder
from polyscene.decoders.blocks import ConvNormAct, resize
from polyscene.ranges import Share
from polyscene.tasks import Task
from polyscene.tasks.classes import as_classes
from polyscene.types import Auxiliary, Features

BLOCKS: dict[str, type[GlobalContext | LocalContext | LabelContext]] = {
    "global": GlobalContext,
    "local": LocalContext,
    "target_label": LabelContext,
    "source_label": LabelContext,
}
Options = dict[str, dict[str, list[str]]]  # target -> source -> contexts
Seen = Callable[[str, str], Tensor]


class Atrc(Decoder):
    """ATRC: every task attends to every other and to itself, each pair in the way that a search found best for it.

    Bruggemann, Kanakis, Obukhov, Georgoulis, Van Gool, "Exploring Relational Context for Multi-Task Dense Prediction",
    ICCV 2021. All levels of the pyramid are brought to the finest and concatenated. What classes a task sees (see
    ``tasks.classes``) is told from that by a branch that does not train the encoder, for those tasks whose classes
    some pair needs: the auxiliary ``classes``.

    ``genotype``: the context of each pair, target -> source -> none, global, local, target_label or source_label; or
    the name of one (see ``atrc_genotypes.resolve``). ``search`` mixes all contexts of each pair and learns which to
    take (see ``Search``): ``genotype`` of the trained decoder, ``load(RUN).model.decoder.genotype``, is what it found,
    for another training.

    The published code lets pixels out whose normalised image is 255, which never are; this one does not.

    Takes pyramids of any depth and tasks that can be told in classes. Raises ``ValueError`` for other tasks, and for a
    genotype that does not fit them.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        genotype: str | dict[str, dict[str, str]] = "published",
        dropout: Share = 0.05,
    ) -> None:
        super().__init__()
        width = sum(in_channels)
        channels = max(2, width // 4)
        searching = genotype == "search"
        self.search = Search([*tasks]) if searching else None
        self._given = {} if searching else atrc_genotypes.resolve(genotype, [*tasks])
        options = _every(tasks) if searching else _one(self._given)
        needed = {*tasks} if searching else atrc_genotypes.labelled(self._given)
        self.class_tasks = {name: as_classes(task) for name, task in tasks.items() if name in needed}
        self.enter = ConvNormAct(width, len(tasks) * channels)
        self.aside = nn.ModuleDict({name: ConvNormAct(width, width, 1) for name in self.class_tasks})
        self.classify = nn.ModuleDict({name: _scores(width, task) for name, task in self.class_tasks.items()})
        self.targets = nn.ModuleDict(
            {name: Target(channels, row, not searching, dropout) for name, row in options.items()}
        )
        self.channels = dict.fromkeys(tasks, channels)

    @property
    def genotype(self) -> Genotype:
        """The context of each pair, target -> source: as given, or what the search has found so far."""
        return self.search.genotype if self.search else self._given

    def forward(self, features: Features) -> tuple[dict[str, Tensor], list[Auxiliary]]:
        size = features.maps[0].shape[-2:]
        together = torch.cat([resize(level, size) for level in features.maps], 1)
        beside = together.detach()
        scores = {name: classify(self.aside[name](beside)) for name, classify in self.classify.items()}
        own = dict(zip(self.targets, self.enter(together).chunk(len(self.targets), 1), strict=True))
        known: dict[tuple[str, str], Tensor] = {}

        def seen(target: str) -> Seen:
            def of(context: str, source: str) -> Tensor:
                if BLOCKS[context] is not LabelContext:
                    return own[source]
                pair = (target if context == "target_label" else source, source)
                if pair not in known:
                    known[pair] = class_tokens(scores[pair[0]], own[source])
                return known[pair]

            return of

        mixture = self.search(self.progress) if self.search else {}
        maps = {name: take(own[name], seen(name), mixture.get(name)) for name, take in self.targets.items()}
        return maps, self._supervised(scores)

    def _supervised(self, scores: dict[str, Tensor]) -> list[Auxiliary]:
        if not scores and self.search is None:
            return []
        penalty = self.search.entropy(self.progress) if self.search else None
        maps = {name: tensor[:, None] for name, tensor in scores.items()}
        return [Auxiliary(maps, self.class_tasks, name="classes", penalty=penalty)]


class Target(nn.Module):
    """What one task makes of its own features and of what it takes from each source. At first it takes nothing: the
    norm behind the contexts is zero. ``affine``: see ``Attention``."""

    def __init__(
        self, channels: int, options: Mapping[str, Sequence[str]], affine: bool = True, dropout: float = 0.05
    ) -> None:
        super().__init__()
        self.inner = channels // 2
        self.take = nn.ModuleDict(
            {
                source: nn.ModuleDict({context: BLOCKS[context](channels, self.inner, affine) for context in contexts})
                for source, contexts in options.items()
                if contexts
            }
        )
        self.project = None
        if self.take:
            norm = nn.BatchNorm2d(channels)
            nn.init.zeros_(norm.weight)
            self.project = nn.Sequential(nn.Conv2d(len(self.take) * self.inner, channels, 1, bias=False), norm)
        self.merge = nn.Sequential(ConvNormAct((2 if self.take else 1) * channels, channels, 1), nn.Dropout2d(dropout))

    def forward(self, own: Tensor, seen: Seen, mixture: Mapping[str, Shares] | None = None) -> Tensor:
        """``seen(context, source)``: a source as a context looks at it, its map or its tokens. ``mixture``: weights of
        the contexts by source, where there is a choice."""
        if self.project is None:
            return self.merge(own)
        taken = [self._taken(source, own, seen, None if mixture is None else mixture[source]) for source in self.take]
        return self.merge(torch.cat([own, self.project(torch.cat(taken, 1))], 1))

    def _taken(self, source: str, own: Tensor, seen: Seen, shares: Shares | None) -> Tensor:
        blocks = cast(nn.ModuleDict, self.take[source])
        if shares is None:
            ((context, block),) = blocks.items()
            return block(own, seen(context, source))
        parts = [share * blocks[context](own, seen(context, source)) for context, share in shares.items()]
        return sum(parts) if parts else own.new_zeros(own.shape[0], self.inner, *own.shape[2:])


def _one(genotype: Genotype) -> Options:
    return {
        target: {source: [context] if context != "none" else [] for source, context in row.items()}
        for target, row in genotype.items()
    }


def _every(tasks: Mapping[str, Task]) -> Options:
    return {
        target: {source: [kind for kind in BLOCKS if target != source or kind != "source_label"] for source in tasks}
        for target in tasks
    }


def _scores(width: int, task: Task) -> nn.Conv2d:
    conv = nn.Conv2d(width, task.channels, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.get_parameter("bias"), 0.0)
    return conv
