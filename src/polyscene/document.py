"""YAML and JSON that came from anywhere, as plain data. Whatever is wrong with a text is a ``BadText``."""

from __future__ import annotations

import json
from typing import Any

import yaml

DEEPEST = 40  # nesting
LARGEST = 100_000  # nodes of YAML, those behind aliases counted each time
LONGEST = 2_000_000  # characters of YAML: people write it


class BadText(ValueError):
    """What is wrong with a text, in one line."""


def from_yaml(text: str) -> Any:
    """``yaml.safe_load``, without its ways to fill memory or to fail otherwise than by ``BadText``."""
    return read_yaml(text)[1]


def read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The tree of a single document, and what it says."""
    if len(text) > LONGEST:
        raise BadText(f"{len(text):,} characters are too many for YAML, at most {LONGEST:,}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _measure(node, {})
            return node, loader.construct_document(node)
        finally:
            loader.dispose()
    except BadText:
        raise
    except RecursionError:
        raise BadText(f"nested more than {DEEPEST} deep") from None
    except Exception as error:  # constructors of numbers and dates raise whatever they meet
        raise BadText(" ".join(str(error).split()) or type(error).__name__) from None


def from_json(text: str | bytes) -> Any:
    """``json.loads`` of at most ``DEEPEST`` levels."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise BadText(f"nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise BadText(str(error)) from None
    level = [data]
    for _ in range(DEEPEST):
        level = [inner for item in level if isinstance(item, dict | list) for inner in _inside(item)]
        if not level:
            return data
    raise BadText(f"nested more than {DEEPEST} deep")


def _inside(item: dict[str, Any] | list[Any]) -> Any:
    return item.values() if isinstance(item, dict) else item


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Nodes and levels of a tree whose aliases are written out. Ten lines of aliases can stand for a billion nodes."""
    if (found := known.get(id(node))) is not None:
        if not found[0]:
            raise BadText(f"line {node.start_mark.line + 1}: what an anchor names holds itself")
        return found
    known[id(node)] = 0, 0
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [each for pair in node.value for each in pair]
    sizes = [_measure(each, known) for each in inner]
    known[id(node)] = count, deep = 1 + sum(size for size, _ in sizes), 1 + max((deep for _, deep in sizes), default=0)
    if count > LARGEST or deep > DEEPEST:
        raise BadText(f"holds more than {LARGEST:,} nodes, aliases written out, or is nested more than {DEEPEST} deep")
    return count, deep
