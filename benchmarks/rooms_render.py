"""Time of procedural rooms: one JSON line a row, milliseconds of one core's time at 192x256.

Usage: python benchmarks/rooms_render.py [--scenes 12]. ``labels`` and ``picture`` are a view's own time; ``whole`` is
all of it, the room's making, the tracer, the search for views and the soft light shared out among a scene's views.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np

from polyscene.data.rooms.camera import views
from polyscene.data.rooms.labels import labels
from polyscene.data.rooms.layout import generate
from polyscene.data.rooms.render import Tracer, picture, prepare

T = TypeVar("T")
SIZE = (192, 256)


class Clock:
    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)

    def run(self, name: str, work: Callable[[], T]) -> T:
        start = time.process_time()
        result = work()
        self.times[name].append(1e3 * (time.process_time() - start))
        return result


def scene(clock: Clock, index: int, count: int) -> None:
    room = clock.run("layout", lambda: generate(0, index))
    tracer = clock.run("tracer", lambda: Tracer(room))
    path = clock.run("views", lambda: views(room, count, SIZE, tracer=tracer))
    clock.run("soft light", lambda: prepare(tracer))
    for view in path:
        truth = clock.run("labels", lambda v=view: labels(tracer, v))  # type: ignore[misc]
        clock.run("picture", lambda v=view, known=truth: picture(tracer, v, known))  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    scenes = parser.parse_args().scenes
    cv2.setNumThreads(1)
    start = Clock()
    start.run("start", lambda: [scene(Clock(), 1000 + index, 2) for index in range(4)])
    print(
        json.dumps(
            {"what": "start of a process: four scenes, their things and textures", "ms": round(start.times["start"][0])}
        )
    )
    for count in (2, 4):
        clock = Clock()
        for index in range(scenes):
            scene(clock, index, count)
        for name, values in clock.times.items():
            row = {"what": name, "views": count, "median_ms": np.median(values), "p90_ms": np.quantile(values, 0.9)}
            print(json.dumps({k: round(float(v), 1) if k.endswith("ms") else v for k, v in row.items()}))
        whole = sum(map(sum, clock.times.values())) / (scenes * count)
        print(json.dumps({"what": "whole, a view", "views": count, "mean_ms": round(whole, 1)}))


if __name__ == "__main__":
    main()
