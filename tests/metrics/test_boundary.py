import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import loadmat

from polyscene.metrics import BoundaryF
from polyscene.metrics._disc import costs, disc
from polyscene.metrics._flow import cheapest, largest, pairs
from polyscene.metrics._matching import assign_all, graph, pixels, sweep, thinned
from polyscene.metrics._thinning import thin
from polyscene.metrics.base import UNDEFINED
from polyscene.metrics.boundary import SEISM_THRESHOLDS, BoundaryCounts, BoundaryMetric, boundary_counts
from polyscene.metrics.protocols import PROTOCOLS, BoundaryRules
from polyscene.tasks import Edges
from polyscene.types import Target

BSDS = "bsds500_boundary"


def columns(size: tuple[int, int], **at: float) -> np.ndarray:
    """A map with whole columns marked: c5=0.9 for column 5."""
    made = np.zeros(size)
    for name, value in at.items():
        made[:, int(name[1:])] = value
    return made


def masks(real_data: Path, name: str, people: int) -> list[np.ndarray]:
    folder = real_data / BSDS / "gt_boundaries"
    return [np.array(Image.open(folder / f"{name}_{k}.png").convert("L")) > 0 for k in range(people)]


def strength(real_data: Path, name: str) -> np.ndarray:
    return np.array(Image.open(real_data / BSDS / f"pred_gpb_ucm/{name}.png")) / 255


# counts


def test_by_hand() -> None:
    """Line a is two pixels from the truth, line b far from it; reach is 0.1 of a diagonal of 25."""
    prediction = columns((15, 20), c5=0.9, c15=0.4)
    counts = boundary_counts(prediction, columns((15, 20), c7=1) > 0, 0.1, 3)
    assert counts.total_prediction.tolist() == [30, 15, 15]
    assert counts.matched_prediction.tolist() == counts.matched_truth.tolist() == [15, 15, 15]
    assert counts.total_truth.tolist() == [15, 15, 15]
    short = boundary_counts(prediction, columns((15, 20), c7=1) > 0, 0.07, 3)
    assert not short.matched_prediction.any()


def test_a_pair_at_exactly_the_reach_counts() -> None:
    prediction, truth = np.zeros((30, 40)), np.zeros((30, 40), bool)
    prediction[10, 10], truth[13, 14] = 1, True  # 5 pixels; the diagonal is 50
    assert boundary_counts(prediction, truth, 0.1, 1).matched_truth.tolist() == [1]
    assert boundary_counts(prediction, truth, 0.0999, 1).matched_truth.tolist() == [0]


def test_each_pixel_is_matched_once() -> None:
    prediction, truth = np.zeros((20, 20)), np.zeros((20, 20), bool)
    prediction[5, 5] = prediction[5, 9] = 1
    truth[5, 7] = True
    counts = boundary_counts(prediction, truth, 0.2, 1)
    assert (counts.matched_prediction, counts.total_prediction, counts.matched_truth) == (1, 2, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, torch.float32, torch.float16, torch.bfloat16])
def test_thresholds_are_reached_or_exceeded(dtype: object) -> None:
    truth = columns((15, 20), c7=1) > 0
    prediction = columns((15, 20), c7=0.5)
    made = torch.from_numpy(prediction).to(dtype) if isinstance(dtype, torch.dtype) else prediction.astype(dtype)
    assert boundary_counts(made, truth, 0.1, 3).total_prediction.tolist() == [15, 15, 0]
    assert boundary_counts(made, truth, 0.1, 3, strict=True).total_prediction.tolist() == [15, 0, 0]
    listed = boundary_counts(made, truth, 0.1, [0.1, 0.2, 0.5, 0.51])
    assert listed.total_prediction.tolist() == [15, 15, 15, 0]


def test_scores_of_single_precision_reach_the_thresholds_they_are_nearest_to() -> None:
    prediction = np.linspace(0, 1, 101, dtype=np.float32)[None].repeat(3, 0)
    level = [
        int(boundary_counts(prediction[:1, k : k + 1], np.ones((1, 1), bool), 0.1).total_prediction.sum())
        for k in range(101)
    ]
    assert level == [min(k, 99) for k in range(101)]


def test_both_sides_are_thinned() -> None:
    thick = np.zeros((40, 60))
    thick[15:20, 5:55] = 1
    counts = boundary_counts(thick, thick > 0, 0.05, 1)
    assert counts.total_prediction == counts.total_truth == counts.matched_truth == thin(thick > 0).sum() < 60


small = st.tuples(
    st.integers(2, 14), st.integers(2, 14), st.integers(0, 2**31), st.floats(0.05, 1), st.floats(0.02, 0.4)
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(small)
def test_one_truth_is_matched_as_by_maximum_flow(case: tuple[int, int, int, float, float]) -> None:
    height, width, seed, share, reach = case
    generator = np.random.default_rng(seed)
    prediction = generator.random((height, width)) * (generator.random((height, width)) < share)
    truth = generator.random((height, width)) < generator.random()
    numba, scipy = (boundary_counts(prediction, truth, reach, 7, implementation=way) for way in ("numba", "scipy"))
    assert all((a == b).all() for a, b in zip(numba, scipy, strict=True))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(small, st.integers(2, 3))
def test_several_truths_are_each_matched_at_least_cost(case: tuple[int, int, int, float, float], people: int) -> None:
    height, width, seed, share, reach = case
    generator = np.random.default_rng(seed)
    level = (generator.integers(0, 6, (height, width)) * (generator.random((height, width)) < share)).astype(np.int32)
    truths = [thin(generator.random((height, width)) < generator.random()) for _ in range(people)]
    radius = reach * math.hypot(height, width)
    matched, _, recalled = sweep(level, 5, truths, radius)
    singles = [sweep(level, 5, [truth], radius)[2] for truth in truths]
    assert (recalled == sum(singles)).all()
    assert (matched <= recalled).all() and all((matched >= single).all() for single in singles)

    found, (steps, squared) = pixels(level, 5), disc(radius)
    cost, unmade = costs(squared, radius)
    changes, joined = thinned(found), graph(found, truths[0], radius)
    chosen = np.zeros((5, len(found.rows)), bool)
    assign_all(
        *changes[:4],
        *(joined.starts, joined.partners, (unmade - cost)[joined.steps]),
        *(joined.truth_starts, joined.truth_partners, (unmade - cost)[joined.truth_steps]),
        chosen,
    )
    for k in range(5):  # no other choice of as many pixels costs less
        kept, ours = thin(level > k), np.zeros(level.shape, bool)
        ours[found.rows[chosen[4 - k]], found.columns[chosen[4 - k]]] = True
        assert least_cost(kept, truths[0], radius) == least_cost(ours, truths[0], radius)
    assert len(steps) == len(cost)


def least_cost(found: np.ndarray, truth: np.ndarray, radius: float) -> tuple[int, float]:
    """Pairs made, and what they cost at least, by SciPy's solver on the pairs within reach and a costly stand-in of
    each pixel of the prediction."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    first, second, squared = pairs(found, truth, radius)
    count = int(found.sum())
    if not count:
        return 0, 0.0
    cost, unmade = costs(squared, radius)
    rows, places = np.append(first, np.arange(count)), np.append(second, truth.sum() + np.arange(count))
    weights = np.append(cost + 1, np.full(count, unmade)).astype(float)
    table = coo_matrix((weights, (rows, places)), (count, int(truth.sum()) + count)).tocsr()
    row, column = min_weight_full_bipartite_matching(table)
    made = column < truth.sum()
    return int(made.sum()), float(table[row[made], column[made]].sum())


def test_real_pictures_are_matched_as_by_maximum_flow(real_data: Path) -> None:
    for name in ("104010", "3063", "16068"):
        (truth,) = masks(real_data, name, 1)
        prediction = strength(real_data, name)
        counts = boundary_counts(prediction, truth, 0.0075)
        for k in (4, 14, 39):
            kept = thin(prediction >= (k + 1) / 100)
            first, second, _ = pairs(kept, thin(truth), 0.0075 * math.hypot(*truth.shape))
            assert counts.matched_truth[k] == counts.matched_prediction[k] == largest(first, second)
            assert counts.total_prediction[k] == kept.sum()


def test_real_pictures_of_several_people_as_by_scipy(real_data: Path) -> None:
    people = masks(real_data, "104010", 3)
    prediction = strength(real_data, "104010")
    numba, scipy = (
        boundary_counts(prediction, people, 0.0075, [0.15, 0.3], implementation=way) for way in ("numba", "scipy")
    )
    assert (numba.matched_truth == scipy.matched_truth).all()
    assert np.abs(numba.matched_prediction - scipy.matched_prediction).max() <= 5  # equal costs, other choices


def test_without_numba_the_same_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    prediction, truth = generator.random((20, 30)), generator.random((20, 30)) > 0.8
    expected = boundary_counts(prediction, truth, 0.05, 5)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "polyscene.metrics._matching")
    found = boundary_counts(prediction, truth, 0.05, 5)
    assert "polyscene.metrics._matching" not in sys.modules
    assert all((a == b).all() for a, b in zip(expected, found, strict=True))


def test_nothing_to_match() -> None:
    nothing, line = np.zeros((9, 9), bool), columns((9, 9), c4=1) > 0
    assert not cheapest(*pairs(nothing, line, 2.0), 2.0).size
    for truths in ([nothing], [nothing, line], [line, line], [nothing, nothing]):
        for way in ("numba", "scipy"):
            counts = boundary_counts(np.zeros((9, 9)), truths, 0.1, 3, implementation=way)
            assert not counts.matched_prediction.any() and not counts.total_prediction.any()
            assert (counts.total_truth == sum(truth.sum() for truth in truths)).all()


# figures


def test_figures_by_hand() -> None:
    """Two images: precision, recall at thresholds 1/3, 2/3: pooled (15 + 15) / (30 + 30), 30 / 30; then 15 / 15 of the
    first image alone, 15 / 30."""
    metric = BoundaryF(0.1, 2)
    truth = columns((15, 20), c7=1) > 0
    metric.update(columns((15, 20), c7=0.9, c15=0.4), truth)
    metric.update(torch.from_numpy(columns((15, 20), c7=0.4, c15=0.4)), torch.from_numpy(truth))
    counts = metric.counts()
    assert counts["total_prediction"].tolist() == [[30, 15], [30, 0]]
    assert counts["matched_truth"].tolist() == [[15, 15], [15, 0]]
    found = metric.compute()
    both, first = 2 * 0.5 * 1 / 1.5, 2 * 1 * 0.5 / 1.5
    assert found["ods"] == pytest.approx(max(both, first)) and found["ods_threshold"] == pytest.approx(1 / 3)
    assert (found["precision"], found["recall"]) == (0.5, 1.0)
    pooled = 30 / 45, 30 / 30  # the first image at 2/3, the second at 1/3
    assert found["ois"] == pytest.approx(2 * pooled[0] * pooled[1] / sum(pooled))
    assert found["ap"] == pytest.approx(sum(1 - (k / 100 - 0.5) for k in range(50, 101)) / 100)
    assert metric.curve()["precision"].tolist() == [0.5, 1.0]
    between = BoundaryF(0.1, 2, interpolate=True)
    between._counts = metric._counts
    assert between.compute()["ods"] == pytest.approx(0.75, abs=1e-4)  # precision = recall = 0.75, half way
    assert between.compute()["ods_threshold"] == pytest.approx(0.5, abs=0.002)


def test_an_image_without_truth_is_best_where_least_is_found() -> None:
    """So that pooled at its best threshold it costs no more than it must: OIS is not below ODS."""
    metric = BoundaryF(0.1, 2)
    truth = columns((15, 20), c7=1) > 0
    metric.update(columns((15, 20), c7=0.9), truth)
    metric.update(columns((15, 20), c7=0.4), np.zeros_like(truth))
    assert metric.counts()["total_truth"].tolist() == [[15, 15], [0, 0]]
    assert metric.compute()["ods"] == metric.compute()["ois"] == 1


def test_five_pictures_of_the_berkeley_benchmark(real_data: Path) -> None:
    """Beside its own results; its matching is random in part, by a few pixels."""
    folder = real_data / BSDS / "bench_selftest"
    metric = BoundaryF(0.0075, np.linspace(1 / 6, 1 - 1 / 6, 5).tolist(), interpolate=True)  # as MATLAB rounds 1/3
    for path in sorted((folder / "png").glob("*.png")):
        people = loadmat(folder / f"groundTruth/{path.stem}.mat")["groundTruth"][0]
        metric.update(np.array(Image.open(path)) / 255, [person[0, 0]["Boundaries"] for person in people])
    threshold, recall, precision, ods, _, _, ois, area = np.loadtxt(folder / "test_2/eval_bdry.txt")
    found = metric.compute()
    expected = {
        "ods": ods,
        "ods_threshold": threshold,
        "precision": precision,
        "recall": recall,
        "ois": ois,
        "ap": area,
    }
    assert found == pytest.approx(expected, abs=5e-4)
    curve = metric.curve()
    official = np.loadtxt(folder / "test_2/eval_bdry_thr.txt").T
    for ours, theirs in zip((curve["recall"], curve["precision"], curve["f"]), official[1:], strict=True):
        assert np.abs(ours - theirs).max() < 1e-3


def test_seism_and_sak() -> None:
    seism, sak = BoundaryF.seism(0.011), BoundaryF.sak(0.011)
    assert len(SEISM_THRESHOLDS) == 101
    prediction = columns((40, 50), c20=51.9 / 255)  # 51 / 255 is 0.2 once it is a picture
    truth = columns((40, 50), c20=1) > 0
    for metric in (seism, sak):
        metric.update(prediction, truth)
    exceeded = seism.counts()["total_prediction"][0] > 0
    assert exceeded.tolist() == [threshold < 0.2 for threshold in SEISM_THRESHOLDS]
    halved = sak.counts()["total_prediction"][0] > 0  # smoothed across by 1 2 1: 25.5 / 255, rounded
    assert halved.tolist() == [threshold <= 26 / 255 for threshold in SEISM_THRESHOLDS]


def test_workers_count_the_same_in_the_same_order() -> None:
    generator = np.random.default_rng(0)
    images = [(generator.random((12, 15)), generator.random((12, 15)) > 0.8) for _ in range(6)]
    here, there = BoundaryF(0.1, 5), BoundaryF(0.1, 5, workers=1)
    for prediction, truth in images:
        here.update(prediction, truth)
        there.update(prediction, truth)
    for name, counts in here.counts().items():
        assert counts.shape == (6, 5)
        assert (counts == there.counts()[name]).all()


# bad input

FLAT, LINE = np.zeros((5, 6)), np.eye(5, 6) > 0


@pytest.mark.parametrize(
    ("prediction", "truth", "said"),
    [
        (FLAT, LINE[:4], r"\(5, 6\) and truth \(4, 6\) differ in size"),
        (FLAT, [LINE, LINE.T], "differ in size"),
        (FLAT, [], "empty list"),
        (FLAT, LINE * 0.5, "must be a mask"),
        (FLAT, LINE * np.uint8(255), "uint8 0 to 255; of a picture take mask > 0"),
        (FLAT, LINE * np.nan, "must be a mask"),
        (FLAT[None], LINE, r"must be a map \(h, w\)"),
        (np.where(LINE, np.nan, 0), LINE, "NaN at 5 of 30"),
        (FLAT + 1.5, LINE, r"must lie in \[0, 1\], got 1.5 to 1.5"),
        (FLAT - 1, LINE, "must lie in"),
        (np.where(LINE, np.inf, 0), LINE, "must lie in"),
        (FLAT.astype(np.uint8), LINE, "uint8; divide"),
    ],
)
def test_bad_input_is_named(prediction: np.ndarray, truth: object, said: str) -> None:
    metric = BoundaryF(0.0075, 3)
    with pytest.raises(ValueError, match=said):
        metric.update(prediction, truth)  # type: ignore[arg-type]
    assert len(metric.counts()["total_truth"]) == 0


def test_undefined_is_neither_zero_nor_nan() -> None:
    metric = BoundaryF(0.0075, 3)
    with pytest.raises(ValueError, match="undefined: none of the 0 images"):
        metric.compute()
    metric.update(FLAT + 0.5, FLAT > 0)
    with pytest.raises(ValueError, match="undefined: none of the 1 images"):
        metric.compute()
    metric.update(FLAT, LINE)  # nothing found: recall 0
    assert metric.compute()["ods"] == 0


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_dist": 3.0},
        {"max_dist": -0.1},
        {"max_dist": 0.01, "thresholds": 0},
        {"max_dist": 0.01, "thresholds": [0.5, 0.5]},
        {"max_dist": 0.01, "thresholds": []},
        {"max_dist": 0.01, "nms": "some"},
        {"max_dist": 0.01, "workers": 0},
        {"max_dist": 0.01, "implementation": "cuda"},
    ],
)
def test_bad_keywords_are_named(keywords: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        BoundaryF(**keywords)  # type: ignore[arg-type]


# as a metric of a task


def batch(seed: int = 0) -> tuple[torch.Tensor, Target]:
    generator = torch.Generator().manual_seed(seed)
    value, truth, valid = torch.rand(3, 3, 1, 1, 20, 25, generator=generator)
    return value, Target((truth > 0.8).float(), valid > 0.3)


def test_metric_clears_what_is_not_valid_and_adds_up() -> None:
    value, target = batch()
    rules = BoundaryRules("exact", "none", (0.25, 0.5, 0.75), eight_bits=False)
    whole, first, second, sums = (BoundaryMetric(rules, 0.05) for _ in range(4))
    plain = BoundaryF(0.05, [0.25, 0.5, 0.75])
    whole.update(value, target)
    first.update(value[:1], Target(target.value[:1], target.valid[:1]))
    second.update(value[1:], Target(target.value[1:], target.valid[1:]))
    for image in range(3):
        known = target.valid[image, 0, 0]
        plain.update(value[image, 0, 0] * known, (target.value[image, 0, 0] > 0) & known)
    sums.state = first.state + second.state
    expected, found = plain.compute(), whole.compute()
    assert found == sums.compute()
    assert found["odsF"] == pytest.approx(100 * expected["ods"]) and found["AP"] == pytest.approx(100 * expected["ap"])
    assert found["oisF"] == pytest.approx(100 * expected["ois"]) and whole.seen.images == 3
    assert "0.05 of the diagonal" in whole.words()


def test_metric_waits_for_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "polyscene.metrics.boundary.ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers)
    )
    value, target = batch(1)
    rules = BoundaryRules("exact", "none", (0.5,))
    here, there = BoundaryMetric(rules, 0.05), BoundaryMetric(rules, 0.05, workers=1)
    for metric in (here, there):
        metric.update(value, target)
    assert (here.state == there.state).all() and here.state[2:].any()


def test_metric_is_undefined_without_a_true_edge() -> None:
    value, target = batch()
    for known in (target.valid, torch.zeros_like(target.valid)):
        metric = Edges().metric("invpt")
        metric.update(value, Target(torch.zeros_like(value), known))
        assert metric.compute()[metric.key] is UNDEFINED
    assert json.dumps(str(metric.compute()["odsF"])) == '"undefined"'


def test_strokes_are_outlined_where_the_protocol_says_so() -> None:
    stroke = torch.zeros(1, 1, 1, 30, 40)
    stroke[..., 10:16, 5:35] = 1
    target = Target(stroke, torch.ones_like(stroke, dtype=torch.bool))
    outline, plain = (BoundaryMetric(PROTOCOLS[name].boundary, 0.01) for name in ("invpt", "sak"))
    for metric in (outline, plain):
        metric.update(torch.zeros_like(stroke), target)
    assert outline.sums[3] > 2 * plain.sums[3] > 0


def test_counts_have_names() -> None:
    assert BoundaryCounts._fields == ("matched_prediction", "total_prediction", "matched_truth", "total_truth")
    assert tuple(BoundaryF(0.01).counts()) == BoundaryCounts._fields
