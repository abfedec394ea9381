"""Matching at least cost over falling thresholds, kept alive from one threshold to the next (numba).

As in the Berkeley benchmark, a pair costs its distance in hundredths of a pixel and each pair that is not made costs
a hundred times the reach; where several people drew the truth, which pixels of the prediction are matched matters,
not only how many. Turned round: pairs earn ``worth - cost``. Each pixel has a price, prices of a pair sum to its
earnings at least and, if it is matched, exactly; free pixels have price 0: that proves the matching best. A pixel that
comes or goes breaks this at one pixel, and one shortest-path search from there (Dijkstra's, on what the prices leave
over) mends it.
"""

from __future__ import annotations

import numpy as np

from polyscene.compiled import compiled

AWAY = 1 << 60  # the price of a pixel that is not there: too dear for any path


@compiled()
def mend(  # type: ignore[no-untyped-def]
    root,
    starts,
    partners,
    earned,
    price,
    other_price,
    mate,
    other_mate,
    cost,
    other_cost,
    via,
    heap,
    keys,
    touched,
    done,
):
    """Restores the best matching where free ``root`` has a price: by the cheapest of an alternating path to a free
    pixel of the other side, of one that frees another pixel of this side, or of leaving root free.

    ``cost`` and ``other_cost`` hold -1 between calls.
    """
    best, last, settled, seen = price[root], -1, 0, 0
    last_other = False
    cost[root] = 0
    done[0] = root
    settled = 1
    expanded, waiting = 0, 0
    while True:
        while expanded < settled:  # all that has been settled offers its partners
            here = done[expanded]
            expanded += 1
            base = cost[here] + price[here]
            for i in range(starts[here], starts[here + 1]):
                there = partners[i]
                reached = base + other_price[there] - earned[i]
                if reached >= best:
                    continue
                before = other_cost[there]
                if before >= 0:
                    if reached >= before:
                        continue
                else:
                    touched[seen] = there
                    seen += 1
                other_cost[there] = reached
                via[there] = here
                if other_mate[there] == -1:
                    best, last, last_other = reached, there, True
                    continue
                place = waiting  # into the heap
                waiting += 1
                while place > 0:
                    above = (place - 1) >> 1
                    if keys[above] <= reached:
                        break
                    keys[place], heap[place] = keys[above], heap[above]
                    place = above
                keys[place], heap[place] = reached, there
        if waiting == 0 or keys[0] >= best:
            break
        reached, there = keys[0], heap[0]
        waiting -= 1
        if waiting:  # the last sinks from the top
            key, node, place = keys[waiting], heap[waiting], 0
            while True:
                below = 2 * place + 1
                if below >= waiting:
                    break
                if below + 1 < waiting and keys[below + 1] < keys[below]:
                    below += 1
                if keys[below] >= key:
                    break
                keys[place], heap[place] = keys[below], heap[below]
                place = below
            keys[place], heap[place] = key, node
        if reached > other_cost[there]:
            continue
        following = other_mate[there]
        if cost[following] >= 0:
            continue
        cost[following] = reached
        done[settled] = following
        settled += 1
        if reached + price[following] < best:
            best, last, last_other = reached + price[following], following, False
    for n in range(settled):
        here = done[n]
        if cost[here] < best:
            price[here] -= best - cost[here]
        cost[here] = -1
    for n in range(seen):
        there = touched[n]
        if other_cost[there] < best:
            other_price[there] += best - other_cost[there]
        other_cost[there] = -1
    if last == -1:
        return
    if last_other:
        there = last
    else:
        there = mate[last]
        mate[last] = -1
    while True:
        here = via[there]
        before = mate[here]
        mate[here], other_mate[there] = there, here
        if here == root:
            return
        there = before


@compiled()
def assign_all(  # type: ignore[no-untyped-def]
    gone, gone_ends, come, come_ends, starts, partners, earned, truth_starts, truth_partners, truth_earned, matched
):
    """(thresholds,): the pairs made at each threshold, from the highest; ``matched`` (thresholds, pixels) is set where
    a pixel of the prediction is in one."""
    count, truths = len(starts) - 1, len(truth_starts) - 1
    mate, truth_mate = np.full(count, -1, np.int32), np.full(truths, -1, np.int32)
    price, truth_price = np.full(count, AWAY, np.int64), np.zeros(truths, np.int64)
    cost, truth_cost = np.full(count, -1, np.int64), np.full(truths, -1, np.int64)
    via, truth_via = np.empty(count, np.int32), np.empty(truths, np.int32)
    room = len(partners) + 1
    heap, keys = np.empty(room, np.int32), np.empty(room, np.int64)
    touched, done = np.empty(max(count, truths) + 1, np.int32), np.empty(max(count, truths) + 1, np.int32)
    freed = np.empty(truths, np.int32)
    sizes = np.zeros(len(gone_ends), np.int32)
    lost, got = 0, 0
    for k in range(len(gone_ends)):
        waiting = 0
        for n in range(lost, gone_ends[k]):
            p = gone[n]
            if mate[p] >= 0:
                freed[waiting] = mate[p]
                waiting += 1
                truth_mate[mate[p]] = -1
            mate[p], price[p] = -1, AWAY
        lost = gone_ends[k]
        for n in range(waiting):
            mend(
                freed[n], truth_starts, truth_partners, truth_earned, truth_price, price, truth_mate, mate,
                truth_cost, cost, via, heap, keys, touched, done,
            )  # fmt: skip
        for n in range(got, come_ends[k]):
            p = come[n]
            worth = 0
            for i in range(starts[p], starts[p + 1]):
                worth = max(worth, earned[i] - truth_price[partners[i]])
            price[p] = worth
            if worth > 0:
                mend(
                    p, starts, partners, earned, price, truth_price, mate, truth_mate,
                    cost, truth_cost, truth_via, heap, keys, touched, done,
                )  # fmt: skip
        got = come_ends[k]
        for g in range(truths):
            if truth_mate[g] >= 0:
                sizes[k] += 1
                matched[k, truth_mate[g]] = True
    return sizes
