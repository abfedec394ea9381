"""Triplane sampling and volume rendering against the usual order of operations, forward and backward, one thread.

One JSON line a row: processor milliseconds (the least of several interleaved rounds), MB of memory at most above what
was there before, and how many times less of both than the row's reference takes. The reference samples with three
``grid_sample`` calls and takes the mean, runs the MLPs (C -> 64 -> density and values) on every point, and composites.

    python benchmarks/triplane.py [--rounds 5] [--planes 128x128,56x72] [--channels 32] [--samples 64] [--tasks 32]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from polyscene.geometry import triplane, volume

Case = Callable[[], list[Tensor]]
ROWS, COLUMNS = 56, 72


def three_samples(planes: Tensor, points: Tensor) -> Tensor:
    pairs = [points[:, :, [0, 1]], points[:, :, [0, 2]], points[:, :, [1, 2]]]
    found = [
        functional.grid_sample(planes[:, i], pair[:, :, None], padding_mode="border", align_corners=False)
        for i, pair in enumerate(pairs)
    ]
    return torch.stack(found).mean(0).squeeze(-1).transpose(1, 2)


def usual_order(
    planes: Tensor, points: Tensor, depths: Tensor, density: torch.nn.Module, values: dict[str, torch.nn.Sequential]
) -> list[Tensor]:
    found = three_samples(planes, points.flatten(1, 2)).unflatten(1, points.shape[1:3])
    raw, thickness = density(found), depths.diff()[:, None]
    alpha = 1 - torch.exp(-functional.softplus((raw[:, :, 1:] + raw[:, :, :-1]) / 2 - 1) * thickness)
    alpha = torch.cat([alpha[:, :, :-1], torch.ones_like(alpha[:, :, -1:])], 2)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :, :1]), 1 - alpha + 1e-10], 2), 2)[:, :, :-1]
    share, shown = alpha * light, []
    for mlp in values.values():
        colour = mlp(found)
        shown.append((share * (colour[:, :, 1:] + colour[:, :, :-1]) / 2).sum(2))
    return [*shown, (share * (depths[:, None][1:] + depths[:, None][:-1]) / 2).sum(2).squeeze(-1)]


def cases(size: tuple[int, int], options: argparse.Namespace) -> dict[str, tuple[str, Case]]:
    """{name: (name of its reference, forward and backward)}, which gives outputs and the gradients that matter."""
    torch.manual_seed(0)
    samples = options.samples
    planes = torch.randn(1, 3, options.channels, *size, requires_grad=True)
    x, y = (torch.arange(COLUMNS) + 0.5) * 2 / COLUMNS - 1, (torch.arange(ROWS) + 0.5) * 2 / ROWS - 1
    z = torch.linspace(-1, 1, samples)
    down, across, deep = torch.meshgrid(y, x, z, indexing="ij")
    straight = torch.stack([across, down, deep], -1).flatten(0, 1)[None]
    slanted = torch.stack([across + 0.1 * deep, down + 0.07 * deep, deep], -1).flatten(0, 1)[None]
    fixed, flat = triplane.prepare(slanted.flatten(1, 2), size), slanted.flatten(1, 2)
    density = volume.point_mlp(options.channels, 1)
    values = {str(i): volume.point_mlp(options.channels, int(n)) for i, n in enumerate(options.tasks.split(","))}
    networks = [*density.parameters(), *(p for mlp in values.values() for p in mlp.parameters())]
    points = ROWS * COLUMNS * samples
    owed = torch.randn(1, points, options.channels)
    owed_rays = [torch.randn(1, ROWS * COLUMNS, mlp[2].out_features) for mlp in values.values()]
    owed_rays.append(torch.randn(1, ROWS * COLUMNS))

    def sampled(make: Callable[[], Tensor]) -> Case:
        def case() -> list[Tensor]:
            out = make()
            return [out.detach(), *torch.autograd.grad(out, planes, owed.view(out.shape))]

        return case

    def rendered(make: Callable[[], list[Tensor]]) -> Case:
        def case() -> list[Tensor]:
            out = make()
            towards = [owed.view(part.shape) for owed, part in zip(owed_rays, out, strict=True)]
            return [*(part.detach() for part in out), *torch.autograd.grad(out, [planes, *networks], towards)]

        return case

    def ours(grid: bool, implementation: triplane.Implementation) -> list[Tensor]:
        rays = volume.Grid(x, y, z) if grid else volume.Points(slanted, z)
        shown = volume.render(planes, rays, density, values, implementation=implementation)
        return [*shown.values.values(), shown.depth]

    return {
        "sample, usual": ("sample, usual", sampled(lambda: three_samples(planes, flat))),
        "sample, fresh": ("sample, usual", sampled(lambda: triplane.sample(planes, flat))),
        "sample, prepared": ("sample, usual", sampled(lambda: triplane.sample(planes, fixed))),
        "grid, usual": ("grid, usual", sampled(lambda: three_samples(planes, straight.flatten(1, 2)))),
        "grid": ("grid, usual", sampled(lambda: triplane.sample_grid(planes, x, y, z))),
        "grid, torch": ("grid, usual", sampled(lambda: triplane.sample_grid(planes, x, y, z, implementation="torch"))),
        "render, usual": ("render, usual", rendered(lambda: usual_order(planes, slanted, z, density, values))),
        "render": ("render, usual", rendered(lambda: ours(False, "auto"))),
        "render, torch": ("render, usual", rendered(lambda: ours(False, "torch"))),
        "render grid, usual": (
            "render grid, usual",
            rendered(lambda: usual_order(planes, straight, z, density, values)),
        ),
        "render grid": ("render grid, usual", rendered(lambda: ours(True, "auto"))),
        "render grid, torch": ("render grid, usual", rendered(lambda: ours(True, "torch"))),
    }


def at_most() -> float:
    """MB of memory that this process has had since the peak was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def memory(case: Case) -> float:
    """How far the peak rises above what is there before, once compiled code and pools are warm."""
    case()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = at_most()
    case()
    return at_most() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--planes", default="128x128,56x72")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--tasks", default="32", help="outputs of the value MLPs, with commas")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.planes.split(","):
        table = cases(tuple(map(int, size.split("x"))), options)  # type: ignore[arg-type]
        if options.memory_of:
            print(memory(table[options.memory_of][1]))
            return
        report(size, table, options.rounds)


def report(size: str, table: dict[str, tuple[str, Case]], rounds: int) -> None:
    outputs: dict[str, list[Tensor]] = {}
    differences = {}
    for name, (reference, case) in table.items():
        outputs[name] = case()
        differences[name] = max(
            float((a.flatten() - b.flatten()).abs().max() / b.abs().max().clamp_min(1))
            for a, b in zip(outputs[name], outputs[reference], strict=True)
        )
    outputs.clear()
    times: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(rounds):
        for name, (_, case) in table.items():
            start = time.process_time()
            case()
            times[name].append(1e3 * (time.process_time() - start))
    peaks = {name: peak_of(name, size) for name in table}
    for name, (reference, _) in table.items():
        least = {key: min(times[key]) for key in (name, reference)}
        row = {"planes": size, "what": name, "cpu_ms": round(least[name], 1), "peak_mb": round(peaks[name], 1)}
        row |= {"faster": round(least[reference] / least[name], 2), "leaner": round(peaks[reference] / peaks[name], 2)}
        print(json.dumps({**row, "difference": float(f"{differences[name]:.1e}")}), flush=True)


def peak_of(name: str, size: str) -> float:
    """In a process of its own: pools of memory that another row left behind would hide what this one needs."""
    command = [sys.executable, __file__, *sys.argv[1:], "--planes", size, "--memory-of", name]
    return max(0.1, float(subprocess.run(command, env=os.environ, capture_output=True, check=True, text=True).stdout))


if __name__ == "__main__":
    main()
