from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from polyscene.geometry.boundaries import of_ids
from polyscene.metrics._matching import pixels, thinned
from polyscene.metrics._thinning import thin


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_a_bar_becomes_a_line() -> None:
    bar = np.zeros((9, 20), bool)
    bar[3:6, 2:18] = True
    line = thin(bar)
    assert not line[[3, 5]].any() and line[4].sum() >= 12
    assert (thin(line) == line).all()


def test_a_block_of_two_rows_and_a_corner() -> None:
    """By hand: the first half takes pixels that are open to the east or north, the second the others."""
    block = drawn("....", ".##.", ".##.", "....")
    assert thin(block).sum() == 1
    corner = drawn(".....", ".#...", ".#...", ".###.", ".....")
    assert (thin(corner) == drawn(".....", ".#...", ".#...", "..##.", ".....")).all()


def test_thinning_keeps_what_hangs_together() -> None:
    from scipy.ndimage import label

    blobs = np.random.default_rng(0).random((60, 80)) > 0.45
    eight = np.ones((3, 3))
    assert label(thin(blobs), eight)[1] == label(blobs, eight)[1]
    assert (thin(blobs) <= blobs).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_thinning_from_threshold_to_threshold_is_thinning_of_each(share: float) -> None:
    generator = np.random.default_rng(1)
    level = np.where(generator.random((40, 50)) < share, generator.integers(0, 8, (40, 50)), 0).astype(np.int32)
    found = pixels(level, 7)
    changes = thinned(found)
    present = np.zeros(len(found.rows), bool)
    gone = come = 0
    for step, threshold in enumerate(range(6, -1, -1)):
        for ends, places, before, now in (
            (changes.gone_ends, changes.gone, gone, False),
            (changes.come_ends, changes.come, come, True),
        ):
            changed = places[before : ends[step]]
            assert (present[changed] != now).all()
            present[changed] = now
        gone, come = changes.gone_ends[step], changes.come_ends[step]
        kept = np.zeros(level.shape, bool)
        kept[found.rows[present], found.columns[present]] = True
        assert (kept == thin(level > threshold)).all()
        assert changes.totals[step] == kept.sum()


def test_human_boundaries_are_those_of_the_human_segmentations(real_data: Path) -> None:
    """Berkeley made them with MATLAB's bwmorph."""
    import torch

    maps = 0
    for path in sorted((real_data / "bsds500_boundary/bench_selftest/groundTruth").glob("*.mat")):
        for person in loadmat(path)["groundTruth"][0]:
            segments, boundaries = (person[0, 0][name] for name in ("Segmentation", "Boundaries"))
            ids = torch.from_numpy(segments.astype(np.int64))
            assert (thin(of_ids(ids).numpy()) == (boundaries > 0)).all(), path.stem
            maps += 1
    assert maps >= 25
