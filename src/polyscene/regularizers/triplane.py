from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyscene.geometry import camera as cameras
from polyscene.geometry import volume
from polyscene.geometry.precision import without_autocast
from polyscene.ranges import Amount, Count, Positive, Several, Share
from polyscene.regularizers import frustum
from polyscene.regularizers.base import Regularizer
from polyscene.regularizers.plane_encoder import PooledPlanes, SplitPlanes
from polyscene.regularizers.trunk import Tap, Trunk
from polyscene.tasks import Task
from polyscene.types import Auxiliary, Camera, Features

Planes = Literal["split", "pooled"]
Projection = Literal["orthographic", "pinhole"]
Views = Literal["single", "cross"]
Shown = Literal["channel", "expected"]
Drawn = tuple[dict[str, Tensor], Tensor, Tensor | None]
"""Raw outputs by task, expected depth, and the share of light that is seen (None: all), as maps."""


class TriplaneRegularizer(Regularizer):
    """Every task rendered from one volume: Li et al., Multi-task Learning with 3D-Aware Regularization (ICLR 2024).

    The features of ``tap`` become three planes of ``channels`` (``planes``: see ``plane_encoder``) at ``stride`` pixels
    of the image a texel. A point of the volume has the mean of their samples, of which MLPs with one layer of
    ``hidden`` make a density, one for all tasks or one each, and each task's raw output. Rays through the centres of
    the texels composite ``samples`` of them, and the tasks' losses judge what they show.

    ``camera``: ``orthographic`` rays need no camera. ``pinhole`` rays march in metres between ``near`` and ``far``; the
    planes then fill the camera's frustum, even in inverse depth. With ``views="cross"`` a share ``cross_share`` of the
    steps renders each view from the planes of another, where both cameras are known, and judges those rays of which
    half the light or more stops inside the other's frustum; ``counts`` says how many views had a partner.

    ``depth="expected"`` judges a ray's expected depth, through a learned scale and shift, instead of a rendered
    channel; of pinhole rays in metres, even where the network predicts depth for a canonical camera. Losses count
    ``weight`` times the ``alpha`` of their task; a task whose alpha is 0 is not rendered.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: Count = 32,
        samples: Several = 48,
        stride: Count = 8,
        hidden: Count = 64,
        tap: Tap = "all",
        planes: Planes = "split",
        shared_density: bool = True,
        camera: Projection = "orthographic",
        near: Positive = 0.5,
        far: Positive = 10.0,
        views: Views = "single",
        cross_share: Share = 0.5,
        depth: Shown = "channel",
        weight: Amount = 1.0,
        alpha: dict[str, float] | None = None,
        warmup: Share = 0.05,
    ) -> None:
        super().__init__()
        shares = alpha or {}
        _refuse_words(planes=(planes, Planes), camera=(camera, Projection), views=(views, Views), depth=(depth, Shown))
        _refuse_numbers(channels, samples, hidden, near, far)
        if views == "cross" and camera != "pinhole":
            raise ValueError(CROSS)
        if unknown := sorted(set(shares) - set(tasks)):
            raise ValueError(f"triplane: alpha names {unknown}, which are no tasks of this network: {sorted(tasks)}")
        self.weight, self.warmup, self.shares = weight, warmup, shares
        self.samples, self.near_far, self.pinhole = samples, (near, far), camera == "pinhole"
        self.cross_share = cross_share if views == "cross" else 0.0
        self.counts = {"with partner": 0, "without": 0}

        rendered = {name: task for name, task in tasks.items() if shares.get(name, 1.0) > 0}
        shown = rendered if depth == "expected" else {}
        variants = {name: task.as_ray_depth(metric=camera == "pinhole") for name, task in shown.items()}
        self.expected = {name: variant for name, variant in variants.items() if variant is not None}
        if not rendered or (depth == "expected" and not self.expected):
            raise ValueError(f"triplane: depth is {depth!r} and alpha {shares}, which leaves nothing to render")
        self.tasks = {**rendered, **self.expected}

        trunk = Trunk(in_channels, strides, 3 * channels, tap, stride)
        self.encoder = SplitPlanes(trunk) if planes == "split" else PooledPlanes(trunk, channels)
        groups = [list(self.tasks)] if shared_density else [[name] for name in self.tasks]
        self.density = nn.ModuleList(volume.point_mlp(channels, 1, hidden) for _ in groups)
        self.values = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: volume.point_mlp(channels, self.tasks[name].channels, hidden)
                    for name in names
                    if name not in self.expected
                }
            )
            for names in groups
        )
        self.groups = groups
        low, high = self.near_far if self.pinhole else (-1.0, 1.0)
        scale = (far - near) / (high - low)
        line = torch.tensor([scale, near - scale * low])
        self.to_metres = nn.ParameterDict({name: nn.Parameter(line.clone()) for name in self.expected})

    def forward(self, features: Features, camera: Camera) -> Auxiliary:
        across = self.cross_share > 0 and float(torch.rand((), device="cpu")) < self.cross_share
        maps, _, seen = self._draw(features, camera, across, jitter=True)
        return Auxiliary(maps, self.tasks, 1.0, "triplane", None if seen is None else seen >= 0.5, self.shares)

    @torch.no_grad()
    def look(self, features: Features, camera: Camera) -> Auxiliary:
        """Every task as its own view renders it."""
        maps, _, _ = self._draw(features, camera, across=False, jitter=False)
        return Auxiliary(maps, self.tasks, name="triplane")

    def remarks(self) -> list[str]:
        with_partner, without = self.counts.values()
        told = f"triplane: {without} of {with_partner + without} views were rendered across without a partner"
        return [f"{told} of known camera, from their own planes"] if without else []

    @torch.no_grad()
    def render(self, features: Features, camera: Camera, views: Views = "single") -> dict[str, Tensor]:
        """What the volume shows, without jitter: the tasks' values (b, v, c, h, w), and as ``expected_depth``
        (b, v, 1, h, w) where light stops: metres, or [-1, 1] along orthographic rays. With ``views="cross"`` each view
        is seen in the planes of the next."""
        if views == "cross" and not self.pinhole:
            raise ValueError(CROSS)
        maps, depth, _ = self._draw(features, camera, views == "cross", jitter=False)
        return {**{name: self.tasks[name].activate(raw) for name, raw in maps.items()}, "expected_depth": depth}

    def _draw(self, features: Features, camera: Camera, across: bool, jitter: bool) -> Drawn:
        """As maps (b, v, _, h, w). The expected depth is by the first density."""
        if self.pinhole:
            cameras.check(camera.intrinsics, camera.world_from_camera, camera.known)
        planes = self.encoder(features.maps)
        lead, size = camera.known.shape, planes.shape[-2:]
        with without_autocast(planes):
            planes = planes.float()
            w = frustum.stratified(self.samples, jitter, planes)
            if across:
                extent = self.encoder.trunk.extent(features.maps)
                parts = self._across(planes.unflatten(0, lead), w, camera, extent, _shift(lead[1], jitter))
            else:
                parts = self._along(planes, w)
            raw: dict[str, Tensor] = {}
            for names, (values, depth, _) in zip(self.groups, parts, strict=True):
                lines = {name: self.to_metres[name] for name in names if name in self.expected}
                expected = {name: line[0] * depth[..., None] + line[1] for name, line in lines.items()}
                raw |= {name: (expected if name in expected else values)[name] for name in names}

        def as_map(rays: Tensor) -> Tensor:
            return rays.transpose(1, 2).unflatten(2, size).unflatten(0, lead)

        shares = [share for *_, share in parts if share is not None]
        seen = torch.stack(shares).amin(0) if shares else None
        maps = {name: as_map(raw[name]) for name in self.tasks}
        return maps, as_map(parts[0][1][..., None]), None if seen is None else as_map(seen[..., None])

    def _along(self, planes: Float[Tensor, "bv 3 c h w"], w: Float[Tensor, " s"]) -> list[volume.Rendered]:
        """Each view along its own rays, which run along w on a grid."""
        y, x = (frustum.centres(count, planes) for count in planes.shape[-2:])
        depths = frustum.depth_at(w, self.near_far) if self.pinhole else w
        return self._render(planes, volume.Grid(x, y, w, depths))

    def _across(
        self,
        planes: Float[Tensor, "b v 3 c h w"],
        w: Float[Tensor, " s"],
        camera: Camera,
        extent: tuple[int, int],
        shift: int,
    ) -> list[volume.Rendered]:
        """Each view along its rays through the planes of the one ``shift`` further, or its own where there is none."""
        batch, views, *_, height, width = planes.shape
        source = _sources(camera.known, shift)
        row = torch.arange(batch, device=planes.device)[:, None]
        alone = source == torch.arange(views, device=planes.device)
        self._count(alone)
        # one's own rays are the same whatever the camera, and an unknown one may hold anything
        lone, eye = alone[..., None, None], torch.eye(4, device=planes.device)
        pose = torch.where(camera.known[..., None, None], camera.world_from_camera.float(), eye)
        motion = torch.where(lone, eye, torch.linalg.inv(pose[row, source]) @ pose)
        intrinsics = camera.intrinsics.float()
        target, other = (torch.where(lone, eye[:3, :3], each) for each in (intrinsics, intrinsics[row, source]))
        points, inside = frustum.cross(
            w,
            (height, width),
            extent,
            target.flatten(0, 1),
            other.flatten(0, 1),
            motion.flatten(0, 1),
            self.near_far,
        )
        depths, theirs = frustum.depth_at(w, self.near_far), planes[row, source].flatten(0, 1)
        return self._render(theirs, volume.Points(points, depths, inside))

    def _render(self, planes: Float[Tensor, "bv 3 c h w"], rays: volume.Rays) -> list[volume.Rendered]:
        """By each density, of which there is one for all tasks or one each."""
        mlps: Iterator[tuple[Any, Any]] = zip(self.density, self.values, strict=True)
        return [volume.render(planes, rays, density, dict(values.named_children())) for density, values in mlps]

    def _count(self, alone: Bool[Tensor, "b v"]) -> None:
        if not alone.is_meta:
            without = int(alone.sum())
            self.counts["without"] += without
            self.counts["with partner"] += alone.numel() - without


CROSS = (
    "triplane: views 'cross' needs camera 'pinhole', since orthographic rays know no pose; "
    "set camera: pinhole, or views: single"
)


def _shift(views: int, random: bool) -> int:
    """How many views further the partner is: any, or the next."""
    return int(torch.randint(1, views, (), device="cpu")) if random and views > 2 else min(1, views - 1)


def _sources(known: Bool[Tensor, "b v"], shift: int) -> Int[Tensor, "b v"]:
    """Of each view, the one in whose planes it is seen: itself where its camera or the other's is unknown."""
    own = torch.arange(known.shape[1], device=known.device).expand_as(known)
    other = (own + shift) % known.shape[1]
    return torch.where(known & known.gather(1, other), other, own)


def _refuse_words(**words: tuple[str, Any]) -> None:
    for keyword, (word, known) in words.items():
        if word not in get_args(known):
            raise ValueError(f"triplane: {keyword} {word!r} is none of {get_args(known)}")


def _refuse_numbers(channels: int, samples: int, hidden: int, near: float, far: float) -> None:
    if channels < 1 or hidden < 1:
        raise ValueError(f"triplane: channels and hidden must be at least 1, got {channels} and {hidden}")
    if samples < 2:
        raise ValueError(f"triplane: a ray needs at least 2 samples, got {samples}")
    if not 0 < near < far:
        raise ValueError(f"triplane: needs 0 < near < far in metres, got near={near}, far={far}")
