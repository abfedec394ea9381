"""Boundary F on BSDS500: exact, fast, and equal to what Berkeley published. One JSON line a row.

    python benchmarks/boundary.py [--images 20] [--workers N] [--reference LIBRARY] [--only exact speed official]

``exact``: pictures against one person's boundaries; at every eleventh threshold the counts must equal a maximum
matching by SciPy's maximum flow. ``speed``: seconds of the processor an image, all thresholds, of pictures at 481x321
(the shipped gPb-ucm maps) and at 425x560 (enlarged photographs, the strength of their gradients at two scales, SEISM's
suppression: dense, the hard case; matched within 0.011). ``official``: all people and pictures, interpolated, beside
Berkeley's own figures. ``--images 0`` takes all 200 pictures in the first two.

LIBRARY is Berkeley's matching code (bench/source of BSDS500), compiled with g++ -O3 -DNDEBUG together with

    extern "C" void correspond(const double* a, const double* b, int h, int w, double radius, double* m, double* n) {
      Matrix first(h, w, const_cast<double*>(a)), second(h, w, const_cast<double*>(b)), one, two;
      matchEdgeMaps(first, second, radius, 100 * radius, one, two);
      for (int i = 0; i < h * w; i++) { m[i] = one(i % h, i / h); n[i] = two(i % h, i / h); }
    }

It is timed at every ``--step``-th threshold, matching only, and scaled to all of them; ``differs`` is the most by which
its counts differ from ours: its own are random by a few pixels, and never more.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from polyscene.geometry.boundaries import of_ids
from polyscene.metrics import BoundaryF, _flow, _suppression
from polyscene.metrics._thinning import thin

HOME = Path(os.environ.get("POLYSCENE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BSDS = HOME / "bsds500_boundary"
Mask = NDArray[np.bool_]
Case = tuple[str, NDArray[Any], Mask]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--workers", type=int, help="of the official figures")
    parser.add_argument("--reference", type=Path, metavar="LIBRARY")
    parser.add_argument("--step", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    if not BSDS.is_dir():
        raise SystemExit(f"{BSDS} is not here; POLYSCENE_DATA names the folder of the real data sets")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for row in options.only:
        ROWS[row](options)


def names(images: int = 0) -> list[str]:
    found = sorted(path.stem for path in (BSDS / "pred_gpb_ucm").glob("*.png"))
    return found[:: max(1, len(found) // images)][:images] if images else found


def grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def truths(name: str) -> list[Mask]:
    people = sorted((BSDS / "gt_boundaries").glob(f"{name}_*.png"))
    return [grey(path) > 0 for path in people]


def shipped(images: int) -> Iterator[Case]:
    for name in names(images):
        yield name, grey(BSDS / f"pred_gpb_ucm/{name}.png") / 255, truths(name)[0]


def enlarged(images: int) -> Iterator[Case]:
    """425x560: gradients of the photograph, and the outlines of one person's segments."""
    for name in names(images):
        photograph, boundary = grey(BSDS / f"images/{name}.jpg"), truths(name)[0]
        if photograph.shape[0] > photograph.shape[1]:
            photograph, boundary = photograph.T, boundary.T
        large = cv2.resize(np.ascontiguousarray(photograph), (560, 425), interpolation=cv2.INTER_CUBIC)
        smooth = [ndimage.gaussian_gradient_magnitude(large.astype(np.float32), scale) for scale in (1, 2.5)]
        strength = (smooth[0] + smooth[1]) / (smooth[0] + smooth[1]).max()
        segments, _ = ndimage.label(~boundary)
        nearest = ndimage.distance_transform_edt(segments == 0, return_distances=False, return_indices=True)
        ids = cv2.resize(segments[tuple(nearest)].astype(np.int32), (560, 425), interpolation=cv2.INTER_NEAREST)
        yield name, strength, of_ids(torch.from_numpy(ids)).numpy()


def exact(options: argparse.Namespace) -> None:
    checked = wrong = 0
    for _, prediction, truth in shipped(options.images):
        metric = BoundaryF(0.0075)
        metric.update(prediction, truth)
        counts = metric.counts()
        true, radius = thin(truth), 0.0075 * math.hypot(*truth.shape)
        for k in range(0, 99, 11):
            kept = thin(prediction >= metric.counting.thresholds[k])
            largest = _flow.largest(*_flow.pairs(kept, true, radius)[:2])
            found = {int(counts[name][0, k]) for name in ("matched_prediction", "matched_truth")}
            wrong += found != {largest} or int(counts["total_prediction"][0, k]) != int(kept.sum())
            checked += 1
    say(row="exact", images=len(names(options.images)), checked=checked, unequal=wrong)


def speed(options: argparse.Namespace) -> None:
    reference = load(options.reference) if options.reference else None
    sizes = {
        "481x321": (shipped, partial(BoundaryF, 0.0075), 0.0075, lambda score: score),
        "425x560": (enlarged, partial(BoundaryF.seism, 0.011), 0.011, as_picture),
    }
    for size, (cases, build, max_dist, suppress) in sizes.items():
        ours, ratios, differs, off = [], [], [], []
        for name, prediction, truth in cases(options.images):
            if not ours:
                build().update(prediction, truth)  # compiles
            took = []
            for _ in range(options.rounds):
                metric, began = build(), time.process_time()
                metric.update(prediction, truth)
                took.append(time.process_time() - began)
            ours.append(min(took))
            if reference is None:
                continue
            counts, counting = metric.counts(), metric.counting
            score, true, spent = suppress(prediction), thin(truth), 0.0
            chosen = range(options.step // 2, len(counting.thresholds), options.step)  # from the middle of a step
            theirs = []
            for k in chosen:
                threshold = score.dtype.type(counting.thresholds[k])
                kept = thin(score > threshold if counting.strict else score >= threshold)
                began = time.process_time()
                theirs.append(reference(kept, true, max_dist))
                spent += time.process_time() - began
            spent *= len(counting.thresholds) / len(chosen)
            ratios.append(spent / min(took))
            matched = counts["matched_truth"][0, list(chosen)]
            differs.append(int(np.abs(matched - theirs).max()))
            halves = (counts["total_truth"][0] + counts["total_prediction"][0])[list(chosen)]
            off.append(float(np.abs((2 * matched - 2 * np.array(theirs)) / np.maximum(halves, 1)).max()))
            say(row="image", size=size, name=name, seconds=min(took), reference=spent, faster=ratios[-1])
        found = {"images": len(ours), "median": median(ours), "most": max(ours)}
        if ratios:
            found |= {"faster": median(ratios), "least": min(ratios), "differs": max(differs), "f_differs": max(off)}
        if size == "425x560":
            found["nyuv2_test_seconds"] = 654 * sum(ours) / len(ours)
        say(row="speed", size=size, **found)


def as_picture(prediction: NDArray[Any]) -> NDArray[Any]:
    return _suppression.oriented((np.floor(prediction * 255) / 255).astype(np.float32))


def official(options: argparse.Namespace) -> None:
    metric = BoundaryF(0.0075, interpolate=True, workers=options.workers)
    every = [(grey(BSDS / f"pred_gpb_ucm/{name}.png") / 255, truths(name)) for name in names()]
    began, spent = time.perf_counter(), time.process_time()
    for prediction, people in every:
        metric.update(prediction, people)
    found = metric.compute()
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    threshold, recall, precision, ods, _, _, ois, area = np.loadtxt(BSDS / "official_eval_gpb_ucm/eval_bdry.txt")
    published = {
        "ods": ods,
        "ods_threshold": threshold,
        "precision": precision,
        "recall": recall,
        "ois": ois,
        "ap": area,
    }
    here = {"seconds_an_image": spent / len(every)} if options.workers is None else {"workers": options.workers}
    say(row="official", images=len(every), maps=sum(len(people) for _, people in every), **here, wall=wall)
    for name, figure in published.items():
        say(row="official", figure=name, ours=found[name], berkeley=float(figure), off=found[name] - float(figure))


def load(path: Path) -> Callable[[Mask, Mask, float], int]:
    library = ctypes.CDLL(str(path.resolve()))

    def match(found: Mask, true: Mask, max_dist: float) -> int:
        height, width = found.shape
        first, second = (np.asfortranarray(mask, np.float64) for mask in (found, true))
        partners = np.zeros((2, height * width))
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (first, second, partners[0], partners[1])]
        radius = ctypes.c_double(max_dist * math.hypot(height, width))
        library.correspond(*pointers[:2], height, width, radius, *pointers[2:])
        return int((partners[1] > 0).sum())

    return match


def say(**row: Any) -> None:
    print(json.dumps({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()}), flush=True)


ROWS = {"exact": exact, "speed": speed, "official": official}

if __name__ == "__main__":
    main()
