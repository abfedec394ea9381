from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from timm.models import FeatureDictNet
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.encoders._timm import timm
from polyscene.encoders.base import Encoder, Stage
from polyscene.types import Features

FAMILIES: dict[str, dict[str, Any]] = {  # options by timm's module: what features_only would leave out
    "hrnet": {"feature_location": ""},  # the branches themselves, not the classifier's widened ones
}


class TimmPyramid(Encoder):
    """Any timm network with stages: its maps from stride 4 on, or those of ``out_indices`` (timm's numbering).

    Other keywords (``output_stride``, ``drop_path_rate``...) are the network's own. Where it begins by cutting the
    picture into patches, as Swin and ConvNeXt do, pictures are padded on the right and below to whole ones.
    """

    net: Any

    def __init__(
        self,
        name: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        out_indices: Sequence[int] = (1, 2, 3, 4),
        **options: Any,
    ) -> None:
        super().__init__(name, mean, std)
        self.net = timm.create_model(name, features_only=True, out_indices=tuple(out_indices), **options)
        self.channels = tuple(self.net.feature_info.channels())
        self.strides = tuple(self.net.feature_info.reduction())
        first = next(module for module in self.net.modules() if isinstance(module, nn.Conv2d))
        self._patch = first.stride if first.stride == first.kernel_size else (1, 1)
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Float[Tensor, "bv 3 h w"]) -> Features:
        return Features([self._nchw(tensor) for tensor in self.net(self._framed(images))])

    @property
    def interleaves(self) -> bool:
        return bool(self._chain())

    def stem(self, images: Float[Tensor, "bv 3 h w"]) -> Tensor:
        return self._nchw(self._segments()[0](self._framed(images)))

    @property
    def stages(self) -> list[Stage]:
        return [self._stage(segment) for segment in self._segments()[1:]]

    @property
    def stage_blocks(self) -> list[list[Stage]]:
        return [
            [self._stage(block) for module in segment for block in _taken_apart(module)]
            for segment in self._segments()[1:]
        ]

    def _framed(self, images: Tensor) -> Tensor:
        """Normalised, and of whole patches; what is added has the mean colour."""
        down, right = (-side % patch for side, patch in zip(images.shape[-2:], self._patch, strict=True))
        normal = self.normalise(images)
        return F.pad(normal, (0, right, 0, down)) if down or right else normal

    def _stage(self, module: nn.Module) -> Stage:
        return lambda tensor: self._nchw(module(self._native(tensor)))

    def _segments(self) -> list[nn.Sequential]:
        """The chain cut after every map; the stem is what precedes the last module before the first cut."""
        if not self.interleaves:
            raise ValueError(self._refusal())
        chain = self._chain()
        names = [name for name, _ in chain]
        ends = [names.index(name.replace(".", "_")) + 1 for name in self.net.feature_info.module_name()]
        starts = [ends[0] - 1, *ends[:-1]]
        cuts = [(0, starts[0]), *zip(starts, ends, strict=True)]
        return [nn.Sequential(*(module for _, module in chain[start:end])) for start, end in cuts]

    def _chain(self) -> list[tuple[str, nn.Module]]:
        """The network as modules that follow one another, or nothing if it is not made so."""
        if isinstance(self.net, FeatureDictNet):
            return list(self.net.items())
        if type(self.net).__name__ in ("EfficientNetFeatures", "MobileNetV3Features"):
            blocks = [(f"blocks_{index}", block) for index, block in enumerate(self.net.blocks)]
            before = [name for name in ("conv_stem", "bn1", "act1") if hasattr(self.net, name)]
            return [*((name, getattr(self.net, name)) for name in before), *blocks]
        return []

    def _nchw(self, tensor: Tensor) -> Tensor:
        return tensor.permute(0, 3, 1, 2) if self._channels_last else tensor

    def _native(self, tensor: Tensor) -> Tensor:
        return tensor.permute(0, 2, 3, 1) if self._channels_last else tensor


def _taken_apart(stage: nn.Module) -> list[nn.Module]:
    """The blocks of a stage, if it is plainly a chain of them."""
    if type(stage) is nn.Sequential:
        return list(stage)
    parts = dict(stage.named_children())
    blocks = parts.get("blocks")
    if isinstance(blocks, nn.Sequential) and list(parts) in (["blocks"], ["downsample", "blocks"]):
        return [*list(parts.values())[:-1], *blocks]
    return [stage]
