"""What the cross-view module costs beside the network it joins: an inference step on single views, a training step on
pairs of views.

Prints one JSON line a row: python benchmarks/cross_view.py [--decoder invpt] [--size 448 576] [--parts]
With and without the module take turns; times are the least of several rounds, in milliseconds of the processor.
``--parts`` times what the module is made of.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polyscene.model import MultiTaskModel, create_model
from polyscene.necks import CrossView
from polyscene.necks.neighbours import find
from polyscene.objective import Objective
from polyscene.types import Camera, Sample, Target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vit_base_patch16_384")
    parser.add_argument("--decoder", default="invpt")
    parser.add_argument("--neck", type=json.loads, default={}, help="the module's keywords, as JSON")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 576))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.parts:
        return parts(options)

    encoder: dict[str, Any] = {"name": options.encoder}
    if options.encoder.startswith("vit_"):
        encoder["img_size"] = list(options.size)
    models = {
        name: create_model("nyuv2", encoder, options.decoder, neck).to(options.device)
        for name, neck in (("base", None), ("cross_view", {"name": "cross_view", **options.neck}))
    }
    row = {"encoder": options.encoder, "decoder": options.decoder, "size": list(options.size), **options.neck}
    for step, views in ((infer, 1), (train, 2)):
        batch = pictures(models["base"], views, options)
        steps = {
            name: (lambda model=model, batch=batch, step=step: step(model, batch)) for name, model in models.items()
        }
        least = turns(steps, options)
        ratio = round(least["cross_view"] / least["base"], 3)
        print(json.dumps({**row, "step": step.__name__, "views": views, **least, "ratio": ratio}), flush=True)


def infer(model: MultiTaskModel, batch: Sample) -> None:
    model.eval().infer(batch.images, batch.camera, batch.present)


def train(model: MultiTaskModel, batch: Sample) -> None:
    model.train().zero_grad()
    predictions = model(batch.images, batch.camera, batch.present)
    Objective(model.tasks)(predictions, batch).total.backward()


def parts(options: argparse.Namespace) -> None:
    """Milliseconds of each, for two pictures: forward alone, and forward with backward."""
    neck = CrossView((64,), (16,), **options.neck).to(options.device)
    device, size = options.device, (options.size[0], options.size[1])
    camera = cameras(2, size, device)
    near = find(camera, camera.known, size, neck.reach)
    images = torch.rand(2, 3, *size, device=device)
    maps = neck.encoder(images).detach().requires_grad_()
    runs: dict[str, Callable[[], Tensor]] = {
        "encoder": lambda: neck.encoder(images),
        "transformer, single": lambda: neck.transformer(maps),
        "transformer, pair": lambda: neck.transformer(maps, near.rows),
    }
    if neck.volume is not None:
        volume = neck.volume
        runs["volume, single"] = lambda: volume(maps[None], None, 2)
        runs["volume, pair"] = lambda: volume(maps[None], near, 2)

    def forward(run: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            run()

    for name, run in runs.items():
        both = {"forward": lambda run=run: forward(run), "with_backward": lambda run=run: run().sum().backward()}
        print(json.dumps({"part": name, "images": 2, "size": list(size), **turns(both, options)}), flush=True)


def turns(steps: dict[str, Callable[[], Any]], options: argparse.Namespace) -> dict[str, float]:
    """The least time of each, in milliseconds: of the processor, or of the clock on an accelerator."""
    cuda = options.device.startswith("cuda")
    clock = time.perf_counter if cuda else time.process_time
    least = dict.fromkeys(steps, float("inf"))
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            start = clock()
            with torch.autocast(options.device.partition(":")[0], torch.bfloat16, enabled=options.bf16):
                step()
            if cuda:
                torch.cuda.synchronize()
            if turn:  # the first warms up
                least[name] = min(least[name], round((clock() - start) * 1e3, 1))
    return least


def cameras(views: int, size: tuple[int, int], device: str) -> Camera:
    """Side by side, 10 cm apart, with the field of view of an indoor sensor."""
    height, width = size
    focal = 0.81 * width
    intrinsics = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    pose = torch.eye(4).repeat(1, views, 1, 1)
    pose[..., 0, 3] = torch.arange(views) * 0.1
    known = torch.ones(1, views, dtype=torch.bool)
    return Camera(intrinsics.expand(1, views, 3, 3), pose, known).to(device)


def pictures(model: MultiTaskModel, views: int, options: argparse.Namespace) -> Sample:
    def target(name: str) -> Target:
        task, shape = model.tasks[name], (1, views, model.tasks[name].value_channels, *options.size)
        value = torch.randint(0, len(task.classes), shape) if task.classes else torch.rand(shape)
        return Target(value, torch.ones(1, views, 1, *options.size, dtype=torch.bool))

    camera = cameras(views, (options.size[0], options.size[1]), "cpu")
    images, targets = torch.rand(1, views, 3, *options.size), {name: target(name) for name in model.tasks}
    return Sample(images, targets, camera, camera.known, "random").to(options.device)


if __name__ == "__main__":
    main()
