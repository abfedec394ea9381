"""How ranks find each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch import distributed as dist

from polyscene.training import distributed

WAIT = timedelta(seconds=20)


def meet(store: dist.Store, ranks: int) -> set[str]:
    """The names at which they meet; the first rank comes last."""
    with ThreadPoolExecutor(ranks) as threads:
        places = [threads.submit(distributed._room, store, place, ranks, WAIT) for place in reversed(range(ranks))]
        return {place.result() for place in places}


def test_ranks_of_one_meeting_agree_and_the_next_is_elsewhere() -> None:
    """Also where a store that stays has seen as many ranks before, of which some never met."""
    store = dist.HashStore()
    names = [meet(store, ranks) for ranks in (2, 1, 2)]
    store.set("room", "left")  # by a first rank that died while it waited
    names.append(meet(store, 3))
    assert [len(each) for each in names] == [1] * 4 and len(set.union(*names)) == 4


def test_a_rank_that_nobody_confirms_gives_up() -> None:
    store = dist.HashStore()
    meet(store, 2)
    with pytest.raises(RuntimeError, match=r"rank 1 was not confirmed by rank 0 within 0\.2 s"):
        distributed._room(store, 1, 2, timedelta(seconds=0.2))


@pytest.mark.parametrize("told", ["abc", "0", "nan", "inf", "-3"])
def test_a_timeout_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("POLYSCENE_RANK_TIMEOUT", told)
    with pytest.raises(ValueError, match=f"POLYSCENE_RANK_TIMEOUT={told}: give seconds, such as 1800"):
        distributed._patience()
