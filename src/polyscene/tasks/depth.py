from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import losses
from polyscene.geometry.correspondence import Correspondence
from polyscene.metrics import protocols
from polyscene.metrics.depth import DepthError
from polyscene.metrics.protocols import Protocol
from polyscene.ranges import Amount, Positive, Several, Share
from polyscene.tasks.base import Legend, Metric, Task, mean_map, summed
from polyscene.types import Target

Encoding = Literal["log", "metres", "inverse", "log_bins", "disparity", "inverse_linear"]
ENOUGH = 50_000  # pixels that percentiles are told from
_INVERSE_SCALE, _INVERSE_SHIFT = 655.36, 0.01  # 65536 / (centimetres + 1) in metres


@dataclass(frozen=True)
class Depth(Task):
    """Depth along the optical axis in metres.

    ``encoding`` is what the network puts out: the logarithm; metres; the inverse (through a softplus); scores of
    ``bins`` log-spaced depths whose expectation is taken; a sigmoid disparity between ``1 / far`` and ``1 / near``
    (Monodepth2's parametrisation); or DenseMTL's 65536 / (centimetres + 1), unbounded. ``metres`` is trained by L1, as
    the field's papers do; ``inverse_linear`` by the reverse Huber loss, as DenseMTL does; the others by the
    scale-invariant log loss with ``variance_focus`` plus ``gradient`` times the multi-scale gradient loss.
    """

    name: str = "depth"
    encoding: Encoding = "log"
    near: Positive = 0.1
    far: Positive = 20.0
    bins: Several = 64
    variance_focus: Share = 0.5
    gradient: Amount = 0.5
    unit: ClassVar[str] = "m"
    error_unit: ClassVar[str] = "share of the depth"
    worst: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        if self.encoding not in get_args(Encoding):
            raise ValueError(f"{self.name}: encoding {self.encoding!r} is none of {get_args(Encoding)}")
        if not 0 < self.near < self.far:
            raise ValueError(f"{self.name}: needs 0 < near < far in metres, got near={self.near}, far={self.far}")

    @property
    def channels(self) -> int:
        return self.bins if self.encoding == "log_bins" else 1

    def accept(self, target: Target) -> Target:
        target = super().accept(target)
        below = target.valid & (target.value <= 0)
        if below.any():
            share = float(below.float().mean())
            raise ValueError(f"not positive at {share:.1%} of the pixels; declare the value of unknown depth `invalid`")
        return target

    def zoom(self, target: Target, scale: float | Tensor) -> Target:
        factor = scale[..., None, None, None] if isinstance(scale, Tensor) else scale
        return Target(target.value / factor, target.valid)

    def activate(self, raw: Tensor) -> Tensor:
        """Metres; unless these are the encoding, within a factor of e of [near, far], so that no exp overflows."""
        if self.encoding == "metres":
            return raw
        return self._log(raw).clamp(math.log(self.near) - 1, math.log(self.far) + 1).exp()

    def align(self, value: Tensor, like: Tensor) -> Tensor:
        """To the other's scale: by the median ratio."""
        return value * (like.clamp_min(1e-3) / value.clamp_min(1e-3)).median()

    def _log(self, raw: Tensor) -> Tensor:
        """Raw output -> log metres, unbounded where the encoding is: beyond a bound, losses have no gradient."""
        low, high = math.log(self.near), math.log(self.far)
        match self.encoding:
            case "log":
                return raw + (low + high) / 2
            case "inverse":
                return -(F.softplus(raw) + 1 / self.far).log()
            case "disparity":
                return -(1 / self.far + (1 / self.near - 1 / self.far) * raw.sigmoid()).log()
            case "inverse_linear":
                least, most = (inverse_linear(math.exp(log)) for log in (high + 1, low - 1))
                return (_INVERSE_SCALE / raw.clamp(least, most) - _INVERSE_SHIFT).log()
            case "log_bins":
                centres = torch.linspace(low, high, self.bins, device=raw.device, dtype=raw.dtype)
                return (raw.softmax(-3) * centres[:, None, None]).sum(-3, keepdim=True)
        raise AssertionError(self.encoding)

    def loss(self, raw: Tensor, target: Target) -> Tensor:
        if self.encoding == "metres":
            return losses.mean_where((raw - target.value).abs(), target.valid)
        if self.encoding == "inverse_linear":
            return losses.berhu(raw, inverse_linear(torch.where(target.valid, target.value, 1.0)), target.valid)
        prediction = self._log(raw)
        truth = torch.where(target.valid, target.value, 1.0).clamp_min(1e-3).log()
        main = losses.scale_invariant_log(prediction, truth, target.valid, self.variance_focus)
        return main + self.gradient * losses.multiscale_gradient(prediction, truth, target.valid)

    def as_ray_depth(self, metric: bool) -> Depth:
        same = replace(self, encoding="metres")
        return RayDepth(**vars(same)) if metric else same

    def metric(self, protocol: Protocol | str = "polyscene") -> Metric:
        return DepthError(protocols.find(protocol).depth)

    def metres(self, target: Target) -> Target:
        return target

    def carry(self, value: Tensor, way: Correspondence) -> Target:
        """Predicted points of the other view, as deep as they lie before the one. Interpolated in inverse depth, which
        is exact on planes."""
        found = 1 / way.linear(1 / value.clamp_min(1e-3))
        return Target(way.points(found)[..., 2:, :, :], way.smooth)

    def error(self, value: Tensor, truth: Tensor) -> Tensor:
        return (value - truth).abs() / truth.clamp_min(1e-3)

    def agreement(self, own: Tensor, carried: Target) -> dict[str, Tensor]:
        """``AbsRel``: the difference over the view's own depth."""
        return {"AbsRel": summed(self.error(carried.value, own), carried.valid)}

    def constant(self, targets: list[Target]) -> Tensor:
        """The mean depth, which minimises the RMSE."""
        return torch.cat([target.value[target.valid].flatten() for target in targets]).mean()[None]

    def constant_map(self, targets: list[Target]) -> Tensor:
        return mean_map(targets)

    def limits(self, value: Tensor) -> dict[str, float]:
        """Metres: the 2nd and 98th percentile, of large pictures by a part of the pixels."""
        finite = value[torch.isfinite(value) & (value > 0)].float().cpu().numpy()
        finite = finite[:: 1 + finite.size // ENOUGH]
        low, high = np.percentile(finite, (2, 98)) if finite.size else (self.near, self.far)
        return {"low": float(low), "high": max(float(high), float(low) * 1.01)}

    def draw(self, value: Tensor, **limits: Any) -> Tensor:
        """Near is bright; ``low`` and ``high`` in metres fix the range, else ``limits`` of this value do."""
        limits = limits or self.limits(value)
        low, high = 1 / limits["high"], 1 / limits["low"]
        inverse = (1 / value[0].clamp_min(1e-3) - low) / (high - low)
        return _shades()[(inverse.nan_to_num().clamp(0, 1) * 255).round().long().cpu()]

    def legend(self, value: Tensor, **limits: Any) -> Legend:
        """A bar in metres, even in inverse depth as the colours are."""
        limits = limits or self.limits(value)
        inverse = torch.linspace(1 / limits["low"], 1 / limits["high"], 128)
        digits = 1 if limits["high"] - limits["low"] >= 0.3 else 2
        ticks = tuple((place, f"{1 / inverse[round(place * 127)]:.{digits}f} m") for place in (0.0, 0.5, 1.0))
        return Legend(ramp=self.draw(1 / inverse[None, None], **limits), ticks=ticks)


@cache
def _shades() -> Tensor:
    """(256, 3) uint8, far to near."""
    import cv2

    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return torch.from_numpy(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1].copy())


def inverse_linear(metres: Any) -> Any:
    """65536 / (centimetres + 1)."""
    return _INVERSE_SCALE / (metres + _INVERSE_SHIFT)


@dataclass(frozen=True)
class RayDepth(Depth):
    """Depth along rays that march in metres: no canonical camera takes it for another."""

    def zoom(self, target: Target, scale: float | Tensor) -> Target:
        return target
