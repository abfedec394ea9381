"""The tasks, by class name in ``TASKS`` and by the field's short name in ``NAMES``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyscene import parts

TASKS = {
    "SemanticSegmentation": "polyscene.tasks.semseg:SemanticSegmentation",
    "Depth": "polyscene.tasks.depth:Depth",
    "Normals": "polyscene.tasks.normals:Normals",
    "Edges": "polyscene.tasks.edges:Edges",
    "Saliency": "polyscene.tasks.saliency:Saliency",
}
NAMES = {  # what `tasks: [semseg, depth]` means
    "semseg": "SemanticSegmentation",
    "human_parts": "SemanticSegmentation",
    "depth": "Depth",
    "normals": "Normals",
    "edges": "Edges",
    "saliency": "Saliency",
}

if TYPE_CHECKING:
    from polyscene.tasks.base import Task as Task
    from polyscene.tasks.depth import Depth as Depth
    from polyscene.tasks.edges import Edges as Edges
    from polyscene.tasks.normals import Normals as Normals
    from polyscene.tasks.saliency import Saliency as Saliency
    from polyscene.tasks.semseg import SemanticSegmentation as SemanticSegmentation


def build(description: dict[str, Any]) -> Task:
    """The inverse of ``Task.describe``: ``{"type": "Depth", "encoding": "metres"}`` makes that task.

    Raises ``ValueError`` naming an unknown type or keyword.
    """
    options = {name: tuple(item) if isinstance(item, list) else item for name, item in description.items()}
    kind = str(options.pop("type", None))
    task = parts.load(TASKS, kind, "task type")
    try:
        return task(**options)
    except TypeError as error:
        raise ValueError(f"task {kind}: {error}") from None


__getattr__ = parts.exports({**TASKS, "Task": "polyscene.tasks.base:Task"})
