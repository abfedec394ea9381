import math

import numpy as np
import pytest

from polyscene.metrics._suppression import orientation, oriented, smoothed, suppressed, triangle


def ridge(angle: float, size: int = 41) -> np.ndarray:
    """A ridge through the middle; its direction of steepest fall is at ``angle`` from the x axis."""
    y, x = np.mgrid[:size, :size] - size // 2
    return np.exp(-(((x * math.cos(angle) + y * math.sin(angle)) / 2) ** 2)).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 30, 45, 60, 120, 135, 150])
def test_orientation_is_across_the_ridge(degrees: int) -> None:
    """The field's formula is exact at multiples of 45 degrees and up to 12 off between."""
    angle = orientation(ridge(math.radians(degrees)))[20, 20]
    off = abs(math.degrees(angle) - degrees)
    assert min(off, 180 - off) < (0.1 if degrees % 45 == 0 else 12)


def test_only_the_crest_is_kept_and_borders_fade() -> None:
    strength = ridge(0)
    kept = oriented(strength)
    assert (kept[10:30, 20] == strength[10:30, 20]).all()
    assert not kept[:, [18, 22]].any()
    assert kept[:6, 20] == pytest.approx(strength[:6, 20] * np.arange(6) / 5)
    assert kept[-6:, 20] == pytest.approx(strength[-6:, 20] * np.arange(5, -1, -1) / 5)


def test_a_wide_reach_suppresses_a_weak_ridge_beside_a_strong_one() -> None:
    strength = np.zeros((41, 41), np.float32)
    strength[:, 20], strength[:, 23] = 1, 0.6
    assert oriented(strength)[10:30, 23].all()
    assert not suppressed(strength, radius=4)[10:30, 23].any()
    assert set(np.unique(np.rint(smoothed(strength) * 255) / np.float32(255))) == set(np.unique(smoothed(strength)))


def test_triangles() -> None:
    point = np.zeros((11, 11), np.float32)
    point[5, 5] = 1
    assert triangle(point, 1)[5, 4:7].tolist() == [0.125, 0.25, 0.125]
    assert triangle(point, 4)[5] * 125 == pytest.approx([0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0])
    assert triangle(np.ones((7, 9), np.float32), 4) == pytest.approx(1.0)


def test_neighbours_are_read_between_pixels() -> None:
    """The rule, written out for one pixel at a time."""
    strength = np.random.default_rng(0).random((24, 30)).astype(np.float32)
    angle, kept = orientation(strength), suppressed(strength, radius=2, border=0)

    def between(y: float, x: float) -> float:
        y, x = min(max(y, 0.0), 24 - 1.001), min(max(x, 0.0), 30 - 1.001)
        top, left = int(y), int(x)
        down, right = y - top, x - left
        rows = strength[top : top + 2, left : left + 2].astype(np.float64)
        return float(np.array([1 - down, down]) @ rows @ np.array([1 - right, right]))

    for y in range(24):
        for x in range(30):
            dx, dy = math.cos(angle[y, x]), math.sin(angle[y, x])
            rivals = [between(y + d * dy, x + d * dx) for d in (-2, -1, 1, 2)]
            lead = 1.01 * float(strength[y, x]) - max(rivals)
            if abs(lead) > 1e-5:
                assert (kept[y, x] > 0) == (lead > 0), (y, x)


@pytest.mark.parametrize("size", [(1, 1), (1, 8), (3, 2), (5, 40)])
def test_small_maps(size: tuple[int, int]) -> None:
    assert smoothed(np.ones(size, np.float32)).shape == oriented(np.ones(size, np.float32)).shape == size
