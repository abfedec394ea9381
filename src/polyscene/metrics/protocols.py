"""How each line of work counts, in one table: ``PROTOCOLS``. Importing this imports no torch.

Published figures compare only where they were counted alike. A protocol says, task by task, everything in which the
field's evaluation code differs and that moves a figure; ``Task.metric(protocol)`` builds a metric of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from polyscene import parts

Pool = Literal["pixels", "images", "images, then root"]
_POOLED = {
    "pixels": "pooled over all valid pixels of the set",
    "images": "averaged over the figures of each image",
    "images, then root": "averaged over the figures of each image, RMSE as the root of the mean squared error",
}


@dataclass(frozen=True)
class SegmentationRules:
    """``absent``: what a class without a single true pixel counts: nothing; nothing unless it is predicted, then 0; or
    0. ``pool``: whether IoU is of the whole set or of each image."""

    absent: Literal["skip", "skip unless predicted", "zero"] = "skip"
    pool: Literal["pixels", "images"] = "pixels"

    def words(self) -> str:
        over = {
            "skip": "the classes that occur",
            "skip unless predicted": "the classes that occur or are predicted",
            "zero": "all classes, one that does not occur counting as 0",
        }[self.absent]
        counted = "counted over the whole set" if self.pool == "pixels" else "of each image, averaged over images"
        return f"mIoU over {over}, {counted}"


@dataclass(frozen=True)
class DepthRules:
    """``headline``: the figure that stands for the task. Truth counts where ``near`` < truth < ``far``; predictions are
    brought into [``floor``, ``ceiling``]; ``shift`` is added to both before; all in metres."""

    headline: Literal["RMSE", "AbsErr"] = "RMSE"
    pool: Pool = "pixels"
    floor: float = 1e-3
    ceiling: float = math.inf
    near: float = 0.0
    far: float = math.inf
    shift: float = 0.0

    def words(self) -> str:
        bounds = f"truth above {self.near:g} m" if math.isinf(self.far) else f"{self.near:g} m < truth < {self.far:g} m"
        most = "" if math.isinf(self.ceiling) else f" and at most {self.ceiling:g} m"
        shift = f"; {self.shift:+g} m on truth and prediction" if self.shift else ""
        least = f"; prediction at least {self.floor:g} m{most}" if self.floor > 0 else "; prediction as it is"
        return f"{_POOLED[self.pool]}; {bounds}{least}{shift}"


@dataclass(frozen=True)
class NormalsRules:
    """``formula`` of the angle; the arc cosine, in float32, is blind below 0.02°. ``eight_bits``: whether predictions
    pass through an 8-bit picture first."""

    formula: Literal["arctangent", "arccosine"] = "arctangent"
    pool: Pool = "pixels"
    eight_bits: bool = False

    def words(self) -> str:
        bits = "; predictions through an 8-bit picture" if self.eight_bits else ""
        return f"angle by {self.formula}, {_POOLED[self.pool]}{bits}"


@dataclass(frozen=True)
class SaliencyRules:
    """``measure``: the best F (β² = 0.3) of pooled pixels over ``thresholds``, or the best mean over images of the IoU.
    ``score``: what is compared with the thresholds; ``strict``: whether it must exceed them; ``eight_bits``: whether
    predictions pass through an 8-bit picture first."""

    measure: Literal["maxF", "mIoU"] = "maxF"
    score: Literal["probability", "sigmoid of the probability"] = "probability"
    thresholds: tuple[float, ...] = tuple(k / 256 for k in range(1, 256))
    strict: bool = False
    eight_bits: bool = False

    def words(self) -> str:
        what = {"maxF": "best F (β² = 0.3) of all pixels of the set", "mIoU": "best mean over images of the IoU"}
        first, last = self.thresholds[0], self.thresholds[-1]
        rule = "above" if self.strict else "at or above"
        bits = "; predictions through an 8-bit picture" if self.eight_bits else ""
        at = f"{rule} {len(self.thresholds)} thresholds {first:.3g} to {last:.3g}"
        return f"{what[self.measure]}, {self.score} {at}{bits}"


@dataclass(frozen=True)
class BoundaryRules:
    """``measure``: exact (odsF by one-to-one matching of thinned lines), quick (``QuickEdgeF``, for training curves) or
    DenseMTL's F1 of two classes. ``nms``: before thinning; ``smoothed`` is SAK's, on a blurred map. ``strict``: whether
    a pixel must exceed a threshold. ``truth``: labels as they are or, where a set's labels are strokes
    (``Edges.strokes``), the boundary of these. ``eight_bits``: whether predictions pass through an 8-bit picture first.
    ``images``: on which the published figures are."""

    measure: Literal["exact", "quick", "class F1"] = "exact"
    nms: Literal["none", "oriented", "smoothed"] = "oriented"
    thresholds: tuple[float, ...] = tuple(k / 100 for k in range(1, 100))
    strict: bool = False
    truth: Literal["labels", "boundary of the strokes"] = "labels"
    eight_bits: bool = False
    images: str = ""

    def words(self) -> str:
        if self.measure == "quick":
            return "quick F, for training curves: no odsF, not to be compared with published figures"
        if self.measure == "class F1":
            return "mean F1 of edge and other pixels at probability 0.5: no odsF"
        nms = {"none": "no", "oriented": "oriented", "smoothed": "oriented, smoothed,"}[self.nms]
        at = f"{'above' if self.strict else 'at or above'} {len(self.thresholds)} thresholds"
        truth = "" if self.truth == "labels" else f"; truth is the {self.truth}"
        bits = "; predictions through an 8-bit picture" if self.eight_bits else ""
        images = f"; published figures are on {self.images}" if self.images else ""
        return f"odsF by one-to-one matching, {nms} NMS, {at}{truth}{bits}{images}"


@dataclass(frozen=True)
class Protocol:
    """``of``: whose figures it reproduces. ``recipe``: as in the configuration (``data.augment``), how pictures come to
    the network in test."""

    name: str
    of: str
    recipe: str
    segmentation: SegmentationRules = SegmentationRules()
    depth: DepthRules = DepthRules()
    normals: NormalsRules = NormalsRules()
    saliency: SaliencyRules = SaliencyRules()
    boundary: BoundaryRules = BoundaryRules()

    def quick(self) -> Protocol:
        """The same, but for boundaries: cheap enough to be judged by in the course of a training."""
        return replace(self, boundary=replace(self.boundary, measure="quick"))

    def exact(self) -> Protocol:
        """The same with the exact boundary measure, which takes some 0.2 s an image."""
        return replace(self, boundary=replace(self.boundary, measure="exact"))


_TWENTIETHS = tuple(k / 20 for k in range(1, 20))
_HED = (0.001, *(k / 100 for k in range(1, 100)), 0.999)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("polyscene", "ours", "polyscene", boundary=BoundaryRules("quick")),
        Protocol(
            "invpt",
            "InvPT, TaskPrompter, MLoRE, MTMamba, BridgeNet",
            "invpt",
            SegmentationRules("zero"),
            DepthRules(floor=1e-9),
            NormalsRules(),
            SaliencyRules("maxF", "sigmoid of the probability", _TWENTIETHS),
            BoundaryRules(
                "exact",
                "oriented",
                _HED,
                strict=True,
                truth="boundary of the strokes",
                eight_bits=True,
                images="654 (NYUv2), 2499 (PASCAL-Context)",
            ),
        ),
        Protocol(
            "atrc",
            "ATRC",
            "invpt",
            SegmentationRules("zero"),
            DepthRules(floor=-math.inf),
            NormalsRules(),
            SaliencyRules("maxF", "probability", _TWENTIETHS),
            BoundaryRules("exact", "oriented", _HED, strict=True, truth="boundary of the strokes", eight_bits=True),
        ),
        Protocol(
            "mtlpt",
            "Multi-Task-Learning-PyTorch: the survey, MTI-Net",
            "mtlpt_nyuv2",  # in test as on PASCAL-Context
            SegmentationRules("zero"),
            DepthRules(floor=1e-9),
            NormalsRules("arccosine", eight_bits=True),
            SaliencyRules("mIoU", "probability", _TWENTIETHS[3:18], strict=True, eight_bits=True),
            BoundaryRules("exact", "none", eight_bits=True, images="2499 (PASCAL-Context)"),
        ),
        Protocol(
            "astmt",
            "ASTMT",
            "mtlpt_pascal",  # whose ancestor it is
            SegmentationRules("zero"),
            DepthRules(pool="images", floor=1e-9),
            NormalsRules("arccosine", eight_bits=True),
            SaliencyRules("mIoU", "probability", _TWENTIETHS[3:18], strict=True, eight_bits=True),
            BoundaryRules("exact", "oriented", _HED, strict=True, eight_bits=True, images="5105 (PASCAL-Context)"),
        ),
        Protocol(
            "sak",
            "SAK, PRISM, CvM",
            "invpt",
            SegmentationRules("zero"),
            DepthRules(floor=1e-9, far=80.0),
            NormalsRules(),
            SaliencyRules("maxF", "probability", _TWENTIETHS),
            BoundaryRules("exact", "smoothed", _HED, eight_bits=True, images="654 (NYUv2), 5105 (PASCAL-Context)"),
        ),
        Protocol(
            "dense_mtl",
            "DenseMTL",
            "dense_mtl",
            SegmentationRules("skip unless predicted"),
            DepthRules(pool="images, then root", ceiling=80.0, near=1e-3, far=80.0, shift=-0.99),
            NormalsRules(pool="images, then root"),
            boundary=BoundaryRules("class F1"),
        ),
        Protocol(
            "mtan",
            "MTAN and its descendants on 13 classes",
            "mtan",
            SegmentationRules("skip unless predicted", "images"),
            DepthRules("AbsErr", "images", floor=-math.inf),
            NormalsRules("arccosine", "images"),
        ),
    )
}


def find(protocol: Protocol | str) -> Protocol:
    """By its name in ``PROTOCOLS``; ``ValueError`` naming those there are."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(parts.unknown(protocol, PROTOCOLS, "protocol"))
    return PROTOCOLS[protocol]
