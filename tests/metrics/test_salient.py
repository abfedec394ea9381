import pytest
import torch
from tests.metrics.figures import image, judge
from torch import Tensor

from polyscene.metrics import MaxF, Metric
from polyscene.metrics.protocols import PROTOCOLS
from polyscene.metrics.thresholds import Thresholds
from polyscene.tasks import Saliency

PARTED = image(0.9, 0.37, 0.33, 0.1), image(1, 1, 0, 0)  # a threshold of 0.35 does it


def by(protocol: str) -> Metric:
    return Saliency().metric(protocol)


def f_measure(precision: float, recall: float) -> float:
    return 100 * 1.3 * precision * recall / (0.3 * precision + recall)


def test_the_best_threshold_is_taken() -> None:
    found = judge(MaxF(), (image(0.9, 0.8, 0.7, 0.1), image(1, 0, 1, 0)))
    assert found["maxF"] == pytest.approx(max(f_measure(2 / 3, 1), f_measure(1, 0.5)))


@pytest.mark.parametrize("protocol", ["polyscene", "atrc", "sak"])
def test_thresholds_on_the_probability(protocol: str) -> None:
    assert judge(by(protocol), PARTED)["maxF"] == pytest.approx(100)


def test_invpt_thresholds_the_sigmoid_of_the_probability() -> None:
    """Which leaves cuts at 0, 0.20, 0.41, 0.62 and 0.85 of the probability, and none at 0.35."""
    found = judge(by("invpt"), PARTED)
    assert found["maxF"] == pytest.approx(max(f_measure(2 / 3, 1), f_measure(1, 0.5)))
    score = torch.linspace(0, 1, 1001)
    reached = Thresholds(PROTOCOLS["invpt"].saliency.thresholds).reached(score.sigmoid())
    cuts = score[1:][reached.diff() > 0].tolist()
    assert cuts == pytest.approx([0.201, 0.406, 0.62, 0.848], abs=1e-6)


def test_pixels_are_pooled_for_f_and_images_averaged_for_iou() -> None:
    images = (image(0.95, 0.5), image(1, 1)), (image(0.5, 0.1), image(0, 0))
    assert judge(by("sak"), *images)["maxF"] == pytest.approx(max(f_measure(2 / 3, 1), f_measure(1, 0.5)))
    for protocol in ("mtlpt", "astmt"):
        metric = by(protocol)
        assert metric.key == "mIoU"
        assert judge(metric, *images) == {"mIoU": pytest.approx((50 + 100) / 2)}  # above 0.5: half, and rightly none


def test_iou_must_exceed_its_thresholds_after_8_bits() -> None:
    """0.2 is 51/255 and does not exceed 0.2, the lowest; 0.205 becomes 52/255."""
    assert judge(by("mtlpt"), (image(0.2039), image(1)))["mIoU"] == 0  # 51.99
    assert judge(by("mtlpt"), (image(0.205), image(1)))["mIoU"] == 100
    assert judge(by("mtlpt"), (image(0.95, 0.902), image(1, 0)))["mIoU"] == 50  # the highest is 0.9, below 230/255


def test_a_score_on_a_threshold_reaches_it() -> None:
    assert judge(by("sak"), (image(0.95, 0.9), image(1, 0)))["maxF"] == pytest.approx(100)


def test_without_a_salient_pixel_f_is_undefined() -> None:
    assert str(judge(by("polyscene"), (image(0.9, 0.1), image(0, 0)))["maxF"]) == "undefined"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "values", [[k / 20 for k in range(1, 20)], [0.001, 0.5, 0.999], [k / 256 for k in range(1, 256)]]
)
def test_the_table_agrees_with_a_search(values: list[float], strict: bool) -> None:
    edges = torch.tensor(values)
    score = torch.cat([torch.rand(2000, generator=torch.Generator().manual_seed(0)), edges, torch.tensor([0.0, 1.0])])
    near = torch.cat([score, edges.nextafter(edges + 1), edges.nextafter(edges - 1)])
    thresholds = Thresholds(values, strict)
    expected = torch.bucketize(near, edges, right=not strict)
    assert torch.equal(thresholds.reached(near).long(), expected)
    counts = thresholds.count(thresholds.reached(near))
    assert counts.tolist() == [int(((near > edge) if strict else (near >= edge)).sum()) for edge in edges]


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.6, 0.4], [0.0, 0.5], [0.5, 1.5]])
def test_thresholds_must_ascend(values: list[float]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        Thresholds(values)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_what_is_no_probability_is_refused(value: float) -> None:
    truth: Tensor = image(0, 1)
    with pytest.raises(ValueError, match="no probability"):
        judge(by("polyscene"), (image(0.5, value), truth))
