"""Rooms made once and shared by the tests."""

from __future__ import annotations

import pytest

from polyscene.data.rooms import camera, layout
from polyscene.data.rooms.scene import Scene, View
from polyscene.data.rooms.tracer import Tracer

SIZE = (96, 128)


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return [layout.generate(3, index) for index in range(26)]


@pytest.fixture(scope="session")
def tracers(scenes: list[Scene]) -> list[Tracer]:
    return [Tracer(scene) for scene in scenes[:12]]


@pytest.fixture(scope="session")
def paths(tracers: list[Tracer]) -> list[tuple[View, ...]]:
    """Three views of each of the first rooms."""
    return [camera.views(tracer.scene, 3, SIZE, tracer=tracer) for tracer in tracers]
