"""Every set of the field says where its files are, and refuses to guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyscene import cli, parts
from polyscene.data import DATASETS, LABELS, ORIGINALS

each = pytest.mark.parametrize("name", ORIGINALS)


@each
def test_without_files_it_says_how_to_name_and_get_them(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(f"POLYSCENE_{name.upper()}", raising=False)
    reader = parts.load(DATASETS, name, "data set")
    with pytest.raises(ValueError, match=f"POLYSCENE_{name.upper()}.*polyscene data prepare {name}"):
        reader()
    with pytest.raises(ValueError, match="no folder"):
        reader(root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is none of"):
        reader(root=tmp_path, split="sideways")
    assert cli.main(["data", "prepare", name]) == 0
    assert f"--root FOLDER, or set POLYSCENE_{name.upper()}" in capsys.readouterr().out


@each
def test_an_empty_folder_is_a_problem_and_stays_empty(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "verify", name, "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"polyscene data prepare {name}" in told and str(tmp_path) in told
    assert list(tmp_path.iterdir()) == []


@each
def test_it_tells_what_it_labels(name: str) -> None:
    reader = parts.load(DATASETS, name, "data set")
    assert reader.title and len(reader.where) > 100 and reader.splits
    assert LABELS.get(name), "configurations are checked against it before torch is imported"
