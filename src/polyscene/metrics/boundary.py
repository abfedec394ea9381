"""Boundary F-measures by one-to-one matching: the Berkeley benchmark's, and SEISM's for scenes, without MATLAB.

A prediction is thresholded and thinned to lines one pixel wide, threshold by threshold; its pixels are matched, one to
one, with those of the thinned truth that are at most ``max_dist`` times the image's diagonal away. Precision is the
share of its pixels that are matched, recall that of the truth's. ODS is the best F over thresholds of the counts of
all images, OIS takes each image at its own best threshold, AP is the area under the curve.

Martin, Fowlkes, Malik: "Learning to detect natural image boundaries", TPAMI 2004; Arbeláez and others: "Contour
detection and hierarchical image segmentation", TPAMI 2011; Pont-Tuset and Marques: "Supervised evaluation of image
segmentation and object proposal techniques", TPAMI 2015. See docs/evaluation.md for which figures equal which.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from polyscene.geometry.boundaries import of_ids
from polyscene.metrics import _suppression
from polyscene.metrics._thinning import thin
from polyscene.metrics.base import Metric
from polyscene.metrics.protocols import BoundaryRules
from polyscene.types import Target

Implementation = Literal["auto", "numba", "scipy"]
Suppression = Literal["none", "oriented", "smoothed"]
Truth = ArrayLike | Tensor

SEISM_THRESHOLDS = (0.001, *(k / 100 for k in range(1, 100)), 0.999)


class BoundaryCounts(NamedTuple):
    """Pixels by threshold, int64, shape (thresholds,) of one image, (images, thresholds) of a set. Where several people
    drew the truth, a pixel of the prediction is matched if it is with any of them; pixels of the truth are summed."""

    matched_prediction: NDArray[np.int64]
    total_prediction: NDArray[np.int64]
    matched_truth: NDArray[np.int64]
    total_truth: NDArray[np.int64]


@dataclass(frozen=True)
class Counting:
    """How boundaries are counted.

    ``max_dist``: reach of a pair, as a share of the diagonal. ``thresholds``: rising; a pixel counts where prediction
    >= threshold, or > where ``strict``. ``nms``: what comes before: nothing, SEISM's oriented non-maximum suppression
    or SAK's on a smoothed map. ``eight_bits``: whether the prediction passes through an 8-bit picture first, which
    cuts it to whole 255ths.
    """

    max_dist: float
    thresholds: tuple[float, ...]
    nms: Suppression = "none"
    strict: bool = False
    eight_bits: bool = False
    implementation: Implementation = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.max_dist < 1:
            raise ValueError(f"max_dist is a share of the image's diagonal, such as 0.0075; got {self.max_dist}")
        if not self.thresholds or any(b <= a for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ValueError("thresholds must be rising numbers, or how many there are to be between 0 and 1")
        if self.nms not in ("none", "oriented", "smoothed"):
            raise ValueError(f"nms is none, oriented (or True) or smoothed; got {self.nms!r}")
        if self.implementation not in ("auto", "numba", "scipy"):
            raise ValueError(f"implementation is auto, numba or scipy; got {self.implementation!r}")

    def count(self, prediction: NDArray[Any], truths: list[NDArray[np.bool_]]) -> BoundaryCounts:
        if self.eight_bits:
            prediction = np.floor(prediction * 255) / 255
        if self.nms != "none":
            suppress = _suppression.oriented if self.nms == "oriented" else _suppression.smoothed
            prediction = suppress(prediction.astype(np.float32))
        thresholds = np.asarray(self.thresholds, prediction.dtype)
        level = np.searchsorted(thresholds, prediction, side="left" if self.strict else "right").astype(np.int32)
        truths = [thin(truth) for truth in truths]
        radius = self.max_dist * math.hypot(*prediction.shape)
        if self.implementation == "scipy" or (self.implementation == "auto" and not importlib.util.find_spec("numba")):
            from polyscene.metrics._flow import sweep
        else:
            from polyscene.metrics._matching import sweep
        matched, found, recalled = sweep(level, len(thresholds), truths, radius)
        return BoundaryCounts(matched, found, recalled, np.full(len(thresholds), sum(int(t.sum()) for t in truths)))


def evenly(thresholds: int | Sequence[float]) -> tuple[float, ...]:
    """``thresholds`` themselves, or so many k / (n + 1)."""
    if isinstance(thresholds, int | np.integer):
        if thresholds < 1:
            raise ValueError(f"there must be one threshold at least, got {thresholds}")
        return tuple(k / (int(thresholds) + 1) for k in range(1, int(thresholds) + 1))
    return tuple(float(t) for t in thresholds)


def boundary_counts(
    prediction: Truth,
    ground_truth: Truth | Sequence[Truth],
    max_dist: float,
    thresholds: int | Sequence[float] = 99,
    nms: bool | Suppression = False,
    strict: bool = False,
    eight_bits: bool = False,
    implementation: Implementation = "auto",
) -> BoundaryCounts:
    """Counts of one image, by threshold: of ``prediction`` (h, w) in [0, 1] against ``ground_truth``, a mask (h, w) or
    a list of masks, one of each person who drew it. All else as for ``BoundaryF``.

    With one mask the matching is a maximum one; with several it is, for each, the one of least cost. The latter is not
    unique: what is matched with any of them may differ by a few pixels from one implementation to another.
    """
    counting = Counting(max_dist, evenly(thresholds), _nms(nms), strict, eight_bits, implementation)
    return counting.count(*_checked(prediction, ground_truth))


class BoundaryF:
    """ODS, OIS and AP of boundaries over a set of images.

    Args:
        max_dist: how far a pair may be apart, as a share of the image's diagonal: 0.0075 for BSDS500 and
            PASCAL-Context, 0.011 for NYUv2.
        thresholds: how many, k / (n + 1), or which.
        nms: whether oriented non-maximum suppression comes first ("oriented", or SAK's "smoothed").
        interpolate: whether ODS is looked for between thresholds too, on straight lines of precision and recall in 100
            steps, as the Berkeley benchmark does; else the best threshold counts.
        workers: how many processes; none but this one by default.
        strict: whether a pixel counts above a threshold only.
        eight_bits: whether the prediction is cut to whole 255ths first, as one that was stored as a picture.
        implementation: ``numba``, ``scipy`` (slow) or the faster of those at hand.
    """

    def __init__(
        self,
        max_dist: float,
        thresholds: int | Sequence[float] = 99,
        nms: bool | Suppression = False,
        interpolate: bool = False,
        workers: int | None = None,
        *,
        strict: bool = False,
        eight_bits: bool = False,
        implementation: Implementation = "auto",
    ) -> None:
        self.counting = Counting(max_dist, evenly(thresholds), _nms(nms), strict, eight_bits, implementation)
        self.interpolate = interpolate
        self._queue = Queue(workers)
        self._counts: list[BoundaryCounts] = []

    @classmethod
    def seism(cls, max_dist: float, workers: int | None = None) -> BoundaryF:
        """As SEISM counts for InvPT and its kin: predictions as 8-bit pictures, oriented suppression, 101 thresholds
        that must be exceeded."""
        return cls(max_dist, SEISM_THRESHOLDS, True, workers=workers, strict=True, eight_bits=True)

    @classmethod
    def sak(cls, max_dist: float, workers: int | None = None) -> BoundaryF:
        """As SAK's copy of SEISM counts: smoothed first, wider suppression, thresholds that must be reached."""
        return cls(max_dist, SEISM_THRESHOLDS, "smoothed", workers=workers, eight_bits=True)

    def update(self, prediction: Truth, ground_truth: Truth | Sequence[Truth]) -> None:
        """Adds an image: ``prediction`` (h, w) in [0, 1]; ``ground_truth`` a mask (h, w) or a list of them.

        Raises ``ValueError`` on a prediction that is NaN or out of range, masks that are none, or different sizes.
        """
        self._queue.put(self.counting, *_checked(prediction, ground_truth))
        self._counts.extend(self._queue.ready())

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Arrays (images, thresholds): matched_prediction, total_prediction, matched_truth, total_truth."""
        self._counts.extend(self._queue.finish())
        shape = (len(self._counts), len(self.counting.thresholds))
        return {
            name: np.array([getattr(image, name) for image in self._counts], np.int64).reshape(shape)
            for name in BoundaryCounts._fields
        }

    def curve(self) -> dict[str, NDArray[np.float64]]:
        """Arrays (thresholds,): thresholds, precision, recall, f."""
        precision, recall, score = _curve(np.stack(list(self.counts().values()), -1).sum(0))
        return {"thresholds": np.array(self.counting.thresholds), "precision": precision, "recall": recall, "f": score}

    def compute(self) -> dict[str, float]:
        """``ods``, with its ``ods_threshold``, ``precision`` and ``recall``, ``ois`` and ``ap``; all in [0, 1].

        Raises ``ValueError`` where they are undefined: there was no image, or none with a true boundary.
        """
        counts = np.stack(list(self.counts().values()), -1)
        if not counts[..., 3].any():
            raise ValueError(
                f"boundary F is undefined: none of the {len(counts)} images has a true boundary pixel; "
                "check the masks, and that update was called"
            )
        best = sum(_at_best(image) for image in counts)
        return _figures(counts.sum(0), np.asarray(best), self.counting.thresholds, self.interpolate)


class BoundaryMetric(Metric):
    """The exact boundary measure as a metric of a task: ``odsF``, ``oisF``, ``AP``, precision and recall in percent.

    Pixels that are not valid are cleared from prediction and truth. ``rules`` as in ``metrics.protocols``; ``max_dist``
    and ``workers`` as for ``BoundaryF``.
    """

    key = "odsF"
    higher_is_better = True
    slow = True

    def __init__(self, rules: BoundaryRules, max_dist: float, workers: int | None = None) -> None:
        self.rules = rules
        self.counting = Counting(max_dist, rules.thresholds, rules.nms, rules.strict, rules.eight_bits)
        self._queue, self._updating = Queue(workers), False
        super().__init__(4 * len(rules.thresholds) + 4)  # by threshold, then of each image's best

    @property
    def state(self) -> Tensor:
        """Waits for the workers, but not while images are being added."""
        if not self._updating:
            for counts in self._queue.finish():
                self._add(counts)
        return self._state

    @state.setter
    def state(self, state: Tensor) -> None:
        self._queue.finish()
        self._state = state

    def share(self, workers: int | None) -> None:
        self._queue = Queue(workers)

    def update(self, value: Tensor, target: Target) -> None:
        self._updating = True
        try:
            super().update(value, target)
        finally:
            self._updating = False

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        known = valid[0].cpu()
        marked = truth[0].cpu() > 0.5
        if self.rules.truth == "boundary of the strokes":
            marked = of_ids(marked, known)
        probability = torch.where(known, prediction[0].detach().cpu().float(), 0.0)
        self._queue.put(self.counting, *_checked(probability, marked & known))
        for counts in self._queue.ready():
            self._add(counts)

    def _add(self, counts: BoundaryCounts) -> None:
        image = np.stack(counts, -1)
        self._state[2:] += torch.from_numpy(np.concatenate([image.reshape(-1), _at_best(image)])).to(self._state)

    def figures(self) -> dict[str, float]:
        sums = self.sums.cpu().numpy()
        pooled, best = sums[:-4].reshape(-1, 4), sums[-4:]
        names = {"odsF": "ods", "oisF": "ois", "AP": "ap", "precision": "precision", "recall": "recall"}
        if not pooled[:, 3].any():
            return dict.fromkeys([*names, "threshold"], math.nan)
        figures = _figures(pooled, best, self.counting.thresholds)
        return {name: 100 * figures[ours] for name, ours in names.items()} | {"threshold": figures["ods_threshold"]}

    def words(self) -> str:
        return f"{self.rules.words()}; pairs within {self.counting.max_dist:g} of the diagonal"


class Queue:
    """Counts images in this process, or in ``workers`` others; they come out in the order they went in."""

    def __init__(self, workers: int | None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be 1 at least, or None for none but this process; got {workers}")
        self.workers = workers
        self.done: deque[BoundaryCounts] = deque()
        self.waiting: deque[Future[BoundaryCounts]] = deque()
        self.pool: ProcessPoolExecutor | None = None

    def put(self, counting: Counting, prediction: NDArray[Any], truths: list[NDArray[np.bool_]]) -> None:
        if self.workers is None:
            self.done.append(counting.count(prediction, truths))
            return
        if self.pool is None:
            self.pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"))
        self.waiting.append(self.pool.submit(counting.count, prediction, truths))
        while len(self.waiting) > 4 * self.workers:  # images wait in memory
            self.done.append(self.waiting.popleft().result())

    def ready(self) -> list[BoundaryCounts]:
        while self.waiting and self.waiting[0].done():
            self.done.append(self.waiting.popleft().result())
        ready = list(self.done)
        self.done.clear()
        return ready

    def finish(self) -> list[BoundaryCounts]:
        """All that are left; the other processes end."""
        while self.waiting:
            self.done.append(self.waiting.popleft().result())
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None
        return self.ready()


def _nms(nms: bool | Suppression) -> Suppression:
    return nms if isinstance(nms, str) else "oriented" if nms else "none"


def _checked(prediction: Truth, ground_truth: Truth | Sequence[Truth]) -> tuple[NDArray[Any], list[NDArray[np.bool_]]]:
    scores = _array(prediction)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"the prediction must be a map (h, w), got {scores.shape}")
    if scores.dtype == bool:
        scores = scores.astype(np.float32)
    if scores.dtype.kind != "f":
        raise ValueError(f"the prediction must be floating point in [0, 1], got {scores.dtype}; divide 8 bits by 255")
    if scores.dtype.itemsize < 4:
        scores = scores.astype(np.float32)
    if missing := int(np.isnan(scores).sum()):
        raise ValueError(f"the prediction is NaN at {missing} of {scores.size} pixels")
    least, most = float(scores.min()), float(scores.max())
    if least < 0 or most > 1:
        raise ValueError(f"the prediction must lie in [0, 1], got {least:g} to {most:g}; is it activated?")
    masks = ground_truth if isinstance(ground_truth, list | tuple) else [ground_truth]
    if not masks:
        raise ValueError("there must be one mask of the truth at least, got an empty list")
    return scores, [_mask(mask, scores.shape) for mask in masks]


def _mask(mask: Any, size: tuple[int, ...]) -> NDArray[np.bool_]:
    marked = _array(mask)
    if marked.shape != size:
        raise ValueError(f"prediction {size} and truth {marked.shape} differ in size; a list holds masks (h, w)")
    if marked.dtype != bool and not np.isin(marked, (0, 1)).all():
        raise ValueError(
            f"the truth must be a mask, or 0 and 1; got {marked.dtype} {marked.min():g} to {marked.max():g}; "
            "of a picture take mask > 0"
        )
    return marked.astype(bool)


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy())
    return np.asarray(values)


def _curve(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of counts (..., 4): precision, recall and F; 0 where nothing was found."""
    matched, found, recalled, true = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    precision, recall = matched / np.maximum(found, 1), recalled / np.maximum(true, 1)
    return precision, recall, _harmonic(precision, recall)


def _harmonic(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    total = precision + recall
    return np.asarray(2 * precision * recall / np.where(total > 0, total, 1))


def _at_best(image: NDArray[Any]) -> NDArray[Any]:
    """(4,) counts at the threshold with the best F, of (thresholds, 4); at the one that finds least if no F is above 0,
    as where nothing is true."""
    score = _curve(image)[2]
    return np.asarray(image[int(np.argmax(score) if score.any() else np.argmin(image[:, 1]))])


def _figures(
    pooled: NDArray[Any], best: NDArray[Any], thresholds: Sequence[float], interpolate: bool = False
) -> dict[str, float]:
    precision, recall, score = _curve(pooled)
    place = np.arange(len(thresholds), dtype=np.float64)
    if interpolate and len(place) > 1:
        place = np.concatenate([first + np.linspace(0, 1, 100) for first in place[:-1]])
        score = _harmonic(*(np.interp(place, range(len(thresholds)), values) for values in (precision, recall)))
    at = place[int(np.argmax(score))]
    ods_threshold, ods_precision, ods_recall = (
        float(np.interp(at, range(len(thresholds)), values)) for values in (thresholds, precision, recall)
    )
    return {
        "ods": float(score.max()),
        "ods_threshold": ods_threshold,
        "ois": float(_curve(best[None])[2][0]),
        "ap": _area(precision, recall),
        "precision": ods_precision,
        "recall": ods_recall,
    }


def _area(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """The mean of precision on straight lines over recall 0, 0.01, ... 1, as 101 hundredths; 0 beyond the ends. Of
    thresholds with the same recall the highest counts."""
    at, first = np.unique(recall[::-1], return_index=True)
    if len(at) < 2:
        return 0.0
    lines = np.interp(np.arange(101) / 100, at, precision[::-1][first], left=0, right=0)
    return float(lines.sum() / 100)
