"""What the converters of "Multi-Task Learning for Dense Prediction Tasks" share where its encoder is a ResNet and its
heads are DeepLab's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from polyscene.convert.base import Converter, Source, State, prefixed
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the reference's images are normalised with


class OnResNet(Converter):
    """One of its networks in which every task has a DeepLab head. ``backbone``, in ``meta``, tells the depth of the
    ResNet ("ResNet-18...") and, as ``dilate_scale=8``, its stride, which is 8 unless given."""

    decoder: str

    def build(self) -> MultiTaskModel:
        encoder = encoder_of(self.meta)
        return create_model(list(self.tasks.values()), encoder, {"name": self.decoder, "head": "deeplab"})

    def outputs(self, predictions: Predictions) -> dict[str, torch.Tensor]:
        return {f"final_{theirs}": predictions.final[ours][:, 0] for theirs, ours in self.ours.items()}

    def heads(self, source: Source) -> State:
        state: State = {}
        for theirs, ours in self.ours.items():
            state |= deeplab(source, f"heads.{theirs}.", f"decoder.decoders.{ours}.branches.{ours}.")
            state |= prefixed(f"heads.{ours}.project.", source.under(f"heads.{theirs}.4."))
        return state

    def towers(self, source: Source) -> State:
        """An encoder a task."""
        state: State = {}
        for theirs, ours in self.ours.items():
            state |= encoder(source, f"backbone.{theirs}.", f"encoder.copies.{ours}.")
        return state


def encoder_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Ours, by name and options. ``ValueError`` if ``backbone`` names no ResNet."""
    depth = re.search(r"resnet-?(\d+)", meta["backbone"], re.IGNORECASE)
    if depth is None:
        raise ValueError(f"backbone {meta['backbone']!r} is no ResNet, such as 'ResNet-18'")
    stride = re.search(r"dilate_scale=(\d+)", meta["backbone"])
    return {"name": f"resnet{depth[1]}", "output_stride": int(stride[1]) if stride else 8}


def encoder(source: Source, theirs: str, ours: str) -> State:
    colours = {"mean": torch.tensor(MEAN)[:, None, None], "std": torch.tensor(STD)[:, None, None]}
    return prefixed(ours, colours) | prefixed(f"{ours}net.", source.under(theirs))


def deeplab(source: Source, theirs: str, ours: str) -> State:
    """All but the last convolution."""
    state = prefixed(f"{ours}0.near.", source.under(f"{theirs}0.convs.0."))
    for place in range(3):
        state |= prefixed(f"{ours}0.far.{place}.", source.under(f"{theirs}0.convs.{place + 1}."))
    state |= prefixed(f"{ours}0.whole.", source.under(f"{theirs}0.convs.4.1."))
    state |= prefixed(f"{ours}0.whole_norm.", source.under(f"{theirs}0.convs.4.2."))
    state |= prefixed(f"{ours}0.merge.", source.under(f"{theirs}0.project."))
    state |= prefixed(f"{ours}1.0.", source.under(f"{theirs}1."))
    return state | prefixed(f"{ours}1.1.", source.under(f"{theirs}2."))
