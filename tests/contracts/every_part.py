"""What the contract tests run over: the tables, and one small encoder of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeVar

import pytest
import torch

from polyscene.decoders import DECODERS
from polyscene.necks import NECKS
from polyscene.regularizers import REGULARIZERS
from polyscene.tasks import Task
from polyscene.types import Camera, Sample, Target

ENCODERS: dict[str, str | dict[str, Any]] = {
    "chain": "test_resnet",
    "efficientnet": "test_efficientnet",
    "mobilenet": "mobilenetv4_conv_small_035",
    "nhwc": "test_mambaout",
    "windows": {
        "name": "swin_tiny_patch4_window7_224", "embed_dim": 16, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4),
    },
    "branches": "hrnet_w18_small_v2",
    "vit": "test_vit",
}  # fmt: skip
TASKS = {  # by their number
    1: ["depth"],
    2: ["semseg", "normals"],
    4: "rooms",
    6: ["semseg", "human_parts", "saliency", "depth", "normals", "edges"],
}
NECK_NAMES = [None, *NECKS, "double"]
REGULARIZER_NAMES = [None, *REGULARIZERS, "double"]
DECODER_NAMES = [*DECODERS, "initial_double"]
NARROW: dict[str, dict[str, Any]] = {  # so that the tests are quick; others come as they are
    "invpt": {"channels": 24, "preliminary": 16},
    "multi_head": {"channels": 16, "context_channels": 16},
    "deeplab": {"channels": 16},
    "dense_mtl": {"channels": (4, 8, 8, 16, 16)},
    **{name: {"channels": 16} for name in ("pad_net", "pap", "psd")},
    "taskprompter": {"width": 6, "channels": 8},
}
CHAINED = ("cross_stitch", "nddr", "mtan")
REFUSED = {  # kind of encoder, decoder: what is said
    ("vit", "mti_net"): "pyramid of at least 4 scales",
    **{(kind, decoder): "such as a ResNet" for kind in ("vit", "branches") for decoder in CHAINED},
    **{(kind, "taskprompter"): "plain ViT" for kind in ENCODERS if kind != "vit"},
}
UNREAD = {  # kind of encoder, decoder: whose parameters may take no part, as the decoder leaves out a level
    ("vit", "invpt"): "neck.",
    **{(kind, "deeplab"): "neck." for kind in ENCODERS},
    ("branches", "deeplab"): ("encoder.", "neck."),
}

Row = TypeVar("Row", bound=tuple)


def pairwise(rows: Sequence[Row]) -> list[Row]:
    """A few of the rows, among which each two values that stand together in any row stand together in one."""
    pairs = [frozenset(combinations(enumerate(row), 2)) for row in rows]
    missing = set().union(*pairs)
    chosen = []
    while missing:
        best = max(range(len(rows)), key=lambda place: len(missing & pairs[place]))
        chosen.append(rows[best])
        missing -= pairs[best]
    return chosen


def install_doubles(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(NECKS, "double", "part_doubles:CrossViewDouble")
    patch.setitem(REGULARIZERS, "double", "part_doubles:RenderingDouble")
    patch.setitem(DECODERS, "initial_double", "part_doubles:InitialDouble")
    patch.setitem(DECODERS, "stitch_double", "part_doubles:StitchDouble")


def narrow(decoder: str) -> dict[str, Any]:
    """The decoder, with few channels."""
    return {"name": decoder, **NARROW.get(decoder, {})}


def encoder_of(decoder: str) -> str | dict[str, Any]:
    """The first encoder that it takes."""
    return next(name for kind, name in ENCODERS.items() if (kind, decoder) not in REFUSED)


def batch_for(tasks: Mapping[str, Task], batch: int = 2, views: int = 1, size: tuple[int, int] = (64, 96)) -> Sample:
    """Random pictures and labels; on whatever the default device is."""

    def target(task: Task) -> Target:
        shape = (batch, views, task.value_channels, *size)
        value = torch.randint(0, len(task.classes), shape) if task.classes else torch.rand(shape) + 0.1
        if task.name in ("edges", "saliency"):
            value = value.round().clamp(0, 1)
        return Target(value, torch.ones(batch, views, 1, *size, dtype=torch.bool))

    intrinsics = torch.tensor([[90.0, 0.0, 47.5], [0.0, 90.0, 31.5], [0.0, 0.0, 1.0]])
    present = torch.ones(batch, views, dtype=torch.bool)
    camera = Camera(intrinsics.expand(batch, views, 3, 3), torch.eye(4).expand(batch, views, 4, 4), present)
    targets = {name: target(task) for name, task in tasks.items()}
    return Sample(torch.rand(batch, views, 3, *size), targets, camera, present, "random")
