"""Self-training: what is believed and how firmly, what is pasted, whose colours, and that no target label is read."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training import toy
from torch import Tensor, nn

from polyscene import transforms
from polyscene.adaptation import colour
from polyscene.adaptation.mixing import half_of_the_classes
from polyscene.adaptation.norms import forgetting
from polyscene.adaptation.self_training import SelfTraining
from polyscene.adaptation.teacher import Teacher
from polyscene.config import Config
from polyscene.data import sources
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation, Task
from polyscene.tasks.belief import belief, consensus
from polyscene.types import Batch, Target

TASKS = [Depth(gradient=0.0), SemanticSegmentation(classes=("a", "b")), Normals(), Edges()]


def network(tasks: list[Task] | None = None) -> MultiTaskModel:
    torch.manual_seed(0)
    return create_model(tasks or TASKS[:2], "test_efficientnet")


def batches(seed: int = 0) -> dict[str, Batch]:
    config = toy.with_target(toy.config(Path("run")), {"name": "self_training"})
    built = sources.build(config.data, sources.make(config.data.train["toy"].dataset).tasks, seed)
    return {name: next(loader.batches()) for name, loader in {**built.train, **built.target}.items()}


def pixel(*channels: float) -> Tensor:
    return torch.tensor(channels).reshape(1, 1, -1, 1, 1)


# -- beliefs -----------------------------------------------------------------------------------------------------------
def test_classes_are_believed_by_their_mean_probability() -> None:
    task = SemanticSegmentation(classes=("a", "b"))
    assert torch.allclose(belief(task, pixel(0.0, math.log(3))), pixel(0.25, 0.75))
    value, confidence = consensus(task, [pixel(0.6, 0.4), pixel(0.1, 0.9)])
    assert int(value) == 1 and float(confidence) == pytest.approx(0.65)


def test_depth_is_believed_where_two_looks_agree() -> None:
    """2 m and 2.2 m: their geometric mean, and exp(-difference of logarithms / 0.1)."""
    value, confidence = consensus(Depth(), [pixel(2.0), pixel(2.2)])
    assert float(value) == pytest.approx(math.sqrt(4.4)) and float(confidence) == pytest.approx(
        math.exp(-math.log(1.1) / 0.1), rel=1e-4
    )
    assert float(consensus(Depth(), [pixel(2.0)])[1]) == 1.0


def test_normals_are_believed_where_two_looks_agree() -> None:
    """30 degrees apart: the bisector, and exp(-30 / 15)."""
    half = math.radians(15)
    looks = [pixel(sign * math.sin(half), 0.0, -math.cos(half)) for sign in (-1, 1)]
    value, confidence = consensus(Normals(), looks)
    assert torch.allclose(value, pixel(0.0, 0.0, -1.0), atol=1e-6)
    assert float(confidence) == pytest.approx(math.exp(-2), rel=1e-3)


def test_edges_are_believed_far_from_one_half() -> None:
    value, confidence = consensus(Edges(), [pixel(0.9), pixel(0.7)])
    assert float(value) == 1 and float(confidence) == pytest.approx(0.6)


def test_the_teacher_sees_the_mirror_image_as_the_picture() -> None:
    """A network that is the same for both looks gives the same label to picture and mirrored picture, mirrored."""
    model = network(TASKS)
    teacher = Teacher(model, 0.9)
    batch = replace(batches()["photographs"])
    plain, mirrored = teacher.label(batch), teacher.label(transforms.hflip(batch, {}))
    for task in TASKS:
        value, confidence = mirrored[task.name]
        back = task.hflip(Target(value, torch.ones_like(confidence, dtype=torch.bool))).value
        agree = torch.isclose(back.float(), plain[task.name][0].float(), atol=1e-4)
        assert agree.float().mean() > 0.999, task.name
        assert torch.allclose(confidence.flip(-1), plain[task.name][1], atol=1e-4)
        assert confidence.min() >= 0 and confidence.max() <= 1 + 1e-6


# -- mixing ------------------------------------------------------------------------------------------------------------
def test_half_of_the_classes_that_are_there() -> None:
    """Three classes in four columns, one of which has no label: two are taken whole, nothing else."""
    ids = torch.tensor([0, 2, 2, 4, 4]).expand(40, 1, 3, 5).contiguous()
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[..., 4] = False
    task = SemanticSegmentation(classes=tuple("abcde"))
    torch.manual_seed(0)
    mask = half_of_the_classes({"semseg": task}, {"semseg": Target(ids, valid)})
    assert not mask[..., 4].any() and (mask == mask[:, :, :1]).all() and (mask[..., 1] == mask[..., 2]).all()
    taken = mask[:, 0, 0, [0, 1, 3]]
    assert (taken.sum(1) == 2).all(), "of three, two"
    assert len({tuple(row) for row in taken.tolist()}) == 3, "each pair now and then"


def test_the_half_that_shows_least() -> None:
    ids = torch.tensor([0, 0, 0, 2, 2, 1]).expand(4, 1, 3, 6).contiguous()
    label = Target(ids, torch.ones_like(ids, dtype=torch.bool))
    task = SemanticSegmentation(classes=tuple("abc"))
    mask = half_of_the_classes({"semseg": task}, {"semseg": label}, small=1.0)
    assert (mask == (ids != 0)).all()


def test_without_classes_a_box_is_pasted() -> None:
    label = Target(torch.ones(20, 1, 32, 48), torch.ones(20, 1, 32, 48, dtype=torch.bool))
    mask = half_of_the_classes({"depth": Depth()}, {"depth": label})
    share = mask.float().mean((1, 2, 3))
    assert mask.shape == label.valid.shape and share.min() > 0.3 and share.max() < 0.6


def test_pasted_pixels_carry_all_labels_of_their_source_and_the_others_the_teacher_s() -> None:
    given = batches()
    model, step = network(), SelfTraining(network().tasks, strength=0.0, align=0.0)
    step.attach(model)
    labels = {
        name: (value, torch.ones_like(c)) for name, (value, c) in step.teacher.label(given["photographs"]).items()
    }
    torch.manual_seed(0)
    own = step._own(given["photographs"], labels, [given["toy"]])
    pasted = (own.images != given["photographs"].images).any(2, keepdim=True)
    assert 0.05 < pasted.float().mean() < 0.95
    for name, (value, _) in labels.items():
        assert torch.equal(own.targets[name].value[~pasted], value[~pasted].to(own.targets[name].value.dtype))
        assert own.targets[name].valid.all()
    depths = own.targets["depth"].value[pasted]
    assert torch.isin(depths, torch.tensor([1.0, 3.0])).all(), "true depths of toys"


def test_a_pixel_counts_as_often_as_the_teacher_is_sure() -> None:
    step = SelfTraining(network().tasks, mix=False, strength=0.0, threshold=0.3)
    step.attach(network())
    batch = batches()["photographs"]
    shape = (2, 1, 1, 32, 48)
    for confidence, share in ((0.0, 0.0), (0.25, 0.0), (0.6, 0.6), (1.0, 1.0)):
        own = step._own(batch, {"depth": (torch.ones(shape), torch.full(shape, confidence))}, [])
        assert float(own.targets["depth"].valid.float().mean()) == pytest.approx(share, abs=0.03)


# -- colours -----------------------------------------------------------------------------------------------------------
def test_aligned_pictures_have_the_colours_of_others() -> None:
    torch.manual_seed(0)
    pictures = 0.4 + 0.05 * torch.randn(2, 3, 40, 40)
    like = torch.tensor([0.5, 0.4, 0.6])[:, None, None] + 0.08 * torch.randn(2, 3, 40, 40)
    change = torch.tensor(colour.OPPONENT)
    moved = colour.align(pictures, like)
    for one, other in zip(moved, like, strict=True):
        theirs, mine = (torch.einsum("ij,jhw->ihw", change, each).flatten(1) for each in (other, one))
        assert torch.allclose(mine.mean(1), theirs.mean(1), atol=1e-3)
        assert torch.allclose(mine.std(1), theirs.std(1), rtol=0.02)
    assert torch.allclose(colour.align(like, like), like.clamp(0, 1), atol=1e-5)


def test_mixed_precision_leaves_colours_alone() -> None:
    torch.manual_seed(0)
    pictures, like = torch.rand(2, 2, 3, 24, 24)
    plain = colour.align(pictures, like), colour.blur(pictures, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = colour.align(pictures, like), colour.blur(pictures, 1.0)
    assert all(torch.equal(one, other) for one, other in zip(plain, mixed, strict=True))


def test_disturbed_pictures_differ_each_in_its_own_way() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(1, 3, 24, 24).expand(4, -1, -1, -1)
    changed = colour.disturb(pictures, 1.0)
    assert changed.shape == pictures.shape and changed.min() >= 0 and changed.max() <= 1
    assert all(not torch.allclose(changed[0], other, atol=0.01) for other in changed[1:])
    assert torch.allclose(colour.disturb(pictures, 0.0), pictures, atol=1e-3)


def test_blurring_keeps_the_mean_and_spreads_a_point_as_a_gaussian() -> None:
    point = torch.zeros(1, 3, 21, 21)
    point[..., 10, 10] = 1
    soft = colour.blur(point, 1.5)[0, 0]
    places = torch.arange(21.0) - 10
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    assert float((soft.sum(0) * places.square()).sum()) == pytest.approx(1.5**2, rel=0.05)


# -- batch norms -------------------------------------------------------------------------------------------------------
def test_forgetting_normalises_but_does_not_remember() -> None:
    norm = nn.BatchNorm2d(1)
    one, other = torch.full((2, 1, 2, 2), 3.0) + torch.randn(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    with forgetting(norm):
        assert abs(float(norm(one).mean().detach())) < 1e-5
    assert float(norm.running_mean) == 0 and norm.momentum == 0.1
    norm(other + 1)
    assert float(norm.running_mean) == pytest.approx(0.1)


@pytest.mark.parametrize(("norms", "seen"), [("joint", [5]), ("apart", [3, 2]), ("target", [3, 2])])
def test_what_batch_norms_see(norms: str, seen: list[int]) -> None:
    model, step = network(), SelfTraining(network().tasks, norms=norms, align=0.0, mix=False, strength=0.0)
    step.attach(model)
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    sizes: list[int] = []
    moved: list[bool] = []
    before = [norm.running_mean.clone()]

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append(len(inputs[0]))
        moved.append(not torch.equal(norm.running_mean, before[-1]))
        before.append(norm.running_mean.clone())

    norm.register_forward_hook(look)
    step(model.train(), batches())
    assert sizes == seen
    assert moved == ([False, True] if norms == "target" else [True] * len(seen))


# -- the step ----------------------------------------------------------------------------------------------------------
def test_the_total_is_both_losses_by_how_sure_the_teacher_is() -> None:
    model, step = network(), SelfTraining(network().tasks, weight=0.5, norms="apart")
    step.attach(model)
    report = step(model, batches())
    added = sum(
        0.5 * report.parts[f"sure of {name}"] * report.parts[f"self-taught {name}"] * task.weight
        for name, task in model.tasks.items()
    )
    supervised = sum(report.by_task[name] * task.weight for name, task in model.tasks.items())
    assert torch.allclose(report.total, supervised + added)
    assert torch.allclose(torch.stack(list(report.shares.values())).sum(), report.total)


def test_the_weight_grows() -> None:
    model, step = network(), SelfTraining(network().tasks, ramp=0.5)
    model.progress = 0.2
    assert step._grown(model) == pytest.approx(0.4)
    model.progress = 0.8
    assert step._grown(model) == 1


def test_the_teacher_follows_and_gets_no_gradient() -> None:
    model, step = network(), SelfTraining(network().tasks, decay=0.5)
    step.attach(model)
    step(model, batches()).total.backward()
    assert all(parameter.grad is None for parameter in step.teacher.model.parameters())
    name, weight = next(iter(model.named_parameters()))
    old = step.teacher.model.state_dict()[name].clone()
    with torch.no_grad():
        weight.add_(1.0)
    step.updated(model, 0.1)
    assert torch.allclose(step.teacher.model.state_dict()[name], old + 0.9, atol=1e-5), "0.1, the first update's decay"


@pytest.mark.parametrize("method", ["self_training", "adversarial"])
def test_no_label_of_a_target_is_opened(tmp_path: Path, method: str) -> None:
    """A described folder whose label files are missing, or hold garbage: training goes on as with them."""
    from PIL import Image

    from polyscene.training.loop import train

    reached = []
    for kind in ("whole", "missing", "garbage"):
        folder = tmp_path / kind
        for part in ("rgb", "seg"):
            (folder / part).mkdir(parents=True)
        for number in range(3):
            picture = (torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(number)) * 255).byte().numpy()
            Image.fromarray(picture).save(folder / "rgb" / f"{number}.png")
            label = folder / "seg" / f"{number}.png"
            if kind == "whole":
                Image.fromarray(picture[..., 0] % 2).save(label)
            elif kind == "garbage":
                label.write_bytes(b"no picture")
        (folder / "polyscene.yaml").write_text(
            "name: streets\nimages: rgb/{id}.png\ntasks:\n  semseg: {path: 'seg/{id}.png', classes: [a, b]}\n"
        )
        settings = toy.config(tmp_path / f"run {kind}", evaluate=False, steps=2).model_dump(mode="json")
        source = {"dataset": {"name": "folder", "path": str(folder)}, "batch": 2}
        settings["data"]["target"] = {"photographs": source}
        out = train(Config.model_validate({**settings, "method": {"name": method}}))
        reached.append((out / "last" / "model.safetensors").read_bytes()[-4096:])
    assert reached[0] == reached[1] == reached[2]


def test_views_of_unlabelled_samples_explain_each_other(real_data: Path) -> None:
    """With ``video``, the photometric loss of pairs is added, and depth gets a gradient from it."""
    settings = toy.config(Path("run")).model_dump(mode="json")
    described = Path(__file__).parents[2] / "experiments" / "real" / "data" / "office.yaml"
    frames = {"name": "folder", "path": str(described), "split": "train", "views": 2}
    settings["data"]["target"] = {"office": {"dataset": frames, "batch": 3}}
    config = Config.model_validate(settings)
    built = sources.build(config.data, sources.make(config.data.train["toy"].dataset).tasks, 0)
    given = {name: next(loader.batches()) for name, loader in {**built.train, **built.target}.items()}
    totals = []
    for video in (0.0, 1.0):
        model, step = network(), SelfTraining(network().tasks, video=video, octaves=1, norms="apart")
        step.attach(model.eval())
        torch.manual_seed(0)
        report = step(model, given)
        totals.append(report)
    assert "photometric" not in totals[0].parts and float(totals[1].parts["photometric"].detach()) > 0
    more = totals[1].parts["photometric"] + 0.001 * totals[1].parts["smooth"]
    assert torch.allclose(totals[1].total, totals[0].total + more, rtol=1e-4)
    assert torch.allclose(torch.stack(list(totals[1].shares.values())).sum() + totals[1].others, totals[1].total)
