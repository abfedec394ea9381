"""Methods that keep more than the network: interrupted runs end with the weights of uninterrupted ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training import toy

from polyscene.training import checkpoint, loop
from polyscene.training.loop import train

METHODS: tuple[dict[str, Any], ...] = (
    {"name": "adversarial", "channels": 8},
    {"name": "self_training"},
    {"name": "self_training", "norms": "target", "mix": False},
)


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", METHODS, ids=lambda method: " ".join(map(str, method.values())))
def test_a_killed_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    def config(name: str) -> Any:
        plain = toy.config(tmp_path / name, evaluate=False, steps=6, checkpoint_every=2, ema=0.9)
        return toy.with_target(plain, method)

    train(config("whole"))
    advance = loop.Run._advance

    def killed(run: loop.Run, batches: Any) -> None:
        if run.step == 5:
            raise Killed
        advance(run, batches)

    monkeypatch.setattr(loop.Run, "_advance", killed)
    with pytest.raises(Killed):
        train(config("torn"))
    assert checkpoint.load_state(tmp_path / "torn" / "last")["at"] == 4
    monkeypatch.setattr(loop.Run, "_advance", advance)
    train(config("torn"))
    for file in ("model.safetensors", "state.safetensors"):
        one, two = (load_file(tmp_path / name / "last" / file) for name in ("whole", "torn"))
        assert one.keys() == two.keys()
        assert [name for name in one if not torch.equal(one[name], two[name])] == []
    owned = [name for name in load_file(tmp_path / "whole" / "last" / "state.safetensors") if "/step/" in name]
    assert owned, "the teacher, or discriminators and their optimisers"
