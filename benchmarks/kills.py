"""Training, adaptation, rendering, evaluation, export, packing and prediction under SIGKILL: each is killed at random
moments and started again until it ends, and must end with the result, to the bit, of one that nothing disturbed. What
writes each file once may never show half a file, nor write one again; exits with 1 otherwise.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of libraries that start threads when they are imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.figure  # noqa: F401  what training imports only when it draws: here before the forks
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from safetensors import safe_open
from tests.training import toy

from polyscene import create_model, pictures, pointcloud, weights  # noqa: F401
from polyscene.data.pack import pack
from polyscene.data.rooms.dataset import Rooms
from polyscene.evaluate import command as evaluate
from polyscene.export import command as export
from polyscene.export.engine import Onnx, OpenVino  # noqa: F401
from polyscene.predict import predict_shard
from polyscene.shard import Shard
from polyscene.training import records
from polyscene.training.loop import train

STEPS = [24]  # of a run; what the forks find here
GIVEN: list[Path] = []  # a folder with what works begin from
NET: dict[str, Any] = {
    "encoder": {"name": "test_efficientnet"},
    "decoder": {"name": "multi_head", "channels": 8, "context": "none"},
}
CLOCK = ("images/s", "waited")
EXPORTED = ("milliseconds",)  # of export.json, what the clock says


def training(out: Path) -> None:
    train(toy.config(out, steps=STEPS[0], checkpoint_every=2, evaluate_every=STEPS[0] // 2, ema=0.9), quiet())


def adaptation(out: Path) -> None:
    """A student, its teacher, and batches without labels."""
    plain = toy.config(out, evaluate=False, steps=STEPS[0], checkpoint_every=2, ema=0.9)
    train(toy.with_target(plain, {"name": "self_training"}), quiet())


def rendering(out: Path) -> None:
    Rooms(4, 1, (24, 32), root=out, workers=1).prepare()


def evaluation(out: Path) -> None:
    evaluate.run(GIVEN[0] / "net", str(GIVEN[0] / "eval.yaml"), out=out, device="cpu")


def exporting(out: Path) -> None:
    export.run(GIVEN[0] / "net", out, size=(32, 64))


def packing(out: Path) -> None:
    pack(toy.Toy(60), out, samples=6, workers=1)


def prediction(out: Path) -> None:
    """One picture at a time: those of a batch differ in the last bit from those of another."""
    predict_shard([GIVEN[0] / "photos"], out, Shard(1, 1), GIVEN[0] / "net", "cpu", batch=1)


@dataclass(frozen=True)
class Work:
    """``files``: patterns of those that are compared byte by byte, and never there by half. ``once``: a file that is
    there is not written again."""

    do: Callable[[Path], object]
    files: tuple[str, ...] = ()
    once: bool = False


WORKS = {
    "training": Work(training),
    "adaptation": Work(adaptation),
    "rendering": Work(rendering, ("*.room",)),
    "evaluation": Work(evaluation, ("metrics.*",)),
    "export": Work(exporting, ("model.onnx", "look.py")),
    "packing": Work(packing, ("*.tar",), once=True),
    "prediction": Work(prediction, ("*.png", "*.npz", "*.glb"), once=True),
}


def give(folder: Path) -> None:
    """A network that has learned nothing, eight photographs, and labelled data."""
    torch.manual_seed(0)
    weights.save(create_model(toy.Toy().tasks.values(), **NET), folder / "net", size=(32, 64))
    (folder / "photos" / "more").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(8):
        coarse = noise.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        place = folder / "photos" / ("more" if number % 3 else ".")
        Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(place / f"{number}.png")
    source = {"dataset": {"name": "toy", "count": 60}, "batch": 4}
    told = {"tasks": [], "data": {"size": list(toy.SIZE), "evaluate": {"toy": source}}}
    (folder / "eval.yaml").write_text(json.dumps(told))


def quiet() -> Console:
    return Console(file=open(os.devnull, "w"))


def result(work: Work, out: Path) -> dict[str, str]:
    """What a run leaves, by name: digests of every tensor and of every record (but for what the clock says), or of
    every file."""
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
    for file in sorted(out.rglob("manifest/*.jsonl")):
        for record in map(json.loads, file.read_text().splitlines()):
            found[f"{file.relative_to(out)} {record['input']}"] = json.dumps(record["files"])
    for file in sorted(out.rglob("export.json")):
        told = {key: value for key, value in json.loads(file.read_text()).items() if key not in EXPORTED}
        found[str(file.relative_to(out))] = json.dumps(told, sort_keys=True)
    return found | {name: stamp[0] for name, stamp in stamps(work, out).items()}


def stamps(work: Work, out: Path) -> dict[str, tuple[str, int, int]]:
    """Digests of its files, and where on disk and when they were written."""
    found = {}
    for file in (path for pattern in work.files for path in out.rglob(pattern)):
        if any(part.startswith(".") for part in file.relative_to(out).parts):
            continue
        stat = file.stat()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        found[str(file.relative_to(out))] = digest, stat.st_ino, stat.st_mtime_ns
    return found


def forked(work: Callable[[Path], object], out: Path, errors: bool = True) -> int:
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
    status = finish(forked(work.do, folder / "whole"))
    if status:
        raise RuntimeError(f"{name} ends with status {status} when nothing disturbs it")
    length = time.monotonic() - begun
    whole = result(work, folder / "whole")
    row: dict[str, Any] = {"work": name, "kills": 0, "runs": 0, "starts": 0, "identical": 0, "results": len(whole)}
    row |= {"halves": 0} if work.files else {}
    row |= {"twice": 0} if work.once else {}
    while row["kills"] < kills and time.monotonic() < until:
        out, before = folder / f"run{row['runs']}", {}
        for left in reversed(range(min(each, kills - row["kills"]) + 1)):
            row["starts"] += 1
            number = forked(work.do, out, not left)
            killed = left and killed_after(rng.uniform(0, length), number)
            ended = 0 if left else finish(number)
            now = stamps(work, out)
            if work.files:
                row["halves"] += sum(whole.get(file) != stamp[0] for file, stamp in now.items())
            if work.once:
                row["twice"] += sum(now.get(file) != stamp for file, stamp in before.items())
            before = now
            if not killed:
                break
            row["kills"] += 1
        row["runs"] += 1
        row["identical"] += ended == 0 and result(work, out) == whole
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
            GIVEN[:] = [Path(folder) / "given"]
            if finish(forked(give, GIVEN[0])):
                raise RuntimeError("what the works begin from cannot be made")
            rows.append(endure(name, options.kills, options.each, rng, Path(folder), share))
        print(json.dumps(rows[-1]), flush=True)
    good = all(row["identical"] == row["runs"] > 0 and not row.get("halves") and not row.get("twice") for row in rows)
    told = {"kills": sum(row["kills"] for row in rows), "runs": sum(row["runs"] for row in rows), "all_identical": good}
    print(json.dumps({"benchmark": "kills", **told, "seed": options.seed}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
