"""The drawings in docs/ are what their scripts draw, in text that no box is too small for."""

from __future__ import annotations

import importlib
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from types import ModuleType

import pytest
from tests.docs.pages import DOCS

from polyscene.decoders import DECODERS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=["methods", "structures"])
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DOCS / "pictures"))
    yield importlib.import_module(request.param)
    for name in ("drawing", request.param):
        del sys.modules[name]


def test_drawings_are_up_to_date_and_lie_within_their_frame(script: ModuleType) -> None:
    for figure in script.figures():
        text = (DOCS / "pictures" / "figures" / f"{figure.name}.svg").read_text()
        assert text == figure.svg(), f"run docs/pictures/{script.__name__}.py"
        width, height = figure.size
        for element in ElementTree.fromstring(text).iter(f"{SVG}rect"):
            x, y, w, h = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
            assert 0 <= x and x + w <= width and 0 <= y and y + h <= height, figure.name


def test_every_decoder_is_drawn_and_shown() -> None:
    page = (DOCS / "methods" / "decoders.md").read_text()
    for name in DECODERS:
        assert f"figures/{name}.svg)" in page
