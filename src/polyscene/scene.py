"""A picture and every facet of it that a network saw."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from polyscene import atomic, panels, parts, pointcloud, tasks
from polyscene.pointcloud import Cloud, Points
from polyscene.tasks import Task
from polyscene.tasks.png import as_png

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ENDLESS = {"sky"}  # classes without a surface
Origin = Literal["known", "EXIF", "assumed"]
KINDS = ("panels", "npz", "glb")
ENDINGS = {"panels": "panel.png", "npz": "npz", "glb": "glb"}


@dataclass(frozen=True, eq=False)
class Scene:
    """What was seen in one picture, at the picture's own size. Each facet is an attribute by its task's name:

    ``scene.semseg`` (h, w) class ids, ``scene.depth`` (h, w) metres, ``scene.normals`` (h, w, 3) unit vectors in camera
    axes (x right, y down, z forward) facing the camera, ``scene.edges`` (h, w) probability; whatever the network has.

    ``image``: (h, w, 3) uint8. ``intrinsics``: (3, 3) pixels; ``camera`` says whether they are ``known``, read from the
    file's ``EXIF``, or ``assumed``: then depth and points may be off by a common factor. ``pose``: (4, 4) camera to
    world, metres, where it is known.
    """

    image: np.ndarray
    values: Mapping[str, np.ndarray] = field(repr=False)
    tasks: Mapping[str, Task] = field(repr=False)
    intrinsics: np.ndarray = field(repr=False)
    camera: Origin = "assumed"
    name: str = "picture"
    pose: np.ndarray | None = field(default=None, repr=False)

    def __getattr__(self, name: str) -> np.ndarray:
        if not name.startswith("_") and name in self.__dict__.get("values", ()):
            value: np.ndarray = self.values[name]
            return value
        seen = ", ".join(self.__dict__.get("values", ()))
        raise AttributeError(f"this scene has no {name!r}; its network sees: {seen}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.values]

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Scene({self.name!r}, {width}x{height}: {', '.join(self.values)}; camera {self.camera})"

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Class names by task, where a value is an id into them."""
        return {name: task.classes for name, task in self.tasks.items() if task.classes}

    @property
    def units(self) -> dict[str, str]:
        return {name: task.unit for name, task in self.tasks.items()}

    def facets(self, limits: Mapping[str, Mapping[str, float]] | None = None) -> list[panels.Facet]:
        """The photograph, then each facet drawn by its task; ``limits`` by task, as ``Task.limits`` gives them, let
        several scenes be drawn alike."""
        given = limits or {}
        drawn = [panels.facet(self.tasks[name], value, limits=given.get(name)) for name, value in self.values.items()]
        return [panels.Facet("photo", self.image), *drawn]

    def draw(self, columns: int | None = None, width: int | None = None) -> Image.Image:
        """One labelled picture of all facets; ``width`` is that of each."""
        return panels.compose(self.facets(), columns, width)

    @property
    def reach(self) -> np.ndarray:
        """(h, w) metres to what has a surface: 0 where a class such as the sky has none."""
        depth: np.ndarray = self.depth
        for task, classes in self.classes.items():
            if endless := [number for number, name in enumerate(classes) if name in ENDLESS]:
                depth = np.where(np.isin(self.values[task], endless), np.float32(0), depth)
        return depth

    def points(self, limit: int | None = None, seed: int = 0) -> Points:
        """The picture unprojected, without sky and where depth jumps; at most ``limit`` points, drawn at random.

        Raises ``AttributeError`` if the network sees no depth."""
        chosen = self._chosen(limit, seed)
        xyz = pointcloud.unproject(self.depth, self.intrinsics)
        return Points(xyz.reshape(-1, 3)[chosen], self.image.reshape(-1, 3)[chosen])

    def figure(self, limit: int = 24_000, height: int = 520) -> Figure:
        """An interactive point cloud of at most ``limit`` points, coloured by the photograph or by any facet; each says
        its class and metres when pointed at."""
        cloud = self.cloud(limit)
        return pointcloud.figure(cloud.xyz, cloud.colours, height=height, said=cloud.said())

    def cloud(self, limit: int = 24_000, facets: Sequence[panels.Facet] | None = None) -> Cloud:
        """Points on a regular grid of pixels, at most ``limit``, with the colours of ``facets`` (by default all).

        Raises ``AttributeError`` if the network sees no depth."""
        chosen = pointcloud.even(pointcloud.continuous(self.reach), limit)
        drawn = self.facets() if facets is None else facets
        colours = {item.title: item.picture.reshape(-1, 3)[chosen] for item in drawn}
        xyz = pointcloud.unproject(self.depth, self.intrinsics).reshape(-1, 3)[chosen]
        ids = {task: self.values[task].reshape(-1)[chosen] for task in self.classes}
        return Cloud(xyz, colours, ids, self.classes)

    def _chosen(self, limit: int | None, seed: int) -> np.ndarray:
        index = np.flatnonzero(pointcloud.continuous(self.reach))
        if limit is None or len(index) <= limit:
            return index
        return np.sort(np.random.default_rng(seed).choice(index, limit, replace=False))

    def save(self, stem: str | Path, write: Sequence[str] = KINDS) -> list[Path]:
        """The kinds of file in ``write``: ``panels``, ``STEM.panel.png``; ``npz``, all values, see ``load``; ``glb``,
        with depth, a coloured surface in glTF's axes (y up); and by the name of a task ``STEM.TASK.png``, its value in
        8 or 16 bits (class ids, millimetres..., see ``tasks.png.as_png``). Returns the files written, each of which is
        there whole or not at all."""
        stem = Path(stem)
        stem.parent.mkdir(parents=True, exist_ok=True)
        writers = {"panels": self._save_panel, "npz": self._save_arrays, "glb": self._save_surface}
        known = [*writers, *self.tasks]
        for kind in write:
            if kind not in known:
                raise ValueError(parts.unknown(kind, known, "kind of file"))
        written = [
            writers[kind](file_of(stem, kind)) if kind in writers else self._save_value(file_of(stem, kind), kind)
            for kind in write
        ]
        return [path for path in written if path]

    def _save_panel(self, path: Path) -> Path:
        with atomic.whole(path) as part:
            self.draw().save(part, "PNG", compress_level=1)
        return path

    def _save_arrays(self, path: Path) -> Path:
        about = {
            "name": self.name,
            "camera": self.camera,
            "units": self.units,
            "tasks": [task.describe() for task in self.tasks.values()],
        }
        stored: dict[str, Any] = {"image": self.image, "intrinsics": self.intrinsics, "about": json.dumps(about)}
        if self.pose is not None:
            stored["pose"] = self.pose
        with atomic.whole(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **stored, **dict[str, Any](self.values))
        return path

    def _save_surface(self, path: Path) -> Path | None:
        if "depth" not in self.values:
            return None
        mesh = pointcloud.mesh(self.reach, self.intrinsics, self.image)
        if not len(mesh.faces):  # nothing but jumps, or a line of pixels
            return None
        with atomic.whole(path) as part:
            mesh.export(part, file_type="glb")
        return path

    def _save_value(self, path: Path, task: str) -> Path:
        with atomic.whole(path) as part:
            Image.fromarray(as_png(self.tasks[task], self.values[task])).save(part, "PNG", compress_level=1)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Scene:
        """The inverse of ``save``, from the ``.npz``. ``ValueError`` if it holds no scene."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                about: dict[str, Any] = json.loads(str(stored["about"]))
                made = [tasks.build(description) for description in about["tasks"]]
                values = {task.name: stored[task.name] for task in made}
                named = {task.name: task for task in made}
                pose = stored["pose"] if "pose" in stored else None
                return cls(stored["image"], values, named, stored["intrinsics"], about["camera"], about["name"], pose)
        except (KeyError, TypeError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path}: holds no scene that `Scene.save` wrote ({error})") from error

    def show(self) -> None:
        """Opens the panel in the system's picture viewer."""
        self.draw().show(self.name)

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.draw().save(buffer, "webp", quality=88)
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(repr(self))}" style="max-width:100%" src="data:image/webp;base64,{data}">'


def file_of(stem: Path, kind: str) -> Path:
    """Where ``Scene.save`` writes a kind of file."""
    return stem.with_name(f"{stem.name}.{ENDINGS.get(kind, f'{kind}.png')}")
