from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.geometry.correspondence import Correspondence
from polyscene.metrics import protocols
from polyscene.metrics.normals import NormalError, angles
from polyscene.metrics.protocols import Protocol
from polyscene.ranges import Share
from polyscene.tasks.base import Legend, Metric, Task, mean_map, summed
from polyscene.types import Target


@dataclass(frozen=True)
class Normals(Task):
    """Unit surface normals in camera axes (x right, y down, z forward), facing the camera. The loss is the L1 distance
    by ``l1_share``, by the rest 1 - cos of the angle."""

    name: str = "normals"
    l1_share: Share = 0.5
    value_channels: ClassVar[int] = 3
    unit: ClassVar[str] = "unit vector"
    error_unit: ClassVar[str] = "degrees"
    worst: ClassVar[float] = 60.0

    @property
    def channels(self) -> int:
        return 3

    def accept(self, target: Target) -> Target:
        """Unit vectors exactly, from vectors within 10 % of unit length, as 8-bit storage leaves them."""
        target = super().accept(target)
        length = torch.where(target.valid, target.value.square().sum(-3, keepdim=True).sqrt(), 1.0)
        strange = (length - 1).abs() > 0.1
        if strange.any():
            share, worst = float(strange.float().mean()), float(length[strange][0])
            raise ValueError(
                f"not of unit length at {share:.1%} of the pixels (for example {worst:.2f}); "
                "correct `scale` and `offset`, and declare the value of unknown normals `invalid`"
            )
        return Target(target.value / length, target.valid)

    def hflip(self, target: Target) -> Target:
        mirrored = super().hflip(target)
        return Target(mirrored.value * mirrored.value.new_tensor([-1.0, 1.0, 1.0])[:, None, None], mirrored.valid)

    def turn(self, target: Target, rotation: Tensor) -> Target:
        return Target(torch.einsum("...ij,...jhw->...ihw", rotation, target.value), target.valid)

    def activate(self, raw: Tensor) -> Tensor:
        return F.normalize(raw, dim=-3, eps=1e-6)

    def decide(self, value: Tensor) -> Tensor:
        return value / value.square().sum(-3, keepdim=True).sqrt().clamp_min(1e-6)  # F.normalize, 5 times as fast

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        return losses.angular(raw, target.value, target.valid, self.l1_share)

    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        return NormalError(protocols.find(protocol).normals)

    def carry(self, value: Tensor, way: Correspondence) -> Target:
        """Turned into the one view's axes."""
        return Target(F.normalize(way.turned(way.linear(value)), dim=-3, eps=1e-6), way.smooth)

    def error(self, value: Tensor, truth: Tensor) -> Tensor:
        return angles(value, truth)[..., None, :, :]

    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        """``angle``: in degrees."""
        return {"angle": summed(self.error(own, carried.value), carried.valid)}

    def constant(self, targets: list[Target]) -> Tensor:
        """The normalised mean normal."""
        seen = [target.value.movedim(-3, -1)[target.valid.movedim(-3, -1)[..., 0]] for target in targets]
        return F.normalize(torch.cat(seen).mean(0), dim=0)

    def constant_map(self, targets: list[Target]) -> Tensor:
        return F.normalize(mean_map(targets), dim=0)

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        """Right is red, up is green, towards the camera is blue."""
        colour = value * value.new_tensor([1.0, -1.0, -1.0])[:, None, None]
        return ((colour + 1) * 127.5).clamp(0, 255).to(torch.uint8).movedim(0, -1).cpu()

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        named = {"left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0), "facing": (0, 0, -1)}
        drawn = self.draw(torch.tensor(list(named.values()), dtype=torch.float32).T[:, None])[0].tolist()
        return Legend(swatches=tuple((name, tuple(colour)) for name, colour in zip(named, drawn, strict=True)))
