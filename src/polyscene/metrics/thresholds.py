"""How many thresholds a score reaches: the core of every measure that sweeps one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Thresholds:
    """Ascending ``values`` in (0, 1]; ``strict`` asks a score to exceed one, not to reach it.

    [0, 1] is cut into cells so small that each holds one threshold at most, so that the number a score reaches is that
    of its cell, read from a table, and perhaps one more: exact, and many times faster than a search.
    """

    def __init__(self, values: Sequence[float], strict: bool = False) -> None:
        self.values, self.strict = torch.tensor(values, dtype=torch.float32), strict
        gap = float(self.values.diff(prepend=self.values.new_zeros(1)).min())
        if gap <= 0 or float(self.values[-1]) > 1:
            raise ValueError(f"thresholds must ascend in (0, 1], got {tuple(values)}")
        self.cells = 1 << int(1 / gap).bit_length()  # a power of two: multiplying by it is exact
        cell = (self.values * self.cells).long()
        self.below = torch.searchsorted(cell, torch.arange(self.cells + 1)).int()  # thresholds in the cells before
        self.inside = torch.full((self.cells + 1,), 2.0).index_copy_(0, cell, self.values)

    def __len__(self) -> int:
        return len(self.values)

    def reached(self, score: Tensor) -> Tensor:
        """(n,) float32 in [0, 1] -> (n,) int32. ``ValueError`` for scores outside."""
        if score.numel():
            low, high = (float(end) for end in score.aminmax())
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"the prediction holds {low if low < 0 else high:g}, which is no probability in [0, 1]"
                )
        cell = (score * self.cells).int()
        inside = self.inside.to(score.device).index_select(0, cell)
        more = score > inside if self.strict else score >= inside
        return self.below.to(score.device).index_select(0, cell).add_(more)

    def count(self, reached: Tensor) -> Tensor:
        """(n,) as ``reached`` says -> (thresholds,) how many reach each, on the CPU."""
        counts = torch.bincount(reached, minlength=len(self) + 1)
        return counts.flip(0).cumsum(0).flip(0)[1:].cpu()
