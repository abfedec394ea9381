"""Where things stand in a ``Sample``: the image and its camera here, each label by its ``Task``; all views alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from polyscene.config.schema import Fit
from polyscene.geometry import camera as geometry
from polyscene.tasks.base import Task
from polyscene.transforms.opencv import by_image
from polyscene.types import Camera, Sample, Target

Tasks = Mapping[str, Task]
Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""
Filter = Literal["area", "linear", "cubic", "lanczos"]
"""How images, never labels, are resampled: linear, averaging what comes to lie in one pixel (``area``) or not; OpenCV's
cubic; Pillow's Lanczos."""
BEYOND = (0.485, 0.456, 0.406)  # the colour beyond an image's border: ImageNet's mean, which encoders take for zero


def hflip(sample: Sample, tasks: Tasks) -> Sample:
    """Mirrored left to right: image, labels, intrinsics and poses."""
    view = sample.camera
    return replace(
        sample,
        images=sample.images.flip(-1),
        targets={name: tasks[name].hflip(target) for name, target in sample.targets.items()},
        camera=Camera(
            geometry.hflip_intrinsics(view.intrinsics, sample.images.shape[-1]),
            geometry.hflip_pose(view.world_from_camera),
            view.known,
        ),
    )


def crop(sample: Sample, tasks: Tasks, box: Box) -> Sample:
    """Cut to ``box`` in pixels of the image; beyond its border is a flat grey, and no label. Labels stored k times
    smaller or larger are cut alike: ``ValueError`` if the box does not fall on their pixels (see ``grid``)."""
    top, left, height, width = box
    view = sample.camera
    size = sample.images.shape[-2], sample.images.shape[-1]
    inside, margins = _within(box, size)
    images = sample.images[..., inside[0] : inside[0] + inside[2], inside[1] : inside[1] + inside[3]]
    if any(margins):
        canvas = images.new_tensor(BEYOND)[:, None, None].repeat(len(images), 1, height, width)
        canvas[..., margins[2] : height - margins[3], margins[0] : width - margins[1]] = images
        images = canvas
    return replace(
        sample,
        images=images,
        targets={name: _cut(tasks[name], target, box, size) for name, target in sample.targets.items()},
        camera=replace(view, intrinsics=geometry.crop_intrinsics(view.intrinsics, left, top)),
    )


def _cut(task: Task, target: Target, box: Box, size: tuple[int, int]) -> Target:
    """The label of an image of ``size`` in ``box``, invalid beyond its border."""
    height, width = target.value.shape[-2:]
    inside, margins = _within(_scaled(box, size, target, task.name), (height, width))
    cut = task.crop(target, inside)
    return Target(F.pad(cut.value, margins), F.pad(cut.valid, margins)) if any(margins) else cut


def _within(box: Box, size: tuple[int, int]) -> tuple[Box, Box]:
    """What of ``box`` lies in an image of ``size``, and how much does not: left, right, above, below."""
    top, left, height, width = box
    first, last = (max(top, 0), max(left, 0)), (min(top + height, size[0]), min(left + width, size[1]))
    inside = (*first, last[0] - first[0], last[1] - first[1])
    return inside, (first[1] - left, left + width - last[1], first[0] - top, top + height - last[0])


def _scaled(box: Box, size: tuple[int, int], target: Target, name: str) -> Box:
    """``box`` in the pixels of a label of an image of ``size``."""
    own = tuple(target.value.shape[-2:])
    if own == size:
        return box
    parts = [edge * own[axis % 2] / size[axis % 2] for axis, edge in enumerate(box)]
    if any(part != int(part) for part in parts):
        raise ValueError(f"the crop {box} of an image of {size} cuts through pixels of {name}, stored at {own}")
    return int(parts[0]), int(parts[1]), int(parts[2]), int(parts[3])


def grid(sample: Sample) -> tuple[int, int] | None:
    """(rows, columns) of image pixels that a crop must keep to so as not to cut through a label's pixel, or None if a
    label's size divides (and is divided by) the image's in no whole number."""
    steps = [1, 1]
    for target in sample.targets.values():
        for axis in (-2, -1):
            image, label = sample.images.shape[axis], target.value.shape[axis]
            if image % label and label % image:
                return None
            steps[axis] = math.lcm(steps[axis], max(1, image // label))
    return steps[0], steps[1]


def resize(sample: Sample, tasks: Tasks, size: tuple[int, int], labels: bool = True, filter: Filter = "area") -> Sample:
    """To ``size`` (h, w); depth is left as it is, the intrinsics follow. ``labels=False`` keeps the labels' own size,
    as evaluation does."""
    height, width = sample.images.shape[-2:]
    images, targets = sample.images, sample.targets
    if (height, width) != tuple(size):
        images = _resample(images, size, filter)
    if labels:
        targets = {
            name: target if tuple(target.value.shape[-2:]) == tuple(size) else tasks[name].resize(target, size)
            for name, target in targets.items()
        }
    intrinsics = geometry.resize_intrinsics(sample.camera.intrinsics, size[1] / width, size[0] / height)
    return replace(sample, images=images, targets=targets, camera=replace(sample.camera, intrinsics=intrinsics))


def _resample(images: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    match filter:
        case "area":
            return F.interpolate(images, size, mode="bilinear", antialias=True)
        case "linear" | "cubic":
            kind = cv2.INTER_LINEAR if filter == "linear" else cv2.INTER_CUBIC
            return by_image(images, lambda image: cv2.resize(image, size[::-1], interpolation=kind)).clamp(0, 1)
        case "lanczos":
            layers = [
                np.asarray(Image.fromarray(layer).resize(size[::-1], Image.Resampling.LANCZOS))
                for layer in images.flatten(0, 1).numpy()
            ]
            return torch.from_numpy(np.stack(layers)).reshape(*images.shape[:2], *size).clamp(0, 1)


def align_labels(sample: Sample, tasks: Tasks) -> Sample:
    """Labels stored at another resolution brought to the image's."""
    return resize(sample, tasks, (sample.images.shape[-2], sample.images.shape[-1]))


def cover(
    sample: Sample,
    tasks: Tasks,
    size: tuple[int, int],
    zoom: float = 1.0,
    where: tuple[float, float] = (0.5, 0.5),
    labels: bool = True,
    fit: Fit = "cover",
    filter: Filter = "area",
) -> Sample:
    """Resized, aspect kept, until it covers ``size`` (h, w) ``zoom`` times, then cut; ``where`` in [0, 1]² (x, y)
    places the cut, the centre by default. With ``fit="stretch"`` the aspect is that of ``size``; with ``fit="pad"`` the
    image is ``zoom`` times its own size instead. Where it is smaller than ``size`` it stands in the middle of a flat
    grey without labels.

    Labels are cut in their own resolution, then brought to ``size`` too unless ``labels`` is false. Only a label whose
    resolution stands in no whole proportion to the image's is brought to the image's first, if there is a cut.
    """
    whole = height, width = (sample.images.shape[-2], sample.images.shape[-1])
    grown = size[0] / height, size[1] / width
    scales = {"cover": (max(grown),) * 2, "stretch": grown, "pad": (1.0, 1.0)}[fit]
    step = grid(sample) or (1, 1)
    window = [
        max(1, round(part / (scale * zoom) / unit)) * unit for part, scale, unit in zip(size, scales, step, strict=True)
    ]
    if window != [height, width]:
        if grid(sample) is None:
            sample = align_labels(sample, tasks)
        top, left = (
            round((full - part) * place / unit) * unit if part < full else -((part - full) // (2 * unit)) * unit
            for full, part, place, unit in zip(whole, window, where[::-1], step, strict=True)
        )
        sample = crop(sample, tasks, (top, left, window[0], window[1]))
    return resize(sample, tasks, size, labels, filter)


def warp(sample: Sample, tasks: Tasks, matrix: Tensor, filter: Filter = "linear", beyond: float = 0.0) -> Sample:
    """Every pixel (x, y, 1) taken to ``matrix`` (3, 3) times it: an affine map that mirrors nothing. What comes from
    outside the image is ``beyond``, without labels.

    The same as turning the camera about its optical axis and giving it other intrinsics, which may be askew where the
    focal lengths of x and y differ; normals turn with it, depth stays.
    """
    matrix = matrix.double()
    size = sample.images.shape[-2], sample.images.shape[-1]
    kind = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[filter]

    def moved(image: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(image, matrix[:2].numpy(), size[::-1], flags=kind, borderValue=(beyond,) * 3)

    origins = {own: _origins(matrix, size, own) for own in map(_size, sample.targets.values())}
    view = sample.camera
    intrinsics, turn = geometry.warp_intrinsics(view.intrinsics, matrix)
    pose = view.world_from_camera.clone()
    pose[..., :3, :3] = pose[..., :3, :3] @ turn.mT
    return replace(
        sample,
        images=by_image(sample.images, moved).clamp(0, 1),
        targets={
            name: tasks[name].turn(_from(target, *origins[_size(target)]), turn)
            for name, target in sample.targets.items()
        },
        camera=Camera(intrinsics, torch.where(view.known[..., None, None], pose, view.world_from_camera), view.known),
    )


def _size(target: Target) -> tuple[int, int]:
    return target.value.shape[-2], target.value.shape[-1]


def _origins(matrix: Tensor, size: tuple[int, int], own: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """For the pixels (h·w) of a label of size ``own`` of an image of ``size``: which pixel came there, and whether one
    did."""
    height, width = own
    scale = geometry.resize_intrinsics(torch.eye(3, dtype=matrix.dtype), width / size[1], height / size[0])
    back = torch.linalg.inv(scale @ matrix @ torch.linalg.inv(scale))
    pixels = geometry.pixel_grid(height, width, back).flatten(1)
    x, y = (back[:2] @ pixels).add(0.5).floor().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, 0), inside


def _from(target: Target, origin: Tensor, inside: Tensor) -> Target:
    def taken(tensor: Tensor) -> Tensor:
        return tensor.flatten(-2).gather(-1, origin.expand(*tensor.shape[:-2], -1)).reshape(tensor.shape)

    return Target(taken(target.value), taken(target.valid) & inside.reshape(target.valid.shape[-2:]))


def shrink(sample: Sample, tasks: Tasks, factor: Tensor) -> Sample:
    """The world ``factor`` (v,) times smaller: depth and the cameras' places are divided, pictures stay as they are. To
    a network that knows no focal length, this is what a picture ``factor`` times enlarged shows."""
    pose = sample.camera.world_from_camera.clone()
    pose[..., :3, 3] /= factor[..., None]
    return replace(
        sample,
        targets={name: tasks[name].zoom(target, factor) for name, target in sample.targets.items()},
        camera=replace(sample.camera, world_from_camera=pose),
    )
