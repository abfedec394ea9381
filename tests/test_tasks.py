import math

import pytest
import torch

from polyscene import tasks
from polyscene.tasks import Depth, Edges, Normals, Saliency, SemanticSegmentation, Task
from polyscene.types import Target

TASKS: dict[str, Task] = {
    "semseg": SemanticSegmentation(classes=("a", "b", "c")),
    "semseg, weighted": SemanticSegmentation(classes=("a", "b", "c"), class_weights=(1.0, 2.0, 0.5)),
    "semseg, balanced": SemanticSegmentation(classes=("a", "b", "c"), balance=0.5),
    **{f"depth, {encoding}": Depth(encoding=encoding) for encoding in ("log", "metres", "inverse", "log_bins")},
    "depth, disparity": Depth(encoding="disparity"),
    "depth, inverse_linear": Depth(encoding="inverse_linear"),
    "normals": Normals(),
    "edges": Edges(),
    "saliency": Saliency(),
    "edges, two classes": Edges(two_class=True),
    "saliency, two classes": Saliency(two_class=True),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def label(task: Task, size: tuple[int, int] = (8, 10)) -> Target:
    """A random label (2, 1, c, h, w), a quarter of it invalid."""
    generator = torch.Generator().manual_seed(3)
    raw = torch.randn(2, 1, task.channels, *size, generator=generator)
    value = task.activate(raw)
    if isinstance(task, Edges | Saliency):
        value = (value > 0.5).float()
    if isinstance(task, Depth):
        value = value.abs() + 0.5
    return Target(value, torch.rand(2, 1, 1, *size, generator=generator) > 0.25)


@every_task
def test_describe_and_build(task: Task) -> None:
    assert tasks.build(task.describe()) == task


@every_task
def test_values_have_the_shape_of_labels(task: Task) -> None:
    value = task.activate(torch.randn(2, 1, task.channels, 4, 5))
    assert value.shape == (2, 1, task.value_channels, 4, 5)
    assert task.draw(value[0, 0]).shape == (4, 5, 3)


@every_task
def test_what_is_decided_of_soft_values_is_the_value(task: Task) -> None:
    raw = torch.randn(2, 1, task.channels, 4, 5, generator=torch.Generator().manual_seed(1))
    soft = task.soft(raw)
    assert soft.shape[-3] == (len(task.classes) or task.value_channels) and soft.is_floating_point()
    torch.testing.assert_close(task.decide(soft), task.activate(raw))
    mixed = task.decide((soft + soft.flip(-1)) / 2)
    assert mixed.shape == (2, 1, task.value_channels, 4, 5)


def test_normals_decided_of_a_mean_are_of_unit_length() -> None:
    mean = torch.tensor([0.5, 0.0, -0.5])[:, None, None]
    torch.testing.assert_close(Normals().decide(mean).flatten(), torch.tensor([0.5**0.5, 0.0, -(0.5**0.5)]))


@every_task
def test_the_loss_is_zero_with_a_gradient_where_nothing_is_valid(task: Task) -> None:
    raw = torch.randn(2, 1, task.channels, 8, 10, requires_grad=True)
    known = label(task)
    loss = task.loss(raw, Target(known.value, torch.zeros_like(known.valid)))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and raw.grad is not None and (raw.grad == 0).all()


@every_task
def test_invalid_labels_do_not_matter_whatever_they_hold(task: Task) -> None:
    known = label(task)
    spoilt = 255 if isinstance(task, SemanticSegmentation) else math.nan
    dirty = Target(torch.where(known.valid, known.value, spoilt).to(known.value.dtype), known.valid)
    losses, gradients = [], []
    for each in (known, dirty):
        raw = torch.linspace(-1, 1, 2 * task.channels * 80).reshape(2, 1, task.channels, 8, 10).requires_grad_()
        loss = task.loss(raw, each)
        loss.backward()
        losses.append(loss.item())
        gradients.append(raw.grad)
    assert losses[0] == losses[1] and math.isfinite(losses[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[1].isfinite().all() and gradients[1].abs().sum() > 0


@every_task
def test_mirrored_twice_is_as_before(task: Task) -> None:
    known = label(task)
    once, twice = task.hflip(known), task.hflip(task.hflip(known))
    assert torch.equal(twice.value, known.value) and torch.equal(twice.valid, known.valid)
    assert torch.equal(once.valid, known.valid.flip(-1))


@every_task
def test_cropping_and_resizing_keep_value_and_validity_together(task: Task) -> None:
    known = label(task)
    cut = task.crop(known, (2, 3, 4, 5))
    assert torch.equal(cut.value, known.value[..., 2:6, 3:8]) and torch.equal(cut.valid, known.valid[..., 2:6, 3:8])
    grown = task.resize(known, (16, 20))
    assert torch.equal(grown.value[..., ::2, ::2], known.value) and torch.equal(
        grown.valid[..., 1::2, 1::2], known.valid
    )
    assert task.resize(known, (4, 5)).value.dtype == known.value.dtype


@every_task
def test_a_perfect_prediction_is_judged_perfect(task: Task) -> None:
    known, metric = label(task), task.metric()
    metric.update(known.value, known)
    assert metric.compute()[metric.key] == pytest.approx(100 if metric.higher_is_better else 0, abs=1e-3)


@every_task
def test_the_constant_is_a_value_of_the_task(task: Task) -> None:
    constant = task.constant([label(task), label(task)])
    assert constant.shape == (task.value_channels,) and constant.float().isfinite().all()


def test_thin_edges_survive_shrinking() -> None:
    value = torch.zeros(1, 1, 12, 12)
    value[..., 5] = 1
    small = Edges().resize(Target(value, torch.ones(1, 1, 12, 12, dtype=torch.bool)), (4, 4))
    assert small.value[0, 0].tolist() == [[0, 1, 0, 0]] * 4


def test_mirrored_normals_look_the_other_way() -> None:
    known = label(Normals())
    flipped = Normals().hflip(known).value
    assert torch.equal(flipped[..., 0, :, :], -known.value[..., 0, :, :].flip(-1))
    assert torch.equal(flipped[..., 1:, :, :], known.value[..., 1:, :, :].flip(-1))


@pytest.mark.parametrize("encoding", ["log", "inverse", "log_bins", "disparity", "inverse_linear"])
def test_depth_is_positive_and_finite_whatever_comes_out(encoding: str) -> None:
    task = tasks.build({"type": "Depth", "encoding": encoding, "near": 0.5, "far": 10.0})
    for size in (1.0, 1e4):
        depth = task.activate(torch.linspace(-size, size, 64 * 30).reshape(task.channels, -1, 1))
        assert depth.isfinite().all() and (depth > 0).all() and depth.max() <= 10 * math.e + 1e-3


def test_depth_far_outside_its_range_still_learns_the_way_back() -> None:
    truth = Target(torch.full((1, 1, 8, 8), 2.0), torch.ones(1, 1, 8, 8, dtype=torch.bool))
    for start, way in ((50.0, 1), (-50.0, -1)):
        raw = torch.full((1, 1, 8, 8), start, requires_grad=True)
        Depth().loss(raw, truth).backward()
        assert raw.grad is not None and (way * raw.grad > 0).all()


def test_zoom_divides_depth_image_by_image() -> None:
    known = label(Depth())
    scale = torch.tensor([[2.0], [4.0]])
    zoomed = Depth().zoom(known, scale).value
    torch.testing.assert_close(zoomed[0] * 2, known.value[0])
    torch.testing.assert_close(zoomed[1] * 4, known.value[1])
    assert torch.equal(Normals().zoom(label(Normals()), scale).value, label(Normals()).value)


def test_constants_are_found_in_valid_pixels() -> None:
    valid = torch.tensor([True, True, True, False])[None, None, None, None]
    ids = Target(torch.tensor([1, 1, 0, 2])[None, None, None, None], valid)
    assert SemanticSegmentation(classes=("a", "b", "c")).constant([ids]).tolist() == [1]
    metres = Target(torch.tensor([1.0, 2.0, 6.0, 900.0])[None, None, None, None], valid)
    assert Depth().constant([metres]).tolist() == [3]


def test_constant_maps_average_place_by_place() -> None:
    valid = torch.ones(2, 1, 1, 1, 3, dtype=torch.bool)
    valid[1, ..., 0] = False
    valid[..., 2] = False
    value = torch.tensor([[1.0, 2.0, 50.0], [70.0, 4.0, 50.0]])[:, None, None, None]
    assert Depth().constant_map([Target(value, valid)]).tolist() == [[[1.0, 3.0, pytest.approx(7 / 3)]]]
    normals = label(Normals())
    mean = Normals().constant_map([normals])
    torch.testing.assert_close(mean.norm(dim=0), torch.ones(8, 10))


def test_unknown_kinds_and_keywords_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'Depth'"):
        tasks.build({"type": "Dept"})
    with pytest.raises(ValueError, match="neer"):
        tasks.build({"type": "Depth", "neer": 1.0})
    with pytest.raises(ValueError, match="0 < near < far"):
        Depth(near=3.0, far=2.0)
    with pytest.raises(ValueError, match="two class names"):
        SemanticSegmentation(classes=("one",))


def test_balance_lets_a_rare_class_count_as_much_as_a_common_one() -> None:
    classes = torch.zeros(1, 1, 1, 10, 10, dtype=torch.long)
    classes[..., 0, 0] = 1  # one pixel in a hundred
    target = Target(classes, torch.ones_like(classes, dtype=torch.bool))
    raw = torch.zeros(1, 1, 2, 10, 10, requires_grad=True)
    pull = {}
    for balance in (0.0, 1.0):
        task = SemanticSegmentation(classes=("common", "rare"), balance=balance)
        (gradient,) = torch.autograd.grad(task.loss(raw, target), raw)
        rare = classes[0, 0] == 1
        pull[balance] = float((gradient[0, 0, 1:][rare].sum() / gradient[0, 0, 1:][~rare].sum()).abs())
    assert pull[0.0] == pytest.approx(1 / 99, rel=1e-3)
    assert pull[1.0] == pytest.approx(1, rel=0.6)  # shares are smoothed by a pixel


def test_inverse_linear_reads_what_densemtl_puts_out() -> None:
    task = Depth(encoding="inverse_linear", near=0.5, far=80.0)
    metres = torch.tensor([0.6, 1.0, 10.0, 79.0]).reshape(1, 1, 1, 2, 2)
    raw = 65536 / (100 * metres + 1)
    torch.testing.assert_close(task.activate(raw), metres)
    everywhere = torch.ones_like(metres, dtype=torch.bool)
    assert task.loss(raw, Target(metres, everywhere)).item() < 1e-3
    errors = torch.tensor([1.0, -2.0, 10.0, -4.0]).reshape(metres.shape)  # the bend is at 2
    expected = (1 + 2 + (100 + 4) / 4 + (16 + 4) / 4) / 4
    assert task.loss(raw + errors, Target(metres, everywhere)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [Edges, Saliency])
def test_two_classes_are_one_probability_and_its_rest(kind: type[Edges] | type[Saliency]) -> None:
    one, two = kind(), kind(two_class=True)
    scores = torch.randn(2, 1, 2, 5, 6)
    odds = scores[..., 1:, :, :] - scores[..., :1, :, :]
    torch.testing.assert_close(two.activate(scores), scores.softmax(-3)[..., 1:, :, :])
    known = label(one, (5, 6))
    torch.testing.assert_close(two.loss(scores, known), one.loss(odds, known))
