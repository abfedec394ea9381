"""Loops are compiled anew when they change, and work where nothing can be kept."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import polyscene

LOOPS = """
from polyscene.compiled import compiled

@compiled(fastmath=True)
def total(values):
    out = 0.0
    for value in values:
        out += value
    return out
"""


def kernels() -> list[tuple[str, str]]:
    """(module, source) of every module of the package with loops of its own."""
    root = Path(polyscene.__file__).parent
    sources = {path: path.read_text() for path in sorted(root.rglob("*.py"))}
    names = {path: ".".join((polyscene.__name__, *path.relative_to(root).with_suffix("").parts)) for path in sources}
    return [(names[path], source) for path, source in sources.items() if "\n@compiled(" in source]


def test_what_is_kept_calls_nothing_of_another_file() -> None:
    from numba.core.dispatcher import Dispatcher

    seen = 0
    for name, _ in kernels():
        for loop in vars(importlib.import_module(name)).values():
            if not (isinstance(loop, Dispatcher) and loop.__module__ == name):
                continue
            seen += 1
            known, words = loop.py_func.__globals__, loop.py_func.__code__.co_names
            found = [known.get(word) for word in words]
            found += [getattr(module, word, None) for module in found if hasattr(module, "__file__") for word in words]
            called = {each.__module__ for each in found if isinstance(each, Dispatcher)}
            assert called <= {name}, f"{name}.{loop.__name__} calls loops of {called - {name}}"
    assert seen > 20


def test_loops_are_compiled_in_one_way() -> None:
    for path in Path(polyscene.__file__).parent.rglob("*.py"):
        assert path.name == "compiled.py" or "cache=True" not in path.read_text(), f"{path}: use polyscene.compiled"


def test_loops_work_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    wall = tmp_path / "__pycache__"  # a file where a folder would have to be: not even root can write below it
    wall.touch()
    places = {name: str(wall / name) for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "IPYTHONDIR")}
    path = os.pathsep.join((str(tmp_path), str(Path(polyscene.__file__).parents[1])))
    command = "import loops; print(loops.total((1.0, 2.0)), type(loops.total._cache).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, **places, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["3.0", "NullCache"], done.stderr
