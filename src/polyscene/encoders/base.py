"""The contract of an encoder: images in, a pyramid of features out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyscene.types import Features

Stage = Callable[[Tensor], Tensor]


class Encoder(nn.Module, ABC):
    """Images (b·v, 3, h, w), RGB in [0, 1], to maps finest first; ``channels`` and ``strides`` say what comes out.

    Where ``interleaves`` is true (``ValueError`` elsewhere), ``stem(images)`` followed by each of ``stages`` gives
    the same maps one by one, so that a method may act between the stages.
    """

    name: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    @abstractmethod
    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features: ...

    def normalise(self, images: Tensor) -> Tensor:
        """As the pre-trained network expects its input."""
        return (images - self.mean) / self.std

    @property
    def interleaves(self) -> bool:
        return False

    def stem(self, images: Float[Tensor, "bv 3 h w"]) -> Tensor:
        """What comes before the first stage."""
        raise ValueError(self._refusal())

    @property
    def stages(self) -> list[Stage]:
        """One function a map of the pyramid, each from the map before it (the first from ``stem``), all NCHW."""
        raise ValueError(self._refusal())

    @property
    def stage_blocks(self) -> list[list[Stage]]:
        """``stages``, each as the blocks it is a chain of, or as one where it cannot be taken apart."""
        return [[stage] for stage in self.stages]

    @torch.no_grad()
    def outline(self) -> list[list[torch.Size]]:
        """Shapes (1, c, h, w) after the stem, then after the blocks of every stage, of a small picture; nothing is
        computed."""
        twin = copy.deepcopy(self).to("meta").eval()
        tensor = twin.stem(torch.empty(1, 3, 64, 96, device="meta"))
        shapes = [[tensor.shape]]
        for blocks in twin.stage_blocks:
            shapes.append([])
            for block in blocks:
                tensor = block(tensor)
                shapes[-1].append(tensor.shape)
        return shapes

    def _refusal(self) -> str:
        return (
            f"encoder {self.name!r} cannot be driven stage by stage, which the chosen decoder needs; "
            "take one whose stages form a chain, such as a ResNet, ConvNeXt, Swin or EfficientNet"
        )

    @property
    def depthwise(self) -> bool:
        """Whether it has depthwise convolutions: those gain nothing from bfloat16."""
        convolutions = (module for module in self.modules() if isinstance(module, nn.Conv2d))
        return any(module.groups == module.in_channels > 1 for module in convolutions)
