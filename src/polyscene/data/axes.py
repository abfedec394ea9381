"""In which axes a set's normals are stored: found by those of the same images' depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from polyscene.data.base import BadSample
from polyscene.geometry import normals
from polyscene.types import Target

Look = Callable[[str], tuple[NDArray[np.floating], Target, Tensor] | None]
"""Of a frame: stored normals (h, w, 3), depth (1, 1, h, w) and intrinsics (3, 3), if these are known."""

SPREAD = 5  # images that are enough to look at
LIMIT = 30.0  # degrees that normals of an indoor set may be from those of its depth
UNTOLD = ("the axes of these normals cannot be told: no frame looked at has depth besides", "restore the depth")
STEP = 3  # only every such pixel is looked at
RADIUS = 3  # of the windows in depth, in these: 21 pixels wide, since published normals are smooth
_WORDS = (("right", "left"), ("down", "up"), ("away", "towards the viewer"))


@dataclass(frozen=True)
class Axes:
    """``turn`` (3, 3) takes stored normals to camera axes; half of them are then within ``remains`` degrees of those of
    depth."""

    turn: Tensor
    remains: float

    @classmethod
    def find(cls, frames: Sequence[str], look: Look) -> Axes | None:
        """From some of the ``frames``, spread evenly; None if no pixel looked at has both normals and depth. A frame
        that cannot be read is left out here, and told when it is read."""
        stored, seen = [torch.empty(3, 0)], [torch.empty(3, 0)]
        for frame in frames[:: -(-len(frames) // SPREAD) or 1]:
            try:
                found = look(frame)
            except BadSample:
                continue
            if found is None:
                continue
            raw, depth, intrinsics = found
            own = torch.from_numpy(np.array(raw[::STEP, ::STEP], np.float32)).movedim(-1, 0)
            coarse = intrinsics.clone()
            coarse[:2] /= STEP
            value, valid = (each[0, :, ::STEP, ::STEP] for each in (depth.value, depth.valid))
            other, known = normals.from_depth(value, valid, coarse, RADIUS)
            both = known[0] & (own.square().sum(0) > 0.25)
            stored.append(F.normalize(own, dim=0)[:, both])
            seen.append(other[:, both])
        own, other = torch.cat(stored, 1)[:, None], torch.cat(seen, 1)[:, None]
        if not own.numel():
            return None
        turn, remains, _ = normals.axes(own, other, torch.ones_like(own[:1], dtype=torch.bool))
        return cls(turn, remains)

    def applied(self, stored: NDArray[np.floating]) -> NDArray[np.floating]:
        """(h, w, 3) in camera axes."""
        return stored @ self.turn.numpy().T.astype(stored.dtype)

    def told(self) -> str:
        """Where the three stored components point, and how sure that is."""
        places = [(int(column.abs().argmax()), float(column.sum()) < 0) for column in self.turn.T]
        words = ", ".join(_WORDS[axis][negative] for axis, negative in places)
        return f"normals are stored as {words}; so they come nearest to those of depth, a median of {self.remains:.0f}°"
