"""Matching of boundary pixels threshold by threshold with SciPy, where numba is not to be had: slower, same counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow, min_weight_full_bipartite_matching

from ._disc import costs, disc
from ._thinning import thin

Mask = NDArray[np.bool_]


def sweep(
    level: NDArray[np.int32], thresholds: int, truths: list[Mask], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """As ``_matching.sweep``."""
    matched, found, recalled = np.zeros((3, thresholds), np.int64)
    for k in range(thresholds):
        if k and not (level == k).any():  # the same pixels as at the threshold before
            matched[k], found[k], recalled[k] = matched[k - 1], found[k - 1], recalled[k - 1]
            continue
        kept = thin(level > k)
        found[k] = kept.sum()
        if len(truths) == 1:
            matched[k] = recalled[k] = largest(*pairs(kept, truths[0], radius)[:2])
            continue
        union = np.zeros(int(found[k]), bool)
        for truth in truths:
            chosen = cheapest(*pairs(kept, truth, radius), radius)
            recalled[k] += len(chosen)
            union[chosen] = True
        matched[k] = union.sum()
    return matched, found, recalled


def pairs(kept: Mask, truth: Mask, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Numbers, in reading order, of the pixels of the two that are within ``radius``, and squared distances."""
    steps, squared = disc(radius)
    reach = int(radius)
    numbers = np.full(kept.shape, -1)
    numbers[kept] = np.arange(kept.sum())
    numbers = np.pad(numbers, reach, constant_values=-1)
    rows, columns = np.nonzero(truth)
    near = numbers[rows[:, None] + reach + steps[:, 0], columns[:, None] + reach + steps[:, 1]]
    true, step = np.nonzero(near >= 0)
    return near[true, step], true, squared[step].astype(np.int64)


def largest(found: NDArray[np.int64], true: NDArray[np.int64]) -> int:
    """The size of a maximum matching, as a flow of units from a source through pairs to a sink."""
    if not len(found):
        return 0
    found, true = _renumbered(found), _renumbered(true)
    first, second = int(found.max()) + 1, int(true.max()) + 1
    source, sink = first + second, first + second + 1
    tails = np.concatenate([found, np.full(first, source), first + np.arange(second)])
    heads = np.concatenate([first + true, np.arange(first), np.full(second, sink)])
    capacities = np.ones(len(tails), np.int32)
    return int(
        maximum_flow(coo_matrix((capacities, (tails, heads)), (sink + 1, sink + 1)).tocsr(), source, sink).flow_value
    )


def cheapest(
    found: NDArray[np.int64], true: NDArray[np.int64], squared: NDArray[np.int64], radius: float
) -> NDArray[np.int64]:
    """The ``found`` that are matched where the whole costs least: by distance, and for each pair that is not made.

    A perfect matching of the graph and its mirror image, where a pixel may be matched with its own image instead.
    """
    if not len(found):
        return found
    cost, unmade = costs(squared, radius)
    names, found = np.unique(found, return_inverse=True)
    true = _renumbered(true)
    first, second = len(names), int(true.max()) + 1
    rows = np.concatenate([found, first + true, np.arange(first), first + np.arange(second)])
    columns = np.concatenate([true, second + found, second + np.arange(first), np.arange(second)])
    own = np.full(first + second, unmade / 2 + 1)
    weights = np.concatenate([cost + 1, np.ones(len(cost)), own])  # + 1, as 0 would be no edge
    solved = coo_matrix((weights, (rows, columns)), (first + second, first + second)).tocsr()
    row, column = min_weight_full_bipartite_matching(solved)
    return np.asarray(names[row[(row < first) & (column < second)]])


def _renumbered(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(numbers, return_inverse=True)[1]
