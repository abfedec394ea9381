from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from polyscene.convert.base import Source, convert, load, raw
from polyscene.convert.invpt import InvPT as Converter
from polyscene.decoders import invpt as module
from polyscene.decoders.blocks import resize
from polyscene.decoders.invpt import InvPT, skipped_to
from polyscene.model import MultiTaskModel, create_model
from polyscene.tasks.sets import resolve
from polyscene.types import Features

GOLDEN = Path(os.environ.get("POLYSCENE_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
State = dict[str, Tensor]

# ---------------------------------------------------------------------------------------------- size and cost

REFERENCE = {"base": (160.8, 343.7, 768), "large": (402.1, 601.9, 1024)}  # M, GMAC at 448x576, width


@pytest.mark.parametrize("encoder", REFERENCE)
def test_parameters_are_the_published_ones_without_those_that_do_nothing(encoder: str) -> None:
    millions, _, width = REFERENCE[encoder]
    unread = 4 * (576 * 576 + 576) + 2 * 4 * 144 + 9 * width * 576 + 576  # redu_chan.0, norm_mt, scale_embed.2
    cancelled = 3 * 2 + 8 + (576 + 288 + 144)  # fuse_attn.bias, the first stage's fuse_attn.weight, key biases
    doubled = 4 * (2 * 576 + 576)  # biases of redu_chan and mt_proj
    model = full_size(encoder)
    count = sum(parameter.numel() for parameter in model.parameters()) + unread + cancelled + doubled
    assert count / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize("encoder", REFERENCE)
def test_multiplications(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done the published way they are the published number; ours are little more than half."""
    _, giga, width = REFERENCE[encoder]
    monkeypatch.setattr(F, "interpolate", lambda tensor, size, **_: tensor.new_empty(*tensor.shape[:2], *size))
    model = full_size(encoder)
    images = torch.empty(1, 1, 3, 448, 576, device="meta")
    features = Features([torch.empty(1, width, 28, 36, device="meta")] * 4)
    ours, faster = multiplications(model, images), multiplications(model.decoder, features)

    def plain(tensor: Tensor, weight: Tensor, size: tuple[int, int], dilation: int = 1) -> Tensor:
        return F.conv2d(resize(tensor, size), weight, padding=dilation, dilation=dilation)

    monkeypatch.setattr(module, "enlarged_conv", plain)
    folded = 4 * 9 * 576 * (288 + 144) * (576 + 112 * 144)  # projections multiplied into the last convolutions
    applied = 4 * 576 * (288 * 28 * 36 + 144 * 56 * 72)  # projections applied to the maps
    unread = 9 * width * 576 * 28 * 36  # scale_embed.2
    slower = multiplications(model.decoder, features)
    published = ours - faster + slower - folded + applied + unread
    assert published / 1e9 == pytest.approx(giga, rel=2e-3)
    assert ours < 0.76 * published


def full_size(encoder: str) -> MultiTaskModel:
    with torch.device("meta"):
        return create_model("nyuv2", {"name": f"vit_{encoder}_patch16_384", "img_size": [448, 576]}, "invpt")


def multiplications(module: nn.Module, given: Tensor | Features) -> float:
    with FlopCounterMode(display=False) as counter:
        module(given)
    return counter.get_total_flops() / 2


# ---------------------------------------------------------------------------------------------- structure

SMALL = {"name": "invpt", "channels": 24, "preliminary": 16}


@pytest.mark.parametrize(
    ("strides", "levels"),
    [
        ((16, 16, 16, 16), [[], [1], [0]]),  # the third is not read, as published
        ((14, 14, 14), [[], [1], [0]]),
        ((4, 8, 16, 32), [[], [2], [0, 1]]),
        ((8, 16, 16, 16, 16), [[], [2], [0, 1]]),  # a neck's level at 1/8
        ((16, 16, 16, 16, 32), [[], [1, 2, 3], [0]]),  # a neck's level at 1/32
        ((4, 8, 32), [[], [1], [0]]),
    ],
)
def test_where_levels_go(strides: tuple[int, ...], levels: list[list[int]]) -> None:
    assert skipped_to(strides, strides[-1] * max(1, round(32 / strides[-1]))) == levels


@pytest.mark.parametrize(
    ("encoder", "decoder", "said"),
    [
        ({"name": "test_vit", "blocks": [3, 5]}, SMALL, "three blocks"),
        ("test_vit", {**SMALL, "channels": 20}, "channels"),
    ],
)
def test_refusals(encoder: str | dict, decoder: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create_model("nyuv2", encoder, decoder)


@pytest.mark.parametrize("size", [(64, 96), (75, 101), (160, 208), (16, 16)])
def test_any_size(size: tuple[int, int]) -> None:
    model = create_model(["depth", "edges"], "test_vit", SMALL).eval()
    predictions = model(torch.rand(1, 2, 3, *size))
    assert predictions.final["depth"].shape == (1, 2, 1, *size)
    (early,) = predictions.auxiliary
    assert early.name == "preliminary" and early.maps["edges"].shape[:3] == (1, 2, 1)


def test_the_first_stage_is_at_stride_32_below_a_coarser_level() -> None:
    tasks = resolve(["depth", "edges"])
    decoder = InvPT(tasks, (8, 8, 8, 8), (8, 16, 32, 64), channels=24, preliminary=16)
    pyramid = [torch.rand(1, 8, 192 // stride, 256 // stride) for stride in (8, 16, 32, 64)]
    maps, (early,) = decoder(Features(pyramid))
    assert early.maps["depth"].shape[-2:] == (6, 8)
    assert maps["depth"].shape[-2:] == (48, 64)


def test_tasks_and_stages_hear_one_another() -> None:
    torch.manual_seed(0)
    model = create_model(["depth", "edges"], "test_vit", SMALL).eval()
    images = torch.rand(1, 1, 3, 64, 96)
    before = model(images).final["depth"]
    for name in ("decoder.mix.edges.bias", "decoder.stages.1.hear.weight", "decoder.stages.0.key.weight"):
        parameter = model.get_parameter(name)
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
            assert not torch.equal(model(images).final["depth"], before), name
            parameter.copy_(kept)
    assert torch.equal(model(images).final["depth"], before)


# ---------------------------------------------------------------------------------------------- fidelity

TASKS = {"semseg": 40, "depth": 1, "edge": 1}
NAMES, WIDTHS, EARLY, WIDTH = list(TASKS), (24, 12, 6), 16, 64


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The public decoder's tensors, small."""
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *weight: int) -> None:
        shapes.update({f"{name}.weight": weight, f"{name}.bias": weight[:1]})

    def norm(name: str, width: int) -> None:
        affine(name, width)
        shapes.update({f"{name}.running_mean": (width,), f"{name}.running_var": (width,)})

    for task, channels in TASKS.items():
        affine(f"intermediate_head.{task}", channels, EARLY, 1, 1)
        for place, width in enumerate((WIDTH, EARLY)):
            shapes[f"preliminary_decoder.{task}.{place}.conv.weight"] = (width, WIDTH, 3, 3)
            norm(f"preliminary_decoder.{task}.{place}.bn1", width)
        affine(f"invpt.mix_proj.{task}.0", WIDTHS[0], EARLY + channels, 1, 1)
        affine(f"invpt.mt_proj.{task}.0", WIDTHS[0], WIDTHS[0], 3, 3)
        norm(f"invpt.mt_proj.{task}.1", WIDTHS[0])
    shapes |= {"scale_embed.0.weight": (WIDTH, WIDTHS[2], 3, 3), "scale_embed.0.bias": WIDTHS[2:]}
    affine("scale_embed.1", WIDTHS[1], WIDTH, 3, 3)
    affine("scale_embed.2", WIDTHS[0], WIDTH, 3, 3)
    affine("invpt.norm_mt", 3 * WIDTHS[2])
    for stage, width in enumerate(WIDTHS):
        affine(f"invpt.norm_mts.{stage}", 3 * width)
        block = f"invpt.invpt_stages.{stage}.blocks.0."
        affine(f"{block}norm1", width)
        affine(f"{block}norm2", width)
        affine(f"{block}mlp.fc1", 4 * width, width)
        affine(f"{block}mlp.fc2", width, 4 * width)
        affine(f"{block}attn.fuse_attn", 2, 4, 1, 1)
        for name in ("proj_q", "proj_k", "proj_v", "proj"):
            affine(f"{block}attn.{name}", width, width)
        for place in range(len(TASKS)):
            affine(f"invpt.redu_chan.{stage}.{place}", WIDTHS[0], width, 1, 1)
            shapes[f"{block}attn.conv_proj_q.{place}.conv.weight"] = (width, 1, 3, 3)
            norm(f"{block}attn.conv_proj_q.{place}.bn", width)
            if stage:
                enlarge = f"invpt.invpt_stages.{stage}.patch_embed.{place}.proj."
                shapes[f"{enlarge}1.weight"] = (width, WIDTHS[stage - 1], 3, 3)
                shapes[f"{enlarge}4.weight"] = (width, width, 3, 3)
                norm(f"{enlarge}2", width)
                norm(f"{enlarge}5", width)
    return shapes


def published(state: State, taps: list[Tensor]) -> tuple[State, State]:
    """What the public decoder computes, step by step, from maps of even size: final features, first predictions."""

    def norm(tensor: Tensor, name: str) -> Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(tensor, *parts)

    def linear(tensor: Tensor, name: str) -> Tensor:
        return F.linear(tensor, state[f"{name}.weight"], state[f"{name}.bias"])

    def layer_norm(tensor: Tensor, name: str) -> Tensor:
        return F.layer_norm(tensor, tensor.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(tensor: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(tensor, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def scaled(tensor: Tensor, factor: float) -> Tensor:
        return F.interpolate(tensor, scale_factor=factor, mode="bilinear", align_corners=False)

    start = scaled(taps[3], 0.5)
    maps, initial = [], {}
    for task in NAMES:
        tensor = start
        for place in range(2):
            name = f"preliminary_decoder.{task}.{place}"
            tensor = norm(conv(tensor, f"{name}.conv", padding=1), f"{name}.bn1").relu()
        initial[task] = conv(tensor, f"intermediate_head.{task}")
        maps.append(conv(torch.cat([tensor, initial[task]], 1), f"invpt.mix_proj.{task}.0"))
    weight, bias = state["scale_embed.0.weight"], state["scale_embed.0.bias"]
    third = F.conv_transpose2d(taps[0], weight, bias, stride=2, padding=1, output_padding=1)
    skips = [None, conv(taps[1], "scale_embed.1", padding=1), third]

    totals, message = [torch.zeros(()) for _ in NAMES], None
    for stage, width in enumerate(WIDTHS):
        base = f"invpt.invpt_stages.{stage}."
        if stage:
            for place, tensor in enumerate(maps):
                tensor = scaled(tensor, 2)
                for first, second in ((1, 2), (4, 5)):
                    name = f"{base}patch_embed.{place}.proj."
                    tensor = norm(conv(tensor, f"{name}{first}", padding=2, dilation=2), f"{name}{second}").relu()
                maps[place] = tensor + skips[stage]
        height, breadth = maps[0].shape[-2:]
        block = f"{base}blocks.0."
        tokens = torch.cat([tensor.flatten(2).mT for tensor in maps], 1)
        normed = layer_norm(tokens, f"{block}norm1").split(height * breadth, 1)
        queries, pooled = [], []
        for place, part in enumerate(normed):
            tensor, name = part.mT.unflatten(2, (height, breadth)), f"{block}attn.conv_proj_q.{place}"
            queries.append(norm(conv(tensor, f"{name}.conv", stride=2, padding=1, groups=width), f"{name}.bn"))
            pooled.append(F.avg_pool2d(tensor, 2 * 2**stage, ceil_mode=True).flatten(2).mT)
        query = linear(torch.cat([tensor.flatten(2).mT for tensor in queries], 1), f"{block}attn.proj_q")
        pairs = torch.cat(pooled, 1)
        key, value = linear(pairs, f"{block}attn.proj_k"), linear(pairs, f"{block}attn.proj_v")
        query, key, value = (tensor.unflatten(2, (2, -1)).transpose(1, 2) for tensor in (query, key, value))
        scores = query @ key.mT * width**-0.5
        if message is not None:
            parts = []
            for part in message.chunk(len(NAMES), 2):  # n, heads, places, keys
                image = part.mT.unflatten(3, (height // 4, breadth // 4)).flatten(0, 1)
                parts.append(scaled(image, 2).flatten(2).mT.unflatten(0, part.shape[:2]))
            scores = conv(torch.cat([scores, torch.cat(parts, 2)], 1), f"{block}attn.fuse_attn")
        message = scores
        heard = linear((scores.softmax(-1) @ value).transpose(1, 2).flatten(2), f"{block}attn.proj")
        images = [part.mT.unflatten(2, queries[0].shape[-2:]) for part in heard.chunk(len(NAMES), 1)]
        tokens = tokens + torch.cat([scaled(image, 2).flatten(2).mT for image in images], 1)
        hidden = F.gelu(linear(layer_norm(tokens, f"{block}norm2"), f"{block}mlp.fc1"))
        tokens = tokens + linear(hidden, f"{block}mlp.fc2")
        maps = [part.mT.unflatten(2, (height, breadth)) for part in tokens.split(height * breadth, 1)]
        joint = layer_norm(torch.cat(maps, 1).permute(0, 2, 3, 1), f"invpt.norm_mts.{stage}").permute(0, 3, 1, 2)
        for place, part in enumerate(joint.chunk(len(NAMES), 1)):
            wide = conv(part, f"invpt.redu_chan.{stage}.{place}") if stage else part
            totals[place] = totals[place] + scaled(wide, 8 / 2**stage)
    features = {
        task: norm(conv(total, f"invpt.mt_proj.{task}.0", padding=1), f"invpt.mt_proj.{task}.1").relu()
        for task, total in zip(NAMES, totals, strict=True)
    }
    return features, initial


def random_checkpoint(model: MultiTaskModel) -> State:
    def random(name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = torch.randn(shape, dtype=torch.float64)
        if name.endswith("running_var"):
            return 1 + 0.1 * tensor.abs()
        fan_in = max(tensor[0].numel(), 1)
        return 1 + 0.1 * tensor if fan_in == 1 and name.endswith("weight") else 2 * tensor / fan_in**0.5

    state = {f"multi_task_decoder.{name}": random(name, shape) for name, shape in published_shapes().items()}
    counters = {name.replace("running_mean", "num_batches_tracked") for name in state if "running_mean" in name}
    state |= dict.fromkeys(counters, torch.zeros((), dtype=torch.int64))
    state |= {f"backbone.{name}": tensor for name, tensor in model.encoder.net.state_dict().items()}
    for task, channels in TASKS.items():
        state[f"heads.{task}.linear_pred.weight"] = torch.randn(channels, WIDTHS[0], 1, 1, dtype=torch.float64)
        state[f"heads.{task}.linear_pred.bias"] = torch.randn(channels, dtype=torch.float64)
    return state


def test_a_converted_checkpoint_computes_the_published_steps() -> None:
    torch.manual_seed(0)
    converter = Converter({"tasks": NAMES, "channels": TASKS, "backbone": "small", "config": {}})
    tasks = list(converter.tasks.values())
    model = create_model(tasks, "test_vit", {"name": "invpt", "channels": WIDTHS[0], "preliminary": EARLY})
    model = model.double().eval()
    checkpoint = random_checkpoint(model)
    source = Source(checkpoint)
    state = converter.state(source)
    source.close()
    model.load_state_dict(state)
    images = torch.rand(2, 1, 3, 128, 192, dtype=torch.float64)
    with torch.no_grad():
        predictions = model(images)
        outputs = converter.outputs(predictions)
        theirs = {name.removeprefix("multi_task_decoder."): tensor for name, tensor in checkpoint.items()}
        features, initial = published(theirs, model.encoder(images[:, 0]).maps)
    for task in NAMES:
        head = (checkpoint[f"heads.{task}.linear_pred.{part}"] for part in ("weight", "bias"))
        for name, small in ((f"final_{task}", F.conv2d(features[task], *head)), (f"inter_{task}", initial[task])):
            expected = F.interpolate(small, (128, 192), mode="bilinear")
            assert float((outputs[name] - expected).abs().max()) < 1e-9 * float(expected.std()), name
    assert {name.split("decoder.")[1].split(".")[0] for name in source.dropped} == {"invpt", "scale_embed"}


@pytest.mark.slow
def test_golden_outputs() -> None:
    """Of the public network, 401 M parameters, from weights made by a recipe."""
    folder = GOLDEN / "invpt_vitl_nyud4"
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {GOLDEN}; set POLYSCENE_GOLDEN")
    sys.path.insert(0, str(GOLDEN))
    import recipe

    meta = json.loads((folder / "meta.json").read_text())
    given = meta["input"]
    converter = Converter(meta)
    converted = convert(converter, recipe.state_dict(str(folder)))
    assert len(converted.leftovers) == 19
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(given["h"], given["w"], given["batch"], given["seed"]))
    for name, _, error in recipe.compare(str(folder), outputs):
        assert error <= max(5 * meta["outputs"][name]["fp32_vs_fp64_over_std"], 1e-4), name
