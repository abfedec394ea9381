"""Damaged files of every format: only BadPicture comes out (benchmarks/fuzz_pictures.py does more of it)."""

import random
import warnings
from pathlib import Path

import numpy as np
from benchmarks import fuzz_pictures
from benchmarks._damage import scrambled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyscene import pictures
from polyscene.pictures import BadPicture

WHOLE = fuzz_pictures.seeds()
SUFFIXES = [suffix for suffix, _ in WHOLE]


def test_the_whole_files_are_read(tmp_path: Path) -> None:
    assert {suffix for suffix in SUFFIXES} == set(fuzz_pictures.KINDS) and len(WHOLE) > 25
    for number, (suffix, data) in enumerate(WHOLE):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(data)
        assert sorted(pictures.read(path).pixels.shape) == [3, 24, 32]


def through_the_door(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = pictures.read(path)
        except BadPicture as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            return
    assert picture.pixels.dtype == np.uint8 and picture.pixels.ndim == 3 and picture.pixels.size
    assert picture.focal is None or picture.focal > 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole=st.sampled_from(WHOLE), seed=st.integers(0, 2**32))
def test_damaged_files(tmp_path: Path, whole: tuple[str, bytes], seed: int) -> None:
    suffix, data = whole
    through_the_door(tmp_path / f"picture.{suffix}", scrambled(data, random.Random(seed)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole=st.sampled_from(WHOLE), kept=st.integers(0, 64), rest=st.binary(max_size=200))
def test_files_that_only_begin_well(tmp_path: Path, whole: tuple[str, bytes], kept: int, rest: bytes) -> None:
    suffix, data = whole
    through_the_door(tmp_path / f"picture.{suffix}", data[:kept] + rest)
