"""Reads the pages of docs/ for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """(language, content) of the page's fenced blocks of these languages, in their order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [(language, content) for language, content in found if language in languages]


def shortened(text: str, by: dict[str, str]) -> str:
    """With everything that takes minutes made small."""
    for long, short in by.items():
        text = text.replace(long, short)
    return text


def commands(block: str) -> list[str]:
    joined = block.replace("\\\n", " ")
    return [line.split(" #")[0].strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
