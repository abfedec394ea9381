"""Where torchmetrics defines the same thing, it says the same."""

import pytest
import torch
from tests.metrics.figures import judge

from polyscene.metrics import DepthError, MaxF, MeanIoU
from polyscene.metrics.protocols import SegmentationRules

torchmetrics = pytest.importorskip("torchmetrics")


def test_mean_iou() -> None:
    generator = torch.Generator().manual_seed(0)
    value, truth = torch.randint(0, 5, (2, 3, 1, 20, 30), generator=generator)
    truth[truth == 3] = 2  # 3 is predicted only
    value[value == 4], truth[truth == 4] = 0, 0  # 4 not at all
    other = torchmetrics.JaccardIndex(task="multiclass", num_classes=5, average="macro")
    accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=5, average="micro")
    found = judge(MeanIoU(tuple("abcde"), SegmentationRules("skip unless predicted")), (value, truth))
    assert found["mIoU"] == pytest.approx(float(other(value, truth)) * 100, rel=1e-5)
    assert found["accuracy"] == pytest.approx(float(accuracy(value, truth)) * 100, rel=1e-5)


def test_depth() -> None:
    generator = torch.Generator().manual_seed(0)
    value, truth = torch.rand(2, 3, 1, 20, 30, generator=generator) * 5 + 0.5
    found = judge(DepthError(), (value, truth))
    assert found["RMSE"] == pytest.approx(float(torchmetrics.MeanSquaredError(squared=False)(value, truth)), rel=1e-5)
    assert found["AbsErr"] == pytest.approx(float(torchmetrics.MeanAbsoluteError()(value, truth)), rel=1e-5)
    relative = torchmetrics.MeanAbsolutePercentageError()(value, truth)
    assert found["AbsRel"] == pytest.approx(float(relative), rel=1e-5)


def test_max_f() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(3, 1, 20, 30, generator=generator) > 0.6).float()
    value = (0.4 * truth + 0.6 * torch.rand(truth.shape, generator=generator)).clamp(0, 1)
    curve = torchmetrics.PrecisionRecallCurve(task="binary", thresholds=torch.arange(1, 256) / 256)
    precision, recall, _ = curve(value, truth.int())
    best = (1.3 * precision * recall / (0.3 * precision + recall).clamp_min(1e-12)).max()
    assert judge(MaxF(), (value, truth))["maxF"] == pytest.approx(float(best) * 100, rel=1e-5)
