from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> AbstractContextManager[object, None]:
    """Sums keep the precision they come in, on the device of ``like``. Nothing where autocast is off, so that recorded
    graphs do not hold it, nor on ``meta``, which has none."""
    kind = like.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()
