"""Types are checked in tests: jaxtyping shapes by beartype, in every module of the package."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import polyscene.data.rooms.render  # before the hook: compiled kernels cannot be wrapped
import polyscene.data.streets.render
import polyscene.geometry._cost_volume_numba
import polyscene.geometry._normals_numba
import polyscene.geometry._triplane_loops
import polyscene.metrics._matching  # noqa: F401

install_import_hook("polyscene", "beartype.beartype")

REAL = Path(os.environ.get("POLYSCENE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"real data sets are not at {REAL}; set POLYSCENE_DATA")
    return REAL


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # two test processes share the machine
