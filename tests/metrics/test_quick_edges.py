import pytest
import torch
from tests.metrics.figures import image, judge

from polyscene.metrics import QuickEdgeF
from polyscene.tasks import Edges
from polyscene.types import Target


def test_edges_are_matched_within_the_radius() -> None:
    truth, score = torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    truth[..., 5] = 1
    score[..., 7] = 0.9  # two pixels off: a match
    score[..., 15] = 0.4  # far off: a false alarm, at low thresholds
    found = judge(QuickEdgeF(radius=2), (score, truth))
    assert found["quick F"] == pytest.approx(100) and 0.4 < found["threshold"] <= 0.9
    assert judge(QuickEdgeF(radius=1), (score, truth))["quick F"] == 0


def test_counted_at_once_agree_with_thresholds_one_by_one() -> None:
    value, truth, valid = torch.rand(3, 2, 1, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    truth, valid = truth > 0.9, valid > 0.2
    value[0, 0, 0, 0, :19] = torch.arange(1, 20) / 20  # on the thresholds themselves
    metric = QuickEdgeF()
    metric.update(value, Target(truth.float(), valid))

    def grown(mask: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.max_pool2d(mask.flatten(0, 1).float(), 5, 1, 2).unflatten(0, (2, 1)) > 0

    truth = truth & valid
    for row, threshold in zip(metric.sums.reshape(-1, 4), metric.thresholds.values, strict=True):
        found = (value >= threshold) & valid
        expected = (found & grown(truth)).sum(), found.sum(), (truth & grown(found)).sum(), truth.sum()
        assert row.tolist() == [int(count) for count in expected]


def test_dense_mtl_scores_both_classes() -> None:
    found = judge(Edges().metric("dense_mtl"), (image(0.9, 0.2, 0.6, 0.1, 0.1), image(1, 1, 0, 0, 0)))
    edge, other = 2 * 1 / (2 + 2), 2 * 2 / (3 + 3)
    assert found == {"class F1": pytest.approx(100 * (edge + other) / 2), "edge F1": pytest.approx(100 * edge)}


def test_without_a_true_edge_nothing_is_defined() -> None:
    assert {str(figure) for figure in judge(QuickEdgeF(), (image(0.9, 0.1), image(0, 0))).values()} == {"undefined"}
