from polyscene.metrics.base import Metric
from polyscene.metrics.consistency import Consistency
from polyscene.metrics.depth import DepthError
from polyscene.metrics.edges import QuickEdgeF
from polyscene.metrics.normals import NormalError
from polyscene.metrics.saliency import MaxF
from polyscene.metrics.segmentation import MeanIoU

__all__ = ["Consistency", "DepthError", "MaxF", "MeanIoU", "Metric", "NormalError", "QuickEdgeF"]
