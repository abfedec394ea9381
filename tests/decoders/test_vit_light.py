from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from polyscene.model import create_model
from polyscene.types import Features


@pytest.mark.parametrize("encoder", ["test_vit", "test_resnet"])
def test_is_project_enlarge_concatenate_convolve(encoder: str) -> None:
    torch.manual_seed(0)
    model = create_model(["depth"], encoder, {"name": "vit_light", "width": 24}).double().eval()
    branch = model.decoder.branches["depth"]
    strides = model.encoder.strides
    sides = [(128 // stride, 192 // stride) for stride in strides]
    widths = zip(model.encoder.channels, sides, strict=True)
    maps = [torch.randn(2, width, *side, dtype=torch.float64) for width, side in widths]
    torch.nn.init.normal_(branch.norm.running_mean)
    found = model.decoder(Features(maps))[0]["depth"]
    projected = [project(tensor) for project, tensor in zip(branch.project, maps, strict=True)]
    large = torch.cat([F.interpolate(tensor, (32, 48), mode="bilinear") for tensor in projected], 1)
    expected = F.gelu(branch.norm(F.conv2d(large, branch.fuse.weight, padding=1)))
    assert found.shape == (2, 4 * 24, 32, 48) and model.decoder.channels["depth"] == 4 * 24
    assert torch.allclose(found, expected, atol=1e-10)


def test_costs_of_the_published_head() -> None:
    """Four projections to a quarter, 3x3 over 1024 channels: 10.5 M parameters a task; the convolution at stride 4
    would take 152 G multiplications at 448x576."""
    with torch.device("meta"):
        model = create_model("nyuv2", {"name": "vit_large_patch16_384", "img_size": [448, 576]}, "vit_light")
        levels = Features([torch.empty(1, 1024, 28, 36)] * 4)
        with FlopCounterMode(display=False) as counter:
            model.decoder(levels)
    each = 4 * (1024 * 256 + 256) + 9 * 1024 * 1024 + 2 * 1024
    assert sum(parameter.numel() for parameter in model.decoder.parameters()) == 4 * each
    published = 4 * 1024 * 256 * 28 * 36 + 9 * 1024 * 1024 * 112 * 144
    assert counter.get_total_flops() / 2 < 4 * 0.1 * published


def test_a_pyramid_of_its_own_for_each_task() -> None:
    torch.manual_seed(0)
    model = create_model(["depth", "edges"], "test_vit", {"name": "vit_light", "width": 4}).eval()
    maps = [torch.randn(1, 64, 4, 6) for _ in range(4)]
    other = [tensor + 1 for tensor in maps]
    shared, _ = model.decoder(Features(maps))
    apart, _ = model.decoder(Features(maps, {"depth": maps, "edges": other}))
    assert torch.equal(shared["depth"], apart["depth"]) and not torch.equal(shared["edges"], apart["edges"])
