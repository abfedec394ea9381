"""What share of a training step the regularizers take: CPU seconds of one thread, forward, losses and backward.

Each is timed in turn with the network without any, round after round, and minima are kept.
Prints one JSON line a regularizer: python benchmarks/regularizer.py [--encoder NAME] [--decoder NAME] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from polyscene.model import MultiTaskModel, create_model
from polyscene.objective import Objective
from polyscene.types import Camera, Sample, Target

PINHOLE = {"name": "triplane", "camera": "pinhole"}
REGULARIZERS: dict[str, tuple[Any, int]] = {
    "plain_head": ("plain_head", 1),
    "triplane": ("triplane", 1),
    "triplane, last level": ({"name": "triplane", "tap": "last"}, 1),
    "triplane, pinhole": (PINHOLE, 1),
    "triplane, every step across": ({**PINHOLE, "views": "cross", "cross_share": 1.0}, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vit_base_patch16_224")
    parser.add_argument("--decoder", default="vit_light")
    parser.add_argument("--tasks", default="nyuv2")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 576))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=REGULARIZERS, nargs="+", default=list(REGULARIZERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        regularizer, views = REGULARIZERS[name]
        torch.manual_seed(0)
        model = create_model(options.tasks, options.encoder, options.decoder, regularizer=regularizer).train()
        branch = model.regularizer
        batch, times = pair(model, views, *options.size), {True: [], False: []}
        step(model, batch)
        for _ in range(options.rounds):
            for present in (True, False):
                model.regularizer = branch if present else None
                start = time.process_time()
                step(model, batch)
                times[present].append(time.process_time() - start)
        seconds, without = min(times[True]), min(times[False])
        row = {"encoder": options.encoder, "decoder": options.decoder, "size": list(options.size), "images": views}
        parameters = sum(parameter.numel() for parameter in branch.parameters()) if branch else 0
        figures = {"seconds": round(seconds, 3), "without": round(without, 3), "share": round(1 - without / seconds, 3)}
        print(json.dumps({"regularizer": name, **row, "parameters": parameters, **figures}), flush=True)


def step(model: MultiTaskModel, batch: Sample) -> None:
    model.zero_grad()
    Objective(model.tasks)(model(batch.images, batch.camera, batch.present), batch).total.backward()


def pair(model: MultiTaskModel, views: int, height: int, width: int) -> Sample:
    """Random pictures and labels of cameras side by side, 10 cm from each other."""
    labelled = torch.ones(1, views, 1, height, width, dtype=torch.bool)

    def target(name: str) -> Target:
        task = model.tasks[name]
        shape = (1, views, task.value_channels, height, width)
        return Target(torch.randint(0, len(task.classes), shape) if task.classes else torch.rand(shape), labelled)

    intrinsics = torch.tensor([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    pose = torch.eye(4).repeat(1, views, 1, 1)
    pose[0, :, 0, 3] = 0.1 * torch.arange(views)
    known = torch.ones(1, views, dtype=torch.bool)
    camera = Camera(intrinsics.expand(1, views, 3, 3), pose, known)
    targets = {name: target(name) for name in model.tasks}
    return Sample(torch.rand(1, views, 3, height, width), targets, camera, known, "random")


if __name__ == "__main__":
    main()
