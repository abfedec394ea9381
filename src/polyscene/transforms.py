"""Transforms of a ``Sample``: the image and its camera here, each label by its ``Task``.

Geometry acts alike on all views of a sample. Random ones draw from the generator they are given, so that a sample is a
pure function of its seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.geometry import camera as geometry
from polyscene.tasks.base import Task
from polyscene.types import Camera, Sample, Target

Tasks = Mapping[str, Task]
Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""
Fit = Literal["cover", "pad"]
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


def resize(sample: Sample, tasks: Tasks, size: tuple[int, int], labels: bool = True) -> Sample:
    """To ``size`` (h, w); depth is left as it is, the intrinsics follow. ``labels=False`` keeps the labels' own size,
    as evaluation does."""
    height, width = sample.images.shape[-2:]
    if (height, width) == tuple(size):
        images, targets = sample.images, sample.targets
    else:
        images = F.interpolate(sample.images, size, mode="bilinear", antialias=True)
        targets = sample.targets
    if labels:
        targets = {
            name: target if tuple(target.value.shape[-2:]) == tuple(size) else tasks[name].resize(target, size)
            for name, target in targets.items()
        }
    intrinsics = geometry.resize_intrinsics(sample.camera.intrinsics, size[1] / width, size[0] / height)
    return replace(sample, images=images, targets=targets, camera=replace(sample.camera, intrinsics=intrinsics))


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
) -> Sample:
    """Resized, aspect kept, until it covers ``size`` (h, w) ``zoom`` times, then cut; ``where`` in [0, 1]² (x, y)
    places the cut, the centre by default. With ``fit="pad"`` the image is ``zoom`` times its own size instead. Where
    it is smaller than ``size`` it stands in the middle of a flat grey without labels.

    Labels are cut in their own resolution, then brought to ``size`` too unless ``labels`` is false. Only a label whose
    resolution stands in no whole proportion to the image's is brought to the image's first.
    """
    step = grid(sample)
    if step is None:
        sample, step = align_labels(sample, tasks), (1, 1)
    height, width = sample.images.shape[-2:]
    scale = zoom if fit == "pad" else max(size[0] / height, size[1] / width) * zoom
    window = [max(1, round(part / scale / unit)) * unit for part, unit in zip(size, step, strict=True)]
    top, left = (
        round((whole - part) * (place if part < whole else 0.5) / unit) * unit
        for whole, part, place, unit in zip((height, width), window, where[::-1], step, strict=True)
    )
    if window != [height, width]:
        sample = crop(sample, tasks, (top, left, window[0], window[1]))
    return resize(sample, tasks, size, labels)


def photometric(images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Exposure, contrast, gamma, white balance, saturation, blur and noise as cameras vary: (v, 3, h, w) in [0, 1]."""

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    images = images.clamp_min(1e-4) ** torch.exp(draw(-0.4, 0.4) * strength)
    images = images * torch.exp(draw(-0.4, 0.4) * strength) * torch.exp(draw(-0.15, 0.15, 3, 1, 1) * strength)
    middle = images.mean((-3, -2, -1), keepdim=True)
    images = middle + (images - middle) * torch.exp(draw(-0.4, 0.3) * strength)
    grey = images.mean(-3, keepdim=True)
    images = grey + (images - grey) * torch.exp(draw(-0.7, 0.4) * strength)
    if draw(0.0, 1.0) < 0.3 * strength:
        height, width = images.shape[-2:]
        factor = float(draw(1.2, 2.2))
        small = F.interpolate(
            images, (math.ceil(height / factor), math.ceil(width / factor)), mode="bilinear", antialias=True
        )
        images = F.interpolate(small, (height, width), mode="bilinear")
    if draw(0.0, 1.0) < 0.5 * strength:
        images = images + torch.randn(images.shape, generator=generator) * draw(0.0, 0.05)
    return images.clamp(0, 1)


@dataclass(frozen=True)
class Augment:
    """The training transform: cover ``size`` (h, w) at a random zoom and place, mirror, vary the light.

    ``zoom`` bounds the random magnification, logarithmically uniform: of the image that just covers ``size`` or, with
    ``fit="pad"``, of the image as it is. ``strength`` in [0, 1] scales the photometric part; ``strength`` 0, ``zoom``
    (1, 1) and ``mirror`` False leave the plain centre crop.

    ``zoom_depth`` is the field's habit of dividing depth by the zoom, for networks that know no focal length: to them
    a picture twice as large was taken from half as far. It is done where the camera is unknown, and there only. A known
    camera's focal length grows instead, and depth stays true; ``canonical_focal`` then does the same to what is learnt.
    """

    size: tuple[int, int]
    zoom: tuple[float, float] = (1.0, 1.6)
    mirror: bool = True
    strength: float = 1.0
    zoom_depth: bool = False
    fit: Fit = "cover"

    def __call__(self, sample: Sample, tasks: Tasks, generator: torch.Generator) -> Sample:
        draw, x, y, side = torch.rand(4, generator=generator).tolist()
        zoom = math.exp(math.log(self.zoom[0]) + draw * (math.log(self.zoom[1]) - math.log(self.zoom[0])))
        placed = (x, y) if self.zoom[1] > 1 else (0.5, 0.5)
        sample = cover(sample, tasks, self.size, zoom, placed, fit=self.fit)
        if self.zoom_depth:
            nearer = torch.where(sample.camera.known, 1.0, zoom)
            sample = replace(
                sample, targets={name: tasks[name].zoom(target, nearer) for name, target in sample.targets.items()}
            )
        if self.mirror and side < 0.5:
            sample = hflip(sample, tasks)
        if self.strength > 0:
            sample = replace(sample, images=photometric(sample.images, generator, self.strength))
        return sample


@dataclass(frozen=True)
class Centre:
    """The evaluation transform: the largest centred field of view of the shape of ``size`` (h, w); with ``fit="pad"``
    the image as large as it is, cut or padded to ``size``.

    The image comes out at ``size``. The labels show the same field of view: at their ``own`` resolution, to which
    predictions are brought, or by nearest neighbour at the ``network``'s.
    """

    size: tuple[int, int]
    labels: Literal["own", "network"] = "own"
    fit: Fit = "cover"

    def __call__(self, sample: Sample, tasks: Tasks, generator: torch.Generator) -> Sample:
        return cover(sample, tasks, self.size, labels=self.labels == "network", fit=self.fit)
