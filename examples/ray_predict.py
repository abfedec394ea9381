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
from pathlib import Path
from typing import Any

import numpy as np

from polyscene import pictures
from polyscene.predict.command import FAILURES, FULL, HELPLESS
from polyscene.predict.listing import Listing
from polyscene.predict.networks import Soft
from polyscene.predict.predictor import Prepared, batches
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

        self.out, self.write, self.helpless = Path(out), tuple(write), 0
        self.places: dict[int, tuple[str, Path]] = {}
        self.predictor = polyscene.load(weights, device).configure(batch=batch)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        self.told: dict[str, str] = {}
        for together in batches(self.ready(rows), self.predictor.batch):
            for prepared, soft in self.looks(together):
                self.finish(prepared, soft)
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
            except FAILURES as error:
                self.failed(path, error)
            else:
                self.places[id(prepared)] = path, stem
                yield prepared

    def looks(self, together: Sequence[Prepared]) -> Iterator[tuple[Prepared, Soft]]:
        """What the network says of each; where it fails at several together, each is looked at alone."""
        try:
            looks = list(self.predictor.look(together))
        except Exception as error:  # what engines raise has no end
            if len(together) > 1:
                yield from (look for each in together for look in self.looks([each]))
                return
            self.helpless += 1
            if self.helpless == HELPLESS:
                raise RuntimeError(f"the network failed at {HELPLESS} pictures, one after another: {error}") from error
            self.failed(self.places.pop(id(together[0]))[0], error)
        else:
            self.helpless = 0
            yield from looks

    def finish(self, prepared: Prepared, soft: Soft) -> None:
        path, stem = self.places.pop(id(prepared))
        try:
            self.predictor.finish(prepared, soft).save(stem, self.write)
            self.told[path] = "written"
        except FAILURES as error:
            self.failed(path, error)

    def failed(self, path: str, error: Exception) -> None:
        """A disk that is full is no picture's fault and ends the work."""
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        self.told[path] = f"failed: {str(error) or type(error).__name__}"


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
