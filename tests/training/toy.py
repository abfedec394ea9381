"""A tiny data set and configuration, for runs of seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from polyscene.config import Config
from polyscene.data import DATASETS
from polyscene.data.base import Dataset
from polyscene.tasks import Depth, SemanticSegmentation
from polyscene.types import Camera, Sample, Target

SIZE = (32, 48)


class Toy(Dataset):
    """Half-planes at random places: brighter is nearer and of class "a". ``wait`` seconds a sample; the sample
    number ``poison`` holds infinite light."""

    def __init__(self, count: int = 13, wait: float = 0.0, poison: int = -1, depth_only: bool = False) -> None:
        self.name, self.count, self.wait, self.poison = "toy", count, wait, poison
        tasks = [Depth(gradient=0.0)] if depth_only else [Depth(gradient=0.0), SemanticSegmentation(classes=("a", "b"))]
        self.tasks = {task.name: task for task in tasks}

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        time.sleep(self.wait)
        generator = torch.Generator().manual_seed(index)
        slope, offset = torch.rand(2, generator=generator)
        near = torch.linspace(0, 1, SIZE[1])[None] * slope + offset - 0.5 > torch.linspace(0, 1, SIZE[0])[:, None] - 0.3
        near = near[None, None]
        images = torch.where(near, 0.8, 0.3).expand(1, 3, *SIZE) + 0.1 * torch.rand(1, 3, *SIZE, generator=generator)
        if index == self.poison:
            images = images * torch.inf
        valid = torch.ones_like(near)
        targets = {
            "depth": Target(torch.where(near, 1.0, 3.0), valid),
            "semseg": Target((~near).long(), valid),
        }
        return Sample(
            images=images,
            targets={name: target for name, target in targets.items() if name in self.tasks},
            camera=Camera(torch.eye(3)[None] * 40, torch.eye(4)[None], torch.ones(1, dtype=torch.bool)),
            present=torch.ones(1, dtype=torch.bool),
            source=self.name,
            meta=(f"toy-{index}",),
        )


DATASETS["toy"] = f"{__name__}:Toy"


def config(out: Path, dataset: dict[str, Any] | None = None, evaluate: bool = True, **training: Any) -> Config:
    part = {"name": "toy", **(dataset or {})}
    source = {"dataset": part, "batch": 3}
    return Config.model_validate(
        {
            "name": "toy",
            "out": out,
            "tasks": "toy",
            "data": {
                "size": SIZE,
                "train": {"toy": source},
                "evaluate": {"toy": {"dataset": {"name": "toy", "count": 4}, "batch": 2}} if evaluate else {},
                "augment": {"strength": 0.0},
            },
            "model": {"encoder": {"name": "test_efficientnet"}},
            "training": {"device": "cpu", "steps": 12, **training},
        }
    )


def with_target(config: Config, method: dict[str, Any], **dataset: Any) -> Config:
    """The same run by another ``method``, with an unlabelled source besides."""
    source = {"dataset": {"name": "toy", "count": 5, **dataset}, "batch": 2}
    settings = config.model_dump(mode="json")
    settings["data"]["target"] = {"photographs": source}
    return Config.model_validate({**settings, "method": method})
