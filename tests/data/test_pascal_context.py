"""PASCAL-Context in the layout and encoding of its archives, value by value."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from skimage.morphology import thin
from tests.data import pascal
from tests.data.pascal import SIZE, box, encoded, make_frame, make_lists, save, save_classes, save_parts

from polyscene.data import pascal_context_labels as stored
from polyscene.data.base import BadSample
from polyscene.data.pascal_context import PascalContext
from polyscene.data.verify import verify_set
from polyscene.tasks.sets import PARTS_CLASSES

TRAIN, VAL = "2008_000002 2008_000003 2008_000004", "2008_000008"
FIRST, SECOND, THIRD = TRAIN.split()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "PASCAL_MT"
    for frame in (*TRAIN.split(), VAL):
        make_frame(folder, frame)
    make_lists(folder, TRAIN, VAL)
    people = [("head", box(slice(0, 4), slice(0, 8))), ("nose", box(slice(1, 2), slice(2, 3)))]
    people += [("luarm", box(slice(4, 8), slice(0, 4))), ("rfoot", box(slice(8, 12), slice(0, 4)))]
    dog = ("dog", 12, [("head", box(slice(0, 12), slice(12, 16)))])
    save_parts(
        folder, SECOND, [dog, ("person", 15, people), ("person", 15, [("torso", box(slice(0, 2), slice(6, 10)))])]
    )
    save_parts(folder, THIRD, [("person", 15, [])])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_sample(root: Path) -> None:
    before = contents(root)
    data = PascalContext(root, "train")
    sample = data.read(0)
    assert len(data) == 3 and sample.images.shape == (1, 3, *SIZE) and sample.source == "pascal_context"
    assert sample.images.isclose(torch.tensor(90 / 255), atol=0.02).all()
    assert {name: tuple(target.value.shape) for name, target in sample.targets.items()} == {
        "semseg": (1, 1, *SIZE), "human_parts": (1, 1, *SIZE), "saliency": (1, 1, *SIZE), "normals": (1, 3, *SIZE),
        "edges": (1, 1, *SIZE),
    }  # fmt: skip
    assert (sample.targets["semseg"].value == 15).all() and sample.targets["semseg"].valid.all()
    assert (sample.targets["saliency"].value == 1).all() and not sample.targets["human_parts"].valid.any()
    assert not sample.camera.known.any() and data.derived == {"edges"}
    assert contents(root) == before, "nothing is written into the user's folder"


def test_classes_are_voc_s_and_else_those_of_the_other_folder(root: Path) -> None:
    ids = np.arange(192).reshape(SIZE).astype(np.uint8) % 21
    ids[0, 0] = 255
    (root / f"semseg/VOC12/{SECOND}.png").unlink()
    save(root / f"semseg/pascal-context/{SECOND}.png", ids)
    save(root / f"semseg/pascal-context/{FIRST}.png", ids)
    data = PascalContext(root, tasks=["semseg"])
    target = data.label("semseg", SECOND, SIZE)
    assert target.valid.sum() == 191 and not target.valid[0, 0, 0, 0]
    assert (target.value[0, 0].numpy()[target.valid[0, 0]] == ids[ids != 255]).all()
    assert (data.label("semseg", FIRST, SIZE).value == 15).all()
    save(root / f"semseg/VOC12/{THIRD}.png", np.full(SIZE, 21, np.uint8))
    with pytest.raises(BadSample, match="class id 21"):
        data.read(2)
    (root / f"semseg/VOC12/{THIRD}.png").unlink()
    with pytest.raises(BadSample, match=r"VOC12.*missing, and so is .*semseg/pascal-context.*prepare pascal_context"):
        data.read(2)


def test_parts_of_people(root: Path) -> None:
    target = PascalContext(root).label("human_parts", SECOND, SIZE)
    named = [[PARTS_CLASSES[number] for number in row] for row in target.value[0, 0].tolist()]
    assert target.valid.all()
    assert [named[0][5], named[1][2], named[0][6], named[0][9]] == [
        "head",
        "head",
        "torso",
        "torso",
    ]  # later ones on top
    assert [named[3][7], named[5][0], named[9][3]] == ["head", "upper arms", "lower legs"]
    assert named[6][8] == named[0][14] == "background"  # the dog's head is not a person's


def test_people_without_parts_are_nobody(root: Path) -> None:
    assert not PascalContext(root).label("human_parts", THIRD, SIZE).valid.any()


def test_the_24_parts_of_pascal_part_are_six() -> None:
    assert len(stored.PARTS) == 24
    assert Counter(PARTS_CLASSES[number] for number in stored.PARTS.values()) == {
        "head": 10, "torso": 2, "upper arms": 2, "lower arms": 4, "upper legs": 2, "lower legs": 4,
    }  # fmt: skip


def test_only_people(root: Path) -> None:
    data = PascalContext(root, tasks=["human_parts"], only_people=True)
    assert data.frames == [SECOND] and "the 1 of 3 frames that show people" in data.notes[0]
    assert len(PascalContext(root, tasks=["human_parts"])) == 3, "no frame is left out unasked"


def test_people_are_counted_by_the_archive_s_own_list_which_is_left_as_it_is(root: Path) -> None:
    file = root / "ImageSets/Parts/train.txt"
    file.parent.mkdir()
    file.write_text(json.dumps({FIRST: [20], SECOND: [12, 15, 15], THIRD: [15]}))
    before = contents(root)
    assert "(2 of 3 do)" in PascalContext(root).notes[0]
    assert PascalContext(root, only_people=True).frames == [SECOND, THIRD]
    assert contents(root) == before
    file.write_text(json.dumps({FIRST: [20]}))  # of another version
    assert PascalContext(root, only_people=True).frames == [SECOND]
    assert file.read_text() == json.dumps({FIRST: [20]})


def test_saliency_is_from_128(root: Path) -> None:
    values = np.arange(192).reshape(SIZE).astype(np.uint8)
    save(root / f"sal_distill/{FIRST}.png", values)
    target = PascalContext(root).label("saliency", FIRST, SIZE)
    assert target.valid.all() and (target.value[0, 0].numpy() == (values >= 128)).all()


def test_normals_count_on_indoor_things(root: Path) -> None:
    classes = np.full(SIZE, pascal.WALL)
    classes[:, :4], classes[:, 4:6], classes[:, 6:8] = pascal.SKY, 0, 427
    save_classes(root, FIRST, classes)
    save(root / f"normals_distill/{FIRST}.png", encoded(0.6, 0.48, 0.64))
    target = PascalContext(root).label("normals", FIRST, SIZE)
    assert (target.valid[0, 0].numpy() == np.isin(classes, (pascal.WALL, 427))).all()
    wanted = torch.tensor([0.6, -0.48, -0.64])  # right, up, towards the camera
    assert (target.value[0, :, 0, 10] - wanted).abs().max() < 0.005
    assert target.value[0, :, 0, 10].norm() == pytest.approx(1, abs=1e-6)
    assert PascalContext(root, normals="all").label("normals", FIRST, SIZE).valid.all()
    straight = PascalContext(root, normal_axes=(1, 1, 1)).label("normals", FIRST, SIZE)
    assert (straight.value[0, :, 0, 10] - wanted.abs()).abs().max() < 0.005


def test_grey_is_no_normal(root: Path) -> None:
    picture = encoded(0, 0, 1).copy()
    picture[2:5] = 128
    save(root / f"normals_distill/{FIRST}.png", picture)
    valid = PascalContext(root).label("normals", FIRST, SIZE).valid[0, 0]
    assert not valid[2:5].any() and valid[:2].all() and valid[5:].all()


def test_indoor_classes() -> None:
    assert len(set(stored.INDOORS)) == len(stored.INDOORS) == 171
    assert {pascal.WALL, pascal.FLOOR, pascal.CEILING, 427} <= set(stored.INDOORS.tolist())
    assert not {pascal.SKY, 187, 258, 324, 420} & set(stored.INDOORS.tolist())  # ground, motorbike, road, tree


def test_edges_are_the_thinned_laplacian_of_459_classes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    classes = cv2.resize(rng.integers(0, 460, (4, 5)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    save_classes(root, FIRST, classes)
    wanted = thin(np.abs(cv2.Laplacian(classes.astype(np.float64), cv2.CV_64F)) > 0)
    data = PascalContext(root)
    target = data.label("edges", FIRST, SIZE)
    assert target.valid.all() and (target.value[0, 0].numpy() == wanted).all() and 10 < wanted.sum() < 100
    monkeypatch.setattr(stored, "edges", None)
    assert (PascalContext(root).label("edges", FIRST, SIZE).value == target.value).all(), "made once"


def test_edges_of_the_benchmark_are_class_boundaries(root: Path) -> None:
    classes = np.full(SIZE, pascal.WALL)
    classes[3:7, 5:9] = pascal.PLAIN
    save_classes(root, FIRST, classes)
    marked = PascalContext(root, edges="seism").label("edges", FIRST, SIZE).value[0, 0].bool().numpy()
    wanted = np.zeros(SIZE, bool)
    wanted[2:7, 4:9] = True
    wanted[3:6, 5:8] = False
    assert (marked == wanted).all()
    assert (PascalContext(root).label("edges", FIRST, SIZE).value[0, 0].bool().numpy() != wanted).any()


def test_a_part_of_the_split(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "test_new.txt"
    file.write_text(f"{THIRD}\n{FIRST}\n")
    assert PascalContext(root, frame_list=file).frames == [THIRD, FIRST]
    with pytest.raises(BadSample, match=f"2 frames are not in val: {FIRST}, {THIRD}"):
        PascalContext(root, "val", frame_list=file)


def test_options_that_are_none(root: Path) -> None:
    with pytest.raises(ValueError, match="saliency"):
        PascalContext(root, tasks=["salience"])
    with pytest.raises(ValueError, match="three signs"):
        PascalContext(root, normal_axes=(1, 2, 1))


def test_a_sound_set_has_no_problem_but_its_size(root: Path) -> None:
    (problem,) = verify_set(PascalContext(root))
    assert problem.file.endswith("Context/train.txt")
    assert problem.problem == "3 frames, 3 of them different; train has 4998"


def test_verify_names_what_is_wrong(root: Path) -> None:
    (root / f"sal_distill/{FIRST}.png").write_bytes((root / f"sal_distill/{FIRST}.png").read_bytes()[:40])
    (root / f"human_parts/{SECOND}.mat").write_bytes(b"MATLAB 5.0 and no more")
    save(root / f"normals_distill/{SECOND}.png", encoded(0, 0, 1, (9, 16)))
    (root / f"pascal-context/trainval/{THIRD}.mat").unlink()
    savemat(root / f"pascal-context/trainval/{FIRST}.mat", {"labels": np.zeros(SIZE)})
    told = {problem.file.removeprefix(str(root))[1:]: problem.problem for problem in verify_set(PascalContext(root))}
    assert "cannot be read" in told.pop(f"sal_distill/{FIRST}.png")
    assert "cannot be read" in told.pop(f"human_parts/{SECOND}.mat")
    assert told.pop(f"normals_distill/{SECOND}.png") == "is 9x16x3, for its image 12x16x3"
    assert told.pop(f"pascal-context/trainval/{THIRD}.mat") == "missing"
    assert "no LabelMap but labels" in told.pop(f"pascal-context/trainval/{FIRST}.mat")
    assert list(told) == ["ImageSets/Context/train.txt"]


def test_parts_of_another_picture(root: Path) -> None:
    save_parts(root, FIRST, [("person", 15, [("head", np.ones((30, 40)))])])
    with pytest.raises(BadSample, match=f"{FIRST}.mat: not the parts of an image of 12x16"):
        PascalContext(root).read(0)
    save_parts(root, FIRST, [("person", 15, [("tail", np.ones(SIZE))])])
    with pytest.raises(BadSample, match="KeyError: 'tail'"):
        PascalContext(root).read(0)


def test_missing_folders_and_what_to_do_without_them(root: Path) -> None:
    for folder in ("sal_distill", "semseg/VOC12"):
        for file in (root / folder).iterdir():
            file.unlink()
        (root / folder).rmdir()
    told = {str(Path(problem.file).relative_to(root)): problem for problem in PascalContext(root).problems()}
    assert "saliency" in told["sal_distill"].problem and "leave saliency out of `tasks`" in told["sal_distill"].remedy
    assert "polyscene data prepare pascal_context" in told["semseg"].remedy
    with pytest.raises(BadSample, match=r"sal_distill.*missing"):
        PascalContext(root, tasks=["saliency"]).read(0)
    fewer = PascalContext(root, tasks=["human_parts", "normals", "edges"])
    assert {Path(problem.file).name for problem in fewer.problems()} == {"train.txt"}
    assert set(fewer.read(0).targets) == {"human_parts", "normals", "edges"}


def test_a_list_that_names_absent_frames(root: Path) -> None:
    with (root / "ImageSets/Context/train.txt").open("a") as file:
        file.write("2010_999999\n")
    told = [problem.problem for problem in PascalContext(root).problems()]
    assert "names 1 frames without a picture: 2010_999999" in told
    with pytest.raises(BadSample, match=r"2010_999999.jpg: missing"):
        PascalContext(root).read(3)


def test_the_wrong_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=rf"no folder JPEGImages; give {root} as `root`"):
        PascalContext(tmp_path)
    (tmp_path / "NYUDv2/gt_sets").mkdir(parents=True)
    with pytest.raises(BadSample, match=r"archive of NYUv2; .*polyscene data prepare pascal_context"):
        PascalContext(tmp_path / "NYUDv2")
    (root / "ImageSets/Context/val.txt").unlink()
    with pytest.raises(BadSample, match=r"val.txt: no such file.*polyscene data prepare pascal_context"):
        PascalContext(root, "val")


@pytest.mark.parametrize(
    ("floor", "wall", "axes"),
    [  # how a floor and a wall head-on are stored, and in which axes
        ((0, 0.8, 0.6), (0, 0, 1), None),
        ((0, -0.8, 0.6), (0, 0, 1), "[1, 1, -1]"),
        ((0, 0.8, -0.6), (0, 0, -1), "[1, -1, 1]"),
        ((0, -0.8, -0.6), (0, 0, -1), "[1, 1, 1]"),
    ],
)
def test_floors_and_walls_tell_the_axes(root: Path, floor: tuple, wall: tuple, axes: str | None) -> None:
    for frame in TRAIN.split():
        save(root / f"normals_distill/{frame}.png", encoded(*wall))
    save(root / f"normals_distill/{FIRST}.png", encoded(*floor))
    save_classes(root, FIRST, np.full(SIZE, pascal.FLOOR))
    told = [problem for problem in PascalContext(root).problems() if problem.file.endswith("normals_distill")]
    assert [problem.remedy for problem in told] == ([] if axes is None else [f"give normal_axes: {axes}"])
