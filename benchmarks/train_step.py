"""Milliseconds an image of one training step (forward, losses, backward, update) on random pictures.

Prints one JSON line a network: python benchmarks/train_step.py [--encoder NAME] [--options '{"depth": 2}']
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.training.cost import random_batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--decoder", default="multi_head")
    parser.add_argument("--options", type=json.loads, default={}, help="the decoder's keywords, as JSON")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = create_model("rooms", options.encoder, {"name": options.decoder, **options.options})
    model = model.to(memory_format=torch.channels_last).train()
    objective, optimiser = Objective(model.tasks), torch.optim.AdamW(model.parameters(), fused=True)
    batch = random_batch(model.tasks, options.batch, *options.size)
    times: dict[str, list[float]] = {"forward": [], "loss": [], "backward": [], "update": []}
    for _ in range(options.steps + 1):
        marks = [time.perf_counter()]
        predictions = model(batch.images, batch.camera, batch.present)
        marks.append(time.perf_counter())
        report = objective(predictions, batch)
        marks.append(time.perf_counter())
        report.total.backward()
        marks.append(time.perf_counter())
        optimiser.step()
        optimiser.zero_grad()
        marks.append(time.perf_counter())
        for name, start, end in zip(times, marks, marks[1:], strict=False):
            times[name].append((end - start) * 1e3 / options.batch)
    medians = {name: round(sorted(values[1:])[options.steps // 2], 2) for name, values in times.items()}
    shape = {"encoder": options.encoder, "decoder": options.decoder, **options.options, "size": list(options.size)}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    row = {**shape, "batch": options.batch, "threads": options.threads, "parameters": parameters, **medians}
    print(json.dumps({**row, "ms_per_image": round(sum(medians.values()), 2)}), flush=True)


if __name__ == "__main__":
    main()
