"""Does what was learnt from rendered rooms hold in real ones? Frames of data sets the network has never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from polyscene import transforms
from polyscene.data.base import Dataset
from polyscene.data.description import BadDescription
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader
from polyscene.tasks import Task
from polyscene.types import Sample

DESCRIPTIONS = Path(__file__).parents[2] / "experiments" / "real" / "data"  # in a checkout
SETS = ("kitchen", "office")
JUDGED = (192, 256)  # height and width of the labels, whatever the network sees


class Frames(Dataset):
    """Data sets one after the other, brought to ``size`` (h, w), and kept: they are read once for the network and for
    each floor."""

    def __init__(self, parts: Sequence[Dataset], size: tuple[int, int]) -> None:
        self.parts, self.size = parts, size
        self.name = "+".join(part.name for part in parts)
        self.tasks = {name: task for part in parts for name, task in part.tasks.items()}
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, index: int) -> Sample:
        if index not in self._kept:
            part, place = self._locate(index)
            self._kept[index] = transforms.cover(part.read(place), part.tasks, self.size)
        return self._kept[index]

    def _locate(self, index: int) -> tuple[Dataset, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(f"{self.name} has {len(self)} frames")


def frames(tasks: Mapping[str, Task], size: tuple[int, int], descriptions: Path = DESCRIPTIONS) -> Loader | str:
    """All frames of the real indoor sets, with those labels that ``tasks`` names; or why there are none. The network
    sees them at ``size`` (h, w); the labels are at ``JUDGED``."""
    files = [descriptions / f"{name}.yaml" for name in SETS]
    if missing := [file for file in files if not file.is_file()]:
        return f"{missing[0]} is not here: the real frames are described in a checkout of the project"
    try:
        found = Frames([Folder(file) for file in files], JUDGED)
    except BadDescription as error:
        return f"the real frames are not here; POLYSCENE_DATA names their folder ({str(error).partition(';')[0]})"
    shared = {name: task for name, task in tasks.items() if name in found.tasks}
    return Loader(found, shared, 8, transforms.Centre(size, "own"), seed=0, shuffle=False)
