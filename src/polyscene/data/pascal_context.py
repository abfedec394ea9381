"""PASCAL-Context with five labels, as ASTMT put it together and multi-task papers use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscene.data import files, labels
from polyscene.data import pascal_context_labels as stored
from polyscene.data.base import BadSample
from polyscene.data.derived import Derived
from polyscene.data.files import Raw
from polyscene.data.original import Original, elsewhere, listed, picture
from polyscene.tasks.sets import PASCAL_CONTEXT
from polyscene.types import Target

COUNTS = {"train": 4998, "val": 5105}
SEGMENTATIONS = ("semseg/VOC12", "semseg/pascal-context")  # the first that has the frame
CLASS_MAPS = "pascal-context/trainval"
FOLDERS = {
    "semseg": SEGMENTATIONS,
    "human_parts": ("human_parts",),
    "saliency": ("sal_distill",),
    "normals": ("normals_distill", CLASS_MAPS),
    "edges": (CLASS_MAPS,),
}
LOOKED_AT = 64  # frames, for the axes of normals
AGAIN = "unpack the archive again; `polyscene data prepare pascal_context` says where to get it"
Labeller = Callable[[str, tuple[int, int]], Target]


class PascalContext(Original):
    """``tasks``: only these labels, of semseg, human_parts, saliency, normals and edges. ``frame_list``: a file of
    names, a part of the split, to use instead of all of it.

    Where nobody is seen, human parts are unknown; ``only_people`` leaves such frames out, as public code does when it
    trains on human parts alone. Normals count on ``indoor`` things, whose classes NYUv2 has too, or everywhere; their
    stored components times ``normal_axes`` are in camera axes. ``edges`` are those that public code trains on, or the
    ``seism`` truth that it evaluates on.
    """

    name = "pascal_context"
    title = "PASCAL-Context, five tasks (Chen et al., CVPR 2014; Mottaghi et al., CVPR 2014; Maninis et al., CVPR 2019)"
    where = """
    One of these, for research only. Unpack it and give the folder that holds JPEGImages/:
      PASCAL_MT.tgz: from the pages of github.com/facebookresearch/astmt or
        github.com/SimonVandenhende/Multi-Task-Learning-PyTorch
      PASCALContext.tar.gz: from the pages of github.com/brdav/atrc (its link has been dead since 2023),
        github.com/prismformore/Multi-Task-Transformer or github.com/innovator-zero/SAK
    Both hold the same. Copies without sal_distill/ or normals_distill/ are about; choose other `tasks` then.
      JPEGImages/ID.jpg                     500 pixels at most
      ImageSets/Context/{train,val}.txt     4998 and 5105 ids
      semseg/VOC12/ID.png                   0 to 20, 255 unknown; else semseg/pascal-context/ID.png
      human_parts/ID.mat                    PASCAL-Part's `anno`
      sal_distill/ID.png                    salient above 127.5
      normals_distill/ID.png                2 v / 255 - 1
      pascal-context/trainval/ID.mat        `LabelMap`, 459 classes
    """
    derived = frozenset({"edges"})

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        tasks: list[str] | None = None,
        frame_list: str | Path | None = None,
        only_people: bool = False,
        normals: Literal["indoor", "all"] = "indoor",
        normal_axes: tuple[int, int, int] = (1, -1, -1),
        edges: Literal["laplacian", "seism"] = "laplacian",
    ) -> None:
        super().__init__(root, split)
        self._check_archive()
        self.offer(PASCAL_CONTEXT, tasks)
        if any(abs(sign) != 1 for sign in normal_axes):
            raise ValueError(f"{self.name}: normal_axes are three signs, 1 or -1, got {list(normal_axes)}")
        self._only_indoors, self._axes = normals == "indoor", [float(sign) for sign in normal_axes]
        self._recipe: stored.Recipe = edges
        self._edges = Derived(self.name, self.root, f"edges {edges}")
        self._parts = Derived(self.name, self.root, "human parts")
        self._whole = listed(self._list, self.name)
        self.frames = self._whole if frame_list is None else self._listed(Path(frame_list))
        self._labellers: dict[str, Labeller] = {
            "semseg": self._semseg,
            "human_parts": self._human_parts,
            "saliency": self._saliency,
            "normals": self._normals,
            "edges": self._boundaries,
        }
        self.notes = list(self._remarks(only_people))

    # -- one frame -----------------------------------------------------------------------------------------------------
    def image(self, frame: str) -> Tensor:
        return picture(self.image_file(frame))

    def label(self, name: str, frame: str, size: tuple[int, int]) -> Target:
        return self._labellers[name](frame, size)

    def _semseg(self, frame: str, size: tuple[int, int]) -> Target:
        choices = [self.root / folder / f"{frame}.png" for folder in SEGMENTATIONS]
        file = next((file for file in choices if file.is_file()), None)
        if file is None:
            raise BadSample(choices[0], f"missing, and so is {choices[1]}", AGAIN)
        return labels.ids(_sized(file, files.read_label(file), size))

    def _human_parts(self, frame: str, size: tuple[int, int]) -> Target:
        drawn = self._drawn(frame, size)
        return labels.ids(drawn if drawn.any() else np.full_like(drawn, 255))

    def _saliency(self, frame: str, size: tuple[int, int]) -> Target:
        file = self.root / "sal_distill" / f"{frame}.png"
        return labels.binary(np.greater(_sized(file, files.read_label(file), size), 127))

    def _normals(self, frame: str, size: tuple[int, int]) -> Target:
        vectors = labels.vectors(labels.coded(self._vectors(frame, size)), self._axes)
        if not self._only_indoors:
            return vectors
        indoors = np.isin(self._classes(frame, size), stored.INDOORS)
        return Target(vectors.value, vectors.valid & torch.from_numpy(indoors))

    def _boundaries(self, frame: str, size: tuple[int, int]) -> Target:
        make = partial(self._bounded, frame, size)
        return labels.binary(self._edges.get(frame, [self._class_map(frame)], make) == 255)

    def _bounded(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        return stored.edges(self._classes(frame, size), self._recipe)

    def _drawn(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """(h, w) 0 to 6."""
        file = self.root / "human_parts" / f"{frame}.mat"
        return self._parts.get(frame, [file], partial(stored.parts, file, size))

    def _vectors(self, frame: str, size: tuple[int, int]) -> Raw:
        file = self.root / "normals_distill" / f"{frame}.png"
        return _sized(file, files.read_label(file), size, channels=3)

    def _classes(self, frame: str, size: tuple[int, int]) -> NDArray[np.int64]:
        file = self._class_map(frame)
        return _sized(file, stored.label_map(file), size).astype(np.int64)

    def _class_map(self, frame: str) -> Path:
        return self.root / CLASS_MAPS / f"{frame}.mat"

    def image_file(self, frame: str) -> Path:
        return self.root / "JPEGImages" / f"{frame}.jpg"

    # -- the whole -----------------------------------------------------------------------------------------------------
    def problems(self) -> Iterator[BadSample]:
        for folder in dict.fromkeys(folder for name in self.tasks for folder in FOLDERS[name]):
            if not (self.root / folder).is_dir() and folder not in SEGMENTATIONS:
                lacking = " and ".join(name for name in self.tasks if folder in FOLDERS[name])
                yield BadSample(
                    self.root / folder,
                    f"no such folder, though {lacking} need it",
                    f"{AGAIN}, or leave {lacking} out of `tasks`",
                )
        if "semseg" in self.tasks and not any((self.root / folder).is_dir() for folder in SEGMENTATIONS):
            yield BadSample(self.root / "semseg", f"neither of {' and '.join(SEGMENTATIONS)} is there", AGAIN)
        count = COUNTS[self.split]
        if len(self._whole) != count or len(set(self._whole)) != count:
            problem = f"{len(self._whole)} frames, {len(set(self._whole))} of them different; {self.split} has {count}"
            yield BadSample(self._list, problem, AGAIN)
        if lost := [frame for frame in self.frames if not self.image_file(frame).is_file()]:
            yield BadSample(self._list, f"names {len(lost)} frames without a picture: {', '.join(lost[:8])}", AGAIN)
        if "normals" in self.tasks and (strange := self._turned()):
            yield BadSample(self.root / "normals_distill", *strange)

    @property
    def _list(self) -> Path:
        return self.root / "ImageSets" / "Context" / f"{self.split}.txt"

    def _listed(self, file: Path) -> list[str]:
        frames = listed(file, self.name)
        if strange := sorted(set(frames) - set(self._whole)):
            examples = ", ".join(strange[:5])
            raise BadSample(
                file, f"{len(strange)} frames are not in {self.split}: {examples}", "choose the other `split`"
            )
        return frames

    def _check_archive(self) -> None:
        if (self.root / "JPEGImages").is_dir():
            return
        problem = "no folder JPEGImages"
        if (self.root / "gt_sets").is_dir():
            problem += "; this is an archive of NYUv2"
        near = elsewhere(self.root, "JPEGImages")
        raise BadSample(self.root, problem, f"give {near} as `root`" if near else AGAIN)

    def _remarks(self, only_people: bool) -> Iterator[str]:
        if only_people:
            every, self.frames = len(self.frames), self._peopled()
            yield f"pascal_context {self.split}: the {len(self.frames)} of {every} frames that show people"
        elif "human_parts" in self.tasks:
            listed_people = self._people_listed()
            counted = f" ({len(listed_people)} of {len(self.frames)} do)" if listed_people is not None else ""
            yield f"pascal_context {self.split}: human parts are unknown in frames that show nobody{counted}"
        if self.split == "val" and "edges" in self.tasks and len(self.frames) == COUNTS["val"]:
            yield (
                "pascal_context val: odsF of InvPT and its kin is of 2499 of these frames (test_new in their tools, a "
                "list to give as `frame_list`), SAK's of all"
            )

    def _people_listed(self) -> list[str] | None:
        """Frames with people by the archive's own list, where there is one and it is complete. It is never written."""
        file = self.root / "ImageSets" / "Parts" / f"{self.split}.txt"
        try:
            things = json.loads(file.read_text())
            return [frame for frame in self.frames if stored.PERSON in things[frame]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _peopled(self) -> list[str]:
        """Frames with people; where they are not listed all files of parts are looked at, minutes the first time."""
        from rich.progress import track

        if (found := self._people_listed()) is not None:
            return found
        looked = track(self.frames, "looking for people", transient=True)
        return [frame for frame in looked if self._drawn(frame, self._size(frame)).any()]

    def _size(self, frame: str) -> tuple[int, int]:
        picture = files.read_image(self.image_file(frame))
        return picture.shape[0], picture.shape[1]

    def _turned(self) -> tuple[str, str] | None:
        """What is wrong with the axes of normals, as far as that shows without depth: visible surfaces face the camera,
        floors face up and ceilings down. Left and right cannot be told apart."""
        away, upside_down = [], []
        for frame in self.frames[:: -(-len(self.frames) // LOOKED_AT) or 1]:
            try:
                size = self._size(frame)
                classes = self._classes(frame, size)
                vectors = labels.vectors(labels.coded(self._vectors(frame, size)), self._axes)
            except BadSample:  # told when the frame is read
                continue
            _, y, z = vectors.value[0].numpy()
            known = vectors.valid[0, 0].numpy()
            away.append(z[known] > 0)
            level = known & np.isin(classes, (stored.FLOOR, stored.CEILING))
            upside_down.append((y > 0)[level] == (classes == stored.FLOOR)[level])
        signs = [int(sign) for sign in self._axes]
        shares = [_share(each) for each in (upside_down, away)]
        wrong = [share > 0.5 for share in shares]
        if not any(wrong):
            return None
        told = str(signs)
        signs[1:] = [-sign if bad else sign for sign, bad in zip(signs[1:], wrong, strict=True)]
        seen = (
            f"{shares[1]:.0%} of the normals point away from the camera, {shares[0]:.0%} of floors down or ceilings up"
        )
        return f"not stored in the axes {told}: {seen}", f"give normal_axes: {signs}"


def _sized(file: Path, raw: Raw, size: tuple[int, int], channels: int = 0) -> Raw:
    return files.sized(file, raw, (*size, channels) if channels else size, AGAIN)


def _share(each: list[NDArray[np.bool_]]) -> float:
    every = np.concatenate([np.zeros(0, bool), *each])
    return float(every.mean()) if every.size else 0.0
