"""Tables of parts: plain dicts ``name: "module:Class"``, so that listing them and checking a configuration against
them imports no torch. A new part is one file and one line in its package's table."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

Table = Mapping[str, str]
_PLAIN = {kind.__name__: kind for kind in (int, float, str, bool, tuple, list, dict)}


def load(table: Table, name: str, kind: str) -> Any:
    """The class behind a name. ``ValueError`` names the nearest part if there is none."""
    if name not in table:
        raise ValueError(unknown(name, table, kind))
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def unknown(name: str, names: Any, kind: str) -> str:
    """What to say of a name that is not among ``names``."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}{hint} (there are: {', '.join(sorted(names))})"


def exports(table: Table) -> Callable[[str], Any]:
    """A module ``__getattr__`` under which the classes of a table can be imported from their package by class name."""
    by_class = {target.partition(":")[2]: target for target in table.values()}

    def __getattr__(attribute: str) -> Any:
        if attribute not in by_class:
            raise AttributeError(attribute)
        return getattr(importlib.import_module(by_class[attribute].partition(":")[0]), attribute)

    return __getattr__


@dataclass(frozen=True)
class Keyword:
    """A constructor keyword as the source spells it."""

    name: str
    annotation: str | None
    required: bool
    module: str = ""


@cache
def keywords(target: str) -> dict[str, Keyword] | None:
    """The keywords that ``module:Class`` takes, read from its source without importing it: of ``__init__``, or the
    fields of a dataclass, with those of base classes in the same file or imported by name. None if it takes any."""
    module, _, name = target.partition(":")
    tree = ast.parse(_source(module))
    nodes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    node = nodes[name]
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(item, module)
    found: dict[str, Keyword] = {}
    for base in node.bases:
        base_name = base.id if isinstance(base, ast.Name) else None
        if base_name in nodes:
            found |= keywords(f"{module}:{base_name}") or {}
        elif base_name and (origin := _imported_from(tree, base_name)):
            found |= keywords(f"{origin}:{base_name}") or {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if not annotation.startswith("ClassVar"):
                found[item.target.id] = Keyword(item.target.id, annotation, item.value is None, module)
    return found


def _of_function(node: ast.FunctionDef, module: str) -> dict[str, Keyword] | None:
    if node.args.kwarg:
        return None
    plain = node.args.args[1:]
    defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    return {
        argument.arg: Keyword(
            argument.arg, ast.unparse(argument.annotation) if argument.annotation else None, default is None, module
        )
        for argument, default in pairs
    }


def summary(target: str) -> str:
    """The first line of what the module of ``module:Class`` says of itself."""
    told = ast.get_docstring(ast.parse(_source(target.partition(":")[0]))) or ""
    return told.partition("\n")[0]


def simple_type(keyword: Keyword) -> Any:
    """The type behind a keyword's annotation, made of builtins, ``Literal``, ``Path``, bounds (see ``ranges``) and
    aliases of these in its own module or the one they are imported from; None where it is something else."""
    from pydantic import Field

    known = {"Any": Any, "Literal": Literal, "Path": Path, "Annotated": Annotated, "Field": Field}
    return None if keyword.annotation is None else _evaluated(keyword.annotation, keyword.module, known)


def _evaluated(annotation: str, module: str, known: dict[str, Any]) -> Any:
    tree = ast.parse(_source(module))
    aliases = {
        node.targets[0].id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found = dict(known)
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if not isinstance(node, ast.Name) or node.id in known:
            continue
        if node.id in aliases:
            found[node.id] = _evaluated(aliases[node.id], module, known)
        elif origin := _imported_from(tree, node.id):
            found[node.id] = _evaluated(node.id, origin, known)
        elif node.id in _PLAIN:
            found[node.id] = _PLAIN[node.id]
        if found.get(node.id) is None:
            return None
    try:
        return eval(annotation, {"__builtins__": {}}, found)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin).read_text()


def _imported_from(tree: ast.Module, name: str) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return node.module if node.module.startswith("polyscene.") else None
    return None
