"""Taskonomy (Zamir et al., CVPR 2018): half a thousand scanned buildings, as first published or by Omnidata's tools."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import files, labels
from polyscene.data.axes import LIMIT, Axes
from polyscene.data.base import BadSample
from polyscene.data.derived import Derived
from polyscene.data.files import Raw
from polyscene.data.original import Original, elsewhere, picture
from polyscene.ranges import Count
from polyscene.tasks.sets import TASKONOMY
from polyscene.types import Target

METRES = 1 / 512  # a count of depth
FAR = 65535 * METRES  # and beyond: unknown
CAMERAS = ("point_info", "points")
FILES = {  # the folder of a kind of files, how their names may end, and their suffix
    "rgb": (("rgb",), "png"),
    "semseg": (("segment_semantic",), "png"),
    "depth": (("depth_zbuffer",), "png"),
    "normals": (("normal",), "png"),
    "occlusion": (("edge_occlusion",), "png"),
    "texture": (("edge_texture",), "png"),
    "cameras": (CAMERAS, "json"),
}
ENDINGS = {"segment_semantic": "segmentsemantic", "points": "fixatedpose"}  # others end in the name of their folder
LEVELS = {"occlusion": 500, "texture": 3000}  # of 65535, from where on strength is called an edge: ours, no paper's
FRAME = re.compile(r"(point_(\d+)_view_(\d+))_domain_rgb\.png")
TINY = {  # the published buildings of the smallest part
    "train": (
        "allensville", "beechwood", "benevolence", "coffeen", "cosmos", "forkland", "hanson", "hiteman", "klickitat",
        "lakeville", "leonardo", "lindenwood", "marstons", "merom", "mifflinburg", "newfields", "onaga", "pinesdale",
        "pomaria", "ranchester", "shelbyville", "stockman", "tolstoy", "wainscott", "woodbine",
    ),
    "val": ("collierville", "corozal", "darden", "markleeville", "wiconisco"),
    "test": ("ihlen", "mcdade", "muleshoe", "noxapater", "uvalda"),
}  # fmt: skip
CV_FROM_BLENDER = np.diag([1.0, -1.0, -1.0])
AGAIN = "`polyscene data prepare taskonomy` says which files belong there"
Place = Literal["kind/taskonomy/building", "kind/building", "building/kind"]
Labeller = Callable[[str, tuple[int, int]], Target]


class Taskonomy(Original):
    """The images of those ``buildings``; by default of a published part, ``subset``, that lie in ``root``. ``tasks``:
    only these labels; by default those whose folders are there. A sample holds ``views`` frames, or fewer, of the same
    point in the building.

    Classes were found by a network: 16 things and background, the rest unknown. Edges are strengths of ``edges``, where
    they are at least ``edge_level`` of 65535, thinned; no paper's. Cameras have known focal lengths and poses.

    Depth, axes of normals, edges and cameras were checked on a frame published with Omnidata, where normals of depth
    differ from the stored ones by 0.8 degrees, blue being away from the camera. The authors' page says of normals only
    that they are centred at 127, so axes are found by the depth of the files at hand. Class numbers are as it says.
    """

    name = "taskonomy"
    title = "Taskonomy (Zamir et al., CVPR 2018)"
    where = """
    github.com/StanfordVL/taskonomy/tree/master/data (licence of its own, non-commercial). Of 11 TB you need
    few folders:
      pip install omnidata-tools
      omnitools.download rgb depth_zbuffer normal edge_occlusion point_info --components taskonomy --subset tiny
    and segment_semantic of the first publication. Give the folder that holds rgb/taskonomy/BUILDING/, rgb/BUILDING/ or
    BUILDING/rgb/; the others lie likewise:
      rgb/point_0_view_0_domain_rgb.png                             512x512
      depth_zbuffer/point_0_view_0_domain_depth_zbuffer.png         16 bit, 1/512 m; 65535 unknown
      normal/point_0_view_0_domain_normal.png                       2 v / 255 - 1; grey unknown
      edge_occlusion/, edge_texture/                                16 bit
      segment_semantic/point_0_view_0_domain_segmentsemantic.png    0 unknown, 1 background, 2 to 17
      point_info/point_0_view_0_domain_point_info.json              or points/..._fixatedpose.json
    train_val_test_medium.csv, _full.csv or _fullplus.csv of splits_taskonomy.zip for the larger parts, beside them.
    """
    splits = ("train", "val", "test")
    derived = frozenset({"edges"})

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        tasks: list[str] | None = None,
        subset: Literal["tiny", "medium", "full", "fullplus"] = "tiny",
        buildings: list[str] | None = None,
        views: Count = 1,
        edges: Literal["occlusion", "texture"] = "occlusion",
        edge_level: Count | None = None,
    ) -> None:
        super().__init__(root, split)
        self._place, self._there = self._look_round()
        self._kinds = {**{name: name for name in ("semseg", "depth", "normals")}, "edges": edges}
        self.offer(TASKONOMY, tasks)
        wanted = buildings if buildings is not None else self._published(subset)
        self.buildings = [building for building in wanted if building in self._there]
        if not self.buildings:
            found, asked = (
                ", ".join(sorted(self._there)),
                "`buildings`" if buildings else f"the {split} part of {subset}",
            )
            raise BadSample(
                self.root, f"has {found}, none of which is in {asked}", "give another `subset`, or `buildings`"
            )
        absent = [task.name for task in TASKONOMY if not self._any(self._kinds[task.name])]
        if tasks is None:
            self.offer(TASKONOMY, self.tasks.keys() - set(absent))
        self.frames = [frame for building in self.buildings for frame in self._frames_of(building)]
        if not self.frames:
            missing = self._folder("rgb", self.buildings[0])
            raise BadSample(missing, "holds no point_0_view_0_domain_rgb.png or the like", AGAIN)
        self._views, self._level = views, edge_level or LEVELS[edges]
        self._edges = Derived(self.name, self.root, f"edges {edges} {self._level}")
        self._labellers: dict[str, Labeller] = {
            "semseg": self._semseg,
            "depth": self._depth,
            "normals": self._normals,
            "edges": self._boundaries,
        }
        self._axes = Axes.find(self.frames, self._looked_at) if "normals" in self.tasks else None
        self.notes = list(self._remarks(wanted, absent))

    # -- one frame -----------------------------------------------------------------------------------------------------
    def image(self, frame: str) -> Tensor:
        return picture(self.image_file(frame))

    def image_file(self, frame: str) -> Path:
        return self._file("rgb", frame)

    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target:
        return self._labellers[name](frame, size)

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor | None] | None:
        if not self._any("cameras"):
            return None
        file = self._file("cameras", frame)
        try:
            facts: Any = json.loads(file.read_text())
            focal = size[1] / 2 / math.tan(float(facts["field_of_view_rads"]) / 2)
            place = np.array(facts["camera_location"], float).reshape(3)
            turn = np.array(facts["camera_rotation_final"], float).reshape(3)
        except FileNotFoundError:
            raise BadSample(file, "missing", files.MISSING) from None
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            problem = f"no camera ({type(error).__name__}: {error})"
            raise BadSample(
                file, problem, "restore it: field_of_view_rads, camera_location, camera_rotation_final"
            ) from None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = _turned(turn) @ CV_FROM_BLENDER, place
        centre = ((size[1] - 1) / 2, (size[0] - 1) / 2)
        intrinsics = torch.tensor([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
        return intrinsics, torch.from_numpy(pose).float()

    def views(self, index: int) -> Sequence[str]:
        frame = self.frames[index]
        if self._views == 1:
            return [frame]
        others = self._points[_point(frame)]
        start = others.index(frame)
        return [*others[start:], *others[:start]][: self._views]

    @cached_property
    def _points(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for frame in self.frames:
            found.setdefault(_point(frame), []).append(frame)
        return found

    def _semseg(self, frame: str, size: tuple[int, int]) -> Target:
        return labels.ids(self._stored("semseg", frame, size), void=(0,), shift=-1)

    def _depth(self, frame: str, size: tuple[int, int]) -> Target:
        return labels.metres(self._stored("depth", frame, size), METRES, FAR)

    def _normals(self, frame: str, size: tuple[int, int]) -> Target:
        vectors = labels.coded(self._stored("normals", frame, size, channels=3))
        return labels.vectors(vectors if self._axes is None else self._axes.applied(vectors))

    def _boundaries(self, frame: str, size: tuple[int, int]) -> Target:
        sources, make = [self._file(self._kinds["edges"], frame)], partial(self._thinned, frame, size)
        return labels.binary(self._edges.get(frame, sources, make) == 255)

    def _thinned(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        from skimage.morphology import thin

        strength = self._stored(self._kinds["edges"], frame, size)
        return np.where(thin(np.greater_equal(strength, self._level)), 255, 0).astype(np.uint8)

    def _stored(self, kind: str, frame: str, size: tuple[int, int], channels: int = 0) -> Raw:
        file = self._file(kind, frame)
        raw = files.read_label(file)
        deep = kind not in ("semseg", "normals")
        files.sized(file, raw, (*size, channels) if channels else size, AGAIN)
        if (raw.itemsize > 1) != deep:
            raise BadSample(file, f"has {8 * raw.itemsize} bit, not {16 if deep else 8}", AGAIN)
        return raw

    # -- the whole -----------------------------------------------------------------------------------------------------
    def problems(self) -> Iterator[BadSample]:
        for building in self.buildings:
            for name in self.tasks:
                folder = self._folder(self._kinds[name], building)
                if not folder.is_dir():
                    yield BadSample(folder, f"no such folder, though {name} needs it", f"{AGAIN}; or leave {name} out")
        if self._axes is not None and self._axes.remains > LIMIT:
            yield BadSample(self._folder("normals", self.buildings[0]), self._axes.told(), AGAIN)

    def _look_round(self) -> tuple[Place, list[str]]:
        """How folders are nested, and which buildings there are."""
        if there := _folders(self.root / "rgb" / "taskonomy"):
            return "kind/taskonomy/building", there
        if there := _folders(self.root / "rgb"):
            return "kind/building", there
        if there := [folder for folder in _folders(self.root) if (self.root / folder / "rgb").is_dir()]:
            return "building/kind", there
        problem = "neither rgb/taskonomy/BUILDING/ nor rgb/BUILDING/ nor BUILDING/rgb/ is there"
        near = self.root.parent if (self.root / "rgb").is_dir() else elsewhere(self.root, "rgb")
        remedy = f"give {near} as `root`" if near else AGAIN
        raise BadSample(self.root, problem, remedy)

    def _folder(self, kind: str, building: str) -> Path:
        choices = [self._nested(folder, building) for folder in FILES[kind][0]]
        return next((choice for choice in choices if choice.is_dir()), choices[0])

    def _nested(self, folder: str, building: str) -> Path:
        if self._place == "building/kind":
            return self.root / building / folder
        return self.root / folder / ("taskonomy" if "taskonomy" in self._place else "") / building

    def _file(self, kind: str, frame: str) -> Path:
        building, _, view = frame.partition("/")
        folder = self._folder(kind, building)
        of = folder.name if self._place == "building/kind" else folder.relative_to(self.root).parts[0]
        return folder / f"{view}_domain_{ENDINGS.get(of, of)}.{FILES[kind][1]}"

    def _any(self, kind: str) -> bool:
        return any(self._folder(kind, building).is_dir() for building in self.buildings)

    def _frames_of(self, building: str) -> list[str]:
        folder = self._folder("rgb", building)
        found = [match for file in folder.iterdir() if (match := FRAME.fullmatch(file.name))]
        return [f"{building}/{match[1]}" for match in sorted(found, key=lambda match: (int(match[2]), int(match[3])))]

    def _published(self, subset: str) -> list[str]:
        """The buildings of this split of a published part, by its list where that is there."""
        name = f"train_val_test_{subset}.csv"
        file = next(iter(sorted([*self.root.glob(name), *self.root.glob(f"*/{name}")])), None)
        if file is None:
            if subset == "tiny":
                return list(TINY[self.split])
            raise BadSample(self.root / name, "missing", f"{AGAIN}; or give `buildings`")
        rows = list(csv.DictReader(file.read_text().splitlines()))
        try:
            return [row["id"] for row in rows if int(row[self.split])]
        except (KeyError, ValueError, TypeError) as error:
            problem = f"no list of buildings ({type(error).__name__}: {error})"
            raise BadSample(file, problem, "restore it: columns id, train, val, test") from None

    def _looked_at(self, frame: str) -> tuple[NDArray[np.float32], Target, Tensor] | None:
        image = files.read_image(self._file("rgb", frame))
        size = image.shape[0], image.shape[1]
        if (camera := self.camera(frame, size)) is None:
            return None
        stored = labels.coded(self._stored("normals", frame, size, channels=3))
        return stored, self._depth(frame, size), camera[0]

    def _remarks(self, wanted: Sequence[str], absent: Sequence[str]) -> Iterator[str]:
        where = f"taskonomy {self.split}"
        if lacking := len(wanted) - len(self.buildings):
            yield f"{where}: {len(self.buildings)} of {len(wanted)} buildings are there, {lacking} are not"
        if absent:
            yield f"{where}: there is no folder of {', '.join(absent)}"
        if not self._any("cameras"):
            yield f"{where}: there is no folder of cameras; focal lengths and poses are unknown"
        if self._axes is not None:
            yield f"{where}: {self._axes.told()}"
        elif "normals" in self.tasks:
            yield f"{where}: without depth and cameras beside them normals are taken to be in camera axes"


def _folders(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []


def _point(frame: str) -> str:
    return frame.partition("_view_")[0]


def _turned(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """About x, then y, then z of the world, in radians, as Blender does."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[one, one] = about[other, other] = math.cos(angle)
        about[other, one], about[one, other] = math.sin(angle), -math.sin(angle)
        matrix = about @ matrix
    return matrix
