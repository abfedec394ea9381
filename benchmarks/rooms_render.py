"""Time of labels and pictures of procedural rooms: one JSON line a row, milliseconds of one core's time a view.

Usage: python benchmarks/rooms_render.py [--scenes 12] [--views 4]. ``picture`` excludes the labels, ``sum`` has both;
``scene`` is the tracer and the field of soft light, made once for all its views.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np

from polyscene.data.rooms.camera import views
from polyscene.data.rooms.labels import labels
from polyscene.data.rooms.layout import generate
from polyscene.data.rooms.render import Tracer, picture, prepare

T = TypeVar("T")


def clock(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = work()
    return 1e3 * (time.process_time() - start), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--views", type=int, default=4)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    warm = Tracer(generate(1, 0))
    for view in views(warm.scene, 2, (192, 256)):
        picture(warm, view, labels(warm, view))
    times: dict[str, list[float]] = {}
    triangles, lights = [], []
    for index in range(given.scenes):
        scene = generate(0, index)
        triangles.append(sum(len(p.faces) for p in scene.parts))
        lights.append(len(scene.lights))
        build, tracer = clock(lambda scene=scene: Tracer(scene))  # type: ignore[misc]
        soak, _ = clock(lambda tracer=tracer: prepare(tracer))  # type: ignore[misc]
        times.setdefault("scene", []).append(build + soak)
        for view in views(scene, given.views, (192, 256), tracer=tracer):
            first, truth = clock(lambda t=tracer, v=view: labels(t, v))  # type: ignore[misc]
            then, _ = clock(lambda t=tracer, v=view, truth=truth: picture(t, v, truth))  # type: ignore[misc]
            for name, value in (("labels", first), ("picture", then), ("sum", first + then)):
                times.setdefault(name, []).append(value)
    print(json.dumps({"what": "scenes", "triangles": int(np.median(triangles)), "lights": int(np.median(lights))}))
    for name, values in times.items():
        print(json.dumps({"what": name, "median_ms": round(float(np.median(values)), 1),
                          "p90_ms": round(float(np.quantile(values, 0.9)), 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
