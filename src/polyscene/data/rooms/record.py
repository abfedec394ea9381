"""How a rendered room lies on disk: one file a scene, one fixed-size record a view, ready to be memory-mapped.

Run as ``python -m polyscene.data.rooms.record RECIPE FOLDER`` it renders the scenes whose numbers it reads from its
input, one a line, answers each with a line, and ends with its input, so that it never outlives the process it serves.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

Quality = Literal["fast", "high"]
FORMAT = 1  # of the record
NORMAL_STEP = 1 / 32767  # int16: rounding turns a normal by less than 0.003 degrees


@cache
def version() -> str:
    """Changes whenever the code that makes the rooms does (comments and layout of the code aside)."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name != "dataset.py":
            digest.update(ast.dump(ast.parse(source.read_text())).encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Recipe:
    """All that a rendered scene depends on besides its number: ``size`` is (h, w), ``code`` the generator's version."""

    seed: int
    views: int
    size: tuple[int, int]
    quality: Quality
    code: str = field(default_factory=version)

    def key(self) -> str:
        """Names the folder of the scenes rendered so, by that code."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """One view. Maps are planar (c, h, w): ``rgb`` 0-255, ``depth`` metres, ``normals`` in steps of
        ``NORMAL_STEP``, ``semseg`` and ``instance`` ids, ``edges`` and ``valid`` eight pixels a byte."""
        h, w = self.size
        packed = -(-h * w // 8)
        return np.dtype(
            [
                ("rgb", "u1", (3, h, w)),
                ("depth", "<f4", (1, h, w)),
                ("normals", "<i2", (3, h, w)),
                ("semseg", "u1", (1, h, w)),
                ("instance", "<u2", (1, h, w)),
                ("edges", "u1", (packed,)),
                ("valid", "u1", (packed,)),
                ("intrinsics", "<f4", (3, 3)),
                ("world_from_camera", "<f4", (4, 4)),
            ],
            align=True,
        )

    def file(self, folder: Path, scene: int) -> Path:
        return folder / f"{scene:08d}.room"

    def done(self, folder: Path, scene: int) -> bool:
        file = self.file(folder, scene)
        return file.exists() and file.stat().st_size == self.views * self.dtype.itemsize

    def open(self, folder: Path, scene: int) -> np.ndarray:
        """The records (views,) of a rendered scene, memory-mapped (copy on write)."""
        return np.memmap(self.file(folder, scene), self.dtype, "c", shape=(self.views,))

    def render(self, scene: int) -> np.ndarray:
        """The records (views,) of a scene, a pure function of (recipe, scene)."""
        if self.code != version():
            raise RuntimeError("the code of the rooms changed since this rendering began; start it again")
        from polyscene.data.rooms import camera, labels, layout, render

        room = layout.generate(self.seed, scene)
        tracer = render.Tracer(room)
        records = np.zeros(self.views, self.dtype)
        for number, view in enumerate(camera.views(room, self.views, size=self.size, tracer=tracer)):
            truth = labels.labels(tracer, view)
            seed = int(np.random.SeedSequence([self.seed, scene, number]).generate_state(1)[0])
            picture = render.picture(tracer, view, truth, self.quality, seed)
            record = records[number]
            record["rgb"] = picture.transpose(2, 0, 1)
            record["depth"] = truth.depth
            record["normals"] = np.round(truth.normals / NORMAL_STEP).transpose(2, 0, 1)
            record["semseg"], record["instance"] = truth.semseg, truth.instance
            record["edges"], record["valid"] = np.packbits(truth.edges), np.packbits(truth.valid)
            record["intrinsics"], record["world_from_camera"] = view.intrinsics, view.world_from_camera
        return records

    def write(self, folder: Path, scene: int) -> None:
        """Whole or not at all."""
        part = folder / f"{scene:08d}.{os.getpid()}.part"
        part.write_bytes(self.render(scene).tobytes())
        os.replace(part, self.file(folder, scene))


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
