"""What the recipes of papers are made of: each step draws its chances and calls a plain function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from polyscene.transforms import light
from polyscene.transforms.chance import Chance, OneOf, Uniform
from polyscene.transforms.geometry import Box, Filter, Tasks, align_labels, cover, crop, hflip, resize, shrink, warp
from polyscene.types import Sample


@dataclass(frozen=True)
class Setting:
    """What one sample's steps share. ``size`` (h, w) is the network's; ``relative``: it learns depth relative to the
    focal length where the camera is known, so that a zoom must not be told twice."""

    tasks: Tasks
    size: tuple[int, int]
    chance: Chance
    relative: bool = False

    def nearer(self, sample: Sample, zoom: float) -> Sample:
        """After a zoom, depth divided by it as the papers do; the whole world with it, so that views still agree."""
        spared = sample.camera.known & self.relative
        return shrink(sample, self.tasks, torch.where(spared, 1.0, zoom))


Step = Callable[[Sample, Setting], Sample]


@dataclass(frozen=True)
class Mirror:
    """Every second sample."""

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        return hflip(sample, to.tasks) if to.chance.coin() else sample


@dataclass(frozen=True)
class Scale:
    """Enlarged, and brought nearer."""

    zoom: Uniform | OneOf
    filter: Filter = "linear"

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        zoom = self.zoom.draw(to.chance)
        height, width = sample.images.shape[-2:]
        size = max(1, int(height * zoom)), max(1, int(width * zoom))
        return to.nearer(resize(sample, to.tasks, size, filter=self.filter), zoom)


@dataclass(frozen=True)
class Crop:
    """To the network's size where the image is larger; anywhere, but drawn again, ``tries`` times at most, while one
    class of the task ``of`` has ``most`` of the labelled pixels or more."""

    most: float
    tries: int = 10
    of: str = "semseg"

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        box = self._anywhere(sample, to)
        for _ in range(self.tries):
            if self._varied(sample, box):
                break
            box = self._anywhere(sample, to)
        return crop(sample, to.tasks, box)

    def _anywhere(self, sample: Sample, to: Setting) -> Box:
        whole = sample.images.shape[-2:]
        height, width = (min(full, part) for full, part in zip(whole, to.size, strict=True))
        return to.chance.integer(0, whole[0] - height), to.chance.integer(0, whole[1] - width), height, width

    def _varied(self, sample: Sample, box: Box) -> bool:
        if self.of not in sample.targets:
            return True
        top, left, height, width = box
        label, window = sample.targets[self.of], (..., slice(top, top + height), slice(left, left + width))
        counts = torch.bincount(torch.where(label.valid[window], label.value[window] + 1, 0).flatten())[1:]
        return bool((counts > 0).sum() > 1) and float(counts.max() / counts.sum()) < self.most


@dataclass(frozen=True)
class Window:
    """A part of the image 1 / ``zoom`` as high and wide, anywhere, enlarged to the whole, and brought nearer."""

    zoom: OneOf
    filter: Filter = "linear"

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        zoom = self.zoom.draw(to.chance)
        sample = align_labels(sample, to.tasks)
        whole = height, width = (sample.images.shape[-2], sample.images.shape[-1])
        part = max(1, int(height / zoom)), max(1, int(width / zoom))
        top, left = (to.chance.integer(0, full - side) for full, side in zip(whole, part, strict=True))
        sample = resize(crop(sample, to.tasks, (top, left, *part)), to.tasks, whole, filter=self.filter)
        return to.nearer(sample, zoom)


UPRIGHT = Uniform(0.0, 0.0)


@dataclass(frozen=True)
class Turn:
    """Enlarged and turned (degrees, anticlockwise) about the middle of the image, black coming in from outside, and
    brought nearer. The middle is a half of height and width, as published: half a pixel right of and below ours."""

    zoom: Uniform | OneOf
    degrees: Uniform = UPRIGHT
    filter: Filter = "cubic"

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        zoom, angle = self.zoom.draw(to.chance), math.radians(self.degrees.draw(to.chance))
        across, along = zoom * math.cos(angle), zoom * math.sin(angle)
        x, y = sample.images.shape[-1] / 2, sample.images.shape[-2] / 2
        rows = [[across, along, x - across * x - along * y], [-along, across, y + along * x - across * y], [0, 0, 1]]
        return to.nearer(warp(sample, to.tasks, torch.tensor(rows, dtype=torch.float64), self.filter), zoom)


@dataclass(frozen=True)
class Distort:
    def __call__(self, sample: Sample, to: Setting) -> Sample:
        return replace(sample, images=light.distort(sample.images, to.chance))


@dataclass(frozen=True)
class Pad:
    """To the network's size, the image in the middle of the mean colour."""

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        return cover(sample, to.tasks, to.size, fit="pad")


@dataclass(frozen=True)
class Stretch:
    """To the network's size, whatever the aspect."""

    filter: Filter

    def __call__(self, sample: Sample, to: Setting) -> Sample:
        return resize(sample, to.tasks, to.size, filter=self.filter)
