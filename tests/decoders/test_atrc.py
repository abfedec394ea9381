from __future__ import annotations

import pytest
import torch
from tests.golden import recipe
from torch import Tensor
from torch.nn import functional as F

from polyscene.convert.atrc import Atrc as Converter
from polyscene.convert.base import convert, load, raw
from polyscene.decoders import atrc_genotypes, atrc_search
from polyscene.decoders.atrc import Atrc, Target
from polyscene.decoders.atrc_contexts import GlobalContext, LabelContext, LocalContext, class_tokens, local_attention
from polyscene.decoders.atrc_genotypes import CONTEXTS, PUBLISHED
from polyscene.decoders.atrc_search import OPEN, Search
from polyscene.model import create_model
from polyscene.objective import Objective
from polyscene.tasks.sets import resolve
from polyscene.types import Batch, Camera, Features, Sample
from polyscene.types import Target as Label

WIDTHS, STRIDES = (4, 6, 8, 16), (4, 8, 16, 32)
LABEL_CONTEXTS = ("target_label", "source_label")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pyramid(height: int = 64, width: int = 96, batch: int = 2) -> Features:
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return Features([torch.randn(batch, count, *size) for count, size in zip(WIDTHS, sizes, strict=True)])


def labelled(model: torch.nn.Module) -> Batch:
    """Two pictures whose labels are all alike."""
    shape = 2, 1, 1, 64, 96
    normals = torch.tensor([0.0, 0.0, -1.0])[:, None, None].expand(2, 1, 3, 64, 96)
    values = {"depth": torch.full(shape, 2.0), "normals": normals}
    valid = torch.ones(shape, dtype=torch.bool)
    targets = {name: Label(value, valid) for name, value in values.items()}
    eye = torch.eye(3).expand(2, 1, 3, 3), torch.eye(4).expand(2, 1, 4, 4), torch.ones(2, 1, dtype=torch.bool)
    return Sample(torch.rand(2, 1, 3, 64, 96), targets, Camera(*eye), eye[2], "alike")


# -- the published network -------------------------------------------------------------------------------------------
def test_golden_outputs() -> None:
    """Of the public network, from weights made by a recipe."""
    meta, state = recipe.meta("atrc"), recipe.state_dict("atrc")
    assert recipe.same_weights("atrc", state)
    converter = Converter(meta)
    converted = convert(converter, state)
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    errors = recipe.errors("atrc", outputs)
    assert len(errors) == len(outputs) == 8
    assert {name: error for name, (error, allowed) in errors.items() if error > allowed} == {}


def test_a_checkpoint_of_another_genotype_is_refused() -> None:
    meta, state = recipe.meta("atrc"), recipe.state_dict("atrc")
    given = meta["config"]["genotype"]

    def changed(code: int) -> Converter:
        row = {**given["semseg"], "depth": code}
        return Converter({**meta, "config": {**meta["config"], "genotype": {**given, "semseg": row}}})

    with pytest.raises(ValueError, match="have no place in the model"):
        convert(changed(0), state)
    fewer = {key: tensor for key, tensor in state.items() if "cp_blocks.semseg.depth" not in key}
    with pytest.raises(ValueError, match=r"no tensor under 'head\.atrc_module\.cp_blocks\.semseg\.depth"):
        convert(changed(1), fewer)
    with pytest.raises(ValueError, match="code 7 is no context; 0 to 4 are none, global"):
        changed(7).build()
    with pytest.raises(ValueError, match="'ResNet50' is none of HRNet18"):
        Converter({**meta, "backbone": "ResNet50"}).build()


def test_what_the_loss_alone_needs_is_left_out() -> None:
    meta, state = recipe.meta("atrc"), recipe.state_dict("atrc")
    centres = "criterion.loss_dict.normals.aux.centroids"
    converted = convert(Converter(meta), {**state, centres: torch.zeros(40, 3)})
    assert list(converted.leftovers) == [centres]


# -- contexts ----------------------------------------------------------------------------------------------------------
def test_global_context_as_attention_over_all_pixels() -> None:
    context = GlobalContext(6, 3).double().eval()
    target, source = torch.randn(2, 2, 6, 5, 7, dtype=torch.float64)
    query, key, value = (tensor.flatten(2) for tensor in context.queries(target, source))
    weights = torch.einsum("ndq,ndk->nqk", query, key)
    expected = torch.einsum("nqk,ndk->ndq", weights / weights.sum(2, keepdim=True), value)
    torch.testing.assert_close(context(target, source).flatten(2), expected)


@pytest.mark.parametrize(("size", "window"), [((11, 19), 9), ((8, 16), 9), ((3, 2), 9), ((6, 5), 3), ((4, 4), 1)])
def test_local_attention_as_windows_written_out(size: tuple[int, int], window: int) -> None:
    query, key, value = (torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def windows(tensor: Tensor) -> Tensor:
        return F.unfold(tensor, window, padding=window // 2).unflatten(1, (3, -1))

    weights = torch.einsum("ndp,ndkp->nkp", query.flatten(2), windows(key)) / 3**0.5
    expected = torch.einsum("nkp,ndkp->ndp", weights.softmax(1), windows(value)).unflatten(2, size)
    found = local_attention(query, key, value, window)
    torch.testing.assert_close(found, expected)
    chance = torch.randn_like(found)
    for gradient, wanted in zip(
        torch.autograd.grad(found, (query, key, value), chance),
        torch.autograd.grad(expected, (query, key, value), chance),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def test_local_context_sees_its_window_alone() -> None:
    context = LocalContext(8, 8, window=5).eval()
    target, source = torch.randn(2, 1, 8, 13, 13)
    changed = source.clone()
    changed[..., 6, 6] += 1
    moved = (context(target, source) != context(target, changed)).any(1)[0].nonzero()
    assert moved.amin(0).tolist() == [4, 4]
    assert moved.amax(0).tolist() == [8, 8]
    with pytest.raises(ValueError, match="4 x 4"):
        LocalContext(4, 2, window=4)


def test_label_context_as_attention_to_the_classes() -> None:
    context = LabelContext(6, 3).double().eval()
    target, source = torch.randn(2, 2, 6, 5, 7, dtype=torch.float64)
    scores = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    share = scores.exp() / scores.exp().sum((2, 3), keepdim=True)
    tokens = class_tokens(scores, source)
    torch.testing.assert_close(tokens[..., 0], torch.einsum("nkhw,nchw->nck", share, source))
    query, key, value = (tensor.flatten(2) for tensor in context.queries(target, tokens))
    weights = (torch.einsum("ndq,ndk->nqk", query, key) / 3**0.5).softmax(2)
    torch.testing.assert_close(context(target, tokens).flatten(2), torch.einsum("nqk,ndk->ndq", weights, value))


def test_a_class_is_gathered_where_it_is() -> None:
    scores = torch.full((1, 2, 4, 4), -100.0)
    scores[0, 0, :2], scores[0, 1, 2:] = 100.0, 100.0
    source = torch.zeros(1, 1, 4, 4)
    source[..., :2, :] = 3.0
    assert class_tokens(scores, source).flatten().tolist() == [3.0, 0.0]


def test_global_context_in_half_precision_does_not_overflow() -> None:
    """Sums over 40 000 pixels would."""
    context = GlobalContext(4, 4).eval()
    target, source = 30 * torch.rand(2, 1, 4, 200, 200)
    with torch.autocast("cpu", torch.float16):
        assert context(target, source).isfinite().all()


# -- the decoder -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wanted", [["depth"], ["normals", "semseg"], "nyuv2", "pascal_context"])
@pytest.mark.parametrize("genotype", ["published", *CONTEXTS, "search"])
def test_any_tasks_and_contexts(wanted: str | list[str], genotype: str) -> None:
    tasks = resolve(wanted)
    decoder = Atrc(tasks, WIDTHS, STRIDES, genotype=genotype)
    features = pyramid(75, 101)
    for level in features.maps:
        level.requires_grad_()
    maps, auxiliary = decoder(features)
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {name: (2, 8, 19, 26) for name in tasks}
    if genotype in ("none", "global", "local"):
        assert not auxiliary
    for item in auxiliary:
        assert {name: tuple(tensor.shape) for name, tensor in item.maps.items()} == {
            name: (2, 1, item.tasks[name].channels, 19, 26) for name in item.tasks
        }
    sum(tensor.sum() for tensor in maps.values()).backward()
    assert all(level.grad is not None for level in features.maps)


def test_classes_do_not_train_the_encoder() -> None:
    decoder = Atrc(resolve("rooms"), WIDTHS, STRIDES)
    features = pyramid()
    for level in features.maps:
        level.requires_grad_()
    (classes,) = decoder(features)[1]
    assert set(classes.maps) == {"semseg", "depth", "normals", "edges"}
    assert {name: task.channels for name, task in classes.tasks.items()}["edges"] == 2
    total = sum(tensor.sum() for tensor in classes.maps.values())
    assert torch.autograd.grad(total, features.maps, allow_unused=True) == (None,) * 4
    assert all(parameter.grad is None for parameter in decoder.enter.parameters())


def test_only_the_classes_that_are_needed() -> None:
    genotype = {"depth": {"depth": "none", "semseg": "source_label"}, "semseg": {"depth": "global", "semseg": "none"}}
    decoder = Atrc(resolve(["depth", "semseg"]), WIDTHS, STRIDES, genotype=genotype)
    assert [*decoder.class_tasks] == ["semseg"]
    assert decoder.genotype == genotype
    both = {target: {**row, "depth": "target_label"} for target, row in genotype.items()}
    assert [*Atrc(resolve(["depth", "semseg"]), WIDTHS, STRIDES, genotype=both).class_tasks] == ["depth", "semseg"]


def test_at_first_a_task_takes_nothing() -> None:
    target = Target(6, {"depth": ["global"], "semseg": ["local"]}).eval()
    own, other, another = torch.randn(3, 1, 6, 8, 8)
    assert torch.equal(target(own, lambda *_: other), target(own, lambda *_: another))
    torch.nn.init.ones_(target.project[1].weight)
    assert not torch.equal(target(own, lambda *_: other), target(own, lambda *_: another))


def test_which_labels_a_context_is_made_of() -> None:
    """The target's scores matter to target_label, the source's to source_label."""
    tasks = resolve(["depth", "semseg"])
    for context, matters in zip(LABEL_CONTEXTS, ("depth", "semseg"), strict=True):
        genotype = {"depth": {"depth": "none", "semseg": context}, "semseg": dict.fromkeys(tasks, "target_label")}
        genotype["semseg"]["depth"] = "source_label"  # so that both tasks have scores
        decoder = Atrc(tasks, WIDTHS, STRIDES, genotype=genotype).eval()
        torch.nn.init.ones_(decoder.targets["depth"].project[1].weight)
        features = pyramid()
        before = decoder(features)[0]["depth"]
        for name in tasks:
            changed = decoder.classify[name].weight.detach().clone()
            with torch.no_grad():
                decoder.classify[name].weight.normal_()
            same = torch.equal(decoder(features)[0]["depth"], before)
            assert same == (name != matters), (context, name)
            with torch.no_grad():
                decoder.classify[name].weight.copy_(changed)


# -- genotypes ---------------------------------------------------------------------------------------------------------
def test_published_genotypes() -> None:
    nyuv2, wide, pascal = PUBLISHED.values()
    assert nyuv2["edges"] == {
        "semseg": "target_label",
        "depth": "target_label",
        "normals": "global",
        "edges": "target_label",
    }
    assert wide["semseg"]["depth"] == "none"
    assert pascal["human_parts"]["edges"] == "source_label"
    assert atrc_genotypes.resolve("published", list(nyuv2)) == nyuv2
    assert atrc_genotypes.resolve("published", list(pascal)) == pascal
    mixed = atrc_genotypes.resolve("published", ["saliency", "depth", "flow", "normals"])
    assert mixed["saliency"] == {
        "saliency": "target_label",
        "depth": "target_label",
        "flow": "target_label",
        "normals": "source_label",
    }
    assert mixed["depth"]["normals"] == "source_label"


@pytest.mark.parametrize(
    ("genotype", "said"),
    [
        ("nyuv2_hrnet19", "did you mean 'nyuv2_hrnet18'"),
        ("pascal_context_hrnet18", "not for depth; take `published`"),
        ({"depth": {"depth": "none", "normals": "near"}, "normals": {}}, "unknown context 'near'"),
        ({"depth": {"depth": "none", "normals": "local"}}, "says nothing of normals"),
        ({"depth": {"depth": "none"}, "normals": {}}, "depth: lacks normals"),
        (
            {name: dict.fromkeys(("depth", "normals", "flow"), "local") for name in ("depth", "normals")},
            "flow: no tasks of this network, which has depth, normals",
        ),
    ],
)
def test_a_genotype_that_does_not_fit_is_refused(genotype: str | dict[str, dict[str, str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Atrc(resolve(["depth", "normals"]), WIDTHS, STRIDES, genotype=genotype)


# -- search ------------------------------------------------------------------------------------------------------------
def test_search_mixes_and_settles() -> None:
    search = Search(["depth", "normals"]).train()
    shares = search(0.0)
    assert set(shares["depth"]["normals"]) == {"global", "local", *LABEL_CONTEXTS}
    assert set(shares["depth"]["depth"]) == {"global", "local", "target_label"}
    assert all(0 < share < 1 for share in shares["depth"]["normals"].values())
    assert (search.decided == OPEN).all()
    with torch.no_grad():
        search.scores[0, 1, CONTEXTS.index("local")] = 5.0
        search.scores[1, 0, CONTEXTS.index("none")] = 5.0
    shares = search(0.5)
    assert shares["depth"]["normals"] == {"local": 1.0}
    assert shares["normals"]["depth"] == {}
    assert len(shares["normals"]["normals"]) == 3
    with torch.no_grad():
        search.scores.zero_()
    assert search(0.5)["depth"]["normals"] == {"local": 1.0}
    assert search.genotype["depth"]["normals"] == "local"
    assert all(len(shares) <= 1 for row in search.eval()(1.0).values() for shares in row.values())


def test_a_context_is_drawn_as_often_as_it_is_likely() -> None:
    """At the end of the schedule draws are almost of one context, at its beginning mixed."""
    search = Search(["depth", "normals"]).train()
    with torch.no_grad():
        search.scores[0, 1] = torch.tensor([0.3, 0.2, 0.1, 0.25, 0.15]).log()
    sharp, soft = (
        torch.stack([torch.stack([*search(progress)["depth"]["normals"].values()]) for _ in range(700)]).detach()
        for progress in (1.0, 0.0)
    )
    torch.testing.assert_close(sharp.mean(0), torch.tensor([0.2, 0.1, 0.25, 0.15]), atol=0.05, rtol=0)
    assert (sharp.amax(1) > 0.95).float().mean() > 0.6
    assert (soft.amax(1) > 0.95).float().mean() < 0.1


def test_entropy_is_raised_first_and_lowered_later() -> None:
    search = Search(["depth", "normals"])
    first, last = atrc_search.ENTROPY
    own, other = torch.tensor(4.0).log(), torch.tensor(5.0).log()  # a task has four choices for itself
    for progress, weight in ((0.0, first), (0.25, 0.0), (1.0, last)):
        expected = weight * (own + other) / 2
        torch.testing.assert_close(search.entropy(progress), expected, atol=1e-6, rtol=0)
    search.entropy(1.0).backward()
    assert search.scores.grad is not None
    assert search.scores.grad.isfinite().all()


def test_a_search_learns_and_its_genotype_is_trained_next() -> None:
    model = create_model(["depth", "normals"], "test_resnet", {"name": "atrc", "genotype": "search"}).train()
    for target in model.decoder.targets.values():
        torch.nn.init.ones_(target.project[1].weight)  # as after some steps
    model.progress = 0.5
    batch = labelled(model)
    report = Objective(model.tasks)(model(batch.images), batch)
    assert report.others is not None
    torch.testing.assert_close(report.total, sum(report.shares.values()) + report.others)
    assert report.parts["classes.penalty"] == report.others != 0
    report.total.backward()
    scores = model.decoder.search.scores
    assert (scores.grad.abs().amax(-1) > 0).all()
    with torch.no_grad():
        scores[..., CONTEXTS.index("global")] = 3.0
    model.eval()
    found = model.decoder.genotype
    assert found == atrc_genotypes.resolve("global", ["depth", "normals"])
    again = create_model(["depth", "normals"], "test_resnet", {"name": "atrc", "genotype": found})
    assert again.decoder.genotype == found
    images = torch.rand(1, 1, 3, 64, 96)
    assert model.infer(images)["depth"].shape == again.eval().infer(images)["depth"].shape


def test_evaluation_takes_the_found_contexts_alone() -> None:
    decoder = Atrc(resolve(["depth", "normals"]), WIDTHS, STRIDES, genotype="search").eval()
    for target in decoder.targets.values():
        torch.nn.init.ones_(target.project[1].weight)
    with torch.no_grad():
        decoder.search.scores[..., CONTEXTS.index("local")] = 0.1
    fixed = Atrc(resolve(["depth", "normals"]), WIDTHS, STRIDES, genotype="local").eval()
    given = {key: tensor for key, tensor in decoder.state_dict().items() if key in fixed.state_dict()}
    fixed.load_state_dict(given, strict=False)  # values are not scaled in a search
    features = pyramid()
    for name, tensor in decoder(features)[0].items():
        torch.testing.assert_close(tensor, fixed(features)[0][name])
