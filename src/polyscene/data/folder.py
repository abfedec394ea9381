"""The user's own data: a folder of pictures and labels, and a ``polyscene.yaml`` that says what is what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from polyscene import tasks as task_table
from polyscene.data import description, files, neighbours
from polyscene.data.base import BadSample, Dataset
from polyscene.data.cache import cache_folder
from polyscene.data.cameras import Cameras
from polyscene.data.description import BadDescription, Description, Label, Limits
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.ranges import Count
from polyscene.tasks import Task
from polyscene.types import Camera, Sample, Target

PROBED = 64  # frames whose depth is looked at for how far a set sees


@dataclass(frozen=True)
class Frame:
    """One picture: its ``id``, its file, and the folder of its split where the description has such."""

    id: str
    image: Path
    split: str | None


class Folder(Dataset):
    """``path``: a folder with a ``polyscene.yaml``, or such a file, which may lie elsewhere and name its ``root``.

    A sample holds ``views`` frames of the split (all frames if None): every ``step``-th frame and its neighbours, found
    by their cameras within the description's ``neighbours`` limits, single keys of which the option of that name
    overrides. A frame with too few neighbours makes a sample of fewer views, which ``notes`` count. With a ``stride``,
    or where cameras are not described, each view is so many frames after the one before instead. ``cache``: keep
    decoded files memory-mapped in the cache folder, some 2 MB a frame of 640x480, for sets whose decoding would slow
    training. Views without known camera have ``camera.known`` false. Raises ``BadDescription`` when made and
    ``BadSample`` in ``read``.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        views: Count = 1,
        stride: Count | None = None,
        step: Count = 1,
        cache: bool = False,
        neighbours: dict[str, Any] | None = None,
    ) -> None:
        self.description, self.root = description.load(path)
        self.file = description.locate(path)
        self.name = self.description.name
        self.tasks = {name: _task(name, label, self.file) for name, label in self.description.tasks.items()}
        self.labels = self.description.tasks
        for name, label in self.labels.items():
            _check_channels(name, label, self.tasks[name].value_channels, self.file)
        self.split = split
        self.frames = list_frames(self.description, self.root, split, self.file)
        self.notes: list[str] = []
        self._cache = cache_folder() / "decoded" if cache else None
        self._found: dict[tuple[str, str | None], dict[str, Path]] = {}
        apart = stride or 1
        starts = range(0, len(self.frames) - (views - 1) * apart, step)
        if not starts:
            where = f"split {split!r}" if split else "it"
            raise BadDescription(
                f"{self.file}: {where} has {len(self.frames)} frames, too few for a sample of {views} views at stride "
                f"{apart} (images: {self.root / self.description.images}); correct `images` or `splits`"
            )
        if views > 1 and stride is None and self.cameras is not None:
            self.windows = self._neighbourhoods(self.cameras, views, step, self._limits(neighbours))
        elif neighbours is not None and views > 1:
            why = "they are `stride` frames apart" if stride else "the description names no `cameras`"
            raise BadDescription(f"{self.file}: neighbours cannot be chosen, since {why}; leave out one of the two")
        else:
            self.windows = [self.frames[start : start + views * apart : apart] for start in starts]

    def __len__(self) -> int:
        return len(self.windows)

    @cached_property
    def cameras(self) -> Cameras | None:
        name = self.description.cameras
        return None if name is None else Cameras.load(self.root / name)

    def _limits(self, overridden: dict[str, Any] | None) -> Limits:
        stated = self.description.neighbours
        try:
            return Limits.model_validate({**stated.model_dump(), **(overridden or {})})
        except ValidationError as error:
            raise BadDescription(f"{self.file}: neighbours: {error.errors()[0]['msg']}") from None

    def _neighbourhoods(self, cameras: Cameras, views: int, step: int, limits: Limits) -> list[list[Frame]]:
        """Every ``step``-th frame, and up to ``views`` - 1 of its neighbours in the same folder of pictures."""
        posed = np.array([cameras.posed(frame.id) for frame in self.frames])
        poses = np.stack([_pose(cameras, frame) for frame in self.frames])
        places = np.unique([str(frame.image.parent) for frame in self.frames], return_inverse=True)[1]
        seen = self._ranges(cameras.size)
        intrinsics = cameras.intrinsics.double().numpy()
        reach = len(self.frames) if limits.within is None else limits.within
        windows = []
        for anchor in range(0, len(self.frames), step):
            near = np.arange(max(0, anchor - reach), min(len(self.frames), anchor + reach + 1))
            near = near[posed[near] & (places[near] == places[anchor])] if posed[anchor] else near[:0]
            ranges = seen[_closest(seen, anchor)] if seen else limits.ranges
            found = neighbours.choose(anchor, near, poses, intrinsics, cameras.size, limits, ranges, views - 1)
            windows.append([self.frames[place] for place in (anchor, *found)])
        short = sum(len(window) < views for window in windows)
        if short and all(len(window) == 1 for window in windows):
            raise BadDescription(
                f"{self.file}: no frame has a neighbour ({limits}); are the poses of {cameras.file} in metres? Correct "
                f"them, or widen `neighbours`; {_nearest(poses[posed])}"
            )
        if short:
            lack = "no neighbour" if views == 2 else f"fewer than {views - 1} neighbours"
            self.notes.append(f"{self.name}: {short} of {len(windows)} samples have {lack} ({limits}): fewer views")
        return windows

    def _ranges(self, size: tuple[int, int]) -> dict[int, list[float]]:
        """The depths in metres that some frames, spread over the split, see by their labels; by their place in it."""
        found = {}
        for place in range(0, len(self.frames), -(-len(self.frames) // PROBED)):
            for name, task in self.tasks.items():
                try:
                    depth = task.metres(self.label(name, self.frames[place], size))
                except BadSample:  # told when the sample is read
                    continue
                if depth is not None and (near := depth.value[..., ::8, ::8][depth.valid[..., ::8, ::8]]).numel():
                    found[place] = near.quantile(torch.linspace(0.1, 0.9, 5)).tolist()
        return found

    def read(self, index: int) -> Sample:
        frames = self.windows[index]
        images = [self.image(frame) for frame in frames]
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        if len(set(sizes)) > 1:
            raise BadSample(frames[0].image, f"views differ in size: {sizes}", "give each size a split of its own")
        labels = {name: [self.label(name, frame, sizes[0]) for frame in frames] for name in self.tasks}
        return Sample(
            images=torch.stack(images),
            targets={
                name: Target(torch.cat([one.value for one in each]), torch.cat([one.valid for one in each]))
                for name, each in labels.items()
            },
            camera=self._camera(frames, sizes[0]),
            present=torch.ones(len(frames), dtype=torch.bool),
            source=self.name,
            meta=(" ".join(str(frame.image) for frame in frames),),
        )

    def raw_files(self, index: int) -> dict[str, list[Path]]:
        frames = self.windows[index]
        found = {"image": [frame.image for frame in frames]}
        for name in self.tasks:
            paths = [self.labelled(name, frame.split).get(frame.id) for frame in frames]
            if there := [path for path in paths if path is not None]:
                found[name] = there
        return found

    def image(self, frame: Frame) -> Tensor:
        """(3, h, w) in [0, 1]."""
        return torch.from_numpy(np.array(files.read_image(frame.image, self._cache))).movedim(-1, 0).contiguous() / 255

    def label(self, name: str, frame: Frame, image_size: tuple[int, int]) -> Target:
        """One frame's label (1, c, h, w) at the size it is stored in, declared by that of its image (h, w)."""
        label, task = self.description.tasks[name], self.tasks[name]
        size = label.stored_size(image_size)
        path = self.labelled(name, frame.split).get(frame.id)
        if path is None:
            if label.optional:
                blank = torch.zeros(1, task.value_channels, *size)
                return task.accept(Target(blank, torch.zeros(1, 1, *size, dtype=torch.bool)))
            pattern = label.path.replace("{split}", frame.split or "").replace("{id}", frame.id)
            remedy = f"{files.MISSING}, or declare `optional: true` for {name}"
            raise BadSample(self.root / pattern, f"missing ({name} of frame {frame.id})", remedy)
        raw = files.read_label(path, self._cache)
        if raw.shape[:2] != size:
            raise BadSample(
                path,
                f"{name} is {raw.shape[1]}x{raw.shape[0]}, declared is {size[1]}x{size[0]}",
                f"declare `size` of {name} in {self.file} (a share of the image's size, or [height, width])",
            )
        target = decode(raw, label, task.value_channels, path)
        try:
            return task.accept(target)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            raise BadSample(path, f"{name}: {problem}", remedy) from None

    def labelled(self, name: str, split: str | None) -> dict[str, Path]:
        """The files of a task's labels by frame id, in the folder of a split where there are such."""
        pattern = self.description.tasks[name].path
        key = (pattern, split if "{split}" in pattern else None)
        if key not in self._found:
            self._found[key] = description.find(self.root, *key)
        return self._found[key]

    def _camera(self, frames: list[Frame], size: tuple[int, int]) -> Camera:
        views = len(frames)
        if self.cameras is None:
            blank = torch.eye(4).expand(views, 4, 4).clone()
            guess = assumed_intrinsics(*size).expand(views, 3, 3).clone()
            return Camera(guess, blank, torch.zeros(views, dtype=torch.bool))
        poses = torch.stack([self.cameras.pose(frame.id, size) for frame in frames])
        return Camera(self.cameras.intrinsics.expand(views, 3, 3).clone(), poses, torch.ones(views, dtype=torch.bool))


def _closest(places: Iterable[int], to: int) -> int:
    return min(places, key=lambda place: abs(place - to))


def _pose(cameras: Cameras, frame: Frame) -> np.ndarray:
    return cameras.poses[frame.id].double().numpy() if cameras.posed(frame.id) else np.eye(4)


def _nearest(poses: np.ndarray) -> str:
    """How far apart cameras are, in words."""
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    return f"one frame and the next are {np.median(steps):.3g} apart" if steps.size else "hardly a frame has a pose"


def decode(raw: np.ndarray, label: Label, channels: int, path: Path) -> Target:
    """A stored array as values (1, c, h, w) float32 and their validity, by the declared encoding."""
    array = raw[..., None] if raw.ndim == 2 else raw
    if array.shape[-1] == 4 and channels == 3:
        array = array[..., :3]
    if array.shape[-1] != channels:
        found = f"{array.shape[-1]} channels where {channels} are expected"
        raise BadSample(path, found, "store the label itself, not a coloured picture of it")
    numbers = torch.from_numpy(np.moveaxis(array, -1, 0)[None].astype(np.float32, order="C"))
    valid = torch.ones(1, 1, *numbers.shape[-2:], dtype=torch.bool)
    if label.invalid is not None:
        sentinel = _column(label.invalid, channels)
        unlabelled = numbers.isnan() if sentinel.isnan().any() else numbers == sentinel
        valid &= ~unlabelled.all(-3, keepdim=True)
    for number in label.ignore:
        valid &= numbers != number
    if label.threshold is not None:
        return Target((numbers > label.threshold).float(), valid)
    if label.scale != 1.0 or label.offset != 0.0:
        numbers = numbers * _column(label.scale, channels) + _column(label.offset, channels)
    return Target(numbers, valid)


def _column(number: Any, channels: int) -> Tensor:
    return torch.tensor(number, dtype=torch.float32).expand(channels)[:, None, None]


def _task(name: str, label: Label, file: Path) -> Task:
    kind = label.type or task_table.NAMES.get(name)
    if kind is None:
        raise BadDescription(f"{file}: tasks.{name}: give its `type`, one of {', '.join(task_table.TASKS)}")
    classes = {"classes": label.classes} if label.classes else {}
    try:
        return task_table.build({"type": kind, "name": name, **classes, **label.options})
    except ValueError as error:
        raise BadDescription(f"{file}: tasks.{name}: {error}") from None


def _check_channels(name: str, label: Label, channels: int, file: Path) -> None:
    for key in ("scale", "offset", "invalid"):
        numbers = getattr(label, key)
        if isinstance(numbers, tuple) and len(numbers) != channels:
            wanted = f"one number or {channels}" if channels > 1 else "one number"
            raise BadDescription(f"{file}: tasks.{name}.{key}: {len(numbers)} numbers; give {wanted}")


def list_frames(spec: Description, root: Path, split: str | None, file: Path) -> list[Frame]:
    """The frames of a split in natural order; of all folders of the splits, one after the other, if None."""
    if split is None:
        named = "{split}" in spec.images
        folders = list(dict.fromkeys(part.folder for part in spec.splits.values())) if named else [None]
        return [frame for folder in folders for frame in _frames_in(spec, root, folder)]
    if split not in spec.splits:
        raise BadDescription(f"{file}: no split {split!r} (there are: {', '.join(spec.splits) or 'none'})")
    part = spec.splits[split]
    frames = _frames_in(spec, root, part.folder)
    if part.file is not None:
        try:
            listed = (root / part.file).read_text().split()
        except OSError as error:
            raise BadDescription(f"{file}: splits.{split}: {root / part.file}: {error.strerror}") from None
        by_id = {frame.id: frame for frame in frames}
        if lost := [name for name in listed if name not in by_id]:
            missing = ", ".join(lost[:5])
            raise BadDescription(f"{root / part.file}: no image for {missing}; correct the list or `images`")
        frames = [by_id[name] for name in listed]
    return frames[part.of(len(frames))]


def _frames_in(spec: Description, root: Path, folder: str | None) -> list[Frame]:
    return [Frame(key, path, folder) for key, path in description.find(root, spec.images, folder).items()]
