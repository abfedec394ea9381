"""The archives that NYU Depth v2's labelled frames come in, and the files of the one that lies in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyscene.data import files, matlab
from polyscene.data.base import BadSample
from polyscene.data.files import Raw
from polyscene.data.original import elsewhere, listed

COUNTS = {"train": 795, "val": 654}
SUFFIXES = {  # by folder
    "images": (".jpg", ".png"),
    "segmentation": (".png", ".mat"),
    "depth": (".npy", ".mat"),
    "normals": (".npy", ".png"),
    "edge": (".npy", ".png"),
    "instances": (".png",),
}
FOLDERS = {"semseg": "segmentation", "depth": "depth", "normals": "normals", "edges": "edge"}
MADE_UP_FOR = ("normals", "edge")  # folders that what we prepare lacks
SAYS_WHERE = "`polyscene data prepare nyuv2` says where to get it"


@dataclass(frozen=True)
class Archive:
    """``size`` (h, w) of its frames, and which published ``numbers`` are of it."""

    file: str
    size: tuple[int, int]
    numbers: str


ARCHIVES: dict[str, Archive] = {
    "nyud_mt": Archive(
        "NYUD_MT.tgz",
        (480, 640),
        "comparable with MTI-Net and the survey of Vandenhende et al., not with ATRC, InvPT and what followed them",
    ),
    "nyudv2": Archive(
        "NYUDv2.tar.gz",
        (425, 560),
        "comparable with ATRC, InvPT, TaskPrompter, MLoRE, MTMamba, SAK and their kind, not with MTI-Net's own paper",
    ),
    "astmt": Archive(
        "NYUD_MT.tgz of ASTMT", (425, 560), "comparable with ASTMT, but that counts unlabelled pixels as a 41st class"
    ),
    "prepared": Archive(
        "what was converted of nyu_depth_v2_labeled.mat",
        (425, 560),
        "segmentation and depth are the authors', as in NYUDv2.tar.gz; normals and edges are ours, as in no paper",
    ),
}


class Unpacked:
    """What of an archive lies in ``root``. ``BadSample`` if that is none, or two at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kinds = {folder: _kinds(root / folder) for folder in SUFFIXES}
        self.name = self._told_apart()
        self.about = ARCHIVES[self.name]
        self.again = f"restore it from {self.about.file}; {SAYS_WHERE}"

    def has(self, folder: str) -> bool:
        return bool(self._kinds[folder])

    def file(self, folder: str, frame: str) -> Path:
        if not self.has(folder):
            raise self._lost(folder)
        return self.root / folder / f"{frame}{self._kinds[folder][0]}"

    def size(self, frame: str) -> tuple[int, int]:
        """(h, w) of the image."""
        image = files.read_image(self.file("images", frame))
        return image.shape[0], image.shape[1]

    def read(self, folder: str, frame: str, shape: tuple[int, ...]) -> Raw:
        """The stored array of a label, which must have this ``shape``."""
        file = self.file(folder, frame)
        raw = matlab.variable(file) if file.suffix == ".mat" else files.read_label(file)
        raw = raw[..., 0] if raw.ndim == 3 and raw.shape[-1] == 1 else raw
        return files.sized(file, raw, shape, self.again)

    def frames(self, split: str) -> list[str]:
        return listed(self._list(split), "nyuv2")

    def problems(self, folders: Sequence[str]) -> Iterator[BadSample]:
        """Which of these ``folders`` are missing, counts and sizes that are not the published ones."""
        for folder in folders:
            if not self.has(folder) and not (self.name == "prepared" and folder in MADE_UP_FOR):
                yield self._lost(folder)
        for split, count in COUNTS.items():
            try:
                frames = self.frames(split)
            except BadSample as error:
                yield error
                continue
            if len(frames) != count or len(set(frames)) != count:
                problem = f"{len(frames)} frames, {len(set(frames))} of them different; {split} has {count}"
                yield BadSample(self._list(split), problem, self.again)
        images = sorted((self.root / "images").glob(f"*{self._kinds['images'][0]}"))
        if len(images) != sum(COUNTS.values()):
            problem = f"{len(images)} images; there should be {sum(COUNTS.values())}"
            yield BadSample(self.root / "images", problem, self.again)
        try:
            size = self.size(images[0].stem)
        except BadSample:  # told of the frame
            return
        if size != self.about.size:
            found, published = ("x".join(map(str, each)) for each in (size, self.about.size))
            problem = f"frames are {found}, in {self.about.file} they are {published}"
            yield BadSample(self.root / "images", problem, f"no paper's numbers are of such frames; {self.again}")

    def _told_apart(self) -> str:
        if not self.has("images"):
            near = elsewhere(self.root, "images")
            remedy = f"give {near} as `root`" if near else SAYS_WHERE
            if (self.root / "train" / "image").is_dir():
                remedy = "these seem to be the arrays of MTAN, which are the data set nyuv2_mtan"
            raise BadSample(self.root, "has no folder images with a .jpg or .png a frame", remedy)
        for folder, kinds in self._kinds.items():
            if len(kinds) > 1:
                problem = f"holds {' and '.join(kinds)} files, as if two archives had been unpacked into one folder"
                raise BadSample(self.root / folder, problem, "unpack each into a folder of its own")
        if self._kinds["segmentation"] == [".mat"]:
            return "astmt"
        if self._kinds["images"] == [".jpg"]:
            return "nyud_mt"
        return "prepared" if self.has("instances") else "nyudv2"

    def _list(self, split: str) -> Path:
        return self.root / "gt_sets" / f"{split}.txt"

    def _lost(self, folder: str) -> BadSample:
        kinds = " or ".join(SUFFIXES[folder])
        return BadSample(self.root / folder, f"missing, or without a {kinds} a frame", self.again)


def _kinds(folder: Path) -> list[str]:
    """The suffixes there, of those known."""
    found = {file.suffix for file in folder.iterdir()} if folder.is_dir() else set()
    return [suffix for suffix in SUFFIXES[folder.name] if suffix in found]
