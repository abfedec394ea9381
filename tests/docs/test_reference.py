"""Every part and every public name has its place in the reference."""

from __future__ import annotations

import importlib
import re

import pytest
from tests.docs.pages import DOCS

import polyscene
from polyscene import adaptation, balancing, data, decoders, metrics, necks, regularizers, tasks

WRITTEN = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
SHOWN = set(re.findall(r"^::: (\S+)", WRITTEN, re.MULTILINE))
TABLES = {
    "public": polyscene._PUBLIC,
    "tasks": tasks.TASKS,
    "decoders": {**decoders.DECODERS, **decoders._BLOCKS},
    "necks": necks.NECKS,
    "regularizers": regularizers.REGULARIZERS,
    "data": data.DATASETS,
    "methods": adaptation.METHODS,
    "balancers": balancing.BALANCERS,
    "metrics": metrics.METRICS,
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_name_of_a_table_is_shown(kind: str) -> None:
    missing = []
    for target in TABLES[kind].values():
        module, _, name = target.partition(":")
        if not module.startswith("polyscene"):  # other tests register sets of theirs
            continue
        found = getattr(importlib.import_module(module), name)
        if f"{found.__module__}.{found.__qualname__}" not in SHOWN:
            missing.append(f"::: {found.__module__}.{found.__qualname__}")
    assert not missing, f"add to docs/api: {missing}"


@pytest.mark.parametrize("target", sorted(SHOWN))
def test_what_is_shown_says_something(target: str) -> None:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError:
        found = importlib.import_module(target)
    assert (found.__doc__ or "").strip() or module == "polyscene.config.schema"
