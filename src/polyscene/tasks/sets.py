"""Which tasks and classes a data set has. A name of this table is what ``tasks: nyuv2`` means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from polyscene import parts, tasks
from polyscene.data.rooms.scene import CLASSES as ROOMS_CLASSES
from polyscene.data.streets.scene import CLASSES as STREETS_CLASSES
from polyscene.tasks.base import Task
from polyscene.tasks.depth import Depth
from polyscene.tasks.edges import Edges
from polyscene.tasks.normals import Normals
from polyscene.tasks.saliency import Saliency
from polyscene.tasks.semseg import SemanticSegmentation

NYUV2_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat",
    "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box",
    "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure",
    "otherfurniture", "otherprop",
)  # fmt: skip
NYUV2_13_CLASSES = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
SYNTHIA_CLASSES = tuple(name for name in CITYSCAPES_CLASSES if name not in ("terrain", "truck", "train"))
VIRTUAL_KITTI2_CLASSES = (
    "terrain", "sky", "tree", "vegetation", "building", "road", "guard rail", "traffic sign", "traffic light", "pole",
    "misc", "truck", "car", "van",
)  # fmt: skip
TASKONOMY_CLASSES = (
    "background", "bottle", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "microwave",
    "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
)  # fmt: skip
PARTS_CLASSES = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")

# The weights of NYUv2 and PASCAL-Context are those every public multi-task code base uses.
NYUV2: tuple[Task, ...] = (
    SemanticSegmentation(classes=NYUV2_CLASSES),
    Depth(encoding="metres", near=0.7, far=10.0),
    Normals(weight=10.0),
    Edges(weight=50.0, max_dist=0.011, strokes=True),
)
NYUV2_MTAN: tuple[Task, ...] = (
    SemanticSegmentation(classes=NYUV2_13_CLASSES),
    Depth(encoding="metres", near=0.7, far=10.0),
    Normals(weight=10.0),
)
PASCAL_CONTEXT: tuple[Task, ...] = (
    SemanticSegmentation(classes=VOC_CLASSES),
    SemanticSegmentation("human_parts", 2.0, PARTS_CLASSES),
    Saliency(weight=5.0),
    Normals(weight=10.0),
    Edges(weight=50.0),
)
# On streets, those of DenseMTL.
CITYSCAPES: tuple[Task, ...] = (
    SemanticSegmentation(weight=100.0, classes=CITYSCAPES_CLASSES),
    Depth(encoding="inverse_linear", near=1.0, far=300.0),
    Normals(weight=100.0),
    Edges(weight=50.0),
)
VIRTUAL_KITTI2: tuple[Task, ...] = (
    SemanticSegmentation(weight=100.0, classes=VIRTUAL_KITTI2_CLASSES),
    Depth(encoding="inverse_linear", near=1.0, far=655.0),
    Normals(weight=100.0),
    Edges(weight=50.0),
)
SYNTHIA: tuple[Task, ...] = (
    SemanticSegmentation(weight=100.0, classes=SYNTHIA_CLASSES),
    Depth(encoding="inverse_linear", near=1.0, far=655.0),
    Normals(weight=100.0),
    Edges(weight=50.0),
)
TASKONOMY: tuple[Task, ...] = (SemanticSegmentation(classes=TASKONOMY_CLASSES), Depth(), Normals(), Edges())
ROOMS: tuple[Task, ...] = (SemanticSegmentation(classes=ROOMS_CLASSES), Depth(), Normals(), Edges())
STREETS: tuple[Task, ...] = (
    SemanticSegmentation(classes=STREETS_CLASSES),
    Depth(encoding="inverse_linear", near=1.0, far=300.0),
    Normals(),
    Edges(),
)
SETS = {
    "nyuv2": NYUV2,
    "nyuv2_mtan": NYUV2_MTAN,
    "pascal_context": PASCAL_CONTEXT,
    "rooms": ROOMS,
    "streets": STREETS,
    "cityscapes": CITYSCAPES,
    "virtual_kitti2": VIRTUAL_KITTI2,
    "synthia": SYNTHIA,
    "taskonomy": TASKONOMY,
}

_BY_NAME = {
    "semseg": NYUV2[0],
    "human_parts": PASCAL_CONTEXT[1],
    "depth": Depth(),
    "normals": Normals(),
    "edges": Edges(),
    "saliency": Saliency(),
}

Tasks = str | Mapping[str, Task] | Iterable[str | Mapping[str, Any] | Task]


def resolve(wanted: Tasks) -> dict[str, Task]:
    """The name of a set; or tasks, task names (all of weight 1, with the classes of NYUv2 or PASCAL-Context) and task
    descriptions (``{"type": "Depth", ...}``), mixed. ``ValueError`` names what is unknown or given twice."""
    if isinstance(wanted, str):
        if wanted not in SETS:
            raise ValueError(parts.unknown(wanted, SETS, "task set"))
        return {task.name: task for task in SETS[wanted]}
    found: dict[str, Task] = {}
    for item in wanted.values() if isinstance(wanted, Mapping) else wanted:
        task = _one(item)
        if task.name in found:
            raise ValueError(f"task {task.name!r} is given twice; give one of them another name")
        found[task.name] = task
    if not found:
        raise ValueError("no tasks are given")
    return found


def _one(item: str | Mapping[str, Any] | Task) -> Task:
    if isinstance(item, Task):
        return item
    if isinstance(item, Mapping):
        return tasks.build(dict(item))
    if item not in _BY_NAME:
        raise ValueError(parts.unknown(item, _BY_NAME, "task"))
    task = _BY_NAME[item]
    return type(task)(**{**_keywords(task), "weight": 1.0})


def _keywords(task: Task) -> dict[str, Any]:
    return {name: value for name, value in task.describe().items() if name != "type"}
