"""``streets``: rendered drives through towns, with the 11 classes of CamVid."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from polyscene.data.rendered import Rendered
from polyscene.data.streets.record import Recipe
from polyscene.data.streets.scene import CLASSES
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

IN_THE_SKY = frozenset({"semseg", "edges"})  # what is known there


class Streets(Rendered):
    """``scenes`` streets, ``path`` pictures along each (``views`` by default), ``size`` (h, w), rendered at
    ``quality``. A sample holds ``views`` neighbouring ones, so that a scene gives ``path // views`` samples.

    Scenes are numbered from ``first`` within their ``split``; a scene is a pure function of (``seed``, split, number),
    so more scenes add to those there are. They are rendered by ``prepare`` on ``workers`` cores (all by default) into
    ``root`` (the cache folder by default), in a folder named by everything that they depend on, code included.
    Depth is float32 metres; normals are stored to 0.003 degrees; both are invalid in the sky, which is a class.
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
    ) -> None:
        path = self.path(scenes, views, split, first, quality, path)
        recipe = Recipe(seed, path, (int(size[0]), int(size[1])), quality)
        tasks = (
            SemanticSegmentation(classes=CLASSES),
            Depth(encoding="inverse_linear", near=1.0, far=300.0),
            Normals(),
            Edges(),
        )
        super().__init__(recipe, tasks, scenes, views, split, first, root, workers)

    def known(self, task: str, seen: Tensor) -> Tensor:
        return torch.ones_like(seen) if task in IN_THE_SKY else seen
