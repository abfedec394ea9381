import math

import pytest

from polyscene.tasks import Depth, SemanticSegmentation
from polyscene.training.score import score

TASKS = {"depth": Depth(), "semseg": SemanticSegmentation(classes=("a", "b"))}


def test_the_score_is_the_mean_share_of_the_floors_error_taken_away() -> None:
    figures = {"rooms": {"depth": {"RMSE": 0.5}, "semseg": {"mIoU": 60.0}}}
    floors = {"rooms": {"depth": {"RMSE": 2.0}, "semseg": {"mIoU": 20.0}}}
    assert score(figures, floors, TASKS) == pytest.approx((0.75 + 0.5) / 2)
    assert score(floors, floors, TASKS) == 0


def test_figures_without_labels_do_not_count() -> None:
    floors = {"rooms": {"depth": {"RMSE": 2.0}, "semseg": {"mIoU": math.nan}}}
    figures = {"rooms": {"depth": {"RMSE": 1.0}, "semseg": {"mIoU": math.nan}}}
    assert score(figures, floors, TASKS) == 0.5
    assert math.isnan(score({}, {}, TASKS))
