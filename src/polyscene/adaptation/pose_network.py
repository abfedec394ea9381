"""How a camera moved between two pictures, learnt without being told."""

from __future__ import annotations

from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyscene.encoders import pretrained

SCALE = 0.01  # of what comes out, so that all begins near the identity
MEAN, SPREAD = 0.45, 0.225  # of pictures


class PoseNetwork(nn.Module):
    """``encoder``, timm's network of that name, sees two pictures as one of six channels; four convolutions of
    ``width`` channels and an average make a turn and a shift of what it finds. ``weights`` as a model's ``pretrained``;
    those of the first convolution serve both pictures, halved."""

    def __init__(self, encoder: str = "resnet18", weights: pretrained.Source = False, width: int = 256) -> None:
        super().__init__()
        state = pretrained.state_of(encoder.partition(".")[0], weights)
        loading: dict[str, Any] = {"pretrained": weights == "hub" or state is not None}
        if state is not None:
            loading["pretrained_cfg_overlay"] = {"state_dict": state}
        network: Any = timm.create_model(encoder, features_only=True, in_chans=6, **loading)
        channels = network.feature_info.channels()[-1]
        self.encoder: nn.Module = network
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 6, 1),
        )

    def forward(self, one: Float[Tensor, "n 3 h w"], other: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 4"]:
        """From the axes of the one's camera to those of the other's; lengths in units of the network's own."""
        pictures = (torch.cat([one, other], 1) - MEAN) / SPREAD
        return motion(SCALE * self.decoder(self.encoder(pictures)[-1]).mean((-2, -1)))


def motion(vector: Float[Tensor, "n 6"]) -> Float[Tensor, "n 4 4"]:
    """A turn (axis times radians) and a shift, as a matrix."""
    vector = vector.float()
    x, y, z = vector[:, :3].unbind(-1)
    nought = torch.zeros_like(x)
    skew = torch.stack([nought, -z, y, z, nought, -x, -y, x, nought], -1).unflatten(-1, (3, 3))
    upper = torch.cat([torch.linalg.matrix_exp(skew), vector[:, 3:, None]], -1)
    last = upper.new_tensor([[[0.0, 0.0, 0.0, 1.0]]]).expand(len(upper), 1, 4)
    return torch.cat([upper, last], -2)
