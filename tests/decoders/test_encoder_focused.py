"""Cross-Stitch, NDDR-CNN and MTAN: what acts between the stages of an encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.golden import recipe
from torch import Tensor, nn

from polyscene import encoders, parts, weights
from polyscene.convert import CONVERTERS
from polyscene.convert.base import convert, load, raw
from polyscene.decoders.cross_stitch import JoinedEncoders, Stitch
from polyscene.decoders.mtan import AttendedEncoder, Mask
from polyscene.decoders.nddr import Reduction
from polyscene.model import create_model
from polyscene.tasks.sets import resolve
from polyscene.training.init import start_from

GOLDEN = Path(os.environ.get("POLYSCENE_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
CASES = {"cross_stitch": "mtlpt_crossstitch_r18_nyud4", "nddr": "mtlpt_nddr_r18_nyud4", "mtan": "mtlpt_mtan_r18_nyud4"}
METHODS = [*CASES]
DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------------------------------- the public network


@pytest.mark.parametrize("method", METHODS)
def test_golden_outputs(method: str) -> None:
    folder = GOLDEN / CASES[method]
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {GOLDEN}; set POLYSCENE_GOLDEN")
    meta = json.loads((folder / "meta.json").read_text())
    converter = parts.load(CONVERTERS, method, "format")(meta)
    converted = convert(converter, golden_state(folder, meta["gain"]))
    assert not converted.leftovers
    model = load(converter, converted).eval()
    with torch.no_grad():
        outputs = raw(converter, model, recipe.image(**meta["input"]))
    kept = np.load(folder / "outputs.npz")
    assert set(kept.files) == set(outputs)
    for name, about in meta["outputs"].items():
        assert list(outputs[name].shape) == about["shape"]
        grid = slice(about["stride"] // 2, None, about["stride"])
        error = np.abs(outputs[name].numpy()[..., grid, grid] - kept[name]).max() / about["std"]
        assert error <= max(5 * about["fp32_vs_fp64_over_std"], 1e-4), name


def golden_state(folder: Path, gain: float) -> dict[str, Tensor]:
    rows = [line.split("\t") for line in (folder / "keys.tsv").read_text().splitlines()]
    shapes = {key: [int(side) for side in shape.split("x") if side != "-"] for key, shape, *_ in rows}
    return {key: recipe.tensor(key, shape, gain) for key, shape in shapes.items()}


def test_dilations_of_a_resnet_at_stride_8() -> None:
    """Strides of the last two stages are gone; the convolution that had one takes half its stage's dilation."""
    encoder: Any = encoders.build("resnet18", output_stride=8)
    assert encoder.strides == (4, 8, 8, 8)
    kernels = {name: part for name, part in encoder.named_modules() if getattr(part, "kernel_size", 0) == (3, 3)}
    last = {name: part.dilation[0] for name, part in kernels.items() if "layer3" in name or "layer4" in name}
    assert list(last.values()) == [1, 2, 2, 2, 2, 4, 4, 4]


# ---------------------------------------------------------------------------------------------- units


def test_stitch_is_a_weighted_sum_of_like_channels() -> None:
    unit = Stitch(3, 5, 0.9, 0.1).double()
    torch.testing.assert_close(unit.weight[0, :, 0], torch.tensor([0.9, 0.1, 0.1], dtype=torch.float32).double())
    nn.init.normal_(unit.weight)
    maps = torch.randn(3, 2, 5, 4, 6, dtype=DOUBLE)
    torch.testing.assert_close(torch.stack(unit(list(maps))), torch.einsum("tsc,snchw->tnchw", unit.weight, maps))


def test_reduction_begins_as_a_sum_and_then_mixes_all_channels() -> None:
    unit = Reduction(3, 5, 0.8, 0.05).double().eval()
    maps = [torch.rand(2, 5, 4, 6, dtype=DOUBLE) for _ in range(3)]
    scale = (1 + unit.norms[1].eps) ** -0.5
    expected = scale * (0.05 * maps[0] + 0.8 * maps[1] + 0.05 * maps[2])
    torch.testing.assert_close(unit(maps)[1], expected, rtol=1e-6, atol=1e-6)
    nn.init.normal_(unit.convs[1].weight)
    mixed = torch.einsum("oi,nihw->nohw", unit.convs[1].weight[..., 0, 0], torch.cat(maps, 1))
    torch.testing.assert_close(unit(maps)[1], (scale * mixed).relu())


def test_mask_reads_both_as_if_concatenated() -> None:
    mask = Mask(6, 4, 8).double().eval()
    read, carried = (torch.randn(2, width, 3, 5, dtype=DOUBLE) for width in (6, 4))
    weight = torch.cat([mask.read.weight, mask.carry.weight], 1)
    inner = mask.norm(nn.functional.conv2d(torch.cat([read, carried], 1), weight)).relu()
    torch.testing.assert_close(mask(read, carried), mask.widen(inner).sigmoid())


# ---------------------------------------------------------------------------------------------- between the stages

CHAINS = ["resnet18", "test_efficientnet", "mobilenetv4_conv_small_035", "convnext_atto", "test_mambaout"]


@pytest.mark.parametrize("name", [*CHAINS, "swin_tiny_patch4_window7_224"])
def test_blocks_one_after_another_are_the_stages(name: str) -> None:
    encoder = encoders.build(name).eval()
    tensor = expected = encoder.stem(torch.rand(1, 3, 64, 96))
    outline = encoder.outline()
    assert outline[0] == [tensor.shape]
    for stage, blocks, shapes in zip(encoder.stages, encoder.stage_blocks, outline[1:], strict=True):
        expected = stage(expected)
        for block, shape in zip(blocks, shapes, strict=True):
            tensor = block(tensor)
            assert tensor.shape == shape
        torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize("method", ["cross_stitch", "nddr"])
def test_joined_without_effect_is_single_task(method: str) -> None:
    tasks = resolve("rooms")
    encoder = encoders.build("test_resnet").eval()
    alone = encoder(images := torch.rand(2, 3, 64, 96)).maps
    units = [nn.Identity(), *(Stitch(len(tasks), width, 1.0, 0.0) for width in encoder.channels)]
    joined = JoinedEncoders(encoder, tasks, units).eval()(images)
    for maps in [joined.maps, *joined.by_task.values()]:
        for found, expected in zip(maps, alone, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "tf_efficientnet_lite0"])
def test_attention_masks_what_the_encoder_gives(name: str) -> None:
    encoder = encoders.build(name).eval()
    attended = AttendedEncoder(encoder, resolve(["depth", "normals"])).eval()
    features = attended(images := torch.rand(1, 3, 75, 101))
    for found, expected in zip(features.maps, encoder(images).maps, strict=True):
        torch.testing.assert_close(found, expected)
    for maps in features.by_task.values():
        for taken, whole in zip(maps, features.maps, strict=True):
            assert (taken.abs() <= whole.abs()).all() and not torch.equal(taken, whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("encoder", ["test_vit", "hrnet_w18_small_v2"])
def test_encoders_without_a_chain_are_refused(method: str, encoder: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=rf"{method}: .*{encoder}.*such as a ResNet"):
        create_model("rooms", encoder, method)


def test_an_unknown_head_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="head"):
        create_model("rooms", "test_resnet", {"name": "mtan", "head": "deep"})


@pytest.mark.parametrize("method", ["cross_stitch", "nddr"])
def test_starts_from_single_task_networks(method: str, tmp_path: Path) -> None:
    """All but the units between them."""
    alone = {name: create_model([name], "test_resnet", "single_task") for name in ("depth", "normals")}
    for name, network in alone.items():
        weights.save(network, tmp_path / name)
    model = create_model(["depth", "normals"], "test_resnet", {"name": method, "alpha": 0.8})
    fit = start_from(model, [str(tmp_path / name) for name in alone])
    assert not fit.unused and fit.fresh and all(name.startswith("encoder.units.") for name in fit.fresh)
    state = model.state_dict()
    for network in alone.values():
        for key, tensor in network.state_dict().items():
            assert torch.equal(state[key], tensor), key
    with pytest.raises(ValueError, match=r"no tensor of .*multi"):
        weights.save(create_model(["edges"], "test_vit", "vit_light"), tmp_path / "multi")
        start_from(model, [str(tmp_path / "depth"), str(tmp_path / "multi")])
