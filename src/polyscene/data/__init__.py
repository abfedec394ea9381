"""Data sets. Each yields ``Sample``s and declares its tasks. One file (or folder) a data set."""

from pathlib import Path

from polyscene import parts

ORIGINALS: dict[str, str] = {  # sets of the field, read from the files of their authors
    "nyuv2": "polyscene.data.nyuv2:Nyuv2",
    "nyuv2_mtan": "polyscene.data.nyuv2_mtan:Nyuv2Mtan",
    "pascal_context": "polyscene.data.pascal_context:PascalContext",
    "cityscapes": "polyscene.data.cityscapes:Cityscapes",
    "virtual_kitti2": "polyscene.data.virtual_kitti2:VirtualKitti2",
    "synthia": "polyscene.data.synthia:Synthia",
    "taskonomy": "polyscene.data.taskonomy:Taskonomy",
}
DATASETS = {
    "rooms": "polyscene.data.rooms.dataset:Rooms",
    "streets": "polyscene.data.streets.dataset:Streets",
    "folder": "polyscene.data.folder:Folder",
    "shards": "polyscene.data.shards:Shards",
    "photographs": "polyscene.data.photographs:Photographs",
    **ORIGINALS,
}
LABELS = {  # by data sets that always label the same
    "rooms": ("semseg", "depth", "normals", "edges"),
    "streets": ("semseg", "depth", "normals", "edges"),
    "nyuv2": ("semseg", "depth", "normals", "edges"),
    "nyuv2_mtan": ("semseg", "depth", "normals"),
    "pascal_context": ("semseg", "human_parts", "saliency", "normals", "edges"),
    "cityscapes": ("semseg", "depth", "normals", "edges"),
    "virtual_kitti2": ("semseg", "depth", "normals", "edges"),
    "synthia": ("semseg", "depth", "normals", "edges"),
    "taskonomy": ("semseg", "depth", "normals", "edges"),
}


def packed(path: str | Path) -> bool:
    """Whether shards lie there, or, elsewhere than on this machine, only they could."""
    return "://" in str(path) or (Path(path) / "shards.json").is_file()


__getattr__ = parts.exports(DATASETS)
