"""Transforms of a ``Sample``: image, labels and camera as one.

Random ones draw from the generator they are given, so that a sample is a pure function of its seed.
"""

from polyscene.transforms.geometry import (
    BEYOND,
    Box,
    Filter,
    Fit,
    Tasks,
    align_labels,
    cover,
    crop,
    grid,
    hflip,
    resize,
    shrink,
    warp,
)
from polyscene.transforms.light import colour, distort, photometric
from polyscene.transforms.recipes import RECIPES, Augment, Centre, Follow, Published, testing, training
from polyscene.transforms.steps import Setting, Step

__all__ = [
    "BEYOND",
    "RECIPES",
    "Augment",
    "Box",
    "Centre",
    "Filter",
    "Fit",
    "Follow",
    "Published",
    "Setting",
    "Step",
    "Tasks",
    "align_labels",
    "colour",
    "cover",
    "crop",
    "distort",
    "grid",
    "hflip",
    "photometric",
    "resize",
    "shrink",
    "testing",
    "training",
    "warp",
]
