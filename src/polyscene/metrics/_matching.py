"""Matching of boundary pixels over falling thresholds, kept alive from one threshold to the next (numba).

A prediction is given by ``level``: the number of thresholds a pixel passes. Pixels are numbered in falling order of
level, so that those of one threshold are the first so many. ``thin_all`` says which pixels come and go from threshold
to threshold, once thinned; ``match_all`` keeps one maximum matching of them with the truth. A vertex that comes or goes
changes the size of a maximum matching by one at most, and only alternating paths from that vertex need be tried: a
pixel that goes frees its partner, which is searched for first, then each pixel that comes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from ._assignment import assign_all
from ._disc import costs, disc
from ._thinning import NEIGHBOURS, REMOVABLE

Ints = NDArray[np.int32]


class Changes(NamedTuple):
    """Numbers of the pixels that go, and of those that come, threshold by threshold from the highest: ``gone`` up to
    ``gone_ends[i]`` and ``come`` up to ``come_ends[i]``; ``totals`` is how many are left after it."""

    gone: Ints
    gone_ends: Ints
    come: Ints
    come_ends: Ints
    totals: Ints


class Graph(NamedTuple):
    """The pairs of prediction and truth within reach: for each side, where a pixel's partners start, the partners, and
    which offset joins them."""

    starts: Ints
    partners: Ints
    steps: Ints
    truth_starts: Ints
    truth_partners: Ints
    truth_steps: Ints


class Pixels(NamedTuple):
    """The pixels of a prediction that pass any threshold: row and column, and how many pass each, from the highest."""

    rows: Ints
    columns: Ints
    ends: Ints
    shape: tuple[int, int]


def sweep(
    level: Ints, thresholds: int, truths: list[NDArray[np.bool_]], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the thinned prediction (h, w), of which a pixel passes the lowest ``level`` thresholds: how many pixels are
    matched with any of ``truths``, how many there are, and how many true pixels are matched; from the lowest threshold.
    """
    found = pixels(level, thresholds)
    changes = thinned(found)
    come_and_go = changes[:4]
    if len(truths) == 1:
        pairs = graph(found, truths[0], radius)
        matched = match_all(
            *come_and_go, pairs.starts, pairs.partners, pairs.truth_starts, pairs.truth_partners
        ).astype(np.int64)
        recalled = matched
    else:
        union = np.zeros((thresholds, len(found.rows)), bool)
        cost, unmade = costs(disc(radius)[1], radius)
        earned = unmade - cost
        recalled = np.zeros(thresholds, np.int64)
        for truth in truths:
            pairs = graph(found, truth, radius)
            recalled += assign_all(
                *come_and_go,
                *(pairs.starts, pairs.partners, earned[pairs.steps]),
                *(pairs.truth_starts, pairs.truth_partners, earned[pairs.truth_steps]),
                union,
            )
        matched = union.sum(1)
    return matched[::-1], changes.totals[::-1].astype(np.int64), recalled[::-1]


def pixels(level: Ints, thresholds: int) -> Pixels:
    places = np.flatnonzero(level)
    fails = (thresholds - level.reshape(-1)[places]).astype(np.min_scalar_type(thresholds))  # sorted fast if small
    order = np.argsort(fails, kind="stable")
    rows, columns = np.divmod(places[order].astype(np.int32), np.int32(level.shape[1]))
    ends = np.cumsum(np.bincount(fails, minlength=thresholds)[:thresholds])
    return Pixels(rows, columns, ends.astype(np.int32), level.shape)


def thinned(found: Pixels) -> Changes:
    height, width = found.shape
    steps = np.array([dy * (width + 2) + dx for dy, dx in NEIGHBOURS], np.int32)
    places = (found.rows + 1) * np.int32(width + 2) + found.columns + 1
    return Changes(*thin_all(places, found.ends, (height + 2) * (width + 2), steps, REMOVABLE))


@compiled()
def thin_all(places, ends, size, steps, removable):  # type: ignore[no-untyped-def]
    """A threshold costs what it adds and what thinning removes, not what there is: what was removed at the threshold
    before is put back, and every pixel that either half of a round would remove is in a list to begin with."""
    opposite = np.empty(8, np.uint8)
    for i in range(8):
        opposite[i] = 1 << ((i + 4) % 8)
    either = removable[0] | removable[1]
    code, alive = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    listed, candidate = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    number = np.empty(size, np.int32)
    for n in range(len(places)):
        number[places[n]] = n
    candidates, waiting = np.empty(len(places), np.int32), 0
    todo, after = np.empty(len(places), np.int32), np.empty(len(places), np.int32)
    removed, before = np.empty(len(places), np.int32), np.empty(len(places), np.int32)
    gone, come = np.empty(1024, np.int32), np.empty(max(1024, len(places)), np.int32)
    gone_ends, come_ends = np.empty(len(ends), np.int32), np.empty(len(ends), np.int32)
    totals = np.empty(len(ends), np.int32)
    last, lost, got, total, count, put_back = 0, 0, 0, 0, 0, 0
    for k in range(len(ends)):
        first, last = last, ends[k]
        if last > first:
            before, removed, put_back, count = removed, before, count, 0
            for n in range(put_back):
                place = before[n]
                alive[place] = 1
                for i in range(8):
                    code[place + steps[i]] |= opposite[i]
            for n in range(first, last):
                place = places[n]
                alive[place] = 1
                for i in range(8):
                    code[place + steps[i]] |= opposite[i]
            for n in range(first, last):
                for i in range(9):
                    place = places[n] if i == 8 else places[n] + steps[i]
                    if alive[place] and either[code[place]] and not candidate[place]:
                        candidate[place] = 1
                        candidates[waiting] = place
                        waiting += 1
            still = 0
            for n in range(waiting):
                place = candidates[n]
                if either[code[place]]:
                    candidates[still] = todo[still] = place
                    still += 1
                else:
                    candidate[place] = 0
            waiting = left = still
            half = 0
            while left:
                table = removable[half]
                half = 1 - half
                start = count
                for n in range(left):
                    if table[code[todo[n]]]:
                        removed[count] = todo[n]
                        count += 1
                for n in range(start, count):
                    place = removed[n]
                    alive[place] = 0
                    for i in range(8):
                        code[place + steps[i]] &= ~opposite[i]
                behind = 0
                for n in range(left):
                    place = todo[n]
                    if alive[place] and either[code[place]]:
                        listed[place] = 1
                        after[behind] = place
                        behind += 1
                for n in range(start, count):
                    for i in range(8):
                        place = removed[n] + steps[i]
                        if alive[place] and either[code[place]] and not listed[place]:
                            listed[place] = 1
                            after[behind] = place
                            behind += 1
                for n in range(behind):
                    listed[after[n]] = 0
                todo, after, left = after, todo, behind
            if lost + count > len(gone):
                gone = np.concatenate((gone, np.empty(len(gone) + count, np.int32)))
            if got + put_back + last - first > len(come):
                come = np.concatenate((come, np.empty(len(come) + put_back + last - first, np.int32)))
            for n in range(put_back):  # what was not there before and is
                if alive[before[n]]:
                    come[got] = number[before[n]]
                    got += 1
                else:
                    listed[before[n]] = 1
            for n in range(first, last):
                if alive[places[n]]:
                    come[got] = n
                    got += 1
            for n in range(count):  # what was there before and is not
                place = removed[n]
                if number[place] < first and not listed[place]:
                    gone[lost] = number[place]
                    lost += 1
            for n in range(put_back):
                listed[before[n]] = 0
            total = last - count
        gone_ends[k], come_ends[k], totals[k] = lost, got, total
    return gone, gone_ends, come, come_ends, totals


def graph(found: Pixels, truth: NDArray[np.bool_], radius: float) -> Graph:
    """All pairs of a pixel of the prediction and one of ``truth`` (h, w; numbered in reading order) within
    ``radius``."""
    near, _ = disc(radius)
    reach, width = int(radius), found.shape[1] + 2 * int(radius)
    numbers = np.full((found.shape[0] + 2 * reach, width), -1, np.int32)
    numbers[found.rows + reach, found.columns + reach] = np.arange(len(found.rows), dtype=np.int32)
    rows, columns = np.nonzero(truth)
    centres = ((rows + reach) * width + columns + reach).astype(np.int32)
    steps = near[:, 0] * np.int32(width) + near[:, 1]
    return Graph(*join(numbers.reshape(-1), centres, steps, len(found.rows)))


@compiled()
def join(numbers, centres, steps, count):  # type: ignore[no-untyped-def]
    starts, truth_starts = np.zeros(count + 1, np.int32), np.zeros(len(centres) + 1, np.int32)
    total = 0
    for g in range(len(centres)):
        for i in range(len(steps)):
            p = numbers[centres[g] + steps[i]]
            if p >= 0:
                starts[p + 1] += 1
                total += 1
        truth_starts[g + 1] = total
    truth_partners, truth_steps = np.empty(total, np.int32), np.empty(total, np.int32)
    partners, by_offset = np.empty(total, np.int32), np.empty(total, np.int32)
    starts = np.cumsum(starts).astype(np.int32)
    filled = starts[:-1].copy()
    total = 0
    for g in range(len(centres)):
        for i in range(len(steps)):
            p = numbers[centres[g] + steps[i]]
            if p >= 0:
                truth_partners[total], truth_steps[total] = p, i
                total += 1
                partners[filled[p]], by_offset[filled[p]] = g, i
                filled[p] += 1
    return starts, partners, by_offset, truth_starts, truth_partners, truth_steps


@compiled()
def augment(root, starts, partners, mate, other_mate, mark, dead, via, queue):  # type: ignore[no-untyped-def]
    """Looks, breadth first, for an alternating path from ``root`` to a free pixel of the other side, and flips it.

    What a search that failed has reached cannot be reached with success until a pixel goes: it stays marked ``dead``.
    """
    head, tail = 0, 1
    queue[0] = root
    while head < tail:
        here = queue[head]
        head += 1
        for i in range(starts[here], starts[here + 1]):
            there = partners[i]
            if mark[there] == dead:
                continue
            following = other_mate[there]
            if following == -2:
                continue
            mark[there] = dead
            via[there] = here
            if following == -1:
                while True:
                    here = via[there]
                    before = mate[here]
                    mate[here], other_mate[there] = there, here
                    mark[there] = 0
                    if here == root:
                        break
                    there = before
                for n in range(1, tail):
                    mark[mate[queue[n]]] = 0
                return True
            queue[tail] = following
            tail += 1
    return False


@compiled()
def match_all(  # type: ignore[no-untyped-def]
    gone, gone_ends, come, come_ends, starts, partners, truth_starts, truth_partners
):
    """(thresholds,): the size of a maximum matching at each threshold, from the highest."""
    count, truths = len(starts) - 1, len(truth_starts) - 1
    mate, truth_mate = np.full(count, -2, np.int32), np.full(truths, -1, np.int32)
    mark, truth_mark = np.zeros(count, np.int32), np.zeros(truths, np.int32)
    via, truth_via = np.empty(count, np.int32), np.empty(truths, np.int32)
    queue = np.empty(max(count, truths) + 1, np.int32)
    freed = np.empty(truths, np.int32)
    sizes = np.empty(len(gone_ends), np.int32)
    size, lost, got, dead = 0, 0, 0, 1
    for k in range(len(gone_ends)):
        waiting = 0
        for n in range(lost, gone_ends[k]):
            p = gone[n]
            if mate[p] >= 0:
                freed[waiting] = mate[p]
                truth_mate[mate[p]] = -1
                waiting += 1
                size -= 1
            mate[p] = -2
        lost = gone_ends[k]
        if waiting:
            dead += 1
        for n in range(waiting):
            if augment(freed[n], truth_starts, truth_partners, truth_mate, mate, mark, dead, via, queue):
                size += 1
        for n in range(got, come_ends[k]):
            p = come[n]
            mate[p] = -1
            if augment(p, starts, partners, mate, truth_mate, truth_mark, dead, truth_via, queue):
                size += 1
        got = come_ends[k]
        sizes[k] = size
    return sizes
