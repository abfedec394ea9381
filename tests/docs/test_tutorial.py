"""The tutorial, typed from top to bottom: every command and every snippet, on rooms made small."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from tests.docs.pages import DOCS, blocks, commands, shortened

from polyscene import cli

SMALLER = {
    "scenes=60, views=1": "scenes=3, views=1, size=(48, 64)",
    "0059.png": "0002.png",
    "size: [96, 128]": "size: [48, 64]",
    "batch: 8": "batch: 2",
    "minutes: 1\n": "steps: 2\n  device: cpu\n",
    "--minutes 2": "--steps 3",
}


def test_every_command_and_snippet_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    text = (DOCS / "tutorial.md").read_text()
    assert all(long in text for long in SMALLER), "a shortening of this test no longer applies to the page"
    saved = iter(re.findall(r"[Ss]ave this as `([\w.]+)`", text))
    monkeypatch.chdir(tmp_path)

    for language, block in blocks("tutorial.md", "bash", "python", "yaml"):
        small = shortened(block, SMALLER)
        if language == "yaml" and block.startswith("name: my_data"):
            _is_what_was_written(yaml.safe_load(small), Path("my_data/polyscene.yaml"))
        elif language == "yaml" and block.startswith("data:"):
            assert set(yaml.safe_load(small)) == {"data"}  # to be merged by the reader
        elif language == "yaml" or "rooms.prepare()" in block:
            Path(next(saved)).write_text(small)
        elif language == "python":
            exec(compile(small, "tutorial.md", "exec"), {})
        else:
            for command in commands(small):
                _type(command, monkeypatch)
    assert next(saved, None) is None
    assert Path("report.html").stat().st_size > 10_000
    assert {path.suffix for path in Path("seen").rglob("*")} >= {".png", ".npz"}


def _type(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[0] == "polyscene":
        assert cli.main(words[1:]) == 0, command
    elif words[0] == "python":
        exec(compile(Path(words[1]).read_text(), words[1], "exec"), {"__name__": "__main__"})
    else:
        assert words == ["mkdir", "first", "&&", "cd", "first"], f"not run by this test: {command}"
        Path("first").mkdir()
        monkeypatch.chdir("first")


def _is_what_was_written(shown: dict[str, object], file: Path) -> None:
    written = yaml.safe_load(file.read_text())
    assert shown["images"] == written["images"]
    for name, keys in shown["tasks"].items():  # type: ignore[attr-defined]
        assert keys["path"] == written["tasks"][name]["path"]
        assert set(keys) <= set(written["tasks"][name])
