"""Virtual KITTI 2 (Cabon, Murray, Humenberger, 2020), release 2.0.3: five drives rendered in ten conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from polyscene.data import cameras, files, labels
from polyscene.data.base import BadSample
from polyscene.data.driving import Streets, alone, chosen, nearest_first
from polyscene.ranges import Count
from polyscene.tasks.sets import VIRTUAL_KITTI2, VIRTUAL_KITTI2_CLASSES
from polyscene.types import Target

SCENES = {"Scene01": 447, "Scene02": 233, "Scene06": 270, "Scene18": 339, "Scene20": 837}
SPLITS = {"train": ("Scene02", "Scene06", "Scene18", "Scene20"), "val": ("Scene01",)}
USUAL = ("15-deg-left",)  # the variation DenseMTL takes
COLOURS = {
    "terrain": (210, 0, 200), "sky": (90, 200, 255), "tree": (0, 199, 0), "vegetation": (90, 240, 0),
    "building": (140, 140, 140), "road": (100, 60, 100), "guard rail": (250, 100, 255), "traffic sign": (255, 255, 0),
    "traffic light": (200, 200, 0), "pole": (255, 130, 0), "misc": (80, 80, 80), "truck": (160, 60, 60),
    "car": (255, 127, 80), "van": (0, 139, 139),
}  # fmt: skip
GROUPS = {
    14: alone(VIRTUAL_KITTI2_CLASSES),
    8: {
        "road": ("road",),
        "building": ("building",),
        "pole": ("pole",),
        "traffic light": ("traffic light",),
        "traffic sign": ("traffic sign",),
        "vegetation": ("tree", "vegetation"),
        "sky": ("sky",),
        "vehicle": ("truck", "car", "van"),
    },
}
FAR = 655.345  # metres: 65535 centimetres means as far or farther
WEIGHTS = np.array([1 << 16, 1 << 8, 1])
CODES = np.array([np.dot(COLOURS[name], WEIGHTS) for name in VIRTUAL_KITTI2_CLASSES])
ORDER = np.argsort(CODES)


class VirtualKitti2(Streets):
    """``variations`` of each drive (``clone``, ``fog``, ...; ``15-deg-left`` if None), seen by ``camera`` 0, the left,
    or 1. ``classes``: all 14, or 8 shared with Cityscapes. ``tasks``: only these labels. A sample holds ``views``
    frames of one drive, ``stride`` frames apart, with their true poses.

    No drive is in both splits, so no place is: Scene01, a fifth of the images, is held out. The lists that DenseMTL
    drew share four fifths of their validation images with training, so figures on those are not to be compared.
    ``scenes`` takes others instead, for splits of one's own.
    """

    name = "virtual_kitti2"
    title = "Virtual KITTI 2.0.3"
    where = """
        From https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-2 (CC BY-NC-SA 3.0):
          vkitti_2.0.3_rgb.tar                  SCENE/VARIATION/frames/rgb/Camera_0/rgb_00000.jpg
          vkitti_2.0.3_depth.tar                SCENE/VARIATION/frames/depth/Camera_0/depth_00000.png, 16 bit
          vkitti_2.0.3_classSegmentation.tar    SCENE/VARIATION/frames/classSegmentation/Camera_0/classgt_00000.png
          vkitti_2.0.3_textgt.tar.gz            SCENE/VARIATION/{intrinsic,extrinsic}.txt
        Unpack all into one folder, or each into a folder of its archive's name (vkitti_2.0.3_rgb, ...) in that one.
        """
    named = VIRTUAL_KITTI2_CLASSES

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        classes: Literal[14, 8] = 14,
        tasks: list[str] | None = None,
        variations: list[str] | None = None,
        camera: Literal[0, 1] = 0,
        views: Count = 1,
        stride: Count = 1,
        scenes: list[str] | None = None,
    ) -> None:
        super().__init__(root, split, VIRTUAL_KITTI2, tasks, chosen(GROUPS, classes, self.name))
        scenes = scenes or list(SPLITS[split])
        if unknown := set(scenes) - SCENES.keys():
            raise ValueError(f"{self.name}: {min(unknown)!r} is no scene (there are: {', '.join(SCENES)})")
        self._number, self._views, self._stride = camera, views, stride
        self._tables: dict[Path, dict[int, list[float]]] = {}
        self._drives = [f"{scene}/{variation}" for scene in scenes for variation in variations or USUAL]
        self._lists = {drive: self._listed(drive) for drive in self._drives}
        found = [f"{drive}/{number:05d}" for drive, numbers in self._lists.items() for number in numbers]
        self.settle(found, self._base("rgb"), sum(SCENES[drive.partition("/")[0]] for drive in self._drives))

    def problems(self) -> Iterator[BadSample]:
        kinds = {"rgb": "rgb"}
        if {"depth", "normals"} & self.tasks.keys():
            kinds["depth"] = "depth"
        if {"semseg", "edges"} & self.tasks.keys():
            kinds["classSegmentation"] = "classSegmentation"
        for drive in self._drives:
            if not any((self._base(archive) / drive).is_dir() for archive in (*kinds, "textgt")):
                remedy = f"unpack vkitti_2.0.3_rgb.tar and the others; {self.remedy}"
                yield BadSample(self._base("rgb") / drive, "missing, in every archive", remedy)
                continue
            for kind in kinds:
                folder = self._base(kind) / drive / "frames" / kind / f"Camera_{self._number}"
                if not folder.is_dir():
                    yield BadSample(folder, "missing", f"unpack vkitti_2.0.3_{kind}.tar; {self.remedy}")
            numbers, published = self._lists[drive], SCENES[drive.partition("/")[0]]
            if numbers and numbers != list(range(published)):
                problem = f"{len(numbers)} images, published are 0 to {published - 1}"
                yield BadSample(self._file("rgb", f"{drive}/00000").parent, problem, self.remedy)
            for name in ("intrinsic", "extrinsic"):
                if not (path := self._base("textgt") / drive / f"{name}.txt").exists():
                    yield BadSample(path, "missing", f"unpack vkitti_2.0.3_textgt.tar.gz; {self.remedy}")
            yield from self._recoloured(self._base("textgt") / drive / "colors.txt")

    def views(self, index: int) -> Sequence[str]:
        frame = self.frames[index]
        drive, _, own = frame.rpartition("/")
        numbers = self._lists[drive]
        there = set(numbers)
        reach = len(numbers) * (self._views > 1)
        near = [int(own) + offset for offset in nearest_first(reach, self._stride) if int(own) + offset in there]
        if len(near) < self._views - 1:
            problem = f"{len(near)} neighbours of {frame} at stride {self._stride}, asked for {self._views - 1}"
            raise BadSample(self._file("rgb", frame).parent, problem, f"fewer views or a smaller stride; {self.remedy}")
        return [frame, *(f"{drive}/{number:05d}" for number in near[: self._views - 1])]

    def image(self, frame: str) -> Tensor:
        return self.picture(self.image_file(frame))

    def image_file(self, frame: str) -> Path:
        return self._file("rgb", frame)

    def ids(self, frame: str, size: tuple[int, int]) -> Target:
        """From colours; black is unlabelled."""
        path = self._file("classSegmentation", frame)
        colours = self.sized(path, files.read_image(self.found(path)), size).astype(np.int64) @ WEIGHTS
        place = np.searchsorted(CODES, colours, sorter=ORDER).clip(max=len(CODES) - 1)
        number = ORDER[place]
        known = CODES[number] == colours
        if (strange := colours[~known & (colours != 0)]).size:
            red, green, blue = (int(strange[0]) >> shift & 255 for shift in (16, 8, 0))
            problem = f"holds the colour ({red}, {green}, {blue}) of no class"
            raise BadSample(path, problem, f"take classSegmentation, not another rendering; {self.remedy}")
        return labels.ids(np.where(known, number, 255))

    def measurements(self, frame: str) -> Sequence[Path]:
        table = self._base("textgt") / frame.rpartition("/")[0] / "intrinsic.txt"
        return self._file("depth", frame), table

    def depth(self, frame: str, size: tuple[int, int]) -> Target:
        """Stored in centimetres; the sky, and what is farther than can be stored, is unknown."""
        raw = self.stored(self._file("depth", frame), size, np.uint16, "one channel of 16 bit")
        return labels.metres(raw, unit=0.01, most=FAR)

    def camera(self, frame: str, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        drive, _, number = frame.rpartition("/")
        fx, fy, cx, cy = self._row(drive, "intrinsic", int(number), 4)
        if not (cameras.fits(fx, cx, size[1]) and cameras.fits(fy, cy, size[0])):
            problem = f"fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} of frame {int(number)} do not fit {size[1]}x{size[0]}"
            raise BadSample(self._base("textgt") / drive / "intrinsic.txt", problem, "take the images as published")
        to_camera = np.array(self._row(drive, "extrinsic", int(number), 16)).reshape(4, 4)
        if not cameras.is_rigid(to_camera):
            path = self._base("textgt") / drive / "extrinsic.txt"
            raise BadSample(path, f"that of frame {int(number)} is no rigid motion", f"restore it; {self.remedy}")
        pose = torch.from_numpy(np.linalg.inv(to_camera)).float()
        return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), pose

    # -- files ---------------------------------------------------------------------------------------------------------
    def _base(self, archive: str) -> Path:
        own = self.root / f"vkitti_2.0.3_{archive}"
        return own if own.is_dir() else self.root

    def _file(self, kind: str, frame: str) -> Path:
        drive, _, number = frame.rpartition("/")
        stem = {"classSegmentation": "classgt"}.get(kind, kind)
        suffix = ".jpg" if kind == "rgb" else ".png"
        folder = self._base(kind) / drive / "frames" / kind / f"Camera_{self._number}"
        return folder / f"{stem}_{number}{suffix}"

    def _listed(self, drive: str) -> list[int]:
        folder = self._file("rgb", f"{drive}/00000").parent
        return sorted(int(file.stem.removeprefix("rgb_")) for file in folder.glob("rgb_*.jpg"))

    def _row(self, drive: str, name: str, number: int, count: int) -> list[float]:
        """The ``count`` numbers of a frame in the table ``name``, whose rows are frame, camera and these."""
        path = self._base("textgt") / drive / f"{name}.txt"
        if path not in self._tables:
            rows = [line.split() for line in self.found(path).read_text().splitlines()[1:] if line.strip()]
            try:
                self._tables[path] = {
                    int(row[0]): [float(n) for n in row[2:]] for row in rows if int(row[1]) == self._number
                }
            except (ValueError, IndexError) as error:
                problem = f"no table of frame, camera and {count} numbers ({error})"
                raise BadSample(path, problem, f"restore it; {self.remedy}") from None
        row = self._tables[path].get(number, [])
        if len(row) != count:
            problem = f"{len(row)} numbers for frame {number} and camera {self._number}, expected are {count}"
            raise BadSample(path, problem, f"restore it; {self.remedy}")
        return row

    def _recoloured(self, path: Path) -> Iterator[BadSample]:
        """A drive whose colours are not those of release 2.0.3."""
        ours = {name.replace(" ", ""): colour for name, colour in COLOURS.items()}
        for name, *colour in (line.split() for line in path.read_text().splitlines()) if path.exists() else ():
            if name.lower() in ours and " ".join(colour) != " ".join(map(str, ours[name.lower()])):
                problem = f"{name} is ({' '.join(colour)}), in release 2.0.3 it is {ours[name.lower()]}"
                yield BadSample(path, problem, f"take release 2.0.3; {self.remedy}")
