"""How samples are varied in training, and brought to the network's size in test: ours, and the papers' recipes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from polyscene.config.schema import Data, Fit, Recipe
from polyscene.transforms.chance import Chance, OneOf, Uniform
from polyscene.transforms.geometry import Filter, Tasks, cover, hflip
from polyscene.transforms.light import photometric
from polyscene.transforms.steps import Crop, Distort, Mirror, Pad, Scale, Setting, Step, Stretch, Turn, Window
from polyscene.types import Sample


@dataclass(frozen=True)
class Published:
    """The ``steps`` of a paper's code in training; in test, images come to the network's size by ``fit``."""

    steps: tuple[Step, ...]
    fit: Fit
    filter: Filter


RECIPES: dict[Recipe, Published] = {
    # ATRC (Bruggemann et al., ICCV 2021), InvPT, TaskPrompter, MLoRE, SAK, MTMamba, BridgeNet
    "invpt": Published(
        (Scale(Uniform(0.5, 2.0), "linear"), Crop(most=0.75, tries=10), Mirror(), Distort(), Pad()), "pad", "linear"
    ),
    # Vandenhende et al., TPAMI 2021, the code of the survey and of MTI-Net
    "mtlpt_nyuv2": Published((Mirror(), Turn(OneOf((1.0, 1.2, 1.5))), Stretch("cubic")), "stretch", "cubic"),
    "mtlpt_pascal": Published(
        (Mirror(), Turn(Uniform(0.75, 1.25), Uniform(-20.0, 20.0)), Stretch("cubic")), "stretch", "cubic"
    ),
    # DenseMTL (Lopes et al., WACV 2023)
    "dense_mtl": Published((Stretch("lanczos"), Mirror()), "stretch", "lanczos"),
    # MTAN (Liu et al., CVPR 2019) and LibMTL, on NYUv2
    "mtan": Published((Window(OneOf((1.0, 1.2, 1.5)), "linear"), Mirror(), Stretch("linear")), "stretch", "linear"),
}


@dataclass(frozen=True)
class Follow:
    """The training transform of a published ``recipe``; ``relative`` as in ``Setting``."""

    recipe: Recipe
    size: tuple[int, int]
    relative: bool = False

    def __call__(self, sample: Sample, tasks: Tasks, generator: torch.Generator) -> Sample:
        to = Setting(tasks, self.size, Chance(generator), self.relative)
        for step in RECIPES[self.recipe].steps:
            sample = step(sample, to)
        return sample


@dataclass(frozen=True)
class Augment:
    """The training transform: cover ``size`` (h, w) at a random zoom and place, mirror, vary the light.

    ``zoom`` bounds the random magnification, logarithmically uniform: of the image that just covers ``size`` or, with
    ``fit="pad"``, of the image as it is. ``strength`` in [0, 1] scales the photometric part; ``strength`` 0, ``zoom``
    (1, 1) and ``mirror`` False leave the plain centre crop.

    ``zoom_depth`` is the field's habit of dividing depth by the zoom, for networks that know no focal length: to them
    a picture twice as large was taken from half as far. It is done where the camera is unknown, and there only. A known
    camera's focal length grows instead, and depth stays true; ``canonical_focal`` then does the same to what is learnt.

    With ``whole`` (h, w), ``size`` is a window, anywhere, of images that cover ``whole`` at the zoom.
    """

    size: tuple[int, int]
    zoom: tuple[float, float] = (1.0, 1.6)
    mirror: bool = True
    strength: float = 1.0
    zoom_depth: bool = False
    fit: Fit = "cover"
    whole: tuple[int, int] | None = None

    def __call__(self, sample: Sample, tasks: Tasks, generator: torch.Generator) -> Sample:
        draw, x, y, side = torch.rand(4, generator=generator).tolist()
        least, most = (self._larger(sample) * bound for bound in self.zoom)
        zoom = math.exp(math.log(least) + draw * (math.log(most) - math.log(least)))
        placed = (x, y) if most > 1 or self.whole else (0.5, 0.5)
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

    def _larger(self, sample: Sample) -> float:
        """How many times larger an image that covers ``whole`` is than one that covers ``size``."""
        if self.whole is None or self.fit != "cover":
            return 1.0
        image = sample.images.shape[-2:]
        covers = [max(part / full for part, full in zip(size, image, strict=True)) for size in (self.whole, self.size)]
        return covers[0] / covers[1]


@dataclass(frozen=True)
class Centre:
    """The evaluation transform: the largest centred field of view of the shape of ``size`` (h, w); with ``fit="pad"``
    the image as large as it is, cut or padded to ``size``; with ``fit="stretch"`` all of it, whatever its aspect.

    The image comes out at ``size``. The labels show the same field of view: at their ``own`` resolution, to which
    predictions are brought, or by nearest neighbour at the ``network``'s.
    """

    size: tuple[int, int]
    labels: Literal["own", "network"] = "own"
    fit: Fit = "cover"
    filter: Filter = "area"

    def __call__(self, sample: Sample, tasks: Tasks, generator: torch.Generator) -> Sample:
        return cover(sample, tasks, self.size, labels=self.labels == "network", fit=self.fit, filter=self.filter)


def training(data: Data, relative: bool = False) -> Augment | Follow:
    """What ``data.augment`` says; ``relative``: the network has a canonical focal length."""
    if data.augment.name != "polyscene":
        return Follow(data.augment.name, data.size, relative)
    settings = data.augment.model_dump(exclude={"name"})
    return Augment(data.crop or data.size, **settings, fit=data.fit or "cover", whole=data.crop and data.size)


def testing(data: Data, labels: Literal["own", "network"] | None = None) -> Centre:
    """Evaluation as the recipe of ``data.augment`` does it, unless ``data.fit`` says otherwise."""
    published = RECIPES.get(data.augment.name)
    fit, filter = (published.fit, published.filter) if published else ("cover", "area")
    return Centre(data.size, labels or data.labels, data.fit or fit, filter)
