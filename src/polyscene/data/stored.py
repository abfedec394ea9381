"""How a sample lies in a shard: members of a tar file that other readers of the WebDataset convention understand.

``KEY.json`` holds cameras, names, and how each label is encoded; ``KEY.image.png`` (or .jpg) is the picture,
``KEY.depth.npy`` (or .png) a label; those of further views are called ``KEY.1.image.png`` and so on.
"""

from __future__ import annotations

import ast
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polyscene import pictures
from polyscene.data import files, tar
from polyscene.data.base import BadSample
from polyscene.data.description import Label
from polyscene.data.folder import decode
from polyscene.data.rooms.record import NORMAL_STEP
from polyscene.document import BadText, from_json
from polyscene.tasks import Task
from polyscene.types import Camera, Sample, Target

KEPT = "file"  # an encoding: the label's own file as it is, to be read as the set describes it
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
KINDS = {".png", ".npy"}  # of labels' files that are kept as they are
PIXELS = pictures.DECODED  # of a sample's pictures, or its labels of one kind, in all views together
VIEWS = 256


class Encoding(NamedTuple):
    """Numbers of the type ``kind``, in a file with this ``suffix``: value = number · ``scale``, unknown where it is
    ``blank`` (in all channels)."""

    kind: str
    suffix: str
    blank: float
    scale: float = 1.0

    @property
    def label(self) -> Label:
        return Label(path="{id}" + self.suffix, scale=self.scale, invalid=self.blank)


ENCODINGS = {  # the first that loses nothing is taken
    "ids": Encoding("u1", ".png", 255),
    "ids16": Encoding("<u2", ".png", 65535),
    "steps": Encoding("<i2", ".npy", 0, NORMAL_STEP),
    "float": Encoding("<f4", ".npy", math.nan),
}
LABELS = {name: encoding.label for name, encoding in ENCODINGS.items()}


class Unreadable(ValueError):
    """What is wrong with a stored sample, in one line."""


def pack(
    key: str, sample: Sample, tasks: Mapping[str, Task], labels: Mapping[str, Label], kept: Mapping[str, Sequence[Path]]
) -> bytes:
    """The members of a sample. ``kept`` are files, one a view, of its "image" and of labels with a description in
    ``labels``: they are stored as they are where they say the same as the sample. ``Unreadable`` if it cannot be stored
    without loss."""
    views = len(sample.images)
    _bound(views)
    for each in (sample.images, *(sample.targets[name].value for name in tasks)):
        if len(each) * each.shape[-2] * each.shape[-1] > PIXELS:
            raise Unreadable(f"{len(each)} views of {each.shape[-1]}x{each.shape[-2]} pixels, more than are read")
    encodings: dict[str, str] = {}
    rows: list[tuple[str, bytes]] = []
    for view in range(views):
        suffix, content = _image(sample.images[view], kept["image"][view] if "image" in kept else None)
        rows.append((_called(view, "image", suffix), content))
    for name, task in tasks.items():
        target = sample.targets[name]
        encodings[name], contents = _kept(target, task, labels.get(name), kept.get(name, ())) or _encoded(target, task)
        rows += [(_called(view, name, suffix), content) for view, (suffix, content) in enumerate(contents)]
    facts = {
        "source": sample.source,
        "meta": list(sample.meta),
        "labels": encodings,
        "intrinsics": sample.camera.intrinsics.tolist(),
        "world_from_camera": sample.camera.world_from_camera.tolist(),
        "known": sample.camera.known.tolist(),
        "present": sample.present.tolist(),
    }
    told = json.dumps(facts, separators=(",", ":")).encode()
    return b"".join(tar.member(f"{key}.{name}", content) for name, content in [("json", told), *rows])


def unpack(content: memoryview, tasks: Mapping[str, Task], labels: Mapping[str, Label]) -> Sample:
    """The sample whose members these are, with the labels that ``tasks`` names. ``Unreadable`` says what is wrong."""
    found: dict[str, memoryview] = {}
    keys = set()
    try:
        for name, each in tar.members(content):
            key, _, rest = name.partition(".")
            keys.add(key)
            found[rest] = each
    except tar.BadTar as error:
        raise Unreadable(str(error)) from None
    if len(keys) != 1 or "json" not in found:
        raise Unreadable("holds no sample, or several")
    facts = _facts(bytes(found["json"]))
    views = len(facts["known"])
    images = _together(views, lambda view, most: _picture(found, view, most))
    if len({image.shape for image in images}) > 1:
        raise Unreadable("its views differ in size")
    targets = {}
    for name, task in tasks.items():
        encoding = facts["labels"].get(name)
        own = encoding == KEPT and name in labels
        if not own and encoding not in ENCODINGS:
            raise Unreadable(f"does not say how {name} is stored")
        label = labels[name] if own else LABELS[encoding]
        targets[name] = _target(_labels(found, views, name), task, label, own)
    stacked = images[0][None] if views == 1 else np.stack(images)
    return Sample(
        images=torch.from_numpy(stacked).movedim(-1, 1).contiguous() / 255 if stacked.dtype == np.uint8
        else torch.from_numpy(np.moveaxis(stacked, -1, 1).astype(np.float32, order="C")),
        targets=targets,
        camera=Camera(facts["intrinsics"], facts["world_from_camera"], facts["known"]),
        present=facts["present"],
        source=facts["source"],
        meta=facts["meta"],
    )  # fmt: skip


def same(one: Target, other: Target) -> bool:
    """Whether two labels say the same, of the same type."""
    return (
        one.value.dtype == other.value.dtype
        and one.value.shape == other.value.shape
        and torch.equal(one.valid, other.valid)
        and torch.equal(torch.where(one.valid, one.value, 0), torch.where(other.valid, other.value, 0))
    )


def _bound(views: int) -> None:
    if views > VIEWS:
        raise Unreadable(f"{views} views, more than the {VIEWS} that are read")


def _together(views: int, read: Callable[[int, int], np.ndarray]) -> list[np.ndarray]:
    """What ``read`` makes of each view, by its number and how many pixels it may have."""
    arrays, left = [], PIXELS
    for view in range(views):
        arrays.append(read(view, left))
        left -= arrays[-1].shape[0] * arrays[-1].shape[1]
    return arrays


def _called(view: int, name: str, suffix: str) -> str:
    return f"{view}.{name}{suffix}" if view else f"{name}{suffix}"


# -- pictures ---------------------------------------------------------------------------------------------------------
def _image(image: Tensor, file: Path | None) -> tuple[str, bytes]:
    """A picture (3, h, w), by its suffix and bytes: the file that it was read from, else a PNG, else its numbers."""
    pixels = (image * 255).round().to(torch.uint8)
    if not torch.equal(pixels / 255, image):
        return ".npy", _npy(image.movedim(0, -1).numpy())
    array = pixels.movedim(0, -1).contiguous().numpy()
    if file is not None and file.suffix.lower() in PICTURES:
        content = file.read_bytes()
        suffix = ".png" if file.suffix.lower() == ".png" else ".jpg"
        try:
            if np.array_equal(_pixels(memoryview(content), PICTURES[suffix], "image", PIXELS), array):
                return suffix, content
        except Unreadable:  # only its reader knew how
            pass
    return ".png", _png(array)


def _picture(found: Mapping[str, memoryview], view: int, most: int) -> np.ndarray:
    """(h, w, 3), uint8 or float."""
    for suffix, kind in ((".jpg", "JPEG"), (".png", "PNG")):
        content = found.get(_called(view, "image", suffix))
        if content is not None:
            return _pixels(content, kind, "image", most)
    content = found.get(_called(view, "image", ".npy"))
    if content is None:
        raise Unreadable(f"lacks the picture of view {view}")
    array = _array(content, "image")
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size or array.dtype != np.float32:
        raise Unreadable(f"its picture is an array of {array.shape} {array.dtype}, not (h, w, 3) float32")
    if not np.isfinite(array).all():
        raise Unreadable("its picture holds NaN or infinity")
    return array


def _pixels(content: memoryview, kind: str, use: str, most: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            if image.width * image.height > most:
                raise Unreadable(f"{use} of {image.width}x{image.height} pixels, more than are read")
            return files.pixels(image, use, lambda: bytes(content))
    except Unreadable:
        raise
    except Exception as error:  # what the decoders of damaged files raise has no end
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise Unreadable(f"its {use} cannot be read ({told})") from None


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


# -- labels -----------------------------------------------------------------------------------------------------------
def _kept(
    target: Target, task: Task, label: Label | None, paths: Sequence[Path]
) -> tuple[str, list[tuple[str, bytes]]] | None:
    """The label's own files, if read from the shard they say the same."""
    if label is None or len(paths) != len(target.value) or any(path.suffix not in KINDS for path in paths):
        return None
    contents = [(path.suffix, path.read_bytes()) for path in paths]
    try:
        raws = _together(len(contents), lambda view, most: _raw(*contents[view], task.name, most))
        read = _target(raws, task, label, True)
    except Unreadable:
        return None
    return (KEPT, contents) if same(read, target) else None


def _encoded(target: Target, task: Task) -> tuple[str, list[tuple[str, bytes]]]:
    for name, (kind, suffix, blank, scale) in ENCODINGS.items():
        if suffix == ".png" and target.value.shape[-3] > 1:
            continue
        value = target.value.double() / scale
        raw = torch.where(target.valid, value if kind == "<f4" else value.round(), blank)
        with np.errstate(invalid="ignore"):
            arrays = [np.moveaxis(each, 0, -1).astype(kind, order="C") for each in raw.numpy()]
        arrays = [array[..., 0] if array.shape[-1] == 1 else array for array in arrays]
        try:
            if same(_target(arrays, task, LABELS[name], False), target):
                return name, [(suffix, _png(array) if suffix == ".png" else _npy(array)) for array in arrays]
        except Unreadable:
            continue
    raise Unreadable(f"{task.name} of {target.value.dtype} {tuple(target.value.shape)} cannot be stored without loss")


def _labels(found: Mapping[str, memoryview], views: int, name: str) -> list[np.ndarray]:
    """(h, w[, c]) each."""

    def label(view: int, most: int) -> np.ndarray:
        for suffix in (".png", ".npy"):
            content = found.get(_called(view, name, suffix))
            if content is not None:
                return _raw(suffix, content, name, most)
        raise Unreadable(f"lacks {name} of view {view}")

    return _together(views, label)


def _raw(suffix: str, content: memoryview | bytes, name: str, most: int) -> np.ndarray:
    content = memoryview(content)
    array = _array(content, name) if suffix == ".npy" else _pixels(content, "PNG", name, most)
    if array.ndim not in (2, 3) or not array.size:
        raise Unreadable(f"its {name} is an array of {array.shape}, not (h, w) or (h, w, channels)")
    return array


def _target(raws: Sequence[np.ndarray], task: Task, label: Label, own: bool) -> Target:
    """What the views' arrays mean. ``own``: as a set's file, to be accepted by the task; else accepted values already,
    whose type and range the task checks."""
    each = []
    for raw in raws:
        try:
            read = decode(raw, label, task.value_channels, Path(task.name))
            accepted = task.accept(read)
        except BadSample as error:
            raise Unreadable(f"its {task.name}: {error.problem}") from None
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            told = (str(error).splitlines() or [""])[0].partition("; ")[0][:300]
            raise Unreadable(f"its {task.name}: {told}") from None
        if not own:
            exact = torch.where(accepted.valid, read.value, 0).to(accepted.value.dtype)
        each.append(accepted if own else Target(exact, accepted.valid))
    if len({one.value.shape for one in each}) > 1:
        raise Unreadable(f"its views differ in the size of {task.name}")
    if len(each) == 1:
        return each[0]
    return Target(torch.cat([one.value for one in each]), torch.cat([one.valid for one in each]))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(content: memoryview, name: str) -> np.ndarray:
    """Of no more than the bytes there are, none of them unpickled."""
    try:
        file = io.BytesIO(content[:4096])
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version} of .npy")
        length = int.from_bytes(file.read(2), "little")
        header = ast.literal_eval(file.read(length).decode("latin1"))
        dtype, shape, start = np.dtype(header["descr"]), tuple(header["shape"]), file.tell()
        whole = all(isinstance(side, int) and side >= 0 for side in shape)
        if not whole or header["fortran_order"] or dtype.kind not in "fiub":
            raise ValueError(f"{dtype} {shape}")
        if math.prod(shape) * dtype.itemsize != len(content) - start:
            raise ValueError(f"{dtype} {shape} in {len(content) - start} bytes")
        return np.frombuffer(content[start:], dtype).reshape(shape)
    except Exception as error:  # a header is a Python literal, with all that can be wrong with one
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise Unreadable(f"its {name} is no array ({told})") from None


# -- facts ------------------------------------------------------------------------------------------------------------
def _facts(text: bytes) -> dict[str, Any]:
    try:
        facts = from_json(text)
        known, present = ([bool(each) for each in _list(facts[key])] for key in ("known", "present"))
        views = len(known)
        if not views or len(present) != views:
            raise ValueError(f"{len(present)} and {views} views")
        _bound(views)
        told = [facts["source"], *_dict(facts["labels"]).values()]
        if not all(isinstance(each, str) for each in told):
            raise ValueError("labels and source are no words")
        return {
            "source": facts["source"],
            "meta": tuple(str(each) for each in _list(facts["meta"])),
            "labels": facts["labels"],
            "intrinsics": _matrices(facts["intrinsics"], (views, 3, 3)),
            "world_from_camera": _matrices(facts["world_from_camera"], (views, 4, 4)),
            "known": torch.tensor(known),
            "present": torch.tensor(present),
        }
    except Unreadable:
        raise
    except (BadText, ValueError, KeyError, TypeError, OverflowError) as error:
        raise Unreadable(f"its .json is none of ours ({' '.join(str(error).split())[:200]})") from None


def _list(value: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return iter(value)


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a mapping was expected")
    return value


def _matrices(value: Any, shape: tuple[int, ...]) -> Tensor:
    array = np.array(value, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"cameras of shape {array.shape}, not {shape}, or not finite")
    return torch.from_numpy(array.astype(np.float32))
