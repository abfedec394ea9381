"""What networks trained on rooms alone make of real rooms: all kitchen and office frames, resized to cover 192x256,
centre crop, labels at that size; depth after each image was scaled by the ratio of medians.

Prints one JSON line for each network and floor: python benchmarks/zero_shot.py RUN...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from polyscene import evaluate, predict, zero_shot

FIGURES = {
    "depth": ("aligned AbsRel", "aligned δ<1.25", "RMSE"),
    "normals": ("mean", "median", "<22.5°"),
}


def line(name: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    chosen = {
        f"{task} {figure}": round(figures[task][figure], 3)
        for task, names in FIGURES.items()
        for figure in names
        if figure in figures.get(task, {})
    }
    print(json.dumps({"who": name, **chosen}, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="runs or weights")
    loader = None
    for run in parser.parse_args().runs:
        predictor = predict.load(run)
        loader = zero_shot.frames(predictor.model.tasks, predictor.size)
        if isinstance(loader, str):
            raise SystemExit(loader)
        line(run, evaluate.evaluate(predictor.model, loader, device=predictor.device))
    assert loader is not None
    line("constant", evaluate.floors(loader, loader, loader.tasks))
    line("per-pixel mean", evaluate.position_floors(loader, loader, loader.tasks))


if __name__ == "__main__":
    main()
