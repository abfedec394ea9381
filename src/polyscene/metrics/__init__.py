"""Metrics; ``METRICS`` names the classes. Importing this, or ``polyscene.metrics.protocols``, imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyscene import parts

METRICS = {
    "BoundaryF": "polyscene.metrics.boundary:BoundaryF",
    "Consistency": "polyscene.metrics.consistency:Consistency",
    "DepthError": "polyscene.metrics.depth:DepthError",
    "MaxF": "polyscene.metrics.saliency:MaxF",
    "MeanIoU": "polyscene.metrics.segmentation:MeanIoU",
    "Metric": "polyscene.metrics.base:Metric",
    "NormalError": "polyscene.metrics.normals:NormalError",
    "QuickEdgeF": "polyscene.metrics.edges:QuickEdgeF",
}

if TYPE_CHECKING:
    from polyscene.metrics.base import Metric as Metric
    from polyscene.metrics.boundary import BoundaryF as BoundaryF
    from polyscene.metrics.consistency import Consistency as Consistency
    from polyscene.metrics.depth import DepthError as DepthError
    from polyscene.metrics.edges import QuickEdgeF as QuickEdgeF
    from polyscene.metrics.normals import NormalError as NormalError
    from polyscene.metrics.saliency import MaxF as MaxF
    from polyscene.metrics.segmentation import MeanIoU as MeanIoU

__getattr__ = parts.exports(METRICS)
