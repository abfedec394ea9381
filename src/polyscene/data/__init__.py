"""Data sets. Each yields ``Sample``s and declares its tasks. One file (or folder) a data set."""

from polyscene import parts

DATASETS = {
    "rooms": "polyscene.data.rooms.dataset:Rooms",
    "folder": "polyscene.data.folder:Folder",
}

__getattr__ = parts.exports(DATASETS)
