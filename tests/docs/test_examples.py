"""What "Add your own" shows: its files, its commands and its configuration."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.contracts.every_part import batch_for
from tests.docs.pages import DOCS, blocks, commands, shortened

from polyscene.data import DATASETS
from polyscene.decoders import DECODERS
from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.tasks import TASKS, Normals

PAGE = "add_your_own.md"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
SMALLER = {
    "scenes: 100": "scenes: 1, size: [48, 64]",
    "data:\n": "data:\n  size: [48, 64]\n",
    "tf_efficientnet_lite0": "test_resnet",
    "minutes: 20": "steps: 2, device: cpu",
}


@pytest.fixture(autouse=True)
def _beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their modules can be imported; the tables are left as they were."""
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    before = [(table, dict(table)) for table in (TASKS, DECODERS, DATASETS)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)
    for path in EXAMPLES:
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_is_on_the_page_and_has_forty_lines_at_most(path: Path) -> None:
    assert f'--8<-- "examples/{path.name}"' in (DOCS / PAGE).read_text()
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 40


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        (tmp_path / "heights" / split).mkdir(parents=True)
        for index in range(2):
            write_archive(tmp_path / "heights" / split / f"{index}.npz")
    ((_, configuration),) = blocks(PAGE, "yaml")
    (tmp_path / "heights.yaml").write_text(shortened(configuration, SMALLER))
    importlib.import_module("mine")
    from polyscene import cli

    ((_, block),) = blocks(PAGE, "bash")
    for command in commands(block):
        program, file, *words = shlex.split(command)
        assert (program, file) == ("python", "mine.py")
        assert cli.main(words) == 0, command
    assert '"mean"' in (tmp_path / "runs" / "heights" / "metrics.json").read_text()


def test_every_parameter_of_the_decoder_learns_the_task() -> None:
    importlib.import_module("mine")
    height = importlib.import_module("height").Height()
    model = create_model([height, Normals()], "test_resnet", {"name": "gated", "channels": 8}).train()
    batch = batch_for(model.tasks)
    Objective(model.tasks)(model(batch.images, batch.camera, batch.present), batch).total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval().infer(batch.images[..., :43, :59])["height"].shape == (2, 1, 1, 43, 59)


def test_a_spoilt_archive_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", image=np.zeros((4, 4, 3), np.uint8))
    archives = importlib.import_module("archives").Archives(str(tmp_path))
    with pytest.raises(ValueError, match=r"0\.npz: lacks focal, height"):
        archives.read(0)


def write_archive(file: Path) -> None:
    height = np.linspace(2, 0, 48, dtype=np.float32)[:, None].repeat(64, 1)
    height[:4] = np.nan
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    np.savez(file, image=image, height=height, focal=60.0)
