from dataclasses import replace

import torch

from polyscene.training.step import average, divide, merge
from polyscene.types import Report, collate

from .toy import Toy


def batch(count: int, depth_only: bool = False, views: int = 1):
    samples = [Toy(depth_only=depth_only).read(index) for index in range(count)]
    joined = collate(samples)
    if views == 1:
        return joined
    double = joined.map(lambda tensor: tensor.repeat_interleave(views, dim=1))
    return replace(double, source="double")


def test_sources_of_as_many_views_become_one_batch_with_absent_labels_invalid() -> None:
    (merged,) = merge([batch(2), batch(3, depth_only=True)])
    assert merged.images.shape[0] == 5
    assert merged.targets["semseg"].valid[:2].all() and not merged.targets["semseg"].valid[2:].any()
    assert merged.targets["depth"].valid.all()
    assert merged.source == "toy+toy" and len(merged.meta) == 5


def test_a_batch_without_targets_is_an_unlabelled_one() -> None:
    labelled, unlabelled = divide({"toy": batch(2), "photographs": replace(batch(2), targets={})})
    assert list(labelled) == ["toy"] and list(unlabelled) == ["photographs"]


def test_other_numbers_of_views_stay_apart() -> None:
    assert sorted(each.images.shape[1] for each in merge([batch(2), batch(2, views=2), batch(1)])) == [1, 2]


def test_reports_are_averaged_by_their_shares() -> None:
    one = Report(torch.tensor(1.0), {"depth": torch.tensor(1.0)}, {})
    two = Report(torch.tensor(4.0), {"depth": torch.tensor(3.0), "edges": torch.tensor(5.0)}, {})
    mean = average([one, two], [0.75, 0.25])
    assert mean.total == 0.75 + 1.0
    assert mean.by_task["depth"] == 1.5 and mean.by_task["edges"] == 5
