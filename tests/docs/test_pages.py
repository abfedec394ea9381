"""What the pages tell to type exists: commands with their options, keys of configurations, snippets that stand alone.
The tutorial and "Add your own" have tests of their own, which run them."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.data.folders import make_folder
from tests.docs.pages import DOCS, PAGES, blocks, commands

from polyscene import cli, config

ALONE = ("faq.md", "how_to/evaluate.md", "how_to/multi_view.md", "methods/cross_view.md")
BASE = {
    "tasks": "rooms",
    "data": {"train": {"rooms": {"dataset": {"name": "rooms", "scenes": 1}}}},
    "training": {"steps": 1},
}


def command_lines() -> list[str]:
    found = [line for page in PAGES for _, block in blocks(page, "bash", "console") for line in commands(block)]
    found += [code for page in PAGES for code in re.findall(r"`(polyscene [a-z][^`]*)`", (DOCS / page).read_text())]
    return sorted({line.removeprefix("$ ") for line in found if line.removeprefix("$ ").startswith("polyscene ")})


@pytest.mark.parametrize("line", command_lines())
def test_a_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0] in ("COMMAND", "--help"):
        return
    command: Any = cli.COMMANDS
    while isinstance(command, Mapping) and words and words[0] not in ("NAME", "..."):
        assert words[0] in command, f"no such command: {line}"
        command = command[words.pop(0)]
    if isinstance(command, Mapping) or command in cli.PASSES_ON:
        return  # a group is meant, or options that the configuration checks
    known = {name.strip("_").replace("_", "-") for name in inspect.signature(command).parameters} | {"help"}
    given = {word.partition("=")[0].removeprefix("--").removeprefix("no-") for word in words if word.startswith("--")}
    assert given <= known, f"{line}: no option {', '.join(sorted(given - known))}"


def overrides() -> list[tuple[str, ...]]:
    lines = [shlex.split(line) for line in command_lines()]
    return sorted({tuple(words[3:]) for words in lines if words[1] == "train" and len(words) > 3})


def configurations() -> list[Any]:
    found = [(page, block) for page in PAGES for _, block in blocks(page, "yaml")]
    return [pytest.param(block, id=f"{page}-{place}") for place, (page, block) in enumerate(found)]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pages") / "data", frames=2)


@pytest.mark.parametrize("block", configurations())
def test_a_configuration_has_known_keys_and_parts(block: str, described: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(block)
    if "target" in given or "images" in given or "protocol" in given:
        return  # the short form of `adapt`, a description, a baseline: no configurations
    for wanted in re.findall(r"(?:path|init|root): ([\w./-]+)", block):  # what the reader has
        block = block.replace(f": {wanted}", f": {described}")
    merged = joined(BASE, yaml.safe_load(block))
    if set(merged["training"]) & {"minutes", "epochs"}:
        del merged["training"]["steps"]
    read(merged, (), tmp_path)


@pytest.mark.parametrize("given", overrides(), ids=" ".join)
def test_what_is_overruled_is_a_key(given: tuple[str, ...], tmp_path: Path) -> None:
    short = [word for word in given if word not in ("--minutes",)]
    read(BASE, short if len(short) == len(given) else (), tmp_path)


def read(content: Mapping[str, Any], given: Any, folder: Path) -> None:
    """``ValueError``, listing all that is wrong, unless the names of a part that a reader would write are the cause."""
    file = folder / "page.yaml"
    file.write_text(yaml.safe_dump(dict(content)))
    try:
        config.load(file, given)
    except ValueError as error:
        wrong = [line for line in str(error).splitlines()[1:] if "archives" not in line and "gated" not in line]
        assert not wrong, "\n".join(wrong)


def joined(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        mine = both.get(key)
        both[key] = joined(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return both


@pytest.mark.parametrize("page", ALONE)
def test_snippets_that_stand_alone(page: str) -> None:
    run: Callable[..., Any] = exec
    for _, block in blocks(page, "python"):
        run(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """As read where the code is hosted; anchors are checked by the build of the site."""
    for target in re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", (DOCS / page).read_text(), flags=re.S)
    ):
        if "://" not in target:
            assert ((DOCS / page).parent / target).exists(), target
