"""Decoders beside their public code: time and peak memory of forward and backward, one image, one thread.

Prints one JSON line a row: python benchmarks/decoders.py [mti_net] [--reference DIR] [--size 448 576] [--bf16]
DIR is a checkout of the public code: for mti_net of SimonVandenhende/Multi-Task-Learning-PyTorch. Candidates take
turns; the time is the least of several rounds, in seconds of the processor; memory is the peak of a process that does
two rounds, less what it held before. ``channels_last`` is the order in which pictures and weights come: ours trains in
it by default, the public code in the other. Without DIR there are only rows of ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
import yaml
from torch import Tensor, nn

from polyscene.model import create_model

CHANNELS = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
Outputs = Callable[[nn.Module, Tensor], list[Tensor]]


def ours(decoder: str) -> tuple[nn.Module, Outputs]:
    def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
        predictions = model(images[:, None])
        early = [raw for auxiliary in predictions.auxiliary for raw in auxiliary.maps.values()]
        return [*predictions.final.values(), *early]

    return create_model("nyuv2", {"name": "hrnet_w18_small_v2", "upsample": "bilinear"}, decoder), outputs


def reference_mti_net(folder: str) -> tuple[nn.Module, Outputs]:
    unused = {"torchvision.models.utils": ["load_state_dict_from_url"], "termcolor": ["colored"]}
    for name, functions in unused.items():
        module = types.ModuleType(name)
        module.__dict__.update(dict.fromkeys(functions))
        sys.modules[name] = module
    vars(numpy)["int"] = int  # which it had when that code was written
    sys.path.insert(0, folder)
    from models.mti_net import MTINet  # type: ignore[import-not-found]
    from models.seg_hrnet import HighResolutionHead, HighResolutionNet  # type: ignore[import-not-found]

    widths = [18, 36, 72, 144]
    names = types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS)
    backbone = HighResolutionNet(yaml.safe_load((Path(folder) / "models/model_info/hrnet_w18.yml").read_text()))
    heads = nn.ModuleDict({name: HighResolutionHead(widths, count) for name, count in CHANNELS.items()})
    model: nn.Module = MTINet(types.SimpleNamespace(TASKS=names, AUXILARY_TASKS=names), backbone, widths, heads)

    def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
        found: dict[str, Any] = model(images)
        scales = found["deep_supervision"].values()
        return [found[name] for name in CHANNELS] + [scale[name] for scale in scales for name in CHANNELS]

    return model, outputs


REFERENCES = {"mti_net": reference_mti_net}


class Candidate:
    def __init__(self, name: str, options: argparse.Namespace) -> None:
        kind, _, order = name.partition(", ")
        torch.manual_seed(0)
        made = ours(options.decoder) if kind == "ours" else REFERENCES[options.decoder](options.reference)
        layout = torch.channels_last if order else torch.contiguous_format
        self.model, self.outputs = made[0].train().to(memory_format=layout), made[1]
        self.images = torch.rand(1, 3, *options.size).contiguous(memory_format=layout)
        self.bf16 = options.bf16

    def round(self) -> tuple[float, float]:
        """Seconds forward and backward."""
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            maps = self.outputs(self.model, self.images)
            total = torch.stack([raw.float().mean() for raw in maps]).sum()
        middle = time.process_time()
        total.backward()
        return middle - start, time.process_time() - middle


def peak(name: str, options: argparse.Namespace) -> float:
    """MB above what the process needed before its first round."""
    torch.set_num_threads(1)
    candidate = Candidate(name, options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        candidate.round()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoder", nargs="?", choices=REFERENCES, default="mti_net")
    parser.add_argument("--reference")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 576))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="all under bf16 autocast")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["ours", "reference"] if options.reference else ["ours"]
    names = [f"{kind}{order}" for kind in kinds for order in ("", ", channels_last")]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {name: pool.apply(peak, (name, options)) for name in names}
    candidates = {name: Candidate(name, options) for name in names}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, candidate in candidates.items():
            times[name].append(candidate.round())
            candidate.model.zero_grad(set_to_none=True)
    best = {name: [min(part) for part in zip(*rounds, strict=True)] for name, rounds in times.items()}
    for name, (forward, backward) in best.items():
        row = {"decoder": options.decoder, "name": name, "size": list(options.size), "bf16": options.bf16}
        row |= {"forward_s": round(forward, 3), "backward_s": round(backward, 3), "peak_mb": round(memory[name])}
        row |= {"times_faster": round(sum(best["reference"]) / (forward + backward), 2)} if options.reference else {}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
