"""What may run a stranger's code, or write where a stranger says, is not called anywhere in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import polyscene

SOURCE = Path(polyscene.__file__).parent
NETWORK = {"urllib.request", "requests", "httpx", "http.client", "ftplib", "aiohttp"}
ASKED = {"hub.py"}  # files whose only purpose is the network, and which run for `hub:` names alone


def complaints(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node, name)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if why := _why(called, given):
                yield f"{name}:{node.lineno}: {called}: {why}"


def _imported(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    named = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    for module in named:
        if module.partition(".")[0] in ("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"):
            yield f"{name}:{node.lineno}: {module}: unpickling runs what the file says"
        if module in NETWORK and name not in ASKED:
            yield f"{name}:{node.lineno}: {module}: nothing asks the network unless a name says so"


def _why(called: str, given: dict[str | None, str]) -> str | None:
    *_, owner, last = ["", *called.split(".")]
    if called == "torch.load" and given.get("weights_only") != "True":
        return "unpickles; say weights_only=True"
    if last in ("add_safe_globals",):
        return "widens what every later torch.load may call; use safe_globals for one"
    if called in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
        return "say allow_pickle=False, so that no later default matters"
    if owner == "yaml" and last in ("load", "load_all", "full_load", "unsafe_load", "full_load_all"):
        return "constructs any object; use document.from_yaml"
    if called in ("yaml.safe_load", "yaml.safe_load_all"):
        return "fills memory with aliases of aliases; use document.from_yaml"
    if last == "extractall" or (last == "extract" and owner in ("tar", "archive", "zip", "tarfile", "zipfile")):
        return None if given.get("filter") == "'data'" else "members may name any path; say filter='data'"
    if last == "unpack_archive":
        return "members may name any path; use tarfile with filter='data'"
    if called == "Image.open" and "formats" not in given:
        return "some of Pillow's plugins start programs; name the formats"
    if called in ("os.system", "os.popen") or given.get("shell") == "True":
        return "a shell reads file names as commands; give a list of words"
    return None


# Each with the reason for which it may stand.
ALLOWED = {
    "adapt.py: yaml.safe_load": "our own recipe, of the package",
    "data/describe.py: yaml.safe_load": "of a word that was just matched against letters",
    "export/look.py: Image.open": "a script for users to copy, which has nothing but Pillow at hand",
}


def test_the_package_makes_no_such_call() -> None:
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        name = file.relative_to(SOURCE).as_posix()
        found += complaints(ast.parse(file.read_text()), name)
    told = {f"{line.split(':')[0]}: {line.split(': ')[1]}" for line in found}
    assert [line for line in found if f"{line.split(':')[0]}: {line.split(': ')[1]}" not in ALLOWED] == []
    assert ALLOWED.keys() <= told, "an exception that is not needed any more"


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "torch.serialization.add_safe_globals([Thing])",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.safe_load(text)",
        "tarfile.open(file).extractall(out)",
        "shutil.unpack_archive(file)",
        "zipfile.ZipFile(file).extractall(out)",
        "Image.open(file)",
        "subprocess.run(words, shell=True)",
        "import pickle",
        "from dill import loads",
        "import urllib.request",
    ],
)
def test_such_a_call_would_be_found(code: str) -> None:
    assert len(list(complaints(ast.parse(code), "new.py"))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(file, weights_only=True)",
        "np.load(file, allow_pickle=False)",
        "archive.extractall(out, filter='data')",
        "Image.open(file, formats=['PNG'])",
        "document.from_yaml(text)",
    ],
)
def test_the_safe_form_is_let_through(code: str) -> None:
    assert list(complaints(ast.parse(code), "new.py")) == []
