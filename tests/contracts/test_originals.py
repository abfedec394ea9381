"""Every set of the field says where its files are, and refuses to guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data import pascal, test_cityscapes, test_nyuv2, test_synthia, test_taskonomy, test_virtual_kitti2

from polyscene import cli, parts
from polyscene.config import Source
from polyscene.data import DATASETS, LABELS, ORIGINALS
from polyscene.data.original import Original
from polyscene.data.sources import join
from polyscene.tasks.sets import SETS
from polyscene.types import Target

each = pytest.mark.parametrize("name", ORIGINALS)


def pascal_context(root: Path) -> None:
    for frame in ("2008_000002", "2008_000003"):
        pascal.make_frame(root, frame)
    pascal.make_lists(root, "2008_000002", "2008_000003")


def taskonomy(root: Path) -> None:
    for building in ("hanson", "darden", "ihlen"):
        test_taskonomy.make(root, building)


MAKERS: dict[str, Callable[[Path], None]] = {
    "nyuv2": test_nyuv2.nyudv2,
    "nyuv2_mtan": test_nyuv2.mtan,
    "pascal_context": pascal_context,
    "cityscapes": test_cityscapes.make,
    "virtual_kitti2": test_virtual_kitti2.make,
    "synthia": test_synthia.make,
    "taskonomy": taskonomy,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path_factory.mktemp("cache")))


def state(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file and folder."""
    return {each: (each.stat().st_size, each.stat().st_mtime_ns) for each in (root, *root.rglob("*"))}


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
def test_nothing_is_written_where_the_files_are(name: str, tmp_path: Path) -> None:
    """Neither by reading, nor by any command; what is derived goes elsewhere."""
    root = tmp_path / "files"
    MAKERS[name](root)
    before = state(root)
    reader: type[Original] = parts.load(DATASETS, name, "data set")
    for split in reader.splits:
        data = reader(root, split)  # type: ignore[call-arg, arg-type]
        for index in range(len(data)):
            assert data.read(index).targets.keys() == data.tasks.keys()
    for command in (["prepare", name], ["verify", name], ["show", name, "--out", str(tmp_path / "sheet.png")]):
        cli.main(["data", *command, "--root", str(root)])
    assert (tmp_path / "sheet.png").exists()
    assert state(root) == before


@each
def test_labels_that_nobody_asks_for_are_not_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS[name](tmp_path)
    reader: type[Original] = parts.load(DATASETS, name, "data set")
    chosen = {task.name: task for task in SETS[name][:1]}
    joined, _ = join(
        reader(tmp_path, "train"),  # type: ignore[call-arg, arg-type]
        chosen,
        Source.model_validate({"dataset": {"name": name}}),
        name,
    )
    asked, label = [], reader.label

    def noted(self: Original, which: str, frame: str, size: tuple[int, int]) -> Target | None:
        asked.append(which)
        return label(self, which, frame, size)

    monkeypatch.setattr(reader, "label", noted)
    assert joined.read(0).targets.keys() == chosen.keys()
    assert asked == list(chosen)


@each
def test_unknown_labels_are_named(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    with pytest.raises(ValueError, match=rf"{name}: unknown label 'semsegg'; did you mean 'semseg'\?"):
        parts.load(DATASETS, name, "data set")(tmp_path, tasks=["semsegg"])


@each
def test_it_tells_what_it_labels(name: str) -> None:
    reader = parts.load(DATASETS, name, "data set")
    assert reader.title and len(reader.where) > 100 and reader.splits
    assert LABELS.get(name), "configurations are checked against it before torch is imported"
    assert tuple(task.name for task in SETS[name]) == LABELS[name], "`tasks: NAME` means all that it labels"
