"""How a rendered street lies on disk: as a room does.

Run as ``python -m polyscene.data.streets.record RECIPE FOLDER`` it renders the scenes whose numbers it reads from its
input, one a line, answers each with a line, and ends with its input, so that it never outlives the process it serves.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import traceback
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from polyscene.data.rooms import record as rooms


@cache
def version() -> str:
    """Changes whenever the code that makes the streets does, the renderer's included."""
    digest = hashlib.sha256(rooms.version().encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name != "dataset.py":
            digest.update(ast.dump(ast.parse(source.read_text())).encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Recipe(rooms.Recipe):
    """All that a rendered street depends on besides its number."""

    code: str = field(default_factory=version)

    def file(self, folder: Path, scene: int) -> Path:
        return folder / f"{scene:08d}.street"

    def render(self, scene: int) -> np.ndarray:
        """The records (views,) of a street, a pure function of (recipe, scene)."""
        if self.code != version():
            raise RuntimeError("the code of the streets changed since this rendering began; start it again")
        from polyscene.data.rooms.labels import labels
        from polyscene.data.streets import camera, layout, render

        street = layout.generate(self.seed, scene)
        tracer = render.Tracer(street)
        records = np.zeros(self.views, self.dtype)
        for number, view in enumerate(camera.views(street, self.views, self.size)):
            truth = labels(tracer, view)
            seed = int(np.random.SeedSequence([self.seed, scene, number]).generate_state(1)[0])
            picture = render.picture(tracer, view, truth, self.quality, seed)
            record = records[number]
            record["rgb"] = picture.transpose(2, 0, 1)
            record["depth"] = truth.depth
            record["normals"] = np.round(truth.normals / rooms.NORMAL_STEP).transpose(2, 0, 1)
            record["semseg"], record["instance"] = truth.semseg, truth.instance
            record["edges"], record["valid"] = np.packbits(truth.edges), np.packbits(truth.valid)
            record["intrinsics"], record["world_from_camera"] = view.intrinsics, view.world_from_camera
        return records


def main(recipe: str, folder: str) -> None:
    facts = json.loads(recipe)
    worker = Recipe(**{**facts, "size": tuple(facts["size"])})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints does not end among the answers
    for line in sys.stdin:
        try:
            worker.write(Path(folder), int(line))
            print(json.dumps(None), file=answers, flush=True)
        except Exception:
            print(json.dumps(traceback.format_exc()), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
