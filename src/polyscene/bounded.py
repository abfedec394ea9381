"""A bound on what a description that came with a file may build."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MAKERS = frozenset(
    ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "arange", "linspace", "eye", "tensor", "randperm")
)
LEAST = 1000  # numbers that a tensor counts for: a million tiny ones are too many as well


class TooLarge(ValueError):
    """More was asked for than there is in the file."""


class Bounded(TorchFunctionMode):
    """While it stands, no more than ``numbers`` in new tensors together; ``TooLarge`` before they are made."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = self.numbers = numbers

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in MAKERS:
            there = torch.device(kwargs.get("device") or "cpu").type != "meta"
            self.left -= max(LEAST, math.prod(_whole((args, kwargs.get("size"))))) if there else LEAST
            if self.left < 0:
                raise TooLarge(f"tensors of more than {self.numbers:,} numbers together")
        return function(*args, **kwargs)


def _whole(item: Any) -> Iterator[int]:
    """The numbers in nested arguments, which are the sides of a tensor or, of ``arange`` and its kind, their like."""
    if isinstance(item, tuple | list):
        for each in item:
            yield from _whole(each)
    elif isinstance(item, int) and not isinstance(item, bool):
        yield max(1, abs(item))
