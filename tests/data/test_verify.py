"""``data verify`` finds every spoilt file; ``data describe`` writes a description that verifies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folders import SIZE, cut_short, make_folder, save

from polyscene.data import commands
from polyscene.data.derived import Derived
from polyscene.data.describe import NothingFound, describe
from polyscene.data.folder import Folder
from polyscene.data.verify import verify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "tiny")


def test_nothing_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(root) == []
    assert commands.verify(root) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_every_spoilt_file_is_listed_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_short(root / "rgb" / "frame_1.png")
    save(root / "seg" / "frame_2.png", np.full(SIZE, 9, np.uint8))
    (root / "depth" / "frame_2.png").unlink()
    save(root / "normals" / "frame_3.png", np.full((12, 16, 3), 250, np.uint8))
    save(root / "depth" / "frame_4.png", np.ones((5, 5), np.uint16))
    (root / "cameras.json").write_text("{}")
    found = {Path(problem.file).relative_to(root).as_posix() for problem in verify(root)}
    assert found == {
        "rgb/frame_1.png", "seg/frame_2.png", "depth/frame_2.png", "normals/frame_3.png", "depth/frame_4.png",
        "cameras.json",
    }  # fmt: skip
    assert len(verify(root)) == 6
    assert commands.verify(root) == 1
    assert "6 problems" in capsys.readouterr().out


def test_a_lost_image_shows_in_the_labels_it_leaves(root: Path) -> None:
    (root / "rgb" / "frame_3.png").unlink()
    (found,) = verify(root)
    assert found.file == str(root / "rgb" / "frame_3.png")
    assert found.problem == "missing, though frame frame_3 has depth and normals and semseg and edges"


def test_a_bad_description_is_a_problem_too(root: Path, tmp_path: Path) -> None:
    text = (root / "polyscene.yaml").read_text()
    (root / "polyscene.yaml").write_text(text + "  test: {file: none_such.txt}\n")
    assert any("none_such.txt" in problem.problem for problem in verify(root))
    assert verify(tmp_path / "nowhere")[0].problem.startswith("no such")


def test_describe_writes_what_reads_alike(root: Path) -> None:
    ours = Folder(root).read(0)
    (root / "polyscene.yaml").unlink()
    assert commands.describe(root) == 0
    assert verify(root) == []
    described = Folder(root, "train")
    assert set(described.tasks) == {"depth", "normals", "semseg", "edges"} and len(described) == 8
    theirs = described.read(0)
    for name, target in theirs.targets.items():
        expected = ours.targets[name]
        assert (target.valid == expected.valid).all(), name
        seen = target.valid.expand_as(target.value)
        assert (target.value[seen] == expected.value[seen]).all(), name
    assert commands.describe(root) == 2  # never overwrites


def test_describe_turns_normals_that_point_the_other_way(root: Path) -> None:
    for file in (root / "normals").iterdir():
        normals = np.zeros((12, 16, 3), np.uint8)
        normals[:, 2:] = np.round((np.array([0.6, 0.48, 0.64]) + 1) * 127.5)  # y up, z towards the camera
        save(file, normals)
    (root / "polyscene.yaml").write_text(describe(root))
    value = Folder(root).read(0).targets["normals"].value[0, :, 0, -1]
    assert value.tolist() == pytest.approx([0.6, -0.48, -0.64], abs=0.01)


def test_describe_sees_split_folders_and_class_lists(tmp_path: Path) -> None:
    for split in ("train", "val"):
        made = make_folder(tmp_path / "set" / split, 2)
        (made / "polyscene.yaml").unlink()
    (tmp_path / "set" / "classes.txt").write_text("floor\nwall\nchair\n")
    (tmp_path / "set" / "polyscene.yaml").write_text(describe(tmp_path / "set"))
    folder = Folder(tmp_path / "set", "val")
    assert len(folder) == 2 and folder.tasks["semseg"].classes == ("floor", "wall", "chair")
    assert verify(tmp_path / "set") == []


def test_describe_takes_the_fuller_of_two_folders(root: Path) -> None:
    (root / "extra" / "images").mkdir(parents=True)
    save(root / "extra" / "images" / "one.png", np.zeros((*SIZE, 3), np.uint8))
    assert 'images: "rgb/{id}.png"  # 10 files' in describe(root)


def test_describe_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    with pytest.raises(NothingFound, match="stuff"):
        describe(tmp_path)


def test_contact_sheet(root: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert commands.show(str(root), tmp_path / "sheet.png", "train", count=2, views=2) == 0
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width > 5 * 256 and sheet.height > 4 * 192
    assert commands.show(str(root), tmp_path / "none.png", count=0) == 2
    assert commands.show(str(tmp_path / "nowhere"), tmp_path / "none.png") == 2 and not (tmp_path / "none.png").exists()


def test_derived_labels_are_made_again_of_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    source, made = tmp_path / "source", []
    kept = Derived("set", tmp_path, "length")

    def make() -> np.ndarray:
        made.append(len(source.read_bytes()))
        return np.full((1, 1), made[-1], np.uint8)

    source.write_text("abc")
    assert [int(kept.get("a/0", [source], make)[0, 0]) for _ in range(2)] == [3, 3] and made == [3]
    source.write_text("abcd")
    assert [int(kept.get("a/0", [source], make)[0, 0]) for _ in range(2)] == [4, 4] and made == [3, 4]
    assert len([file for file in kept.folder.rglob("*") if file.is_file()]) == 1
