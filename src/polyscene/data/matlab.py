"""Variables of MATLAB files, up to version 5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polyscene.data.base import BadSample
from polyscene.data.files import MISSING


def variable(file: Path, name: str | None = None) -> NDArray[np.generic]:
    """The array of that ``name``, or the only one there is. ``BadSample`` if there is no such, or no such file."""
    from scipy.io import loadmat

    try:
        with file.open("rb") as opened:
            held = {key: value for key, value in loadmat(opened).items() if not key.startswith("__")}
    except FileNotFoundError:
        raise BadSample(file, "missing", MISSING) from None
    except Exception as error:  # scipy raises whatever a damaged file leads to
        problem = f"cannot be read ({type(error).__name__}: {error})"
        raise BadSample(file, problem, "restore the file from its source; it may be cut short") from None
    if (found := held.get(name) if name else next(iter(held.values()), None)) is None or (not name and len(held) > 1):
        wanted = f"no {name}" if name else "not one variable"
        raise BadSample(file, f"holds {wanted} but {', '.join(held) or 'nothing'}", "restore the file from its source")
    return found
