"""Which context each task takes from each other in ATRC: what the published searches found, and what stands for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from polyscene import parts

Context = Literal["none", "global", "local", "target_label", "source_label"]
Genotype = dict[str, dict[str, Context]]  # target -> source -> context
CONTEXTS: tuple[Context, ...] = get_args(Context)

_NYUV2 = ("semseg", "depth", "normals", "edges")
_PASCAL_CONTEXT = ("semseg", "human_parts", "saliency", "normals", "edges")
_ROWS = {  # by target, the places in CONTEXTS of what it takes from each source
    "nyuv2_hrnet18": (_NYUV2, "3344 4344 4334 3313"),
    "nyuv2_hrnet48": (_NYUV2, "3004 4114 4114 3333"),
    "pascal_context_hrnet18": (_PASCAL_CONTEXT, "33404 33434 33343 33334 33313"),
}
PUBLISHED: dict[str, Genotype] = {
    name: {
        target: {source: CONTEXTS[int(place)] for source, place in zip(tasks, row, strict=True)}
        for target, row in zip(tasks, rows.split(), strict=True)
    }
    for name, (tasks, rows) in _ROWS.items()
}
SMALL = ("nyuv2_hrnet18", "pascal_context_hrnet18")  # searched with the same encoder
UNSEARCHED: Context = "target_label"  # most of what was found


def resolve(genotype: str | Mapping[str, Mapping[str, str]], tasks: Sequence[str]) -> Genotype:
    """The contexts of all pairs of ``tasks``, from a genotype, the name of one in ``PUBLISHED``, the name of a context
    (which all pairs take), or ``published``: of the two that were searched with the small HRNet, the one that shares
    most tasks with ``tasks``, for pairs it lacks the other, and the target's labels for pairs that were never searched.

    ``ValueError`` names what is unknown or missing.
    """
    if isinstance(genotype, str):
        return _named(genotype, tasks)
    if wrong := [target for target in tasks if not isinstance(genotype.get(target), Mapping)]:
        raise ValueError(f"atrc: the genotype says nothing of {', '.join(wrong)}; give target: {{source: context}}")
    found: Genotype = {}
    for target in tasks:
        if missing := [source for source in tasks if source not in genotype[target]]:
            raise ValueError(f"atrc: genotype: {target}: lacks {', '.join(missing)}; contexts: {', '.join(CONTEXTS)}")
        found[target] = {source: _context(genotype[target][source]) for source in tasks}
    if more := sorted({*genotype, *(source for row in genotype.values() for source in row)} - {*tasks}):
        raise ValueError(f"atrc: genotype: {', '.join(more)}: no tasks of this network, which has {', '.join(tasks)}")
    return found


def labelled(genotype: Genotype) -> set[str]:
    """The tasks whose classes some pair needs."""
    rows = [(target, source, context) for target, row in genotype.items() for source, context in row.items()]
    of_targets = {target for target, _, context in rows if context == "target_label"}
    return of_targets | {source for _, source, context in rows if context == "source_label"}


def _named(name: str, tasks: Sequence[str]) -> Genotype:
    if name in CONTEXTS:
        return {target: dict.fromkeys(tasks, _context(name)) for target in tasks}
    if name == "published":
        tables = sorted((PUBLISHED[small] for small in SMALL), key=lambda table: -len({*table} & {*tasks}))
        return {
            target: {
                source: next((table[target][source] for table in tables if {target, source} <= {*table}), UNSEARCHED)
                for source in tasks
            }
            for target in tasks
        }
    if name not in PUBLISHED:
        known = [*PUBLISHED, *CONTEXTS, "published", "search"]
        raise ValueError(f"atrc: {parts.unknown(name, known, 'genotype')}")
    table = PUBLISHED[name]
    if missing := [task for task in tasks if task not in table]:
        raise ValueError(
            f"atrc: genotype {name!r} was searched for {', '.join(table)}, not for {', '.join(missing)}; take "
            "`published`, which fills such pairs, or give each pair's context"
        )
    return {target: {source: table[target][source] for source in tasks} for target in tasks}


def _context(name: str) -> Context:
    if name not in CONTEXTS:
        raise ValueError(f"atrc: {parts.unknown(name, CONTEXTS, 'context')}")
    return name
