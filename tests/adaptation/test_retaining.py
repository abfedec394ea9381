"""A network that learns another task and keeps those it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.training import toy
from torch import Tensor

from polyscene import weights
from polyscene.config import Config
from polyscene.training.loop import train
from polyscene.training.records import read

TASKS = [{"type": "Depth", "gradient": 0.0}, {"type": "SemanticSegmentation", "classes": ["a", "b"]}]


def known(out: Path) -> Path:
    """A network that knows depth."""
    return train(toy.config(out, {"depth_only": True}, evaluate=False, steps=4))


def config(out: Path, start: Path, method: str = "supervised", steps: int = 4, **training: Any) -> Config:
    """The network gets segmentation as well, from sources that label nothing else."""
    settings = toy.config(out, evaluate=False, steps=steps, init=str(start), **training).model_dump(mode="json")
    settings["data"]["train"]["toy"]["tasks"] = ["semseg"]
    return Config.model_validate(settings | {"tasks": TASKS, "method": {"name": method}})


def said(run: Path) -> dict[str, Tensor]:
    model = weights.load(run)[0].eval()
    images = torch.rand(2, 1, 3, *toy.SIZE, generator=torch.Generator().manual_seed(3))
    return model.infer(images)


def test_with_all_but_the_new_task_frozen_the_old_stay_bit_for_bit(tmp_path: Path) -> None:
    start = known(tmp_path / "start")
    frozen = {"groups": [{"pattern": r"^(?!.*\bsemseg\b)", "lr_scale": 0}]}
    grown = train(config(tmp_path / "grown", start, optimiser=frozen))
    assert torch.equal(said(start)["depth"], said(grown)["depth"])
    free = train(config(tmp_path / "free", start))
    assert not torch.equal(said(start)["depth"], said(free)["depth"])


def test_retaining_keeps_the_old_task_closer(tmp_path: Path) -> None:
    start = known(tmp_path / "start")
    drift = {}
    for method in ("supervised", "retaining"):
        after = said(train(config(tmp_path / method, start, method, steps=12)))
        drift[method] = (after["depth"] / said(start)["depth"]).log().abs().mean().item()
    assert drift["retaining"] < 0.7 * drift["supervised"]
    losses = read(tmp_path / "retaining" / "metrics.jsonl")[0]["losses"]
    assert {"depth", "semseg"} <= set(losses)


def test_a_resumed_run_remembers_the_network_it_started_from(tmp_path: Path, monkeypatch) -> None:
    from polyscene.training import loop

    start = known(tmp_path / "start")
    whole = train(config(tmp_path / "whole", start, "retaining", steps=6, checkpoint_every=3))
    advance = loop.Run._advance

    def until_four(run: loop.Run, batches: Any) -> None:
        if run.step == 4:
            raise KeyboardInterrupt
        advance(run, batches)

    parts = config(tmp_path / "parts", start, "retaining", steps=6, checkpoint_every=3)
    with monkeypatch.context() as patched:
        patched.setattr(loop.Run, "_advance", until_four)
        try:
            train(parts)
        except KeyboardInterrupt:
            pass
    resumed = train(parts)
    assert all(torch.equal(one, said(resumed)[name]) for name, one in said(whole).items())
