"""What a step of self-supervised depth costs beside a supervised one on the same pictures: processor time of one
thread, in turns, the least of each.

Prints one JSON line an arm: python benchmarks/self_supervised.py [--rounds 3] [--size 144 192] [--pictures 6]
[--views 2]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from _turns import least

from polyscene.config import Part, Training
from polyscene.geometry.camera import assumed_intrinsics
from polyscene.model import create_model
from polyscene.tasks import Depth, Task
from polyscene.training.loop import make_step
from polyscene.training.trainer import Trainer
from polyscene.types import Batch, Camera, Target

ALL = {"octaves": 2, "exposure": True, "hidden": 0.1, "dark": 0.01, "remember": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "supervised": {"name": "supervised"},
    "known poses": {"name": "self_supervised_depth"},
    "known poses, every option": {"name": "self_supervised_depth", **ALL},
    "known poses, first view": {"name": "self_supervised_depth", "anchors": "first"},
    "learned poses": {"name": "self_supervised_depth", "poses": "learned"},
}


def batch(count: int, views: int, size: tuple[int, int], labels: bool) -> Batch:
    lead = count, views
    poses = torch.eye(4).repeat(*lead, 1, 1)
    poses[..., 0, 3] = 0.1 * torch.arange(views)
    there = torch.ones(lead, dtype=torch.bool)
    camera = Camera(assumed_intrinsics(*size).expand(*lead, 3, 3), poses, there)
    target = Target(torch.rand(*lead, 1, *size) + 1, torch.ones(*lead, 1, *size, dtype=torch.bool))
    return Batch(torch.rand(*lead, 3, *size), {"depth": target} if labels else {}, camera, there, "noise")


def step(arm: str, count: int, views: int, size: tuple[int, int]) -> Callable[[], None]:
    tasks: dict[str, Task] = {"depth": Depth()}
    torch.manual_seed(0)
    method = make_step(Part.model_validate(ARMS[arm]), tasks)
    trainer = Trainer(create_model(tasks, canonical_focal=1.0), method, Training(), torch.device("cpu"), 0)
    given = {"noise": batch(count, views, size, arm == "supervised")}

    def update() -> None:
        trainer.update(0, 100, [given])

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=(144, 192))
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--views", type=int, default=2)
    options = parser.parse_args()
    count = max(1, options.pictures // options.views)
    steps = {arm: step(arm, count, options.views, tuple(options.size)) for arm in ARMS}
    found = least(steps, options.rounds)
    for arm, seconds in found.items():
        ratio = round(seconds / found["supervised"], 2)
        print(json.dumps({"arm": arm, "ms": round(1000 * seconds), "of a supervised step": ratio}), flush=True)


if __name__ == "__main__":
    main()
