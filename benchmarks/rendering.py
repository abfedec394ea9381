"""Time of rendered data sets: one JSON line a row, milliseconds of one core's time at 192x256.

Usage: python benchmarks/rendering.py [--scenes 12] [--warm 4] [--sets rooms streets]. ``labels`` and ``picture`` are a
view's own time; ``whole`` is all of it, the scene's making, the tracer, the search for views and the light shared out
among a scene's views. ``--warm`` scenes are drawn before, whose things and textures are then in stock.
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

from polyscene.data.rooms import camera as room_camera
from polyscene.data.rooms import layout as room_layout
from polyscene.data.rooms import render as room_render
from polyscene.data.rooms.labels import labels
from polyscene.data.rooms.scene import Scene, View
from polyscene.data.rooms.tracer import Tracer
from polyscene.data.streets import camera as street_camera
from polyscene.data.streets import layout as street_layout
from polyscene.data.streets import render as street_render
from polyscene.data.streets.scene import Street

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


def _ready(made: Scene) -> Tracer:
    tracer = Tracer(made)
    down = np.array([[0, 0, -1]], np.float32)
    tracer.cast(np.array([[0, 0, 1]], np.float32), down)  # the first ray builds its tree
    return tracer


def _street_views(street: Scene, count: int, tracer: Tracer) -> tuple[View, ...]:
    assert isinstance(street, Street)
    return street_camera.views(street, count, SIZE)


SETS = {
    "rooms": (
        room_layout.generate,
        lambda room, count, tracer: room_camera.views(room, count, SIZE, tracer=tracer),
        room_render,
    ),
    "streets": (street_layout.generate, _street_views, street_render),
}


def scene(name: str, clock: Clock, index: int, count: int) -> None:
    generate, views, render = SETS[name]
    made = clock.run("layout", lambda: generate(0, index))
    tracer = clock.run("tracer", lambda: _ready(made))
    path = clock.run("views", lambda: views(made, count, tracer))
    clock.run("shared light", lambda: render.prepare(tracer))
    for view in path:
        truth = clock.run("labels", lambda v=view: labels(tracer, v))  # type: ignore[misc]
        clock.run("picture", lambda v=view, known=truth: render.picture(tracer, v, known))  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    for name in wanted.sets:
        start = Clock()
        for k in range(wanted.warm):
            start.run("start", lambda number=1000 + k, name=name: scene(name, Clock(), number, 2))  # type: ignore[misc]
        first = {"set": name, "what": f"start of a process: {wanted.warm} scenes, their things and textures"}
        print(json.dumps({**first, "ms": round(sum(start.times["start"]))}))
        for count in (2, 4):
            clock = Clock()
            for index in range(wanted.scenes):
                scene(name, clock, index, count)
            for what, values in clock.times.items():
                row = {"set": name, "what": what, "views": count}
                figures = {"median_ms": np.median(values), "p90_ms": np.quantile(values, 0.9)}
                print(json.dumps({**row, **{k: round(float(v), 1) for k, v in figures.items()}}))
            whole = sum(map(sum, clock.times.values())) / (wanted.scenes * count)
            print(json.dumps({"set": name, "what": "whole, a view", "views": count, "mean_ms": round(whole, 1)}))


if __name__ == "__main__":
    main()
