import pytest
import torch
from tests.metrics.figures import judge, target
from torch import Tensor

from polyscene.metrics import MeanIoU
from polyscene.metrics.protocols import PROTOCOLS

CLASSES = ("a", "b", "c", "d")


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers)[None, None, None]


def by(protocol: str) -> MeanIoU:
    return MeanIoU(CLASSES, PROTOCOLS[protocol].segmentation)


def test_by_hand() -> None:
    metric = MeanIoU(CLASSES)
    valid = torch.tensor([True, True, True, True, False])[None, None, None]
    metric.update(ids(0, 1, 1, 2, 3), target(ids(0, 0, 1, 1, 255), valid))
    assert metric.compute() == {
        "mIoU": pytest.approx((50 + 100 / 3) / 2), "accuracy": 50.0, "IoU a": 50.0, "IoU b": pytest.approx(100 / 3)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "classes"),
    [
        ("polyscene", 2),  # a and b occur
        ("dense_mtl", 3),  # c is predicted
        ("mtan", 3),
        *((name, 4) for name in ("invpt", "atrc", "mtlpt", "astmt", "sak")),
    ],
)
def test_what_a_class_without_true_pixels_counts(protocol: str, classes: int) -> None:
    found = judge(by(protocol), (ids(0, 1, 1, 2), ids(0, 0, 1, 1)))
    assert found["mIoU"] == pytest.approx((50 + 100 / 3) / classes)
    named = [figure for name, figure in found.items() if name.startswith("IoU")]
    assert len(named) == classes and sum(named) / classes == pytest.approx(found["mIoU"])


def test_counts_of_the_set_are_not_the_mean_of_images() -> None:
    images = (ids(0, 0, 0, 0), ids(0, 0, 0, 0)), (ids(0, 1), ids(1, 1))
    whole = judge(by("dense_mtl"), *images)
    assert whole["mIoU"] == pytest.approx((80 + 50) / 2) and whole["accuracy"] == pytest.approx(500 / 6)
    apart = judge(by("mtan"), *images)
    assert apart["mIoU"] == pytest.approx((100 + (0 + 50) / 2) / 2) and apart["accuracy"] == pytest.approx(75)


@pytest.mark.parametrize("beyond", [-1, 4, 255])
def test_ids_beyond_the_classes_are_refused(beyond: int) -> None:
    with pytest.raises(ValueError, match=f"the prediction holds class id {beyond}, beyond the 4 classes"):
        judge(MeanIoU(CLASSES), (ids(0, beyond), ids(0, 1)))
    with pytest.raises(ValueError, match=f"the truth holds class id {beyond}, beyond the 4 classes"):
        judge(MeanIoU(CLASSES), (ids(0, 1), ids(0, beyond)))


def test_ids_may_be_bytes() -> None:
    found = judge(MeanIoU(CLASSES), (ids(3, 2, 3).to(torch.uint8), ids(3, 2, 2).to(torch.uint8)))
    assert found["mIoU"] == pytest.approx(50)
