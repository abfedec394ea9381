"""The cross-view module (CvM): correlations between neighbouring views, for every task and beside any encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyscene.geometry import camera as cameras
from polyscene.geometry.cost_volume import inverse_depth_planes
from polyscene.necks.base import Neck
from polyscene.necks.fusion import Fusion, Place
from polyscene.necks.match_volume import Alone, CostVolume, Outside
from polyscene.necks.matching import STRIDE, WIDTH, MultiViewTransformer, SpatialEncoder
from polyscene.necks.neighbours import Neighbours, find
from polyscene.ranges import Positive, Several, Share
from polyscene.tasks import Depth
from polyscene.types import Auxiliary, Camera, Features, Travels

Mode = Literal["auto", "pair", "single"]
Volume = Literal["planes", "constant", "none"]
Scale = Literal["metric", "baseline"]
Poses = Literal["given", "shuffled"]

REACH: dict[str, tuple[float, float]] = {"metric": (0.5, 10.0), "baseline": (3.0, 100.0)}  # nearest, farthest


class CrossView(Neck):
    """Spatial-aware encoder, multi-view transformer and cost volume, concatenated with the encoder's features
    (arXiv 2511.20646, section 3; it has no public code, so what the paper leaves open are keywords).

    A view's neighbours are the other views of its sample, the nearest two of more than three; not those that are
    padded, of unknown camera, or show nothing in common (counted in ``apart``). A view without any is its own
    neighbour at its own place, as if it had been duplicated. A batch of single views is computed once.

    ``mode``: "auto" takes neighbours where there are; "pair" expects them in training, and counts the views that had
    none (``lonely``); "single" never looks.
    ``single_share`` of the samples are taken for single views in training.

    ``planes`` lie between ``nearest`` and ``farthest``, uniform in inverse depth: 0.5 and 10 m unless given, where
    indoor scenes are. The paper's 0.0001 to 10, read as inverse metres, is ``nearest=0.1, farthest=10000``, which
    leaves 24 of 128 planes to that range. With ``scale="baseline"``, for poses of unknown scale, they are counted in
    distances to the neighbours, 3 and 100 unless given. ``alone`` and ``outside``: see ``CostVolume``.

    ``fusion``: where it joins the pyramid, see ``Fusion``. ``volume="constant"`` or "none" and ``poses="shuffled"``
    are controls.

    Streaming remembers what the spatial-aware encoder made of the frame before, so that a frame costs one pass of it
    and is exactly what it would be as one of that pair.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        mode: Mode = "auto",
        planes: Several = 128,
        nearest: Positive | None = None,
        farthest: Positive | None = None,
        scale: Scale = "metric",
        single_share: Share = 0.0,
        alone: Alone = "duplicate",
        outside: Outside = "zero",
        fusion: Place = "last",
        volume: Volume = "planes",
        poses: Poses = "given",
    ) -> None:
        super().__init__()
        for keyword, value, among in (
            ("mode", mode, Mode), ("scale", scale, Scale), ("alone", alone, Alone), ("outside", outside, Outside),
            ("volume", volume, Volume), ("poses", poses, Poses),
        ):  # fmt: skip
            if value not in get_args(among):
                raise ValueError(f"cross_view: {keyword} is one of {', '.join(get_args(among))}, not {value!r}")
        if not 0 <= single_share <= 1:
            raise ValueError(f"cross_view: single_share is a probability, not {single_share}")
        self.mode, self.scale, self.poses, self.single_share = mode, scale, poses, single_share
        default = REACH[scale]
        self.reach = (default[0] if nearest is None else nearest, default[1] if farthest is None else farthest)
        self.apart: Tensor | int = 0
        self.lonely: Tensor | int = 0
        self.trained: Tensor | int = 0
        self.encoder = SpatialEncoder()
        self.transformer = MultiViewTransformer()
        self.norm = nn.GroupNorm(1, WIDTH)
        inverse_depths = inverse_depth_planes(planes, *self.reach)
        self.volume = None if volume == "none" else CostVolume(inverse_depths, alone, outside, volume == "constant")
        self.fusion = Fusion(in_channels, strides, WIDTH + (planes if self.volume else 0), fusion)
        self.channels, self.strides = self.fusion.channels, self.fusion.strides

    def forward(
        self,
        features: Features,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None,
        present: Bool[Tensor, "b v"],
        memory: Frame | None = None,
    ) -> tuple[Features, Frame | None]:
        views = images.shape[1]
        if self.training and self.single_share:
            present = present & (torch.rand(len(present), 1, device=present.device) >= self.single_share)
        matched, neighbours, frame = self._match(images, camera, present, memory)
        if self.mode == "pair" and self.training and not torch.compiler.is_compiling():
            lonely = present if neighbours is None else present & ~neighbours.exist[:, :views]
            self.lonely, self.trained = self.lonely + lonely.sum(), self.trained + present.sum()
        parts = [self.norm(matched[:, :views].flatten(0, 1))]
        if self.volume is not None:
            parts.insert(0, self.volume(matched, neighbours, views))
        return self.fusion(features, torch.cat(parts, 1)), None if self.training else frame

    @torch.no_grad()
    def look(
        self, images: Float[Tensor, "b v 3 h w"], camera: Camera | None, present: Bool[Tensor, "b v"]
    ) -> Auxiliary | None:
        """The depth of the best plane at each pixel's nearest place; nothing where planes are not in metres, or where
        nobody has a neighbour."""
        if self.volume is None or self.volume.constant or self.scale != "metric":
            return None
        matched, neighbours, _ = self._match(images, camera, present, None)
        if neighbours is None:
            return None
        depth, found = self.volume.best(matched, neighbours, images.shape[1])
        y, x = ((torch.arange(side, device=depth.device) + STRIDE // 2) // STRIDE for side in images.shape[-2:])
        y, x = y.clamp(max=depth.shape[-2] - 1)[:, None], x.clamp(max=depth.shape[-1] - 1)
        maps, valid = (each[..., y, x].unflatten(0, images.shape[:2]) for each in (depth, found))
        return Auxiliary({"depth": maps}, {"depth": Depth(encoding="metres")}, name="best plane", valid=valid)

    def remarks(self) -> list[str]:
        apart, lonely, told = int(self.apart), int(self.lonely), []
        near, far = self.reach
        within = f"between {near:g} and {far:g} {'m' if self.scale == 'metric' else 'baselines'}"
        if apart:
            told.append(f"cross_view: {apart} times a view had nothing {within} in common with another")
        if lonely:
            told.append(
                f"cross_view: {lonely} of {int(self.trained)} views trained without a neighbour, though mode is pair; "
                "ask the data set for more views, or set mode to auto"
            )
        return told

    def _match(
        self, images: Tensor, camera: Camera | None, present: Tensor, memory: Frame | None
    ) -> tuple[Tensor, Neighbours | None, Frame | None]:
        """Matching features of all views (b, v, c, h', w'), remembered ones last, who is whose neighbour, and what the
        next frame can reuse."""
        batch, views, _, *size = images.shape
        maps = self.encoder(images.flatten(0, 1)).unflatten(0, (batch, views))
        frame = None
        if camera is not None and self.mode != "single":
            frame = Frame(maps, camera, camera.known & present, (size[0], size[1]))
        scene = frame and frame.beside(memory)
        neighbours = None if scene is None else self._neighbours(scene)
        matched = (scene.maps if scene else maps).flatten(0, 1)
        matched = self.transformer(matched, neighbours and neighbours.rows).unflatten(0, (batch, -1))
        return matched, neighbours, frame

    def _neighbours(self, scene: Frame) -> Neighbours | None:
        if scene.maps.shape[1] == 1:
            return None
        cameras.check(scene.camera.intrinsics, scene.camera.world_from_camera, scene.usable)
        neighbours = find(scene.camera, scene.usable, scene.size, self.reach, self.scale == "baseline")
        if not torch.compiler.is_compiling():
            self.apart = self.apart + neighbours.apart
        return neighbours.shuffled() if self.poses == "shuffled" else neighbours


@dataclass(frozen=True)
class Frame(Travels):
    """What matching needs of the views of one moment: their maps from the spatial-aware encoder and their cameras;
    ``usable`` are those that can have and be neighbours; ``size`` is the images', (h, w)."""

    maps: Float[Tensor, "b v c h w"]
    camera: Camera
    usable: Bool[Tensor, "b v"]
    size: tuple[int, int]

    def beside(self, other: Frame | None) -> Frame:
        """With the views of another moment as further views; itself where there is none, or of another size."""
        if other is None or other.size != self.size or len(other.maps) != len(self.maps):
            return self
        camera = Camera(*(torch.cat(both, 1) for both in zip(_parts(self.camera), _parts(other.camera), strict=True)))
        maps, usable = torch.cat([self.maps, other.maps], 1), torch.cat([self.usable, other.usable], 1)
        return Frame(maps, camera, usable, self.size)


def _parts(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    return camera.intrinsics, camera.world_from_camera, camera.known
