"""Parameters and multiplications beside those measured on the public code, one picture in evaluation: within 0.5 and
2 %, or fewer for a reason, which the method's own tests take apart to the last multiplication."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from polyscene import encoders
from polyscene.encoders import build
from polyscene.encoders.base import Encoder
from polyscene.model import create_model
from polyscene.types import Features

PAIR, NYUV2, PASCAL = (["semseg", "depth"], (480, 640)), ("nyuv2", (448, 576)), ("pascal_context", (512, 512))
ALONE = ["semseg"], (448, 576)


def hrnet(name: str = "w18_small_v2") -> dict[str, Any]:
    return {"name": f"hrnet_{name}", "upsample": "bilinear"}


def resnet(depth: int) -> dict[str, Any]:
    return {"name": f"resnet{depth}", "output_stride": 8}


def vit(size: str, pixels: tuple[int, int]) -> dict[str, Any]:
    return {"name": f"vit_{size}_patch16_384", "img_size": pixels}


def heads(width: int = 270) -> dict[str, Any]:
    return {"name": "multi_head", "channels": width, "fuse": "concat", "context": "none", "depth": 0, "separate": True}


def deeplab(name: str) -> dict[str, Any]:
    return {"name": name, "head": "deeplab"}


CLOSE = ""
MIXED = "channels are mixed before they are resized"
FACTORS = "affinities are never multiplied out"
SPARED = "small maps are convolved before they are enlarged, tensors without effect are left out"
COUNTS = [  # tasks and size, encoder, decoder: millions of parameters, billions of multiplications; why fewer
    (ALONE, resnet(18), deeplab("single_task"), 15.9, 65.9, CLOSE),
    (NYUV2, resnet(18), "deeplab", 30.1, 121, CLOSE),
    (NYUV2, resnet(18), deeplab("cross_stitch"), 63.6, 4 * 65.9, CLOSE),
    (NYUV2, resnet(18), deeplab("nddr"), 69.3, 288, CLOSE),
    (NYUV2, resnet(18), deeplab("mtan"), 31.6, 135, CLOSE),
    (ALONE, resnet(50), deeplab("single_task"), 39.6, 161, CLOSE),
    (NYUV2, resnet(50), "deeplab", 88.0, 350, CLOSE),
    (NYUV2, resnet(50), deeplab("cross_stitch"), 158.6, 4 * 161, CLOSE),
    (NYUV2, resnet(50), deeplab("nddr"), 247.8, 1017, CLOSE),
    (NYUV2, resnet(50), deeplab("mtan"), 112.7, 564, CLOSE),
    (NYUV2, hrnet(), heads(), 4.17, 13.1, MIXED),
    (NYUV2, hrnet(), "pad_net", 19.5, 260, CLOSE),
    (NYUV2, hrnet(), "mti_net", 17.96, 23.8, MIXED),
    (NYUV2, hrnet(), "atrc", 5.06, 26.9, CLOSE),
    (NYUV2, hrnet(), {"name": "pap", "iterations": 3}, 5.07, 560, FACTORS),
    (NYUV2, hrnet("w48"), heads(720), 67.4, 117, MIXED),
    (NYUV2, hrnet("w48"), "pad_net", 82.0, 352, MIXED),
    (NYUV2, hrnet("w48"), "mti_net", 165.4, 193.7, MIXED),
    (NYUV2, hrnet("w48"), {"name": "atrc", "genotype": "nyuv2_hrnet48"}, 72.5, 194, CLOSE),
    (NYUV2, vit("base", (448, 576)), "invpt", 160.8, 343.7, SPARED),
    (NYUV2, vit("large", (448, 576)), "invpt", 402.1, 601.9, SPARED),
    (PASCAL, resnet(18), "deeplab", 34.8, 142, CLOSE),
    (PASCAL, resnet(18), deeplab("mtan"), 36.6, 159, CLOSE),
    (PASCAL, resnet(18), deeplab("nddr"), 88.3, 373, CLOSE),
    (PASCAL, hrnet(), heads(), 4.24, 14.5, MIXED),
    (PASCAL, hrnet(), "pad_net", 29.3, 425, CLOSE),
    (PASCAL, hrnet(), "mti_net", 24.5, 30.3, MIXED),
    (PASCAL, hrnet(), "atrc", 5.38, 31.7, CLOSE),
    (PASCAL, vit("base", (512, 512)), "invpt", 176.4, 408.2, SPARED),
    (PASCAL, vit("large", (512, 512)), "taskprompter", 401.1, 497, SPARED),
    (PAIR, resnet(50), "deeplab", 55.8, 267, CLOSE),
    (PAIR, resnet(50), deeplab("cross_stitch"), 79.3, 2 * 161 * (480 * 640) / (448 * 576), CLOSE),
    (PAIR, resnet(50), deeplab("nddr"), 101.6, 494, CLOSE),
    (PAIR, resnet(50), deeplab("mtan"), 72.1, 394, CLOSE),
    (PAIR, hrnet(), "pad_net", 7.02, 70.2, CLOSE),
    (PAIR, hrnet(), "mti_net", 8.58, 17.1, MIXED),
]


@cache
def once(name: str, pretrained: bool, **options: Any) -> Encoder:
    return build(name, **options)


@cache
def looked_at(encoder: Encoder, size: tuple[int, int]) -> tuple[Features, int]:
    """What it makes of a picture, and at what cost."""
    with FlopCounterMode(display=False) as counter:
        features = encoder(torch.empty(1, 3, *size))
    return features, counter.get_total_flops()


@pytest.mark.parametrize(("what", "encoder", "decoder", "millions", "giga", "reason"), COUNTS)
def test_parameters_and_multiplications(
    what: tuple[Any, tuple[int, int]],
    encoder: dict[str, Any],
    decoder: str | dict[str, Any],
    millions: float,
    giga: float,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoders, "build", once)
    tasks, size = what
    with torch.device("meta"), torch.no_grad():
        model = create_model(tasks, encoder, decoder).eval()
        features, eyes = looked_at(model.encoder, size)
        with FlopCounterMode(display=False) as counter:
            maps, _ = model.decoder(features)
            for name, head in model.heads.items():
                head(maps[name], size)
    own = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    spent = (eyes + counter.get_total_flops()) / 2e9
    assert own == pytest.approx(millions, rel=5e-3) or (reason == SPARED and own < millions)
    assert spent == pytest.approx(giga, rel=2e-2) or (reason and spent < giga)
