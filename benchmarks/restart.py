"""What being killed costs a run: the seconds from the command to the first step of a run that is carried on, and those
of a checkpoint beside the training between two.

    polyscene bench restart [--steps 60] [--rounds 3]

The network of experiments/rooms/hour.yaml with a few of its scenes; the wall clock of an idle machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from polyscene.config import load
from polyscene.data.rooms.dataset import Rooms
from polyscene.training import loop, records

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "experiments/rooms/hour.yaml"
SCENES, PATH, SIZE = 16, 4, (192, 256)


def settings(home: Path, name: str, steps: int) -> list[str]:
    rooms = {"name": "rooms", "scenes": SCENES, "views": 1, "path": PATH, "root": str(home)}
    return [
        "--name", name, "--out", str(home / name), "--data.train.rooms.dataset", json.dumps(rooms),
        "--data.evaluate", "{}", "--training.steps", str(steps), "--training.minutes", "null",
    ]  # fmt: skip


def steps_done(out: Path) -> int:
    file = out / "metrics.jsonl"
    return max((record["step"] for record in records.read(file)), default=0) if file.exists() else 0


def started(command: list[str], out: Path, until: int) -> tuple[subprocess.Popen[bytes], float]:
    """Seconds until a step beyond ``until`` is recorded."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while steps_done(out) <= until:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with status {process.returncode}")
        time.sleep(0.02)
    return process, time.perf_counter() - began


def restarts(home: Path, steps: int, rounds: int) -> list[float]:
    """Killed after its second checkpoint, and started again."""
    taken = []
    for number in range(rounds):
        out = home / f"killed{number}"
        command = [sys.executable, "-m", "polyscene.cli", "train", str(CONFIG), *settings(home, out.name, steps)]
        process, _ = started(command, out, 2 * steps // loop.CHECKPOINTS + 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, seconds = started(command, out, steps_done(out))
        process.kill()
        process.wait()
        taken.append(seconds)
    return taken


def checkpoints(home: Path, steps: int) -> tuple[float, float]:
    """Seconds of one, and of a step."""
    spent: dict[str, list[float]] = {"_save": [], "_advance": []}
    usual = {name: getattr(loop.Run, name) for name in spent}

    def timed(name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began = time.perf_counter()
            usual[name](*arguments)
            spent[name].append(time.perf_counter() - began)

        return call

    for name in spent:
        setattr(loop.Run, name, timed(name))
    loop.train(load(CONFIG, settings(home, "whole", steps), trains=True), Console(quiet=True))
    for name, method in usual.items():
        setattr(loop.Run, name, method)
    return median(spent["_save"]), median(spent["_advance"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        Rooms(SCENES, 1, SIZE, root=home, path=PATH).prepare()
        seconds = restarts(home, options.steps, options.rounds)
        print(json.dumps({"row": "restart to first step", "seconds": [round(each, 1) for each in seconds]}), flush=True)
        saving, step = checkpoints(home, options.steps)
        shares = {
            f"share of {minutes} minutes": round(saving * loop.CHECKPOINTS / (60 * minutes), 4) for minutes in (3, 60)
        }
        row = {"row": "checkpoint", "seconds": round(saving, 3), "step_seconds": round(step, 3), **shares}
        print(json.dumps({**row, "checkpoints a run": loop.CHECKPOINTS}), flush=True)


if __name__ == "__main__":
    main()
