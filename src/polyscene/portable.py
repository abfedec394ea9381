"""The network as a graph of tensors: pictures in, values out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyscene.model import MultiTaskModel
from polyscene.types import Target


class Portable(nn.Module):
    """``images`` (b, 3, h, w), RGB in [0, 1], to a dict by task of soft values (b, c, h, w): probabilities of the
    classes, metres, unit vectors, a probability; ``Task.decide`` makes labels of them.

    A network with a canonical focal length also takes ``focal`` (b,), in pixels of the images; without it, depth is
    told as if that camera had taken them. One view a picture: what a neck finds in others is left out. ``model`` is put
    in inference mode.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model
        self.eval()

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("images",) if self.model.canonical_focal is None else ("images", "focal")

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.model.tasks)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], focal: Float[Tensor, " b"] | None = None
    ) -> dict[str, Float[Tensor, "b _ h w"]]:
        tasks = self.model.tasks
        final = self.model(images[:, None]).final
        values = {name: tasks[name].soft(raw[:, 0].float()) for name, raw in final.items()}
        if focal is None or self.model.canonical_focal is None:
            return values
        back = self.model.canonical_focal * images.shape[-1] / focal
        valid = torch.ones_like(images[:, :1], dtype=torch.bool)
        return {name: tasks[name].zoom(Target(value, valid), back).value for name, value in values.items()}
