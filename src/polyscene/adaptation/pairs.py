"""Views of a batch two by two, and what can be known of each pair before any depth is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from polyscene.adaptation import photometric
from polyscene.geometry.camera import resize_intrinsics
from polyscene.types import Batch

Motion = Callable[[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]], Float[Tensor, "b 4 4"]]


@dataclass(frozen=True)
class Pairs:
    """Each of the first ``anchors`` views of every sample with all its other views: n = b · anchors · (v - 1) pairs, in
    this order. ``usable``: both views are there and their cameras serve. ``clean``, if not all of it is: where a view
    is a picture, not a gap. ``factor``: how much smaller the pictures are than depth."""

    anchors: int
    others: int
    one: Float[Tensor, "n 3 h w"]
    other: Float[Tensor, "n 3 h w"]
    intrinsics: Float[Tensor, "n 3 3"]
    other_intrinsics: Float[Tensor, "n 3 3"]
    other_from_one: Float[Tensor, "n 4 4"]
    usable: Bool[Tensor, "n 1 1 1"]
    clean: Bool[Tensor, "n 1 h w"] | None
    other_clean: Bool[Tensor, "n 1 h w"] | None
    factor: int = 1

    def dissimilarity(
        self,
        depth: Float[Tensor, "b anchors 1 h w"],
        valid: Bool[Tensor, "b anchors 1 h w"] | None = None,
        still: bool = True,
        exposure: bool = False,
        hidden: float | None = None,
    ) -> Float[Tensor, ""]:
        """Of the pictures and what the other views make of them, were the anchors' depths these metres; see
        ``photometric.least``. Only where the depth is ``valid``, and where the other view, if its depth is told too,
        has nothing nearer by more than the share ``hidden``."""
        if self.factor > 1:
            depth, valid = self._shrunk(depth, valid)
        each = self._each(depth)
        layers = self.other if self.other_clean is None else torch.cat([self.other, self.other_clean.float()], 1)
        warped, inside = photometric.warp(layers, each, self.intrinsics, self.other_intrinsics, self.other_from_one)
        if self.clean is not None:
            inside, warped = inside & self.clean & (warped[:, 3:] > 0.999), warped[:, :3]
        if hidden is not None and self.anchors > self.others:
            inside = inside & self._in_front(depth.detach(), each.detach(), hidden)
        seen = photometric.eroded(inside) & self.usable
        if valid is not None:
            seen &= self._each(valid)
        errors = self._errors(warped, seen, exposure)
        unmoved = None
        if still:
            with torch.no_grad():
                all_of_it = self.usable.expand_as(seen)
                unmoved = torch.where(all_of_it, self._errors(self.other, all_of_it, exposure), torch.inf)
                unmoved = unmoved.unflatten(0, (-1, self.others))
        return photometric.least(errors.unflatten(0, (-1, self.others)), seen.unflatten(0, (-1, self.others)), unmoved)

    def halved(self) -> Pairs:
        """The same of pictures of half the size; ``dissimilarity`` brings depth to it."""

        def half(pictures: Tensor) -> Tensor:
            return F.avg_pool2d(pictures, 2)

        def whole(mask: Tensor | None) -> Tensor | None:
            return None if mask is None else half(mask.float()) == 1

        return replace(
            self,
            one=half(self.one),
            other=half(self.other),
            intrinsics=resize_intrinsics(self.intrinsics, 0.5, 0.5),
            other_intrinsics=resize_intrinsics(self.other_intrinsics, 0.5, 0.5),
            clean=whole(self.clean),
            other_clean=whole(self.other_clean),
            factor=2 * self.factor,
        )

    def _in_front(self, depth: Tensor, each: Tensor, hidden: float) -> Tensor:
        """Where the other view's own depth is not less than what is seen would have there, by the share ``hidden``."""
        others = [other for one, other in permutations(range(self.anchors), 2)]
        own, _ = photometric.warp(
            1 / depth[:, others].flatten(0, 1), each, self.intrinsics, self.other_intrinsics, self.other_from_one
        )
        return photometric.distance(each, self.intrinsics, self.other_from_one) * own <= 1 + hidden

    def _errors(self, others: Tensor, seen: Tensor, exposure: bool) -> Tensor:
        if exposure:
            gain, offset = photometric.exposure(self.one, others, seen)
            others = others * gain + offset
        return photometric.dissimilarity(self.one, others)

    def _shrunk(self, depth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """In inverse depth, so that planes stay planes; what is not valid all over is not."""

        def pooled(maps: Tensor) -> Tensor:
            return F.avg_pool2d(maps.flatten(0, 1), self.factor).unflatten(0, maps.shape[:2])

        return 1 / pooled(1 / depth), None if valid is None else pooled(valid.float()) == 1

    def _each(self, maps: Tensor) -> Tensor:
        """Of every anchor (b, anchors, ...), of every pair (n, ...)."""
        flat = maps.flatten(0, 1)[:, None]
        return flat.expand(-1, self.others, *flat.shape[2:]).flatten(0, 1)


def pair(batch: Batch, first: bool = False, learnt: Motion | None = None, dark: float = 0.0) -> Pairs | None:
    """The pairs of a batch, None if there are none: all ordered pairs, or with ``first`` those of the first view.
    Motions are the cameras', where these are known, or ``learnt``: asked for the earlier view and the later one, and
    inverted for the way back. Pixels below ``dark`` in all channels are a gap."""
    views = batch.images.shape[1]
    ways = [(one, other) for one, other in permutations(range(views), 2) if one == 0 or not first]
    if not ways:
        return None
    one, other = (list(side) for side in zip(*ways, strict=True))
    usable = batch.present[:, one] & batch.present[:, other]
    if learnt is None:
        usable = usable & batch.camera.known[:, one] & batch.camera.known[:, other]
    if not usable.any():
        return None
    if learnt is None:
        poses = batch.camera.world_from_camera
        with torch.autocast(poses.device.type, enabled=False):
            motions = torch.linalg.inv(poses[:, other]) @ poses[:, one]
    else:
        motions = _found(batch.images, ways, learnt)
    clean = None
    if dark > 0:
        clean = photometric.eroded((batch.images.amax(2, keepdim=True) > dark).flatten(0, 1))
        clean = clean.unflatten(0, batch.images.shape[:2])
    return Pairs(
        1 if first else views,
        views - 1,
        batch.images[:, one].flatten(0, 1),
        batch.images[:, other].flatten(0, 1),
        batch.camera.intrinsics[:, one].flatten(0, 1),
        batch.camera.intrinsics[:, other].flatten(0, 1),
        motions.flatten(0, 1),
        usable.flatten()[:, None, None, None],
        None if clean is None else clean[:, one].flatten(0, 1),
        None if clean is None else clean[:, other].flatten(0, 1),
    )


def _found(images: Tensor, ways: list[tuple[int, int]], learnt: Motion) -> Tensor:
    forth = sorted({(min(way), max(way)) for way in ways})
    earlier, later = (list(side) for side in zip(*forth, strict=True))
    moved = learnt(images[:, earlier].flatten(0, 1), images[:, later].flatten(0, 1)).unflatten(0, (-1, len(forth)))
    back = torch.linalg.inv(moved)
    return torch.stack([(moved if way in forth else back)[:, forth.index((min(way), max(way)))] for way in ways], 1)
