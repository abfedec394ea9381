"""How long a visitor of the web page waits, over HTTP on this machine: from sending a photo to the last byte of the
answer that the page draws (pictures, points, figures), and of the archive; then with twenty visitors at once.

Prints one JSON line a case: python benchmarks/app.py WEIGHTS [--rounds 5]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

from PIL import Image

from polyscene.app.desk import Desk
from polyscene.app.server import Running, load

SIZES = {"512x341": None, "640x480": (640, 480), "4032x3024": (4032, 3024)}


def photo(size: tuple[int, int] | None) -> bytes:
    """A sample as it is, or enlarged to what a camera or a phone sends."""
    stored = (files("polyscene") / "samples" / "coffee.jpg").read_bytes()
    if size is None:
        return stored
    buffer = io.BytesIO()
    Image.open(io.BytesIO(stored)).resize(size, Image.Resampling.BICUBIC).save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


def wait(address: str, content: bytes) -> tuple[float, int]:
    """Seconds and bytes of the answer; raises what HTTP calls an error."""
    begun = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(address, content)) as answer:
        length = len(answer.read())
    return time.perf_counter() - begun, length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    desk = Desk(load([given.weights], "auto"))
    desk.warm()
    with Running(desk) as url:
        for name, size in SIZES.items():
            content = photo(size)
            for what in ("see", "download"):
                processor = time.process_time()
                seconds = [wait(f"{url}/{what}", content) for _ in range(given.rounds)]
                row = {
                    "case": f"{what}, {name}",
                    "sent_MB": round(len(content) / 1e6, 2),
                    "first_s": round(seconds[0][0], 2),
                    "least_s": round(min(seconds)[0], 2),
                    "processor_s": round((time.process_time() - processor) / given.rounds, 2),
                    "answer_MB": round(seconds[0][1] / 1e6, 2),
                    "load": round(os.getloadavg()[0], 1),
                }
                print(json.dumps(row), flush=True)
        content = photo(SIZES["640x480"])
        begun = time.perf_counter()
        with ThreadPoolExecutor(20) as pool:
            seconds = sorted(pool.map(lambda _: wait(f"{url}/see", content)[0], range(20)))
        row = {"case": "see, 640x480, 20 at once", "answered": len(seconds), "first_s": round(seconds[0], 2)}
        row |= {"median_s": round(seconds[10], 2), "last_s": round(time.perf_counter() - begun, 2)}
        print(json.dumps(row | {"load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
