"""A contact sheet: samples by rows, the picture and every label by columns, each with its legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from PIL import Image

from polyscene import panels
from polyscene.panels import Facet
from polyscene.tasks import Task
from polyscene.types import Sample


def contact_sheet(samples: Iterable[Sample], tasks: Mapping[str, Task], width: int = 256) -> Image.Image:
    """One row a view, pictures ``width`` pixels wide; unlabelled pixels are grey."""
    facets = [item for sample in samples for view in range(len(sample.images)) for item in _facets(sample, tasks, view)]
    return panels.compose(facets, 1 + len(tasks), width)


def _facets(sample: Sample, tasks: Mapping[str, Task], view: int) -> list[Facet]:
    facets = [Facet("image", (sample.images[view].movedim(0, -1) * 255).round().byte().numpy())]
    for name, task in tasks.items():
        target = sample.targets[name]
        value, valid = target.value[view].movedim(0, -1).numpy(), target.valid[view, 0].numpy()
        facets.append(panels.facet(task, value, valid=valid))
    return facets
