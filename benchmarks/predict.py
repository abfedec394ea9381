"""What ``polyscene predict`` takes: one photograph from a cold start, a folder of 100, memory over 1,000.

Prints one JSON line a row: python benchmarks/predict.py --weights RUN|EXPORT [--many 1000] [--cold 3]
Photographs are 640x480; only panels are written. Each figure is of a process of its own: seconds on the clock and of
the processors, and the largest memory it held. ``pictures_per_second`` leaves the start out, as it is cold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import polyscene

SAMPLES = sorted((Path(polyscene.__file__).parent / "samples").glob("*.jpg"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="starter")
    parser.add_argument("--cold", type=int, default=3, help="cold starts, of which the quickest counts")
    parser.add_argument("--folder", type=int, default=100)
    parser.add_argument("--many", type=int, default=1000, help="pictures for the memory; 0 leaves it out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, hundred, many = (photographs(Path(folder), count) for count in (1, options.folder, options.many))
        cold = min((predict(one, options.weights) for _ in range(options.cold)), key=lambda row: row["seconds"])
        tell("cold start", options.weights, cold)
        few = predict(hundred, options.weights)
        rate = (options.folder - 1) / max(few["seconds"] - cold["seconds"], 1e-6)
        tell(f"{options.folder} pictures", options.weights, few, pictures_per_second=round(rate, 1))
        if options.many:
            all_of_them = predict(many, options.weights)
            grown = round(all_of_them["peak_mib"] - few["peak_mib"], 1)
            tell(f"{options.many} pictures", options.weights, all_of_them, grown_mib=grown)


def photographs(folder: Path, count: int) -> Path:
    """A folder of ``count`` files."""
    place = folder / str(count)
    place.mkdir()
    for number in range(count):
        file = place / f"{number:05d}.jpg"
        if number < len(SAMPLES):
            Image.open(SAMPLES[number]).resize((640, 480)).save(file, quality=92)
        else:
            os.link(place / f"{number % len(SAMPLES):05d}.jpg", file)
    return place


def predict(photos: Path, weights: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as out:
        words = ["predict", str(photos), "--out", out, "--weights", weights, "--write", "panels", "--device", "cpu"]
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-m", "polyscene.cli", *words], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        assert status == 0 and len(list(Path(out).iterdir())) == len(list(photos.iterdir()))
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
    }


def tell(what: str, weights: str, row: dict[str, float], **more: float) -> None:
    cores, load = len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 1)
    print(
        json.dumps(
            {"benchmark": "predict", "what": what, "weights": weights, **row, **more, "cores": cores, "load": load}
        )
    )


if __name__ == "__main__":
    main()
