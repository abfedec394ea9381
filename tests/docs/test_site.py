"""The site builds without a warning, and its pages load nothing from another host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

LOADS = (
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\b(?:src|srcset)=[\"']?((?:https?:)?//[^\"'\s>]+)",
    r"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon|modulepreload))[^>]*?href=[\"']?((?:https?:)?//[^\"'\s>]+)",
    r"url\([\"']?((?:https?:)?//[^\"')]+)",
    r"@import [\"']((?:https?:)?//[^\"']+)",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("material", "mkdocstrings"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install 'polyscene[docs]'")
    out = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    return out


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 30
    found = {address for page in pages for form in LOADS for address in re.findall(form, page.read_text())}
    assert not found


def test_what_would_load_scripts_later_is_not_used(site: Path) -> None:
    """The theme fetches a diagram library, from elsewhere, for pages that have such diagrams."""
    assert not [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text()]


def test_drawings_stand_in_the_page_and_examples_in_full(site: Path) -> None:
    assert (site / "methods" / "decoders.html").read_text().count('class="figure"') == 17
    added = (site / "add_your_own.html").read_text()
    assert "--8&lt;--" not in added and "BadSample" in added
    assert "DenseMTL" in (site / "api" / "decoders.html").read_text()
