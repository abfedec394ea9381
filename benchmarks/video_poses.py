"""Poses found from pictures alone against the sensor's: the first kitchen frames, scale fixed from depth.

Prints what was found, then one JSON line for each alignment of the cameras' centres: "similarity" (scale free: is the
shape of the path right?) and "rigid" (scale as found from depth: is it metric?). Errors are medians over frames.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from polyscene.data import video
from polyscene.geometry.alignment import align, turn_onto

HOME = Path(os.environ.get("POLYSCENE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--focal", type=float, help="the focal length in pixels (585), known and without distortion")
    parser.add_argument("--out", type=Path, help="keep the work here, and carry on with it")
    options = parser.parse_args()
    kitchen = HOME / "kitchen_rgbd"
    if not kitchen.is_dir():
        raise SystemExit(f"{kitchen} is not here; POLYSCENE_DATA names the folder of the real data sets")
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary) / "out"
        pictures = Path(temporary) / "rgb" if options.out is None else options.out.with_name(f"{options.out.name}_rgb")
        pictures.mkdir(parents=True, exist_ok=True)
        for picture in sorted((kitchen / "rgb").iterdir())[: options.frames]:
            if not (pictures / picture.name).exists():
                (pictures / picture.name).symlink_to(picture.resolve())
        began = time.perf_counter()
        known = options.focal is not None
        report = video.prepare(
            pictures, out, kitchen / "depth", focal=options.focal, distortion=not known, threads=options.threads
        )
        seconds = time.perf_counter() - began
        print("\n".join(report.lines()))
        found, given = _poses(out / "cameras.json"), _poses(kitchen / "cameras.json")
    both = [(found[key], given[key]) for key in found]
    for name, scaled in (("similarity", True), ("rigid", False)):
        shift, turn, scale = errors(np.array([pair[0] for pair in both]), np.array([pair[1] for pair in both]), scaled)
        figures = {"translation_cm": 100 * np.median(shift), "worst_cm": 100 * shift.max(), "rotation_deg": turn}
        rounded = {key: round(float(np.median(value)), 3) for key, value in figures.items()}
        print(json.dumps({"alignment": name, **rounded, "scale": round(scale, 4), "seconds": round(seconds, 1)}))


def errors(found: np.ndarray, given: np.ndarray, scaled: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Distances in metres (n,) after the centres were aligned, angles in degrees (n,) after the rotations were (centres
    on one line leave a turn about it open), and the scale of the alignment."""
    scale, rotation, translation = align(found[:, :3, 3], given[:, :3, 3], scaled)
    shift = np.linalg.norm(scale * found[:, :3, 3] @ rotation.T + translation - given[:, :3, 3], axis=1)
    turned = turn_onto(found[:, :3, :3], given[:, :3, :3]) @ found[:, :3, :3]
    cosine = (np.einsum("nij,nij->n", turned, given[:, :3, :3]) - 1) / 2
    return shift, np.degrees(np.arccos(cosine.clip(-1, 1))), scale


def _poses(file: Path) -> dict[str, np.ndarray]:
    return {frame["id"]: np.array(frame["T_world_cam"]) for frame in json.loads(file.read_text())["frames"]}


if __name__ == "__main__":
    main()
