from __future__ import annotations

from typing import Any, Literal, get_args

from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.encoders.timm_pyramid import TimmPyramid

Upsample = Literal["nearest", "bilinear", "scaled_bilinear"]


class HRNet(TimmPyramid):
    """An HRNet of timm, for images of any size. ``upsample``: how its branches take in coarser ones. ImageNet
    networks were trained with ``nearest``; the dense multi-task ones of the literature with ``bilinear``.
    ``scaled_bilinear`` enlarges by a power of two and then to size, as mmsegmentation and ATRC do: another result
    only where a side is no multiple of 32."""

    def __init__(
        self,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        upsample: Upsample = "nearest",
        **options: Any,
    ) -> None:
        if upsample not in get_args(Upsample):
            raise ValueError(f"encoder {name}: upsample is one of {get_args(Upsample)}, got {upsample!r}")
        super().__init__(name, mean, std, **options)
        for module in self.net.modules():
            if isinstance(module, HighResolutionModule):
                module.__class__ = _Exchange  # the same tensors under the same names
                vars(module)["upsample"] = upsample


class _Exchange(HighResolutionModule):
    """What the branches give one another, brought to the size that the receiving one really has."""

    upsample: Upsample

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        maps = [branch(tensor) for branch, tensor in zip(self.branches, x, strict=False)]
        if len(maps) == 1:
            return maps
        return [self._received(place, changes, maps) for place, changes in enumerate(self.fuse_layers)]

    def _received(self, place: int, changes: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        total = maps[place]
        for source, tensor in enumerate(maps):
            if source < place:
                total = total + changes[source](tensor)
            elif source > place:
                convolved = changes[source][:2](tensor)  # type: ignore[index]  # the third part is timm's upsampling
                if self.upsample == "scaled_bilinear":
                    convolved = F.interpolate(convolved, scale_factor=2.0 ** (source - place), mode="bilinear")
                total = total + F.interpolate(convolved, total.shape[-2:], mode=self.upsample.removeprefix("scaled_"))
        return self.fuse_act(total)
