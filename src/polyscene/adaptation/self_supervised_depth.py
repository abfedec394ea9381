"""Depth from views of which each must explain the others; no label is needed, those there are count as well."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.adaptation import photometric
from polyscene.adaptation.pairs import pair
from polyscene.adaptation.pose_network import PoseNetwork
from polyscene.decoders.blocks import resize
from polyscene.encoders.pretrained import Source
from polyscene.losses import multiscale_gradient, scale_invariant_log
from polyscene.model import MultiTaskModel
from polyscene.objective import Objective
from polyscene.ranges import Amount, Count, Positive
from polyscene.tasks import Task
from polyscene.training.step import Step, average, merge
from polyscene.types import Batch, Predictions, Report, Target

Poses = Literal["known", "learned"]
Anchors = Literal["all", "first"]
BLANK = Target(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool))
PATIENCE = 20  # steps without a single pair of views, after which something must be wrong


class SelfSupervisedDepth(Step):
    """Every view is predicted, and the other views of its sample, warped by the predicted depth, are compared with it.

    Sources with several views are learnt from like that, under ``data.target`` or with labels, which count as in
    ``supervised``. ``poses``: "known", as cameras give them, so that depth comes out in metres (views
    of unknown camera are left alone); or "learned" by a network (``pose_encoder``, ``pose_weights``: see
    ``PoseNetwork``; its parameters are ``step.poses...`` to the optimiser), so that only intrinsics are needed and
    depth has a scale of its own. ``anchors: first`` predicts only the first view of a sample, the cheaper way.

    ``photometric`` weighs the dissimilarity, ``smooth`` the smoothness of inverse depth, less where the picture changes
    (``edges`` times as quickly) and halved for each halving of size, as in Monodepth2; both count for the final map and
    for every earlier one times the weight that its decoder gives it. ``octaves``: pictures are compared at so many
    sizes, each half the one before, which leads to the right depth from farther off and where little is to be seen.
    ``still``: pixels that the unwarped other view explains better are left alone; ``hidden``: those before which the
    other view's own depth shows something nearer by this share, which needs all views predicted. ``exposure``: pictures
    are first given each other's brightness and contrast. ``dark``: pixels below this in all channels are no picture, as
    where a picture was warped by its sensor. ``remember`` weighs what the network itself said of these views before the
    training, of depth the shape alone.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        poses: Poses = "known",
        anchors: Anchors = "all",
        photometric: Amount = 1.0,
        smooth: Amount = 0.001,
        edges: Amount = 1.0,
        remember: Amount = 0.0,
        octaves: Count = 1,
        still: bool = True,
        exposure: bool = False,
        hidden: Positive | None = None,
        dark: Amount = 0.0,
        pose_encoder: str = "resnet18",
        pose_weights: Source = False,
    ) -> None:
        if poses not in get_args(Poses) or anchors not in get_args(Anchors):
            raise ValueError(f"poses is one of {get_args(Poses)}, anchors one of {get_args(Anchors)}")
        self.depths = [name for name, task in tasks.items() if task.metres(BLANK) is not None]
        if not self.depths:
            raise ValueError(f"none of the tasks is a depth: {', '.join(tasks)}")
        self.tasks, self.objective = dict(tasks), Objective(tasks)
        self.weights = {"photometric": photometric, "smooth": smooth, "remember": remember}
        self.octaves, self.edges, self.hidden = octaves, edges, hidden
        self.known, self.first, self.still, self.exposure, self.dark = (
            poses == "known", anchors == "first", still, exposure, dark,
        )  # fmt: skip
        self.poses = None if self.known else PoseNetwork(pose_encoder, pose_weights)
        self.before: MultiTaskModel | None = None
        self.pairless = 0

    # -- what else is trained, and kept --------------------------------------------------------------------------------
    def attach(self, model: MultiTaskModel) -> None:
        device = next(model.parameters()).device
        if self.poses is not None:
            self.poses.to(device)
        if self.weights["remember"]:
            self.before = copy.deepcopy(model).strip().eval().requires_grad_(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        return {} if self.poses is None else {f"poses.{name}": each for name, each in self.poses.named_parameters()}

    def state_dict(self) -> dict[str, Any]:
        kept = {"poses": self.poses, "before": self.before}
        return {name: module.state_dict() for name, module in kept.items() if module is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.poses is not None:
            self.poses.load_state_dict(state["poses"])
        if self.before is not None:
            self.before.load_state_dict(state["before"])

    # -- a step --------------------------------------------------------------------------------------------------------
    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report:
        if self.poses is not None:
            self.poses.train()
        parts: list[tuple[float, Report, dict[str, Tensor]]] = []
        for batch in merge(batches.values()):
            looked_at = batch.map(lambda tensor: tensor[:, :1]) if self.first else batch
            predictions = model(looked_at.images, looked_at.camera, looked_at.present)
            scale = model.focal_scale(looked_at.camera, batch.images.shape[-1])
            report = self.objective(predictions, looked_at, scale)
            size = float(looked_at.images.shape[0] * looked_at.images.shape[1])
            parts.append((size, report, self._without_labels(predictions, batch, looked_at, scale)))
        self._expect_pairs([losses for _, _, losses in parts])
        return self._together(parts)

    def _without_labels(
        self, predictions: Predictions, batch: Batch, looked_at: Batch, scale: Tensor
    ) -> dict[str, Tensor]:
        """What is asked of a batch besides its labels, by name; nothing of one without pairs of views."""
        learnt = None if self.known else self.poses
        pairs = pair(batch, self.first, learnt, self.dark)
        if pairs is None:
            return {}
        with torch.autocast(batch.images.device.type, enabled=False):
            dissimilar, rough = [], []
            sizes = [pairs]
            for _ in range(1, self.octaves):
                sizes.append(sizes[-1].halved())
            for depth, size, valid, weight in self._maps(predictions, looked_at.images, 1 / scale):
                told = [each.dissimilarity(depth, valid, self.still, self.exposure, self.hidden) for each in sizes]
                dissimilar.append(weight * torch.stack(told).mean())
                rough.append(weight * self._roughness(depth, looked_at.images, size))
        losses = {"photometric": torch.stack(dissimilar).sum(), "smooth": torch.stack(rough).sum()}
        if self.before is not None:
            losses["remember"] = self._forgotten(self.before, predictions, looked_at)
        return losses

    def _maps(
        self, predictions: Predictions, images: Tensor, back: Tensor
    ) -> Iterator[tuple[Tensor, tuple[int, int], Tensor | None, float]]:
        """Metres at the size of the pictures (b, v, 1, h, w), the size they were predicted at, where they are meant,
        and their weight: of every depth that is predicted."""
        found: list[tuple[Task, Tensor, Tensor | None, float]] = [
            (self.tasks[name], predictions.final[name], None, 1.0) for name in self.depths
        ]
        for auxiliary in predictions.auxiliary:
            for name in set(self.depths) & set(auxiliary.maps):
                weight = auxiliary.weight * auxiliary.shares.get(name, 1.0)
                found.append((auxiliary.tasks[name], auxiliary.maps[name], auxiliary.valid, weight))
        for task, raw, valid, weight in found:
            full = _resized(raw.float(), images)
            own = task.zoom(Target(task.activate(full), torch.ones_like(full[:, :, :1], dtype=torch.bool)), back).value
            meant = None if valid is None else _resized(valid.float(), images) > 0.999
            yield _metres(task, own), (raw.shape[-2], raw.shape[-1]), meant, weight

    def _roughness(self, depth: Tensor, images: Tensor, size: tuple[int, int]) -> Tensor:
        """At the size that the depth was predicted at, and less the smaller that is."""
        pictures = F.interpolate(images.flatten(0, 1), size, mode="area")
        share = size[0] / images.shape[-2]
        return share * photometric.smoothness(
            F.interpolate(depth.flatten(0, 1), size, mode="area"), pictures, self.edges
        )

    def _forgotten(self, before: MultiTaskModel, predictions: Predictions, batch: Batch) -> Tensor:
        """How far the network is from what it said before the training: of depth the shape alone, as its scale is to be
        learnt; of other tasks their own losses."""
        with torch.no_grad():
            told = before(batch.images, batch.camera, batch.present).final
        seen = batch.present[:, :, None, None, None].expand_as(batch.images[:, :, :1])
        losses = []
        for name, raw in told.items():
            task, now = self.tasks[name], predictions.final[name].float()
            value = task.activate(raw.float())
            if name in self.depths:
                found, before_it = (_metres(task, each).log() for each in (task.activate(now), value))
                loss = scale_invariant_log(found, before_it, seen, 1.0)
                loss = loss + 0.5 * multiscale_gradient(found, before_it, seen)
            else:
                loss = task.loss(now, Target(value, seen))
            losses.append(self.objective.weights[name] * loss)
        return torch.stack(losses).sum()

    def _together(self, parts: list[tuple[float, Report, dict[str, Tensor]]]) -> Report:
        """Groups weighted by their pictures: labels over those that have any, the rest over those with pairs."""
        labelled = [(size, report) for size, report, _ in parts if report.by_task]
        labelled = labelled or [(size, report) for size, report, _ in parts]
        paired = [(size, losses) for size, _, losses in parts if losses]
        pictures = sum(size for size, _ in labelled)
        told = average([report for _, report in labelled], [size / pictures for size, _ in labelled])
        whole = sum(size for size, _ in paired)
        means = {
            name: torch.stack([losses[name] * (size / whole) for size, losses in paired]).sum()
            for name in self.weights
            if any(name in losses for _, losses in paired)
        }
        more = [self.weights[name] * loss for name, loss in means.items()]
        others = [told.others] if told.others is not None else []
        return replace(
            told,
            total=torch.stack([told.total, *more]).sum(),
            parts=told.parts | means,
            others=torch.stack([*others, *more]).sum() if others or more else None,
        )

    def _expect_pairs(self, found: list[dict[str, Tensor]]) -> None:
        self.pairless = 0 if any(found) else self.pairless + 1
        if self.pairless == PATIENCE:
            why = "a known camera" if self.known else "another view"
            raise ValueError(
                f"self_supervised_depth: {PATIENCE} steps without two views of {why}; give a source `views: 2` or more"
                + (", cameras, or set `poses: learned`" if self.known else "")
            )


def _metres(task: Task, value: Tensor) -> Tensor:
    found = task.metres(Target(value, torch.ones_like(value, dtype=torch.bool)))
    assert found is not None, task.name
    return found.value


def _resized(maps: Tensor, images: Tensor) -> Tensor:
    return resize(maps.flatten(0, 1), images.shape[-2:]).unflatten(0, maps.shape[:2])
