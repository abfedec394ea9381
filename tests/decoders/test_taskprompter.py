from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from polyscene.convert.base import Source, convert, load, raw
from polyscene.convert.taskprompter import TaskPrompter as Converter
from polyscene.decoders import taskprompter as module
from polyscene.decoders.blocks import resize
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Features

GOLDEN = Path(os.environ.get("POLYSCENE_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

# ---------------------------------------------------------------------------------------------- size and cost

PUBLISHED: dict[str, tuple[str, str, tuple[int, int], dict[str, Any], float]] = {
    "nyuv2_large": (
        "nyuv2", "large", (448, 576), {"width": 768, "channels": 768, "windows": 4, "reweight": False}, 513.5,
    ),
    "pascal_large": ("pascal_context", "large", (512, 512), {}, 401.1),
    "pascal_base": (
        "pascal_context", "base", (512, 512), {"width": 780, "channels": 1024, "windows": 4}, 418.3,
    ),
}  # fmt: skip


def full_size(name: str) -> MultiTaskModel:
    tasks, encoder, size, options, _ = PUBLISHED[name]
    with torch.device("meta"):
        vit = {"name": f"vit_{encoder}_patch16_384", "img_size": list(size)}
        return create_model(tasks, vit, {"name": "taskprompter", **options}).eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    millions = sum(parameter.numel() for parameter in full_size(name).parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name][-1], rel=5e-3)


def test_multiplications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Done the published way they are the paper's number, of PASCAL-Context on ViT-L; we save most of the decoder's."""
    monkeypatch.setattr(F, "interpolate", lambda tensor, size, **_: tensor.new_empty(*tensor.shape[:2], *size))
    model = full_size("pascal_large")
    levels = [torch.empty(1, 350, 32, 32, device="meta")] * 4
    features = Features(levels, dict.fromkeys(model.tasks, levels))
    ours = giga(model.decoder, features)
    monkeypatch.setattr(
        module, "enlarged_conv", lambda tensor, weight, size: F.conv2d(resize(tensor, size), weight, padding=1)
    )
    assert ours < 0.2 * giga(model.decoder, features)
    assert giga(model, torch.empty(1, 1, 3, 512, 512, device="meta")) == pytest.approx(497, rel=2e-3)


def giga(network: nn.Module, given: Tensor | Features) -> float:
    with FlopCounterMode(display=False) as counter:
        network(given)
    return counter.get_total_flops() / 2e9


# ---------------------------------------------------------------------------------------------- structure


@pytest.mark.parametrize(
    ("encoder", "options", "said"),
    [
        ("test_resnet", {}, "plain ViT.*vit_base"),
        ("vit_base_patch16_rope_224", {}, "plain ViT"),
        ("test_vit", {"windows": 4}, "4 windows.*10x10"),
    ],
)
def test_refusals(encoder: str, options: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=f"taskprompter.*{said}"):
        create_model("nyuv2", encoder, {"name": "taskprompter", **options})


SMALL = {"name": "taskprompter", "width": 6, "channels": 8}


def test_tasks_hear_one_another_through_prompts() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 1, 3, 160, 160)
    model = create_model(["depth", "edges"], "test_vit", SMALL).eval()
    before = model.infer(images)["depth"]
    with torch.no_grad():
        model.get_parameter("encoder.prompts")[1] += 1
    assert not torch.equal(model.infer(images)["depth"], before)


def test_pictures_of_other_sizes_are_resized() -> None:
    torch.manual_seed(0)
    model = create_model(["depth"], "test_vit", SMALL).eval()
    images = torch.rand(1, 2, 3, 75, 101)
    values = model.infer(images)["depth"]
    assert values.shape == (1, 2, 1, 75, 101)
    assert [level.shape[-2:] for level in model(images).shared.maps] == [(10, 10)] * 4


# ---------------------------------------------------------------------------------------------- fidelity


def published_shapes(
    tasks: dict[str, int], depth: int, inner: int, heads: int, patches: int, width: int, channels: int, ctr: bool
) -> Shapes:
    """The public network's tensors, without counters."""
    shapes: Shapes = {"backbone.pos_embed": (1, 1 + patches, inner), "backbone.task_prompts": (len(tasks), inner)}

    def affine(name: str, *weight: int) -> None:
        shapes.update({f"{name}.weight": weight, f"{name}.bias": weight[:1]})

    def norm(name: str, size: int) -> None:
        affine(name, size)
        shapes.update({f"{name}.running_mean": (size,), f"{name}.running_var": (size,)})

    affine("backbone.patch_embed.proj", inner, 3, 16, 16)
    affine("backbone.norm", inner)
    for place in range(depth):
        block = f"backbone.blocks.{place}"
        affine(f"{block}.norm1", inner)
        affine(f"{block}.norm2", inner)
        affine(f"{block}.attn.qkv", 3 * inner, inner)
        affine(f"{block}.attn.proj", inner, inner)
        affine(f"{block}.attn.token_trans", patches, inner)
        affine(f"{block}.attn.token_trans1", inner, patches)
        affine(f"{block}.mlp.fc1", 4 * inner, inner)
        affine(f"{block}.mlp.fc2", inner, 4 * inner)
    for task, outputs in tasks.items():
        for level in range(4):
            name = f"{level}.{task}"
            affine(f"backbone.fea_decode_spa.{name}.0", width, inner, 1, 1)
            affine(f"backbone.fea_decode_chan.{name}.0", width, inner, 1, 1)
            affine(f"backbone.fea_fuse.{name}.0", channels, 2 * width, 1, 1)
            affine(f"backbone.fea_fuse.{name}.1", channels, channels, 3, 3)
            norm(f"backbone.fea_fuse.{name}.2", channels)
            affine(f"backbone.fea_fuse.{name}.4", channels, channels, 1, 1)
            if ctr:
                affine(f"backbone.ctr_attn_conv.{name}.0", heads, heads, 1, 1)
                affine(f"backbone.ctr_attn_conv.{name}.2", 1, heads, 1, 1)
        affine(f"heads.{task}.mt_proj.0", channels, channels, 3, 3)
        norm(f"heads.{task}.mt_proj.1", channels)
        affine(f"heads.{task}.linear_pred", outputs, channels, 1, 1)
    return shapes


def published(state: State, images: Tensor, tasks: list[str], heads: int, windows: int, taps: tuple[int, ...]) -> State:
    """What the public network computes, step by step, one task, head and window at a time: outputs at stride 4."""

    def linear(tensor: Tensor, name: str) -> Tensor:
        return F.linear(tensor, state[f"{name}.weight"], state[f"{name}.bias"])

    def layer_norm(tensor: Tensor, name: str) -> Tensor:
        return F.layer_norm(tensor, tensor.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def conv(tensor: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(tensor, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    def norm(tensor: Tensor, name: str) -> Tensor:
        return F.batch_norm(tensor, *(state[f"{name}.{part}"] for part in NORM))

    patches = conv(images, "backbone.patch_embed.proj", stride=16)
    rows, columns = patches.shape[-2:]
    tokens = patches.flatten(2).mT + state["backbone.pos_embed"][:, 1:]
    prompts, count = state["backbone.task_prompts"].expand(len(images), -1, -1), len(tasks)
    totals: State = {}
    for place in range(taps[-1] + 1):
        block = f"backbone.blocks.{place}"
        both = torch.cat([layer_norm(prompts, f"{block}.norm1"), layer_norm(tokens, f"{block}.norm1")], 1)
        query, key, value = (
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in linear(both, f"{block}.attn.qkv").chunk(3, 2)
        )
        scores = query @ key.mT
        heard = (scores / query.shape[-1] ** 0.5).softmax(-1) @ value
        heard = linear(heard.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        maps = linear(both[:, :count], f"{block}.attn.token_trans")
        normed = both[:, count:].mT.unflatten(2, (rows, columns))
        prompts = prompts + heard[:, :count] + linear(maps, f"{block}.attn.token_trans1")
        tokens = tokens + heard[:, count:]
        prompts, tokens = (
            part + linear(F.gelu(linear(layer_norm(part, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
            for part in (prompts, tokens)
        )
        if place not in taps:
            continue
        level = taps.index(place)
        seen = layer_norm(tokens, "backbone.norm") if place == taps[-1] else tokens
        image = seen.mT.unflatten(2, (rows, columns))
        found = {}
        for number, task in enumerate(tasks):
            slices = image.chunk(heads, 1)
            places = scores[:, :, number, count:].unflatten(2, (rows, columns))
            spatial = torch.cat([places[:, head, None] * part for head, part in enumerate(slices)], 1) + image
            channel = image.clone()
            map_ = maps[:, number].unflatten(1, (rows, columns))
            height, breadth = rows // windows, columns // windows
            for down in range(windows):
                for right in range(windows):
                    window = (
                        ...,
                        slice(down * height, (down + 1) * height),
                        slice(right * breadth, (right + 1) * breadth),
                    )
                    asked = (map_[:, None][window] * normed[window]).sum((2, 3), keepdim=True)
                    channel[window] += asked * image[window]
            name = f"{level}.{task}"
            taken = (
                conv(spatial, f"backbone.fea_decode_spa.{name}.0"),
                conv(channel, f"backbone.fea_decode_chan.{name}.0"),
            )
            fused = conv(torch.cat(taken, 1), f"backbone.fea_fuse.{name}.0")
            fused = norm(conv(fused, f"backbone.fea_fuse.{name}.1", padding=1), f"backbone.fea_fuse.{name}.2")
            found[task] = conv(F.gelu(fused), f"backbone.fea_fuse.{name}.4")
        for number, task in enumerate(tasks):
            name = f"backbone.ctr_attn_conv.{level}.{task}"
            mixed = found[task]
            if f"{name}.0.weight" in state:
                shares = conv(F.gelu(conv(scores[:, :, number : number + 1, :count], f"{name}.0")), f"{name}.2")
                mixed = sum(shares[:, :, :, other, None] * found[heard] for other, heard in enumerate(tasks))
            totals[task] = totals[task] + mixed if task in totals else mixed
    outputs = {}
    for task, total in totals.items():
        large = F.interpolate(total, scale_factor=4, mode="bilinear")
        features = F.gelu(norm(conv(large, f"heads.{task}.mt_proj.0", padding=1), f"heads.{task}.mt_proj.1"))
        outputs[task] = conv(features, f"heads.{task}.linear_pred")
    return outputs


NORM = ("running_mean", "running_var", "weight", "bias")


def random_state(shapes: Shapes) -> State:
    def random(name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = torch.randn(shape, dtype=torch.float64)
        if name.endswith("running_var"):
            return 1 + 0.1 * tensor.abs()
        fan_in = max(tensor[0].numel(), 1)
        return 1 + 0.1 * tensor if len(shape) == 1 and name.endswith("weight") else tensor / fan_in**0.5

    state = {name: random(name, shape) for name, shape in shapes.items()}
    counters = [name.replace("running_mean", "num_batches_tracked") for name in state if "running_mean" in name]
    return state | {name: torch.zeros((), dtype=torch.int64) for name in counters}


@pytest.mark.parametrize(("windows", "ctr"), [(1, True), (2, False)])
def test_a_converted_checkpoint_computes_the_published_steps(windows: int, ctr: bool) -> None:
    torch.manual_seed(0)
    tasks, width, channels = {"semseg": 40, "depth": 1, "edge": 1}, 6, 8
    config = {"embed_dim": width, "final_embed_dim": channels, "chan_nheads": windows**2, "use_ctr": ctr}
    converter = Converter({"tasks": list(tasks), "channels": tasks, "config": config})
    decoder = {"name": "taskprompter", "width": width, "channels": channels, "windows": windows, "reweight": ctr}
    model = create_model(
        list(converter.tasks.values()), {"name": "test_vit", "img_size": [64, 96], "mlp_ratio": 4}, decoder
    )
    model = model.double().eval()
    checkpoint = random_state(published_shapes(tasks, 6, 64, 2, 24, width, channels, ctr))
    source = Source(checkpoint)
    state = converter.state(source)
    source.close()
    model.load_state_dict(state)
    assert set(source.dropped) == {f"backbone.blocks.5.attn.token_trans1.{part}" for part in ("weight", "bias")}
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        outputs = raw(converter, model, images)
        expected = published(checkpoint, images, list(tasks), 2, windows, (0, 2, 3, 5))
    for task, small in expected.items():
        wanted = F.interpolate(small, (64, 96), mode="bilinear")
        assert float((outputs[f"final_{task}"] - wanted).abs().max()) < 1e-9 * float(wanted.std()), task


def test_the_published_networks_convert() -> None:
    """By the names and shapes of their tensors."""
    tasks = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
    config = {"embed_dim": 768, "final_embed_dim": 768, "chan_nheads": 16, "use_ctr": False, "prompt_len": 1}
    meta: dict[str, Any] = {"tasks": list(tasks), "channels": tasks, "config": config, "backbone": "ViT-L/16, prompts"}
    meta["input"] = {"h": 128, "w": 192}
    shapes = published_shapes(tasks, 24, 1024, 16, 96, 768, 768, False)
    with torch.device("meta"):
        checkpoint = {name: torch.empty(shape) for name, shape in shapes.items()}
        counters = [name.replace("running_mean", "num_batches_tracked") for name in shapes if "running_mean" in name]
        checkpoint |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
        converter = Converter(meta)
        converted = convert(converter, checkpoint)
        load(converter, converted)
        with pytest.raises(ValueError, match="one prompt a task"):
            Converter({**meta, "config": {**config, "prompt_len": 2}}).build()
    assert len(checkpoint) == 666


@pytest.mark.slow
def test_golden_outputs() -> None:
    """Of the public network, 400 M parameters, from weights made by a recipe."""
    folder = GOLDEN / "taskprompter_vitb_pascal5"
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {GOLDEN}; set POLYSCENE_GOLDEN")
    sys.path.insert(0, str(GOLDEN))
    import recipe

    meta = json.loads((folder / "meta.json").read_text())
    given = meta["input"]
    converter = Converter(meta)
    converted = convert(converter, recipe.state_dict(str(folder)))
    assert len(converted.leftovers) == 2
    model = load(converter, converted).eval()
    del converted
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(given["h"], given["w"], given["batch"], given["seed"]))
    for name, _, error in recipe.compare(str(folder), outputs):
        assert error <= max(5 * meta["outputs"][name]["fp32_vs_fp64_over_std"], 1e-4), name
