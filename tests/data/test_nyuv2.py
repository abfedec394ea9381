"""NYUv2 in the layout and encoding of every archive, value by value."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from polyscene.data import kinect
from polyscene.data.axes import Axes
from polyscene.data.base import BadSample
from polyscene.data.nyuv2 import FROM_40, Nyuv2
from polyscene.data.nyuv2_mat import LABELLED
from polyscene.data.nyuv2_mtan import Nyuv2Mtan
from polyscene.data.verify import verify_set
from polyscene.geometry import normals
from polyscene.geometry.camera import pixel_grid
from polyscene.tasks.sets import NYUV2_13_CLASSES, NYUV2_CLASSES
from polyscene.types import Target

CUT, WHOLE = (425, 560), (480, 640)
ROOM = torch.nn.functional.normalize(
    torch.tensor([[0.1, 0.2, -1.0], [0.1, -1.0, -0.4], [1.0, -0.1, -0.5]], dtype=torch.float64), dim=1
)  # a wall, a floor, a wall on the left
OFFSETS = (-3.0, -1.2, -1.5)
X_RIGHT_Y_UP = np.diag([1.0, -1.0, -1.0])  # from camera axes to how many sets store normals


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))


@cache
def room(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Depth (h, w) and normals (h, w, 3) in camera axes of a corner of three planes, the nearest of them seen."""
    intrinsics = kinect.intrinsics(size)
    assert intrinsics is not None
    rays = torch.einsum("ij,jhw->ihw", torch.linalg.inv(intrinsics.double()), pixel_grid(*size, intrinsics.double()))
    along = torch.einsum("pi,ihw->phw", ROOM, rays)
    depths = torch.where(along < 0, torch.tensor(OFFSETS, dtype=torch.float64)[:, None, None] / along, torch.inf)
    depth, plane = depths.min(0)
    return depth.float().numpy(), ROOM[plane].numpy()


def semantic(size: tuple[int, int]) -> np.ndarray:
    """0 to 40 in columns."""
    return np.broadcast_to((np.arange(size[1]) % 41).astype(np.uint8), size).copy()


def edges(size: tuple[int, int]) -> np.ndarray:
    marked = np.zeros(size, bool)
    marked[7, 5:] = True
    return marked


def photograph(size: tuple[int, int]) -> np.ndarray:
    image = np.full((*size, 3), 90, np.uint8)
    image[..., 0] = 200
    return image


def picture(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, **({"quality": 100} if file.suffix == ".jpg" else {"compress_level": 1}))


def array(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, values)


def split(root: Path) -> None:
    (root / "gt_sets").mkdir(parents=True)
    (root / "gt_sets/train.txt").write_text("0002\n0003\n")
    (root / "gt_sets/val.txt").write_text("0001\n")


def stored_normals(size: tuple[int, int]) -> np.ndarray:
    return room(size)[1] @ X_RIGHT_Y_UP.T


def nyudv2(root: Path) -> None:
    for frame in ("0001", "0002", "0003"):
        picture(root / f"images/{frame}.png", photograph(CUT))
        picture(root / f"segmentation/{frame}.png", semantic(CUT))
        array(root / f"depth/{frame}.npy", room(CUT)[0])
        picture(root / f"normals/{frame}.png", ((stored_normals(CUT) + 1) * 127.5).round().astype(np.uint8))
        picture(root / f"edge/{frame}.png", (edges(CUT) * 255).astype(np.uint8))
    split(root)


def nyud_mt(root: Path) -> None:
    for frame in ("0001", "0002", "0003"):
        picture(root / f"images/{frame}.jpg", photograph(WHOLE))
        picture(root / f"segmentation/{frame}.png", semantic(WHOLE))
        array(root / f"depth/{frame}.npy", room(WHOLE)[0].astype(np.float64))
        array(root / f"normals/{frame}.npy", stored_normals(WHOLE).astype(np.float32))
        array(root / f"edge/{frame}.npy", edges(WHOLE).astype(np.float32))
    split(root)


def astmt(root: Path) -> None:
    nyudv2(root)
    for frame in ("0001", "0002", "0003"):
        (root / f"segmentation/{frame}.png").unlink()
        (root / f"depth/{frame}.npy").unlink()
        savemat(root / f"segmentation/{frame}.mat", {"segmentation": semantic(CUT)})
        savemat(root / f"depth/{frame}.mat", {"depth": room(CUT)[0]})


LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[int, int]]] = {
    "nyudv2": (nyudv2, CUT), "nyud_mt": (nyud_mt, WHOLE), "astmt": (astmt, CUT),
}  # fmt: skip


@pytest.mark.parametrize("archive", LAYOUTS)
def test_every_archive_is_told_apart_and_read_back(archive: str, tmp_path: Path) -> None:
    make, size = LAYOUTS[archive]
    make(tmp_path)
    data = Nyuv2(tmp_path, "train", archive=archive)
    assert data.archive == archive and not data.derived and list(data.frames) == ["0002", "0003"]
    assert list(Nyuv2(tmp_path, "val").frames) == ["0001"]
    assert {"x".join(map(str, size)), "comparable"} <= set(data.notes[0].replace(":", "").split())
    sample = data.read(0)
    assert sample.images.shape == (1, 3, *size) and sample.meta == ("nyuv2/0002",)
    assert sample.camera.known.all() and torch.equal(sample.camera.intrinsics[0], kinect.intrinsics(size))
    assert (sample.images[0].mean((1, 2)) * 255).tolist() == pytest.approx([200, 90, 90], abs=1.5)
    raw = torch.from_numpy(semantic(size)).long()
    semseg = sample.targets["semseg"]
    assert torch.equal(semseg.valid[0, 0], raw > 0)
    assert torch.equal(semseg.value[0, 0][raw > 0], raw[raw > 0] - 1) and data.tasks["semseg"].classes == NYUV2_CLASSES
    depth, truth = room(size)
    assert torch.equal(sample.targets["depth"].value[0, 0], torch.from_numpy(depth))
    assert sample.targets["depth"].valid.all() and sample.targets["normals"].valid.all()
    apart = (sample.targets["normals"].value[0] * torch.from_numpy(truth).movedim(-1, 0)).sum(0)
    assert apart.min() > np.cos(np.deg2rad(0.5)), "in camera axes, to 8 bit"
    assert torch.equal(sample.targets["edges"].value[0, 0] == 1, torch.from_numpy(edges(size)))


def test_unknown_depth_and_normals_are_invalid(tmp_path: Path) -> None:
    nyud_mt(tmp_path)
    depth, vectors = room(WHOLE)[0].copy(), stored_normals(WHOLE).astype(np.float32)
    depth[3, 4], vectors[5, 6] = 0, 0
    array(tmp_path / "depth/0001.npy", depth)
    array(tmp_path / "normals/0001.npy", vectors)
    sample = Nyuv2(tmp_path, "val").read(0)
    assert (~sample.targets["depth"].valid).nonzero().tolist() == [[0, 0, 3, 4]]
    assert (~sample.targets["normals"].valid).nonzero().tolist() == [[0, 0, 5, 6]]


@pytest.mark.parametrize(("size", "centre"), [(WHOLE, (324.582449, 252.736166)), (CUT, (284.582449, 207.736166))])
def test_the_camera_is_that_of_the_kinect(size: tuple[int, int], centre: tuple[float, float]) -> None:
    """The cut is MATLAB's 46:470, 41:600, so that 45 rows and 40 columns are lost."""
    intrinsics = kinect.intrinsics(size)
    assert intrinsics is not None
    found = [float(intrinsics[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    assert found == pytest.approx([518.857901, 519.469611, *centre])
    assert kinect.intrinsics((400, 600)) is None
    smaller = kinect.intrinsics((288, 384))
    assert smaller is not None and smaller[0, 2] == pytest.approx(0.6 * (324.582449 + 0.5) - 0.5)


def test_thirteen_classes(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    data = Nyuv2(tmp_path, classes=13)
    assert data.tasks["semseg"].classes == NYUV2_13_CLASSES
    semseg = data.read(0).targets["semseg"]
    assert not semseg.valid[0, 0, 0, 0] and semseg.value[0, 0, 0, 1:41].tolist() == list(FROM_40)


def test_the_thirteen_are_the_official_ones(real_data: Path) -> None:
    official = loadmat(real_data / "nyuv2_meta/class13Mapping.mat")["classMapping13"][0, 0]
    assert [number - 1 for number in official["labels13"].ravel().tolist()] == list(FROM_40)
    assert [str(name.item()) for name in official["classNames"].ravel()] == list(NYUV2_13_CLASSES)


def test_labels_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    shutil.rmtree(tmp_path / "depth")
    shutil.rmtree(tmp_path / "edge")
    data = Nyuv2(tmp_path, tasks=["semseg"])
    assert set(data.read(0).targets) == {"semseg"} and not data.derived
    assert not [one for one in data.problems() if "a frame" in one.problem]
    with pytest.raises(ValueError, match="unknown label 'edge'; did you mean 'edges'"):
        Nyuv2(tmp_path, tasks=["edge"])


# -- axes of normals ---------------------------------------------------------------------------------------------------
TURNS = {
    "right, up, towards the viewer": X_RIGHT_Y_UP,
    "right, down, away": np.eye(3),
    "left, up, towards the viewer": -np.eye(3),
    "right, away, up": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


@pytest.mark.parametrize("words", TURNS)
def test_normals_come_out_in_camera_axes_whatever_they_are_stored_in(words: str, tmp_path: Path) -> None:
    nyud_mt(tmp_path)
    truth = room(WHOLE)[1]
    for frame in ("0001", "0002", "0003"):
        array(tmp_path / f"normals/{frame}.npy", (truth @ TURNS[words].T).astype(np.float32))
    data = Nyuv2(tmp_path, "val")
    assert any(f"normals are stored as {words};" in note for note in data.notes)
    assert torch.allclose(data.read(0).targets["normals"].value[0].movedim(0, -1), torch.from_numpy(truth).float())


def test_normals_that_are_not_those_of_the_depth_are_a_problem(tmp_path: Path) -> None:
    nyud_mt(tmp_path)
    noise = np.random.default_rng(0).normal(size=(*WHOLE, 3)).astype(np.float32)
    for frame in ("0001", "0002", "0003"):
        array(tmp_path / f"normals/{frame}.npy", noise / np.linalg.norm(noise, axis=-1, keepdims=True))
    problems = [str(problem) for problem in Nyuv2(tmp_path).problems()]
    assert any("nearest to those of depth, a median of" in problem for problem in problems)


def test_the_axes_of_real_normals(real_data: Path) -> None:
    """Of a frame whose normals are stored x right, z up."""
    folder = real_data / "nyuv2_samples"
    depth = np.asarray(Image.open(folder / "000433_depth.png")).astype(np.float32) / 5000
    stored = np.asarray(Image.open(folder / "000433_normals.png")).astype(np.float32) / 127.5 - 1
    intrinsics = kinect.intrinsics(WHOLE)
    assert intrinsics is not None
    measured = Target(torch.from_numpy(depth)[None, None], torch.from_numpy(depth > 0)[None, None])
    axes = Axes.find(["000433"], lambda _: (stored, measured, intrinsics))
    assert axes is not None and "right, away, up" in axes.told() and axes.remains < 5
    labels = np.asarray(Image.open(folder / "000433_seg40.png"))
    floor = axes.applied(stored)[labels == NYUV2_CLASSES.index("floor")]
    assert np.median(floor[:, 1]) < -0.9, "floors face up"


# -- what can be wrong -------------------------------------------------------------------------------------------------
def test_another_archive_than_wanted_is_refused(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    with pytest.raises(ValueError, match=r"holds NYUDv2.tar.gz, wanted is NYUD_MT.tgz.*MTI-Net.*give its folder"):
        Nyuv2(tmp_path, archive="nyud_mt")


def test_two_archives_in_one_folder_are_refused(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    picture(tmp_path / "images/0001.jpg", photograph(WHOLE))
    with pytest.raises(ValueError, match=r"images: holds .jpg and .png files, as if two archives"):
        Nyuv2(tmp_path)


def test_the_folder_above_is_no_root(tmp_path: Path) -> None:
    nyudv2(tmp_path / "NYUDv2")
    with pytest.raises(ValueError, match=r"has no folder images.*give .*NYUDv2 as `root`"):
        Nyuv2(tmp_path)
    with pytest.raises(ValueError, match=r"give .*NYUDv2 as `root`"):
        Nyuv2(tmp_path / "NYUDv2" / "images")
    mtan(tmp_path / "other/arrays")
    with pytest.raises(ValueError, match="are the data set nyuv2_mtan"):
        Nyuv2(tmp_path / "other/arrays")


def test_verify_names_counts_folders_and_files(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    for file in (tmp_path / "depth").iterdir():
        file.unlink()
    (tmp_path / "segmentation/0003.png").unlink()
    whole = (tmp_path / "edge/0002.png").read_bytes()
    (tmp_path / "edge/0002.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "gt_sets/train.txt").write_text("0002 0003 0004")
    (tmp_path / "gt_sets/val.txt").unlink()
    found = {(str(Path(one.file).relative_to(tmp_path)), one.problem) for one in verify_set(Nyuv2(tmp_path))}
    assert found >= {
        ("depth", "missing, or without a .npy or .mat a frame"),
        ("segmentation/0003.png", "missing"),
        ("images/0004.png", "missing"),
        ("gt_sets/train.txt", "3 frames, 3 of them different; train has 795"),
        ("gt_sets/val.txt", "no such file or directory"),
        ("images", "3 images; there should be 1449"),
    }
    assert any(file == "edge/0002.png" and "cannot be read" in problem for file, problem in found)
    assert len([file for file, _ in found if file.startswith("depth")]) == 1, "said once, not of every frame"


def test_a_set_of_another_size_is_a_problem(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    for frame in ("0001", "0002", "0003"):
        picture(tmp_path / f"images/{frame}.png", photograph((100, 100)))
    data = Nyuv2(tmp_path)
    assert any("frames are 100x100, in NYUDv2.tar.gz they are 425x560" in str(one) for one in data.problems())
    with pytest.raises(BadSample, match=r"0002.png: is 425x560, for its image 100x100; restore it from NYUDv2.tar.gz"):
        data.label("semseg", "0002", (100, 100))


def test_a_class_out_of_range_is_refused(tmp_path: Path) -> None:
    nyudv2(tmp_path)
    picture(tmp_path / "segmentation/0001.png", np.full(CUT, 41, np.uint8))
    with pytest.raises(BadSample, match="nyuv2/0001: semseg: class id -1"):
        Nyuv2(tmp_path, "val").read(0)


# -- from the original -------------------------------------------------------------------------------------------------
NAMES = ("book", "bottle", "cabinet", "wall")
TO_40 = (23, 40, 3, 1)


def original(folder: Path, frames: int = 3) -> dict[str, np.ndarray]:
    """``nyu_depth_v2_labeled.mat`` as MATLAB writes it: each array's axes reversed, names as references to codes."""
    depth = room(WHOLE)[0]
    rows, columns, channels, numbers = np.ogrid[: WHOLE[0], : WHOLE[1], :3, :frames]
    held = {
        "images": (rows + 2 * columns + 50 * channels + 100 * numbers).astype(np.uint8),
        "depths": np.repeat(depth[..., None], frames, -1),
        "labels": np.repeat(np.broadcast_to(np.arange(640) // 160 + 1, WHOLE)[..., None], frames, -1).astype(np.uint16),
        "instances": np.ones((*WHOLE, frames), np.uint8),
    }
    held["labels"][:, 318:322] = 0  # a strip between two objects, as its annotators left
    held["labels"][:100, :100] = 0
    held["instances"][300:, 480:] = 2
    folder.mkdir(parents=True)
    with h5py.File(folder / LABELLED, "w", userblock_size=512) as file:
        for name, values in held.items():
            file[name] = np.ascontiguousarray(values.T)
        references = file.create_dataset("names", (1, len(NAMES)), h5py.ref_dtype)
        for place, name in enumerate(NAMES):
            codes = file.create_dataset(f"#refs#/{place}", data=np.array([[ord(letter)] for letter in name], np.uint16))
            references[0, place] = codes.ref
    cells = np.empty((1, len(NAMES)), object)
    cells[0] = [np.array([name]) for name in NAMES]
    savemat(folder / "classMapping40.mat", {"mapClass": np.array([TO_40], np.uint8), "allClassName": cells})
    savemat(folder / "splits.mat", {"trainNdxs": np.array([[2], [3]]), "testNdxs": np.array([[1]])})
    return held


@pytest.mark.parametrize("by", ["folder", "file"])
def test_the_original_converted_is_read_back(by: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    held = original(source)
    Nyuv2.convert(source if by == "folder" else source / LABELLED, out)
    data = Nyuv2(out, "train")
    assert data.archive == "prepared" and data.derived == {"normals", "edges"}
    assert list(data.frames) == ["0002", "0003"] and list(Nyuv2(out, "val").frames) == ["0001"]
    sample = data.read(0)
    rows, columns = slice(45, 470), slice(40, 600)
    image = held["images"][rows, columns, :, 1]
    assert torch.equal((sample.images[0] * 255).round().byte().movedim(0, -1), torch.from_numpy(image))
    assert torch.equal(sample.targets["depth"].value[0, 0], torch.from_numpy(held["depths"][rows, columns, 1]))
    named = held["labels"][rows, columns, 1].astype(int)
    semseg = sample.targets["semseg"]
    assert torch.equal(semseg.valid[0, 0], torch.from_numpy(named > 0))
    expected = np.append(0, TO_40)[named] - 1
    assert (semseg.value[0, 0].numpy() == expected)[named > 0].all()
    assert not (out / "normals").exists() and not (out / "edge").exists(), "what is derived is kept in the cache"


def test_derived_normals_are_those_of_the_depth(tmp_path: Path) -> None:
    original(tmp_path / "source")
    Nyuv2.convert(tmp_path / "source", tmp_path / "out")
    sample = Nyuv2(tmp_path / "out", "val").read(0)
    found, truth = sample.targets["normals"], torch.from_numpy(room(WHOLE)[1][45:470, 40:600]).movedim(-1, 0)
    assert found.valid.float().mean() > 0.99
    angle = (found.value[0] * truth).sum(0).clamp(-1, 1)[found.valid[0, 0]].acos().rad2deg()
    assert angle.median() < 0.5


def test_derived_edges_are_boundaries_of_instances_and_close_gaps(tmp_path: Path) -> None:
    original(tmp_path / "source")
    Nyuv2.convert(tmp_path / "source", tmp_path / "out")
    found = Nyuv2(tmp_path / "out", "val").read(0).targets["edges"]
    marked, known = found.value[0, 0] == 1, found.valid[0, 0]
    column = marked[200]
    assert column.nonzero().flatten().tolist() == [159 - 40, 319 - 40, 479 - 40]
    assert marked[299 - 45, 500 - 40 : 560].all(), "one class, two instances"
    assert known[:, 100:].all() and not known[:40, :40].any(), "far from any label there is no telling"


def test_converting_carries_on(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    original(source)
    Nyuv2.convert(source, out)
    (out / "depth/0002.npy").unlink()
    for lost in ("images/0002.png", "gt_sets/val.txt"):
        (out / lost).unlink()
    kept = (out / "images/0001.png").stat().st_mtime_ns
    Nyuv2.convert(source, out)
    assert len(Nyuv2(out, "val")) == 1 and Nyuv2(out, "train").read(0).images.shape == (1, 3, *CUT)
    assert (out / "images/0001.png").stat().st_mtime_ns == kept
    assert not list(out.rglob("*.part"))


def _other_names(source: Path) -> None:
    cells = np.empty((1, 4), object)
    cells[0] = [np.array([name]) for name in ("bottle", "book", "cabinet", "wall")]
    savemat(source / "classMapping40.mat", {"mapClass": np.array([TO_40], np.uint8), "allClassName": cells})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / LABELLED).unlink(), "nyu_depth_v2_labeled.mat is missing; put it there"),
        (lambda folder: (folder / "classMapping40.mat").unlink(), "classMapping40.mat is missing"),
        (lambda folder: (folder / LABELLED).write_bytes(b"cut"), "cannot be read as HDF5"),
        (_other_names, "is not of these labels"),
        (
            lambda folder: savemat(folder / "splits.mat", {"trainNdxs": [[4]], "testNdxs": [[1]]}),
            "does not number the 3",
        ),
    ],
)
def test_what_cannot_be_converted(spoil: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    original(tmp_path / "source")
    spoil(tmp_path / "source")
    with pytest.raises(ValueError, match=message):
        Nyuv2.convert(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out" / "gt_sets").exists()


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original(tmp_path / "source")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'polyscene\[data\]'"):
        Nyuv2.convert(tmp_path / "source", tmp_path / "out")


def test_the_official_files_beside_it_are_understood(real_data: Path) -> None:
    """894 names, 1449 frames."""
    from polyscene.data import matlab

    meta = real_data / "nyuv2_meta"
    assert matlab.variable(meta / "classMapping40.mat", "mapClass").size == 894
    train, test = (
        set(matlab.variable(meta / "splits.mat", name).ravel().tolist()) for name in ("trainNdxs", "testNdxs")
    )
    assert (len(train), len(test)) == (795, 654) and train | test == set(range(1, 1450))
    names = [str(name.item()) for name in matlab.variable(meta / "classMapping40.mat", "className").ravel()]
    assert [name.replace("refridgerator", "refrigerator") for name in names] == list(NYUV2_CLASSES)


# -- MTAN's arrays -----------------------------------------------------------------------------------------------------
SMALL = (288, 384)


def mtan(root: Path) -> None:
    depth, vectors = room(SMALL)[0], stored_normals(SMALL).astype(np.float32)
    classes = np.broadcast_to(np.arange(SMALL[1]) % 14 - 1, SMALL).astype(np.float32)
    for part, count in (("train", 12), ("val", 2)):
        for number in range(count):
            array(root / part / f"image/{number}.npy", np.full((*SMALL, 3), (0.25, 0.5, number / 16), np.float32))
            array(root / part / f"label/{number}.npy", classes)
            array(root / part / f"depth/{number}.npy", depth[..., None])
            array(root / part / f"normal/{number}.npy", vectors)


def test_arrays_of_mtan(tmp_path: Path) -> None:
    mtan(tmp_path)
    data = Nyuv2Mtan(tmp_path, "train")
    assert len(data) == 12 and len(Nyuv2Mtan(tmp_path, "val")) == 2 and data.frames[10] == "train/10"
    sample = data.read(10)
    assert sample.images[0, :, 0, 0].tolist() == [0.25, 0.5, 0.625] and sample.camera.known.all()
    semseg = sample.targets["semseg"]
    assert semseg.valid[0, 0, 0, :3].tolist() == [False, True, True] and semseg.value[0, 0, 0, 13] == 12
    depth, truth = room(SMALL)
    assert torch.equal(sample.targets["depth"].value[0, 0], torch.from_numpy(depth))
    assert torch.allclose(sample.targets["normals"].value[0].movedim(0, -1), torch.from_numpy(truth).float(), atol=1e-6)
    assert "right, up, towards the viewer" in data.notes[1]
    assert {problem.problem for problem in data.problems()} == {
        "12 arrays; there should be 795", "2 arrays; there should be 654",
    }  # fmt: skip


def test_arrays_of_mtan_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"0.npy: missing.*polyscene data prepare nyuv2_mtan"):
        Nyuv2Mtan(tmp_path)
    mtan(tmp_path)
    array(tmp_path / "val/image/0.npy", np.full((*SMALL, 3), 255, np.float32))
    (tmp_path / "val/depth/1.npy").unlink()
    array(tmp_path / "val/label/1.npy", np.zeros((4, 4)))
    data = Nyuv2Mtan(tmp_path, "val")
    problems = {(Path(one.file).parent.name, one.problem) for one in verify_set(data)}
    assert {("image", "values from 255 to 255, not from 0 to 1"), ("depth", "missing")} <= problems
    assert ("label", "is 4x4, for its image 288x384") in problems


def test_depth_of_a_corner_has_its_normals() -> None:
    """The corner of these tests itself."""
    depth, truth = room(SMALL)
    measured = torch.from_numpy(depth)[None]
    intrinsics = kinect.intrinsics(SMALL)
    assert intrinsics is not None
    found, known = normals.from_depth(measured, measured > 0, intrinsics)
    agreeing = (found * torch.from_numpy(truth).movedim(-1, 0)).sum(0)[known[0]]
    assert agreeing.median() > 0.9999
