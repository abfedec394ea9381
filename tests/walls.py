"""Pairs of views of a textured wall, seen head-on from two places: the one data set whose depth a child can check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from polyscene.config import Config
from polyscene.data import DATASETS
from polyscene.data.base import Dataset
from polyscene.tasks import Depth
from polyscene.types import Camera, Sample, Target

SIZE, FOCAL, BASELINE = (64, 96), 120.0, 0.2
DEPTHS = (1.5, 3.0)  # metres: the second camera sees the wall 16 and 8 pixels further left


class Walls(Dataset):
    def __init__(self, views: int = 2) -> None:
        self.name, self.views = "walls", views
        self.tasks = {"depth": Depth(gradient=0.0)}

    def __len__(self) -> int:
        return len(DEPTHS)

    def read(self, index: int) -> Sample:
        height, width = SIZE
        wall = torch.rand(3, height, 2 * width, generator=torch.Generator().manual_seed(index))
        starts = [round(view * FOCAL * BASELINE / DEPTHS[index]) for view in range(self.views)]
        intrinsics = torch.tensor([[FOCAL, 0, (width - 1) / 2], [0, FOCAL, (height - 1) / 2], [0, 0, 1]])
        pose = torch.eye(4).repeat(self.views, 1, 1)
        pose[:, 0, 3] = BASELINE * torch.arange(self.views)
        return Sample(
            images=torch.stack([wall[:, :, start : start + width] for start in starts]),
            targets={
                "depth": Target(
                    torch.full((self.views, 1, *SIZE), DEPTHS[index]),
                    torch.ones(self.views, 1, *SIZE, dtype=torch.bool),
                )
            },
            camera=Camera(intrinsics.repeat(self.views, 1, 1), pose, torch.ones(self.views, dtype=torch.bool)),
            present=torch.ones(self.views, dtype=torch.bool),
            source=self.name,
            meta=(f"wall at {DEPTHS[index]} m",),
        )


DATASETS["walls"] = f"{__name__}:Walls"


def config(out: Path, name: str = "walls", seed: int = 0, **model: Any) -> Config:
    return Config.model_validate(
        {
            "name": name,
            "out": out,
            "seed": seed,
            "tasks": ["depth"],
            "data": {
                "size": SIZE,
                "train": {"walls": {"dataset": {"name": "walls"}, "batch": 2}},
                "evaluate": {
                    "single": {"dataset": {"name": "walls", "views": 1}, "batch": 2},
                    "pairs": {"dataset": {"name": "walls"}, "batch": 2},
                },
                "augment": {"strength": 0.0},
            },
            "model": {
                "encoder": {"name": "test_resnet"},
                "decoder": {"name": "multi_head", "channels": 4, "context": "none"},
                **model,
            },
            "training": {"device": "cpu", "steps": 2},
        }
    )
