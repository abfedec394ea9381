"""Data sets. Each yields ``Sample``s and declares its tasks. One file (or folder) a data set."""

from polyscene import parts

ORIGINALS: dict[str, str] = {  # sets of the field, read from the files of their authors
}
DATASETS = {
    "rooms": "polyscene.data.rooms.dataset:Rooms",
    "folder": "polyscene.data.folder:Folder",
    **ORIGINALS,
}
LABELS = {"rooms": ("semseg", "depth", "normals", "edges")}  # by data sets that always label the same

__getattr__ = parts.exports(DATASETS)
