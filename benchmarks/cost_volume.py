"""Plane-sweep cost volume against warping and multiplying, forward and backward: one JSON line a row.

    python benchmarks/cost_volume.py [--rounds 5] [--channels 128] [--threads 1]

``warp`` is the usual way: all planes are sampled into a (c, planes, h, w) volume, which is multiplied and summed; the
coordinates are found without gradients. Candidates take turns; ``ms`` is the least processor time of the rounds (of all
threads), ``faster`` its ratio. ``peak_mb`` is what the resident memory of a process of its own rises by, at most, in
one forward and backward pass after a small one that loads all code (Linux's VmHWM, reset before the pass; features and
gradients that the caller holds are not counted). ``off`` is the largest difference of outputs and gradients from
``warp``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from polyscene.geometry.cost_volume import inverse_depth_planes, plane_sweep

SIZES = ((56, 72, 128), (112, 144, 64))  # h, w, planes
POSES = ("sideways", "adverse")
Run = Callable[..., Tensor]


def warp(
    reference: Tensor, source: Tensor, k_reference: Tensor, k_source: Tensor, pose: Tensor, inverse_depths: Tensor
) -> Tensor:
    batch, channels, height, width = reference.shape
    planes = len(inverse_depths)
    with torch.no_grad():
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack([x, y, torch.ones_like(x)]).to(reference).flatten(1)
        rays = pose[:, :3, :3] @ torch.linalg.inv(k_reference) @ pixels
        points = rays[:, :, None] / inverse_depths[:, None] + pose[:, :3, 3, None, None]
        seen = k_source @ points.flatten(2)
        depth = seen[:, 2].clamp(min=1e-3)
        across = 2 * (seen[:, 0] / depth) / (width - 1) - 1
        down = 2 * (seen[:, 1] / depth) / (height - 1) - 1
        grid = torch.stack([across, down], -1).view(batch, planes * height, width, 2)
    volume = functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return (reference[:, :, None] * volume.view(batch, channels, planes, height, width)).sum(1) / math.sqrt(channels)


def ours(implementation: str) -> Run:
    return lambda *made: plane_sweep(*made, implementation=implementation)  # type: ignore[call-overload,no-any-return]


RUNS: dict[str, Run] = {"warp": warp, "torch": ours("torch"), "numba": ours("numba")}


def scene(height: int, width: int, planes: int, channels: int, pose: str) -> tuple[Tensor, ...]:
    """A neighbour a step to the side and turned by 3.4 degrees, or one that rolled by 11.5 and went ahead."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, channels, height, width, generator=generator) for _ in range(2)]
    k = torch.tensor([[[0.93 * width, 0, (width - 1) / 2], [0, 0.93 * width, (height - 1) / 2], [0, 0, 1]]])
    angle = math.radians(3.4 if pose == "sideways" else 11.5)
    c, s = math.cos(angle), math.sin(angle)
    motion = torch.eye(4)[None].clone()
    if pose == "sideways":
        motion[0, :3] = torch.tensor([[c, 0, s, 0.35], [0, 1, 0, 0.03], [-s, 0, c, 0.02]])
    else:
        motion[0, :3] = torch.tensor([[c, -s, 0, 0.05], [s, c, 0, 0.2], [0, 0, 1, 0.3]])
    return *maps, k, k, motion, inverse_depth_planes(planes, 0.6, 10.0)


def once(run: Run, made: tuple[Tensor, ...], weights: Tensor) -> tuple[float, tuple[Tensor, ...]]:
    """Milliseconds, and the volume with its gradients by both maps."""
    maps = [value.detach().requires_grad_() for value in made[:2]]
    start = time.process_time()
    volume = run(*maps, *made[2:])
    volume.backward(weights)
    taken = 1e3 * (time.process_time() - start)
    return taken, (volume.detach(), *(value.grad for value in maps if value.grad is not None))


def resident(field: str) -> float:
    """Megabytes, from the kernel's own account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def peak(name: str, size: tuple[int, int, int], channels: int, pose: str) -> float:
    """Megabytes by which one pass raises this process; to be called in a fresh one."""
    small = scene(8, 10, 8, channels, pose)
    once(RUNS[name], small, torch.ones(1, 8, 8, 10))
    made, weights = scene(*size, channels, pose), torch.ones(1, size[2], *size[:2])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    once(RUNS[name], made, weights)
    return resident("VmHWM") - before


def measured_peak(name: str, size: tuple[int, int, int], options: argparse.Namespace, pose: str) -> float:
    spec = json.dumps([name, size, options.channels, pose])
    words = [sys.executable, __file__, "--threads", str(options.threads), "--peak", spec]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        name, size, channels, pose = json.loads(options.peak)
        print(peak(name, tuple(size), channels, pose))
        return
    for size in SIZES:
        for pose in POSES:
            made = scene(*size, options.channels, pose)
            weights = torch.randn(1, size[2], *size[:2], generator=torch.Generator().manual_seed(1))
            known = once(warp, made, weights)[1]
            off = {
                name: max(float((a - b).abs().max()) for a, b in zip(once(run, made, weights)[1], known, strict=True))
                for name, run in RUNS.items()
            }
            del known
            times: dict[str, list[float]] = {name: [] for name in RUNS}
            for _ in range(options.rounds):
                for name, run in RUNS.items():
                    times[name].append(once(run, made, weights)[0])
            peaks = {name: measured_peak(name, size, options, pose) for name in RUNS}
            for name in RUNS:
                row = {
                    "size": "{}x{}, {} planes".format(*size),
                    "pose": pose,
                    "way": name,
                    "ms": round(min(times[name]), 1),
                    "faster": round(min(times["warp"]) / min(times[name]), 1),
                    "peak_mb": round(peaks[name], 1),
                    "leaner": round(peaks["warp"] / peaks[name], 1),
                    "off": float(f"{off[name]:.1e}"),
                }
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
