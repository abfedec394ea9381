from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from polyscene.decoders.blocks import resize
from polyscene.tasks import Task


class Head(nn.Module):
    """A task's feature map to its raw output at image size: a 1x1 convolution, then bilinear upsampling."""

    def __init__(self, in_channels: int, task: Task) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, task.channels, 1)
        nn.init.normal_(self.project.weight, std=0.01)
        nn.init.constant_(self.project.get_parameter("bias"), 0.0)

    def forward(self, features: Float[Tensor, "bv _ _ _"], size: tuple[int, int]) -> Float[Tensor, "bv _ h w"]:
        return resize(self.project(features), size)
