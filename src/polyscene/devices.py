"""The device that is meant by a name."""

from __future__ import annotations

import torch


def pick(wanted: str) -> torch.device:
    """``auto``: a GPU where there is one. ``ValueError`` if the name is none, or the device is not here."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # the last two: torch was built without it
        raise ValueError(f"device {wanted!r} is not available here; use auto or cpu") from None
    return device
