"""The notebook runs from top to bottom; what is kept of its outputs is small and is of a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import DOCS

from polyscene import info
from polyscene.model import create_model

FILE = DOCS / "notebooks" / "first_look.ipynb"
nbformat = pytest.importorskip("nbformat")


def test_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(FILE, as_version=4)
    if not info.there("starter"):  # a checkout without weights: a network that knows nothing takes its place
        model = create_model("rooms", "test_resnet", {"name": "multi_head", "channels": 8, "context": "none"})
        model.save_pretrained(tmp_path / "tiny", size=(48, 64))
        for cell in notebook.cells:
            cell.source = cell.source.replace('"starter"', f'"{tmp_path / "tiny"}"')
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert (tmp_path / "seen" / "coffee.npz").is_file()
    assert sum(len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code") >= 6


def test_outputs_that_are_kept_are_small_and_without_errors() -> None:
    assert FILE.stat().st_size < 300_000
    notebook = nbformat.read(FILE, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    counts = [cell.execution_count for cell in code]
    assert counts in ([None] * len(code), [*range(1, len(code) + 1)])
