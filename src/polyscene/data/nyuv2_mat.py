"""From ``nyu_depth_v2_labeled.mat``, as NYU Depth v2's authors publish it, to a folder like that of NYUDv2.tar.gz."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscene import cores
from polyscene.data import kinect, matlab
from polyscene.data.base import BadSample

LABELLED = "nyu_depth_v2_labeled.mat"
ARRAYS = ("images", "depths", "labels", "instances", "names")
BESIDE = ("classMapping40.mat", "splits.mat")
SPLITS = {"train": "trainNdxs", "val": "testNdxs"}


def convert(source: Path, out: Path) -> None:
    """Into ``out``: images, segmentation (0 none, 1 to 40), instances (0 none) as PNG, depth in metres as arrays, cut
    to 425x560, and the official split. ``source`` is the file or its folder, which also holds ``BESIDE``. On all cores;
    the same call again carries on. ``ValueError`` names what is missing or does not fit."""
    file = source / LABELLED if source.is_dir() else source
    for needed in (file, *(file.parent / name for name in BESIDE)):
        if not needed.is_file():
            remedy = "put it there; `polyscene data prepare nyuv2` says where to get it"
            raise ValueError(f"nyuv2: {needed} is missing; {remedy}")
    with _opened(file) as held:
        classes = _classes(file, held)
        parts = {split: _numbers(file, name, len(held["images"])) for split, name in SPLITS.items()}
        todo = [number for number in range(1, len(held["images"]) + 1) if not _done(out, number)]
        _all_cores(lambda number: _frame(held, number, classes, out), todo)
    for split, numbers in parts.items():
        text = "".join(f"{number:04d}\n" for number in numbers)
        _written(out / "gt_sets" / f"{split}.txt", lambda part, text=text: part.write_text(text))  # type: ignore[misc]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise ValueError("nyuv2: reading the original needs h5py: pip install 'polyscene[data]'") from None
    remedy = "get it again; `polyscene data prepare nyuv2` says where"
    try:
        held = h5py.File(file, "r")
    except OSError as error:
        raise BadSample(file, f"cannot be read as HDF5 ({error}); it may be cut short", remedy) from None
    with held:
        if lost := [name for name in ARRAYS if name not in held]:
            raise BadSample(file, f"holds no {', '.join(lost)}", remedy)
        yield held


def _classes(file: Path, held: Any) -> NDArray[np.uint8]:
    """(1 + names,) the class, 1 to 40, of each label; 0 of none."""
    mapping = file.parent / BESIDE[0]
    names = ["".join(map(chr, np.ravel(held[reference]))) for reference in np.ravel(held["names"])]
    mapped = [str(name.item()) for name in matlab.variable(mapping, "allClassName").ravel()]
    if names != mapped:
        problem = f"is not of these labels: {len(mapped)} names, in {file.name} there are {len(names)} or others"
        raise BadSample(mapping, problem, "take both files from where `polyscene data prepare nyuv2` says")
    return np.concatenate([[0], matlab.variable(mapping, "mapClass").ravel()]).astype(np.uint8)


def _numbers(file: Path, name: str, count: int) -> list[int]:
    split = file.parent / BESIDE[1]
    numbers = sorted(int(number) for number in matlab.variable(split, name).ravel())
    if not numbers or numbers[0] < 1 or numbers[-1] > count:
        raise BadSample(split, f"{name} does not number the {count} frames of {file.name}", "take the official file")
    return numbers


def _frame(held: Any, number: int, classes: NDArray[np.uint8], out: Path) -> None:
    """MATLAB stores columns first, HDF5 reverses the axes: an array (h, w, 3, n) is read as (n, 3, w, h)."""
    image, depth, label, instance = (
        held[name][number - 1].T[kinect.CUT] for name in ("images", "depths", "labels", "instances")
    )
    if label.max() >= len(classes):
        raise BadSample(held.filename, f"label {label.max()} of frame {number} has no name", "get the file again")
    pairs = np.where(label > 0, label.astype(np.int64) * 256 + instance, 0)
    regions = np.searchsorted(np.unique(np.append(pairs, 0)), pairs)  # from 0, which stays none
    for folder, picture in (
        ("images", image),
        ("segmentation", classes[label]),
        ("instances", regions.astype(np.uint16)),
    ):
        drawn = Image.fromarray(np.ascontiguousarray(picture))
        _written(_place(out, folder, number), lambda part, drawn=drawn: drawn.save(part, "PNG"))  # type: ignore[misc]
    _written(_place(out, "depth", number), lambda part: _save(part, depth))


def _save(file: Path, array: NDArray[np.generic]) -> None:
    with file.open("wb") as opened:
        np.save(opened, np.ascontiguousarray(array, np.float32))


def _place(out: Path, folder: str, number: int) -> Path:
    return out / folder / f"{number:04d}.{'npy' if folder == 'depth' else 'png'}"


def _done(out: Path, number: int) -> bool:
    return _place(out, "depth", number).exists()  # the last to be written


def _written(file: Path, write: Callable[[Path], Any]) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    write(part)
    os.replace(part, file)


def _all_cores(work: Callable[[int], None], numbers: list[int]) -> None:
    from rich.console import Console
    from rich.progress import Progress

    with (
        Progress(console=Console(stderr=True), transient=True) as bar,
        ThreadPoolExecutor(cores.available()) as pool,
    ):
        task = bar.add_task("converting", total=len(numbers))
        running = [pool.submit(work, number) for number in numbers]
        try:
            for one in running:
                one.result()
                bar.advance(task)
        finally:
            for one in running:
                one.cancel()
