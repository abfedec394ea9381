"""Very many pictures through a network on a Ray cluster.

    pip install polyscene "ray[data]"
    python examples/ray_predict.py /data/photos /data/out --weights runs/my --workers 8 --gpus 1
    python examples/ray_predict.py paths.parquet /data/out --write npz       # a column "path" of files

Every worker loads the network once and takes blocks of paths. Pictures and outputs lie on a file system that all
machines see. Outputs are there whole or not at all and what is there is left alone, so that the same command carries on
after anything; OUT/outcomes (parquet) says what became of each input. Without Ray, with a manifest, locks and films,
`polyscene predict --shard I/N` does the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from polyscene import pictures
from polyscene.predict.listing import Listing
from polyscene.predict.networks import Soft
from polyscene.predict.predictor import Prepared
from polyscene.scene import file_of
from polyscene.shard import Shard

BLOCK = 256  # paths that a worker gets at a time


def table(source: Path, out: Path) -> dict[str, list[str]]:
    """Columns, a row for each picture below a folder: its ``path``, and the ``name`` of its outputs below ``out``."""
    found = [pair for pair in Listing.of([source], out, Shard(1, 1)) if pair[0].suffix.lower() in pictures.SUFFIXES]
    return {"path": [str(path) for path, _ in found], "name": [str(name) for _, name in found]}


def named(batch: dict[str, Any]) -> dict[str, Any]:
    """Names for paths of a parquet file: the whole path, so that no two are alike."""
    names = [str(Path(path)).lstrip("/").replace("..", "up") for path in batch["path"]]
    return {"path": batch["path"], "name": np.array(names, object)}


class Look:
    """A worker: a network, loaded once, that takes blocks of rows and gives them back with what became of each."""

    def __init__(self, weights: str, out: str, write: Sequence[str], batch: int, device: str = "auto") -> None:
        import polyscene

        self.out, self.write = Path(out), tuple(write)
        self.held: dict[int, tuple[Prepared, str, Path]] = {}
        self.predictor = polyscene.load(weights, device).configure(batch=batch)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        self.told: dict[str, str] = {}
        ready = self.ready(rows)
        try:
            for prepared, soft in self.predictor.look(ready):
                self.finish(prepared, soft)
        except Exception:  # of the network, at several together: what is left is looked at one by one
            for prepared in chain([prepared for prepared, _, _ in self.held.values()], ready):
                try:
                    self.finish(*next(self.predictor.look([prepared])))
                except Exception as error:
                    self.told[self.held.pop(id(prepared))[1]] = f"failed: {error}"
        return {**rows, "outcome": np.array([self.told[path] for path in rows["path"]], object)}

    def ready(self, rows: dict[str, Any]) -> Iterator[Prepared]:
        """Pictures read, but for those whose outputs are there and those that cannot be."""
        for path, name in zip(rows["path"], rows["name"], strict=True):
            stem = self.out / name
            if all(file_of(stem, kind).exists() for kind in self.write):
                self.told[path] = "found"
                continue
            try:
                prepared = self.predictor.prepare(pictures.read(path))
            except (OSError, ValueError) as error:
                self.told[path] = f"failed: {error}"
            else:
                self.held[id(prepared)] = prepared, path, stem
                yield prepared

    def finish(self, prepared: Prepared, soft: Soft) -> None:
        _, path, stem = self.held.pop(id(prepared))
        try:
            self.predictor.finish(prepared, soft).save(stem, self.write)
            self.told[path] = "written"
        except (OSError, ValueError) as error:
            self.told[path] = f"failed: {error}"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder, or a parquet file with a column `path`")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="starter")
    parser.add_argument("--write", default="panels,npz")
    parser.add_argument("--workers", type=int, default=2, help="processes with a network each")
    parser.add_argument("--gpus", type=float, default=0, help="of each; 0.5 lets two share one")
    parser.add_argument("--cpus", type=float, default=1, help="of each")
    options = parser.parse_args(words)
    import pyarrow
    import ray

    out = options.out.resolve()
    if options.source.suffix == ".parquet":
        rows = ray.data.read_parquet(str(options.source)).map_batches(named)
    else:
        rows = ray.data.from_arrow(pyarrow.table(table(options.source.resolve(), out)))
    done = rows.repartition(target_num_rows_per_block=BLOCK).map_batches(
        Look,
        fn_constructor_args=(options.weights, str(out), options.write.split(","), 4),
        batch_size=BLOCK,
        concurrency=options.workers,
        num_gpus=options.gpus,
        num_cpus=options.cpus,
    )
    done.write_parquet(str(out / "outcomes"), mode=ray.data.SaveMode.OVERWRITE)
    told = ray.data.read_parquet(str(out / "outcomes")).to_pandas()["outcome"].str.partition(":")[0].value_counts()
    print(", ".join(f"{count} {outcome}" for outcome, count in told.items()))
    return int("failed" in told)


if __name__ == "__main__":
    sys.exit(main())
