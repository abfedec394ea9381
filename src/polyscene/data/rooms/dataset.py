"""``rooms``, the built-in data set: furnished rooms, rendered once, kept memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from polyscene.data.rendered import Rendered, RenderError
from polyscene.data.rooms.record import Recipe
from polyscene.data.rooms.scene import CLASSES
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

__all__ = ["RenderError", "Rooms"]


class Rooms(Rendered):
    """``scenes`` furnished rooms, ``path`` pictures of each (``views`` by default), ``size`` (h, w), rendered at
    ``quality``. A sample holds ``views`` neighbouring ones, so that a scene gives ``path // views`` samples.

    Scenes are numbered from ``first`` within their ``split``; a scene is a pure function of (``seed``, split, number),
    so more scenes add to those there are. They are rendered by ``prepare`` on ``workers`` cores (all by default) into
    ``root`` (the cache folder by default), in a folder named by everything that they depend on, code included.
    Depth is float32 metres; normals are stored to 0.003 degrees; labels are invalid where a ray leaves the room.
    """

    name = "rooms"

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
        tasks = (SemanticSegmentation(classes=CLASSES), Depth(), Normals(), Edges())
        super().__init__(recipe, tasks, scenes, views, split, first, root, workers)
