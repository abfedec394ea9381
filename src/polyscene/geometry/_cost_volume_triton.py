"""The plane sweep on CUDA: a program gathers, for one pixel and a block of planes, the four taps of each, channels
adjacent, and multiplies at once.

What the source is owed is added atomically, so its gradient may differ in the last digits from run to run.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PLANES, CHANNELS = 32, 64  # of one block


def runs_on(features: Tensor) -> bool:
    return features.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"


@triton.jit
def _aim(matrix, depths, item, x, y, plane, planes, height, width):  # type: ignore[no-untyped-def]
    """Upper left pixels in the source of a block of planes, the shares of the next, and whether anything is seen."""
    matrix += item * 12
    depth = tl.load(depths + item * planes + plane, mask=plane < planes, other=0.0)
    x = x.to(depth.dtype)
    y = y.to(depth.dtype)
    u = tl.load(matrix) * x + tl.load(matrix + 1) * y + tl.load(matrix + 2) + tl.load(matrix + 3) * depth
    v = tl.load(matrix + 4) * x + tl.load(matrix + 5) * y + tl.load(matrix + 6) + tl.load(matrix + 7) * depth
    z = tl.load(matrix + 8) * x + tl.load(matrix + 9) * y + tl.load(matrix + 10) + tl.load(matrix + 11) * depth
    front = z > 1e-6
    z = tl.where(front, z, 1.0)
    u /= z
    v /= z
    seen = front & (plane < planes) & (u > -1) & (u < width) & (v > -1) & (v < height)
    u = tl.where(seen, u, 0.0)
    v = tl.where(seen, v, 0.0)
    left = tl.floor(u)
    top = tl.floor(v)
    return left.to(tl.int32), top.to(tl.int32), u - left, v - top, seen


@triton.jit
def _tap(left, top, right, below, seen, column: tl.constexpr, row: tl.constexpr, height, width):  # type: ignore[no-untyped-def]
    """One of the four pixels: its number in the source, its share, and whether it is one."""
    across = left + column
    down = top + row
    share = (right if column else 1 - right) * (below if row else 1 - below)
    inside = seen & (across >= 0) & (across < width) & (down >= 0) & (down < height)
    return (down * width + across).to(tl.int64), share, inside


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    here, there, matrix, depths, out, height, width, channels, planes, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64)
    size = height * width
    item = at // size
    pixel = at % size
    plane = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    left, top, right, below, seen = _aim(
        matrix, depths, item, pixel % width, pixel // width, plane, planes, height, width
    )
    total = tl.zeros([BLOCK_D], right.dtype)
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        real = channel < channels
        feature = tl.load(here + at * channels + channel, mask=real, other=0.0)
        for corner in tl.static_range(4):
            number, share, inside = _tap(left, top, right, below, seen, corner % 2, corner // 2, height, width)
            rows = there + (item * size + number)[:, None] * channels + channel[None, :]
            row = tl.load(rows, mask=inside[:, None] & real[None, :], other=0.0)
            total += share * tl.sum(row * feature[None, :], 1)
    total /= tl.sqrt(tl.zeros([1], total.dtype) + channels)
    tl.store(out + at * planes + plane, total, mask=plane < planes)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    here, there, matrix, depths, arrived, to_here, to_there, height, width, channels, planes,
    BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    size = height * width
    item = at // size
    pixel = at % size
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    real = channel < channels
    feature = tl.load(here + at * channels + channel, mask=real, other=0.0)
    due = tl.zeros([BLOCK_C], feature.dtype)
    root = tl.sqrt(tl.zeros([1], feature.dtype) + channels)
    for start in range(0, planes, BLOCK_D):
        plane = start + tl.arange(0, BLOCK_D)
        left, top, right, below, seen = _aim(
            matrix, depths, item, pixel % width, pixel // width, plane, planes, height, width
        )
        came = tl.load(arrived + at * planes + plane, mask=plane < planes, other=0.0) / root
        for corner in tl.static_range(4):
            number, share, inside = _tap(left, top, right, below, seen, corner % 2, corner // 2, height, width)
            offsets = (item * size + number)[:, None] * channels + channel[None, :]
            known = inside[:, None] & real[None, :]
            owed = (came * share)[:, None]
            due += tl.sum(owed * tl.load(there + offsets, mask=known, other=0.0), 0)
            tl.atomic_add(to_there + offsets, owed * feature[None, :], mask=known)
    tl.store(to_here + at * channels + channel, due, mask=real)


@torch.compiler.disable
def sweep(reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
    """(b, c, h, w) features -> (b, planes, h, w), storing nothing but the arguments for the way back."""
    return _Sweep.apply(reference, source, projection, inverse_depths)


def _rows(maps: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h, w, c), channels adjacent."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    maps = rows.permute(0, 3, 1, 2)
    return maps.contiguous() if like.is_contiguous() else maps


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
        ctx.save_for_backward(reference, source, projection, inverse_depths)
        batch, channels, height, width = reference.shape
        planes = inverse_depths.shape[1]
        out = reference.new_empty(batch, height, width, planes)
        with torch.cuda.device_of(reference):
            _forward[(batch * height * width, triton.cdiv(planes, PLANES))](
                _rows(reference), _rows(source), projection.contiguous(), inverse_depths.contiguous(), out,
                height, width, channels, planes, BLOCK_D=PLANES, BLOCK_C=CHANNELS,
            )  # fmt: skip
        return _maps(out, reference)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        reference, source, projection, inverse_depths = ctx.saved_tensors
        batch, channels, height, width = reference.shape
        planes = inverse_depths.shape[1]
        here, there = _rows(reference), _rows(source)
        to_here, to_there = torch.empty_like(here), torch.zeros_like(there)
        with torch.cuda.device_of(reference):
            _backward[(batch * height * width, triton.cdiv(channels, CHANNELS))](
                here, there, projection.contiguous(), inverse_depths.contiguous(), _rows(gradient), to_here, to_there,
                height, width, channels, planes, BLOCK_D=PLANES, BLOCK_C=CHANNELS,
            )  # fmt: skip
        return _maps(to_here, reference), _maps(to_there, source), None, None
