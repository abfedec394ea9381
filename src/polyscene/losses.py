"""Losses over valid pixels, pure functions. All are zero, with gradient, where nothing is valid. Where several ranks
train, what they return averages over ranks to the loss of all their pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene.training import distributed


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``values`` over ``valid`` (broadcast to it). Invalid values may be anything, also NaN."""
    return means_where((values, valid))[0]


def means_where(*pairs: tuple[Tensor, Tensor]) -> list[Tensor]:
    """``mean_where`` of each pair, in one message between ranks."""
    seen = [(values, valid.expand_as(values)) for values, valid in pairs]
    counts = distributed.share(torch.stack([valid.sum() for _, valid in seen]))
    return [torch.where(valid, values, 0.0).sum() / count for (values, valid), count in zip(seen, counts, strict=True)]


def cross_entropy(raw: Tensor, classes: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """``raw`` (n, c, h, w), ``classes`` (n, 1, h, w) ids, ``weights`` (c,) or None."""
    ids = torch.where(valid, classes, 0)[:, 0].long()
    values = F.cross_entropy(raw, ids, reduction="none")[:, None]
    if weights is None:
        return mean_where(values, valid)
    scale = weights.to(raw)[ids][:, None]
    weighed, weight = means_where((values * scale, valid), (scale, valid))
    return weighed / distributed.mean(weight).clamp_min(1e-6)


def scale_invariant_log(log_prediction: Tensor, log_truth: Tensor, valid: Tensor, variance_focus: float) -> Tensor:
    """sqrt(E[d²] - focus · E[d]²) of d = the difference of logarithms, per image; Eigen et al. 2014, eq. 4.

    ``variance_focus`` 0 is the plain log-RMSE, 1 ignores the scale altogether.
    """
    difference = torch.where(valid, log_prediction - log_truth, 0.0)
    count = valid.sum((-3, -2, -1)).clamp_min(1)
    first = difference.sum((-3, -2, -1)) / count
    second = difference.square().sum((-3, -2, -1)) / count
    seen = valid.flatten(-3).any(-1)
    per_image = (second - variance_focus * first.square()).clamp_min(1e-8).sqrt()
    return torch.where(seen, per_image, per_image * 0).sum() / distributed.share(seen.sum())


def multiscale_gradient(prediction: Tensor, truth: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of horizontal and vertical gradients over ``scales`` halvings (MegaDepth, 4.1)."""
    difference = torch.where(valid, prediction - truth, 0.0)
    steps = []
    for scale in range(scales):
        step = 2**scale
        part, seen = difference[..., ::step, ::step], valid[..., ::step, ::step]
        steps.append(((part[..., 1:] - part[..., :-1]).abs(), seen[..., 1:] & seen[..., :-1]))
        steps.append(((part[..., 1:, :] - part[..., :-1, :]).abs(), seen[..., 1:, :] & seen[..., :-1, :]))
    return sum(means_where(*steps), prediction.sum() * 0) / scales


def berhu(prediction: Tensor, truth: Tensor, valid: Tensor, share: float = 0.2) -> Tensor:
    """Reverse Huber: absolute errors up to ``share`` of the largest of the batch, squares beyond; Laina et al. 2016."""
    error = torch.where(valid, prediction - truth, 0.0).abs()
    bend = (share * distributed.greatest(error.max())).detach().clamp_min(1e-6)
    return mean_where(torch.where(error <= bend, error, (error.square() + bend**2) / (2 * bend)), valid)


def angular(raw: Tensor, normals: Tensor, valid: Tensor, l1_share: float = 0.5) -> Tensor:
    """Mean of 1 - cos(angle) and of the L1 distance of the unit vectors (over their components): the one is smooth far
    off, the other sharp close by."""
    unit = F.normalize(raw, dim=-3, eps=1e-6)
    truth = torch.where(valid, normals, 0.0)
    cosine, distance = means_where((1 - (unit * truth).sum(-3, keepdim=True), valid), ((unit - truth).abs(), valid))
    return (1 - l1_share) * cosine + l1_share * distance


def balanced_binary(raw: Tensor, truth: Tensor, valid: Tensor, positive_weight: float) -> Tensor:
    """Binary cross-entropy, positives weighted by ``positive_weight`` in (0, 1) and negatives by the rest."""
    truth = torch.where(valid, truth.to(raw.dtype), 0.0)
    weight = torch.where(truth > 0.5, positive_weight, 1 - positive_weight)
    return mean_where(F.binary_cross_entropy_with_logits(raw, truth, weight=weight, reduction="none"), valid)
