"""``make licences``: what it lets through, and that what the package needs is let through today."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from tests.faults.disk import ROOT


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "told",
    [
        "GPL-3.0-or-later",
        "GNU Affero General Public License v3",
        "LGPL-2.1",
        "MPL-2.0 AND MIT",
        "CC BY-NC 4.0",
        "Free for non-commercial use",
        "LicenseRef-NVIDIA-Proprietary",
        "not stated",
        "ask the author",
    ],
)
def test_not_let_through(licences: ModuleType, told: str) -> None:
    assert licences.problem(told)


@pytest.mark.parametrize("told", ["MIT", "BSD-3-Clause", "Apache Software License", "PSF-2.0", "MIT-CMU", "HPND"])
def test_let_through(licences: ModuleType, told: str) -> None:
    assert licences.problem(told) is None


def test_what_the_package_needs(licences: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main([]) == 0, capsys.readouterr().out
    told = capsys.readouterr().out
    assert all(f"\n{name} " in told for name in ("numpy", "torch", "timm", "safetensors"))
    assert "pytest" not in told and "accepted: MPL-2.0 binds" in told


def test_the_versions_are_of_what_is_needed(licences: ModuleType) -> None:
    listed = [line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]]
    direct = {name for name, _ in licences._requirements(licences.distribution("polyscene"), "")}
    assert direct <= set(listed) and listed == sorted(listed)
