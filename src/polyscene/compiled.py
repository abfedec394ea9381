"""Compiled loops. What they compile to is kept on disk, where there is a place for it.

It is made anew when the file of a loop changes, and that file alone: loops call none of another file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: numba's ``njit`` with these options, kept unless neither the package nor the home can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # there is nowhere to keep it
            return njit(**options)(function)

    return decorate
