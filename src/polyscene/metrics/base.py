"""The contract of a metric."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from polyscene.types import Target


class _Undefined(float):
    """NaN that says what it is wherever it is shown."""

    def __repr__(self) -> str:
        return "undefined"

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        return "undefined"


UNDEFINED = _Undefined("nan")


class Seen(NamedTuple):
    images: int  # with at least one valid pixel
    pixels: int  # valid ones


def choose(valid: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
    """Of each (1, h, w) map the ``valid`` (1, h, w) pixels, (n,)."""
    if valid.all():
        return tuple(each.flatten() for each in maps)
    index = valid.flatten().nonzero().squeeze(1)
    return tuple(each.flatten().index_select(0, index) for each in maps)


def _demand_finite(name: str, values: Tensor, valid: Tensor) -> None:
    """Raises ``ValueError`` where (c, h, w) values are not finite at a valid pixel."""
    if not values.is_floating_point() or values.sum(dtype=torch.float32).isfinite():
        return
    bad = (~values.isfinite() & valid).any(0, keepdim=True)
    if bad.any():
        raise ValueError(f"the {name} is NaN or infinite at {int(bad.sum())} of {int(valid.sum())} valid pixels")


class Metric(ABC):
    """An accumulator over images: ``update`` any number of times, then ``compute``.

    ``state`` is one flat float64 tensor of sums, so that the accumulators of several processes add up: ``sums`` of the
    metric's own, after the numbers of images and valid pixels that were ``seen``. ``key`` is the headline among the
    figures and ``higher_is_better`` its direction. ``words`` says how it counts. One that is ``slow``
    takes help (``share``).
    """

    key: str
    higher_is_better: bool
    slow: ClassVar[bool] = False

    def __init__(self, sums: int) -> None:
        self.state = torch.zeros(2 + sums, dtype=torch.float64)

    @property
    def sums(self) -> Tensor:
        return self.state[2:]

    @property
    def seen(self) -> Seen:
        return Seen(int(self.state[0]), int(self.state[1]))

    def share(self, workers: int | None) -> None:  # noqa: B027  (most metrics are fast)
        """Lets so many other processes do what is slow; called before the first image."""

    def update(self, value: Tensor, target: Target) -> None:
        """``value``: an activated prediction, (..., c, h, w) like ``target.value``.

        Raises ``ValueError`` where the two differ in shape, and where one is NaN or infinite at a valid pixel.
        """
        if value.shape != target.value.shape:
            raise ValueError(
                f"prediction {tuple(value.shape)} and truth {tuple(target.value.shape)} differ in shape; "
                "bring the prediction to the size of its label (Task.evaluate_at)"
            )
        size = value.shape[-3:]
        valid = target.valid.reshape(-1, 1, *size[1:])
        for prediction, truth, known in zip(
            value.reshape(-1, *size), target.value.reshape(-1, *size), valid, strict=True
        ):
            pixels = int(known.sum())
            if not pixels:
                continue
            _demand_finite("prediction", prediction, known)
            _demand_finite("truth", truth, known)
            self.state[0] += 1
            self.state[1] += pixels
            self.add(prediction, truth, known)

    @abstractmethod
    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        """One image: (c, h, w), (c, h, w) and (1, h, w), valid somewhere. Adds to ``sums``."""

    def compute(self) -> dict[str, float]:
        """Figures by name. One that the pixels seen do not define (there were none, or no true edge...) is
        ``UNDEFINED``: a NaN that prints as "undefined" and is null in JSON files; never 0."""
        anything = self.seen.pixels > 0
        return {
            name: figure if anything and not math.isnan(figure) else UNDEFINED
            for name, figure in self.figures().items()
        }

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """What ``sums`` say; NaN where they define nothing."""

    @abstractmethod
    def words(self) -> str:
        """How it counts, in one sentence."""
