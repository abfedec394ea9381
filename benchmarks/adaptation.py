"""What a step of adaptation costs beside a supervised one of as many pictures, half of them without labels: processor
time of one thread, in turns, the least of each.

Prints one JSON line a method: python benchmarks/adaptation.py [--rounds 3] [--size 96 128] [--batch 8]
    [--encoder '{"name": "resnet101"}'] [--decoder '{"name": "dense_mtl"}']
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from _turns import least

from polyscene.config import Part, Training
from polyscene.model import create_model
from polyscene.tasks import Depth, SemanticSegmentation, Task
from polyscene.tasks.sets import STREETS_CLASSES
from polyscene.training.loop import make_step
from polyscene.training.trainer import Trainer
from polyscene.types import Batch, Camera, Target

METHODS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "self_training": {},
    "self_training without mirror images": {"mirror": False},
    "adversarial": {},
}


def batch(count: int, size: tuple[int, int], labels: bool) -> Batch:
    eyes = (torch.eye(side).expand(count, 1, side, side) for side in (3, 4))
    valid = torch.ones(count, 1, 1, *size, dtype=torch.bool)
    semseg = torch.randint(len(STREETS_CLASSES), (count, 1, 1, *size))
    targets = {"semseg": Target(semseg, valid), "depth": Target(torch.rand(count, 1, 1, *size) + 1, valid)}
    known = torch.zeros(count, 1, dtype=torch.bool)
    images = torch.rand(count, 1, 3, *size)
    return Batch(images, targets if labels else {}, Camera(*eyes, known), ~known, "noise")


def step(method: str, count: int, size: tuple[int, int], network: dict[str, Any]) -> Callable[[], None]:
    tasks: dict[str, Task] = {"semseg": SemanticSegmentation(classes=STREETS_CLASSES), "depth": Depth()}
    torch.manual_seed(0)
    part = Part(name=method.partition(" ")[0], options=METHODS[method])
    trainer = Trainer(create_model(tasks, **network), make_step(part, tasks), Training(), torch.device("cpu"), 0)
    given = {"labelled": batch(count, size, True)}
    if method != "supervised":
        given = {"labelled": batch(count // 2, size, True), "pictures": batch(count // 2, size, False)}

    def update() -> None:
        trainer.update(0, 100, [given])

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--encoder", type=json.loads, default={"name": "tf_efficientnet_lite0"}, help="JSON")
    parser.add_argument("--decoder", type=json.loads, default={"name": "multi_head"}, help="JSON")
    options = parser.parse_args()
    network = {"encoder": options.encoder, "decoder": options.decoder}
    steps = {method: step(method, options.batch, tuple(options.size), network) for method in METHODS}
    found = least(steps, options.rounds)
    for method, seconds in found.items():
        ratio = round(seconds / found["supervised"], 2)
        print(json.dumps({"method": method, "ms": round(1000 * seconds), "of a supervised step": ratio}), flush=True)


if __name__ == "__main__":
    main()
