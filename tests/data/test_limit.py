"""A source's limit: how many of its samples are used."""

from __future__ import annotations

from pathlib import Path

from tests.training import toy

from polyscene.config import Config
from polyscene.data import sources
from polyscene.data.sources import Sources


def built(limit: int | None, seed: int = 0, count: int = 50) -> Sources:
    settings = toy.config(Path("run"), {"count": count}).model_dump(mode="json")
    for part, source in (("train", "toy"), ("evaluate", "toy")):
        settings["data"][part][source] |= {"limit": limit}
        settings["data"][part][source]["dataset"] = {"name": "toy", "count": count}
    data = Config.model_validate(settings).data
    return sources.build(data, sources.make(data.train["toy"].dataset).tasks, seed)


def files(limit: int | None, part: str = "train", seed: int = 0, count: int = 50) -> list[str]:
    dataset = getattr(built(limit, seed, count), part)["toy"].dataset
    return [name for index in range(len(dataset)) for name in dataset.read(index).meta]


def test_as_many_samples_as_the_limit_says_some_of_those_of_a_larger() -> None:
    few, more, everything = files(4), files(16), files(None)
    assert len(few) == 4 and len(more) == 16 and len(everything) == 50
    assert set(few) < set(more) < set(everything)
    assert len(set(more)) == 16


def test_the_seed_draws_what_is_trained_on_and_not_what_is_judged() -> None:
    assert files(16, seed=1) == files(16, seed=1) != files(16, seed=0)
    assert files(16, "evaluate", seed=1) == files(16, "evaluate", seed=0)


def test_batches_hold_no_other() -> None:
    loader = built(4).train["toy"]
    stream = loader.batches()
    assert len(loader) == 2 and {name for _ in range(6) for name in next(stream).meta} == set(files(4))


def test_a_limit_beyond_the_set_keeps_all_and_says_so() -> None:
    assert len(files(64)) == 50
    assert "toy: has 50 samples, fewer than its limit of 64" in built(64).notes
    assert not built(50).notes
