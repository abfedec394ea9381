from __future__ import annotations

import torch
from torch import Tensor

from polyscene.metrics.base import Metric, choose
from polyscene.metrics.protocols import DepthRules

FIGURES = ("RMSE", "log RMSE", "AbsErr", "AbsRel", "SqRel", "δ<1.25", "δ<1.25²", "δ<1.25³")
MAIN = ("RMSE", "AbsRel", "δ<1.25")
ALIGNED = ("aligned", "scaled", "fitted")
_ROOTED, _SHARES = slice(0, 2), slice(5, 8)
_LEAST = 1e-9  # metres; so that logarithms and ratios exist


def depth_errors(prediction: Tensor, truth: Tensor) -> Tensor:
    """Both (n,) metres, positive but for the prediction. (8,) float64, means over the pixels: squared, squared log,
    absolute, relative and squared relative error, and the shares whose ratio, or its inverse, is below 1.25, 1.25²,
    1.25³ (Eigen et al., NIPS 2014)."""
    pixels = len(truth)
    absolute, inverse = (prediction - truth).abs_(), truth.reciprocal()
    relative = absolute * inverse
    sums = [absolute.square().sum(), absolute.sum(), relative.sum(), (relative * absolute).sum()]
    ratio = prediction.clamp_min(_LEAST).div_(truth)
    worse = torch.maximum(ratio, ratio.reciprocal())
    hits = [torch.count_nonzero(worse < 1.25**power) for power in (1, 2, 3)]
    logs = ratio.log_()
    return torch.stack([sums[0], logs.square_().sum(), *sums[1:], *hits]).double().cpu() / pixels


def aligned(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) scaled by the ratio of the medians (of an even number, the lower)."""
    return prediction * (truth.median() / prediction.median())


def scaled(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) times the scale that minimises the squared error."""
    return prediction * (prediction.dot(truth) / prediction.dot(prediction))


def fitted(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) under the scale and shift, in depth, that minimise the squared error."""
    centred, middle = prediction - prediction.mean(), truth.mean()
    return centred * (centred.dot(truth - middle) / centred.dot(centred).clamp_min(1e-12)) + middle


class DepthError(Metric):
    """RMSE in metres, log-RMSE, AbsErr in metres, AbsRel, SqRel and δ shares in percent; counted as ``rules`` say.

    The same as ``aligned ...`` after each image was scaled by the ratio of medians; and the main ones as ``scaled ...``
    and ``fitted ...`` by the least-squares scale, and scale and shift. These average over images.
    """

    higher_is_better = False

    def __init__(self, rules: DepthRules | None = None) -> None:
        self.rules = rules or DepthRules()
        self.key = self.rules.headline
        super().__init__(4 * len(FIGURES) + 2)  # plain and by ALIGNED; what the plain are divided by, images

    def add(self, prediction: Tensor, truth: Tensor, valid: Tensor) -> None:
        rules = self.rules
        kind = torch.promote_types(prediction.dtype, torch.float32)
        raw, known = prediction.to(kind), truth.to(kind)
        if rules.shift:
            raw, known = raw + rules.shift, known + rules.shift
        raw, known = choose(valid & (known > rules.near) & (known < rules.far), raw, known)
        if not len(known):
            return
        raw = raw.clamp_min(rules.floor)
        errors = depth_errors(raw.clamp_max(rules.ceiling), known)
        weight = len(known) if rules.pool == "pixels" else 1
        self.table[0] += weight * (errors if rules.pool == "pixels" else self._of_image(errors))
        positive = raw.clamp_min(_LEAST)
        for row, change in zip(self.table[1:], (aligned, scaled, fitted), strict=True):
            seen = change(positive, known).clamp(max(rules.floor, _LEAST), rules.ceiling)
            row += self._of_image(depth_errors(seen, known))
        self.sums[-2] += weight
        self.sums[-1] += 1

    @property
    def table(self) -> Tensor:
        """The sums of FIGURES, plain and by ALIGNED."""
        return self.sums[:-2].view(-1, len(FIGURES))

    def _of_image(self, errors: Tensor) -> Tensor:
        if self.rules.pool == "images, then root":
            return errors
        return torch.cat([errors[_ROOTED].sqrt(), errors[2:]])

    def figures(self) -> dict[str, float]:
        means = self.table / self.sums[[-2, -1, -1, -1], None]
        pool = self.rules.pool
        rooted = [pool != "images", *(pool == "images, then root" for _ in ALIGNED)]
        means[rooted, _ROOTED] = means[rooted, _ROOTED].sqrt()
        means[:, _SHARES] *= 100
        plain, *others = (dict(zip(FIGURES, row, strict=True)) for row in means.tolist())
        return plain | {
            f"{kind} {name}": row[name]
            for kind, row in zip(ALIGNED, others, strict=True)
            for name in (FIGURES if kind == "aligned" else MAIN)
        }

    def words(self) -> str:
        return (
            f"{self.rules.words()}; aligned: each image scaled by the ratio of medians, scaled: by least squares, "
            "fitted: scale and shift by least squares, all averaged over images"
        )
