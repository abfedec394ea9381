"""Blocks of the papers for networks of other people's: importable by name, and their examples run."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from polyscene import decoders


@pytest.mark.parametrize("block", decoders._BLOCKS)
def test_examples(block: str) -> None:
    module, _, name = decoders._BLOCKS[block].partition(":")
    source = importlib.import_module(module)
    assert getattr(decoders, name) is getattr(source, name)
    failed, tried = doctest.testmod(source, extraglobs={"torch": torch})
    assert tried and not failed


@pytest.mark.parametrize("block", [decoders.Distillation(2, 4), decoders.AffinityPropagation(2)])
def test_another_number_of_tasks_is_refused(block: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match=r"2 tasks takes as many maps, got 3"):
        block([torch.rand(1, 4, 5, 6)] * 3)
