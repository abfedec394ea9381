"""Training, adaptation and rendering under SIGKILL: each is killed at random moments and started again until it ends,
and must end with the result, to the bit, of one that nothing disturbed; exits with 1 otherwise.

A process that has imported everything forks those that work, so that kills fall into the work, not into imports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of libraries that start threads when they are imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.figure  # noqa: F401  what training imports only when it draws: here before the forks
import torch
from rich.console import Console
from safetensors import safe_open
from tests.training import toy

from polyscene.data.rooms.dataset import Rooms
from polyscene.training import records
from polyscene.training.loop import train

STEPS = [24]  # of a run; what the forks find here
CLOCK = ("images/s", "waited")
Work = Callable[[Path], object]


def training(out: Path) -> None:
    train(toy.config(out, steps=STEPS[0], checkpoint_every=2, evaluate_every=STEPS[0] // 2, ema=0.9), quiet())


def adaptation(out: Path) -> None:
    """A student, its teacher, and batches without labels."""
    plain = toy.config(out, evaluate=False, steps=STEPS[0], checkpoint_every=2, ema=0.9)
    train(toy.with_target(plain, {"name": "self_training"}), quiet())


def rendering(out: Path) -> None:
    Rooms(4, 1, (24, 32), root=out, workers=1).prepare()


WORKS: dict[str, Work] = {"training": training, "adaptation": adaptation, "rendering": rendering}


def quiet() -> Console:
    return Console(file=open(os.devnull, "w"))


def result(out: Path) -> dict[str, str]:
    """What a run leaves, by name: digests of every tensor and of every record (but for what the clock says), or of
    every rendered file."""
    found = {}
    for file in sorted(out.rglob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():
                tensor = tensors.get_tensor(name)
                content = f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes()
                found[f"{file.relative_to(out)} {name}"] = hashlib.sha256(content).hexdigest()
    for file in sorted(out.rglob("metrics.jsonl")):
        for number, record in enumerate(records.read(file)):
            told = {key: value for key, value in record.items() if key not in CLOCK}
            found[f"{file.relative_to(out)} {number}"] = json.dumps(told, sort_keys=True)
    for file in sorted(out.rglob("*.room")):
        found[str(file.relative_to(out))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def forked(work: Work, out: Path, errors: bool = True) -> int:
    """The number of the process that does it, in a session of its own together with those that it starts."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        os.setsid()
        torch.set_num_threads(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        if not errors:
            os.dup2(nowhere, 2)  # what a worker says of a parent that is gone
        work(out)
        status = 0
    finally:
        if status:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        os._exit(status)


def finish(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def killed_after(seconds: float, number: int) -> bool:
    """Whether it was still at work by then. Those that it started are left to themselves, as they would be."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (ended := os.waitpid(number, os.WNOHANG))[0]:
            if os.waitstatus_to_exitcode(ended[1]):
                raise RuntimeError("it failed by itself; run it alone to see why")
            return False
        time.sleep(0.002)
    os.kill(number, signal.SIGKILL)
    return finish(number) == -signal.SIGKILL


def endure(name: str, kills: int, each: int, rng: random.Random, folder: Path, until: float) -> dict[str, Any]:
    """One kind of work until it was killed so many times, ``each`` times a run at most, or the time is over."""
    work, begun = WORKS[name], time.monotonic()
    status = finish(forked(work, folder / "whole"))
    if status:
        raise RuntimeError(f"{name} ends with status {status} when nothing disturbs it")
    length = time.monotonic() - begun
    whole = result(folder / "whole")
    row: dict[str, Any] = {"work": name, "kills": 0, "runs": 0, "starts": 0, "identical": 0, "results": len(whole)}
    while row["kills"] < kills and time.monotonic() < until:
        out = folder / f"run{row['runs']}"
        for _ in range(min(each, kills - row["kills"])):
            row["starts"] += 1
            if not killed_after(rng.uniform(0, length), forked(work, out, False)):
                break
            row["kills"] += 1
        row["starts"] += 1
        status = finish(forked(work, out))
        row["runs"] += 1
        row["identical"] += status == 0 and result(out) == whole
    return {**row, "seconds": round(time.monotonic() - begun, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each kind of work")
    parser.add_argument("--each", type=int, default=3, help="kills a run at most")
    parser.add_argument("--work", choices=[*WORKS], nargs="+", default=[*WORKS])
    parser.add_argument("--minutes", type=float, default=60.0, help="altogether at most; a run under way is ended")
    parser.add_argument("--steps", type=int, default=STEPS[0], help="of training and adaptation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    STEPS[0] = options.steps
    rng, rows = random.Random(options.seed), []
    until = time.monotonic() + 60 * options.minutes
    for number, name in enumerate(options.work):
        share = time.monotonic() + (until - time.monotonic()) / (len(options.work) - number)
        with tempfile.TemporaryDirectory(prefix="polyscene-kills-", ignore_cleanup_errors=True) as folder:
            rows.append(endure(name, options.kills, options.each, rng, Path(folder), share))
        print(json.dumps(rows[-1]), flush=True)
    good = all(row["identical"] == row["runs"] > 0 for row in rows)
    told = {"kills": sum(row["kills"] for row in rows), "runs": sum(row["runs"] for row in rows), "all_identical": good}
    print(json.dumps({"benchmark": "kills", **told, "seed": options.seed}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
