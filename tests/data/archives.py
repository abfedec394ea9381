"""The driving sets as their makers give them, tiny, where the package finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.data import test_cityscapes as cityscapes
from tests.data import test_synthia as synthia
from tests.data import test_virtual_kitti2 as virtual_kitti2


@contextmanager
def driving(root: Path) -> Iterator[None]:
    """Makes them in ``root`` and names their places, and that of the cache, in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("POLYSCENE_CACHE", str(root / "cache"))
        for module in (cityscapes, synthia, virtual_kitti2):
            name = module.__name__.rpartition("test_")[2]
            module.make(root / name)
            environment.setenv(f"POLYSCENE_{name.upper()}", str(root / name))
        yield
