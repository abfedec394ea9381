"""``streets``: rendered drives through towns, with the 11 classes of CamVid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from polyscene.data.rendered import Rendered
from polyscene.data.streets.record import Recipe
from polyscene.data.streets.scene import CLASSES
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation
from polyscene.types import Sample, Target

IN_THE_SKY = frozenset({"semseg", "edges"})  # what is known there
PAINTED = {"tree": 1 / 48, "fence": 1 / 64}  # gaps that a painter closes: their radius as a share of the height


class Streets(Rendered):
    """``scenes`` streets, ``path`` pictures along each (``views`` by default), ``size`` (h, w), rendered at
    ``quality``. A sample holds ``views`` neighbouring ones, so that a scene gives ``path // views`` samples.

    Scenes are numbered from ``first`` within their ``split``; a scene is a pure function of (``seed``, split, number),
    so more scenes add to those there are. They are rendered by ``prepare`` on ``workers`` cores (all by default) into
    ``root`` (the cache folder by default), in a folder named by everything that they depend on, code included.
    Depth is float32 metres; normals are stored to 0.003 degrees; both are invalid in the sky, which is a class.
    ``outlines`` of classes are ``exact``, or as people ``painted`` them in CamVid: a crown and a fence with what shows
    through them; all other labels stay exact.
    """

    name = "streets"

    def __init__(
        self,
        scenes: int,
        views: int = 2,
        size: tuple[int, int] = (192, 256),
        seed: int = 0,
        split: Literal["train", "val"] = "train",
        first: int = 0,
        quality: Literal["fast", "high"] = "fast",
        root: str | Path | None = None,
        workers: int | None = None,
        path: int | None = None,
        outlines: Literal["exact", "painted"] = "exact",
    ) -> None:
        self.outlines = outlines
        path = self.path(scenes, views, split, first, quality, path)
        recipe = Recipe(seed, path, (int(size[0]), int(size[1])), quality)
        tasks = (
            SemanticSegmentation(classes=CLASSES),
            Depth(near=1.0, far=300.0),
            Normals(),
            Edges(),
        )
        super().__init__(recipe, tasks, scenes, views, split, first, root, workers)

    def known(self, task: str, seen: Tensor) -> Tensor:
        return torch.ones_like(seen) if task in IN_THE_SKY else seen

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        if self.outlines == "exact" or "semseg" not in self.tasks:
            return sample
        stored = self.records(index)
        classes = np.stack([painted(view["semseg"][0], view["depth"][0]) for view in stored])[:, None]
        label = Target(torch.from_numpy(classes).long(), sample.targets["semseg"].valid)
        return replace(sample, targets={**sample.targets, "semseg": label})


def painted(classes: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Classes (h, w) in which gaps of crowns and fences belong to these, where what shows through lies behind.
    ``depth`` (h, w) is 0 in the sky."""
    found = classes.copy()
    far = np.where(depth > 0, depth, np.inf).astype(np.float32)
    for name, share in PAINTED.items():
        own = classes == CLASSES.index(name)
        radius = max(1, round(share * len(classes)))
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        closed = cv2.morphologyEx(own.astype(np.uint8), cv2.MORPH_CLOSE, around) > 0
        nearest = cv2.erode(np.where(own, far, np.float32(1e9)), around)
        found[closed & (far > nearest)] = CLASSES.index(name)
    return found
