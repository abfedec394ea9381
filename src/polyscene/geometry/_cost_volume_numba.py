"""The plane sweep on processors: one loop over pixels, channels innermost.

Neighbouring planes of a pixel mostly fall between the same four pixels of the source, and neighbouring fours share two:
each pixel of the source that a segment touches is multiplied with the reference once, whatever the number of planes.
The way back likewise adds up what every touched pixel is owed before any channel is read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyscene.compiled import compiled

from . import _threads

FLOATS = {"reassoc", "contract", "nsz", "arcp"}
"""What sums may be reordered for; not-a-number stays what it is."""
NARROWEST = 32  # channels worth a thread of their own on the way back


@compiled(fastmath=FLOATS, nogil=True)
def _aim(x: Any, y: Any, matrix: Any, depths: Any, tall: int, wide: int, cell: Any, right: Any, below: Any) -> None:
    """For each plane the number of its upper left pixel in the source framed by zeros, and the shares of the next.

    What falls outside gets the number after the last.
    """
    kind = depths.dtype.type
    zero, one, nearest = kind(0), kind(1), kind(1e-6)
    x, y = kind(x), kind(y)
    columns, stride = kind(wide + 1), kind(wide + 2)
    rows, none = kind(tall + 1), kind((tall + 2) * (wide + 2))
    along, down, away = matrix[0, 3], matrix[1, 3], matrix[2, 3]
    start_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    start_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    start_z = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    for d in range(len(depths)):
        z = start_z + depths[d] * away
        front = z > nearest
        scale = one / (z if front else one)
        u = (start_x + depths[d] * along) * scale + one
        v = (start_y + depths[d] * down) * scale + one
        seen = front & (u > zero) & (u < columns) & (v > zero) & (v < rows)
        u = u if seen else zero
        v = v if seen else zero
        left, top = np.floor(u), np.floor(v)
        right[d], below[d] = u - left, v - top
        cell[d] = np.int32(top * stride + left if seen else none)


@compiled(nogil=True)
def _frame(tall: int, wide: int) -> tuple[Any, Any]:
    """Of each framed pixel its number in the source without the frame, and who touched it last: of the frame, the end
    of time."""
    plain = np.zeros((tall + 2) * (wide + 2), np.int32)
    last = np.full((tall + 2) * (wide + 2), 2147483647, np.int32)
    for row in range(tall):
        for column in range(wide):
            at = (row + 1) * (wide + 2) + column + 1
            plain[at] = row * wide + column
            last[at] = -1
    return plain, last


@compiled(fastmath=FLOATS, nogil=True)
def _forward(here: Any, there: Any, matrix: Any, depths: Any, wide: int, first: int, end: int, out: Any) -> None:
    """Pixels ``first`` to ``end`` of one sample: (h w, c) twice -> ``out`` (h w, planes)."""
    size, channels = here.shape
    tall, planes, stride = size // wide, len(depths), wide + 2
    kind = depths.dtype.type
    plain, last = _frame(tall, wide)
    none = len(plain)
    value = np.zeros(none + stride + 2, depths.dtype)
    cell = np.empty(planes, np.int32)
    right, below = np.empty(planes, depths.dtype), np.empty(planes, depths.dtype)
    touched = np.empty(4 * planes + 4, np.int32)
    scale = kind(1 / np.sqrt(channels))
    for pixel in range(first, end):
        _aim(pixel % wide, pixel // wide, matrix, depths, tall, wide, cell, right, below)
        count, before = 0, np.int64(none)
        for d in range(planes):
            corner = np.int64(cell[d])
            if corner != before:
                before = corner
                if corner != none:
                    for tap in (corner, corner + 1, corner + stride, corner + stride + 1):
                        touched[count] = tap
                        if last[tap] < pixel:
                            last[tap] = pixel
                            count += 1
        full = count - count % 4
        for k in range(0, full, 4):
            a, b, c, e = kind(0), kind(0), kind(0), kind(0)
            p, q = plain[touched[k]], plain[touched[k + 1]]
            r, s = plain[touched[k + 2]], plain[touched[k + 3]]
            for i in range(channels):
                f = here[pixel, i]
                a += f * there[p, i]
                b += f * there[q, i]
                c += f * there[r, i]
                e += f * there[s, i]
            value[touched[k]], value[touched[k + 1]] = a * scale, b * scale
            value[touched[k + 2]], value[touched[k + 3]] = c * scale, e * scale
        for k in range(full, count):
            a = kind(0)
            p = plain[touched[k]]
            for i in range(channels):
                a += here[pixel, i] * there[p, i]
            value[touched[k]] = a * scale
        for d in range(planes):
            corner = np.int64(cell[d])
            a, b = value[corner], value[corner + 1]
            c, e = value[corner + stride], value[corner + stride + 1]
            upper = a + right[d] * (b - a)
            out[pixel, d] = upper + below[d] * (c + right[d] * (e - c) - upper)


@compiled(fastmath=FLOATS, nogil=True)
def _add(total: Any, share: Any, row: Any) -> None:
    for i in range(len(total)):
        total[i] += share * row[i]


@compiled(fastmath=FLOATS, nogil=True)
def _backward(
    here: Any, there: Any, matrix: Any, depths: Any, wide: int, first: int, end: int,
    arrived: Any, to_here: Any, to_there: Any,
) -> None:  # fmt: skip
    """Channels ``first`` to ``end`` of one sample's gradients, from ``arrived`` (h w, planes)."""
    size, channels = here.shape
    tall, planes, stride = size // wide, len(depths), wide + 2
    kind = depths.dtype.type
    plain, last = _frame(tall, wide)
    none = len(plain)
    value = np.zeros(none, depths.dtype)
    cell = np.empty(planes, np.int32)
    right, below = np.empty(planes, depths.dtype), np.empty(planes, depths.dtype)
    touched = np.empty(4 * planes + 4, np.int32)
    scale = kind(1 / np.sqrt(channels))
    for pixel in range(size):
        _aim(pixel % wide, pixel // wide, matrix, depths, tall, wide, cell, right, below)
        count, d = 0, 0
        while d < planes:
            corner = np.int64(cell[d])
            if corner == none:
                d += 1
                continue
            a, b, c, e = kind(0), kind(0), kind(0), kind(0)
            while d < planes and cell[d] == corner:
                g = arrived[pixel, d]
                gu, gv = g * right[d], g * below[d]
                guv = gu * below[d]
                a += g - gu - gv + guv
                b += gu - guv
                c += gv - guv
                e += guv
                d += 1
            for tap, owed in (
                (corner, a), (corner + 1, b), (corner + stride, c), (corner + stride + 1, e)
            ):  # fmt: skip
                if last[tap] < pixel:
                    last[tap] = pixel
                    touched[count] = tap
                    value[tap] = owed * scale
                    count += 1
                else:
                    value[tap] += owed * scale
        feature, due = here[pixel, first:end], to_here[pixel, first:end]
        due[:] = 0
        full = count - count % 4
        for k in range(0, full, 4):
            a, b = value[touched[k]], value[touched[k + 1]]
            c, e = value[touched[k + 2]], value[touched[k + 3]]
            p, q = there[plain[touched[k]], first:end], there[plain[touched[k + 1]], first:end]
            r, s = there[plain[touched[k + 2]], first:end], there[plain[touched[k + 3]], first:end]
            for i in range(len(due)):
                due[i] += a * p[i] + b * q[i] + c * r[i] + e * s[i]
        for k in range(full, count):
            _add(due, value[touched[k]], there[plain[touched[k]], first:end])
        for k in range(count):
            _add(to_there[plain[touched[k]], first:end], value[touched[k]], feature)


@torch.compiler.disable
def sweep(reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
    """(b, c, h, w) features -> (b, planes, h, w), storing nothing but the arguments for the way back."""
    return _Sweep.apply(reference, source, projection, inverse_depths)


def _rows(maps: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h w, c), channels adjacent."""
    view = maps.permute(0, 2, 3, 1)
    if view.is_contiguous():
        return view.flatten(1, 2)
    flat = maps.flatten(2)
    rows = flat.new_empty(flat.shape[0], flat.shape[2], flat.shape[1])
    for item, target in enumerate(rows):
        target.copy_(flat[item].T)  # torch turns a matrix by blocks, but not a batch of them
    return rows


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """(b, h w, c) -> (b, c, h, w), laid out as ``like`` is."""
    batch, _, height, width = like.shape
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)
    maps = rows.new_empty(batch, rows.shape[2], height, width)
    for item, target in enumerate(maps):
        target.flatten(1).copy_(rows[item].T)
    return maps


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> Tensor:
        ctx.save_for_backward(reference, source, projection, inverse_depths)
        batch, _, height, width = reference.shape
        size = height * width
        here, there, matrix, depths = _arrays(reference, source, projection, inverse_depths)
        out = reference.new_empty(batch, size, inverse_depths.shape[1])
        written = out.numpy()
        cuts = _threads.cuts(height)
        _threads.run(
            [
                partial(
                    _forward, here[i], there[i], matrix[i], depths[i], width, first * width, end * width, written[i]
                )
                for i in range(batch)
                for first, end in cuts
            ]
        )
        return _maps(out, reference)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        reference, source, projection, inverse_depths = ctx.saved_tensors
        batch, channels, height, width = reference.shape
        here, there, matrix, depths = _arrays(reference, source, projection, inverse_depths)
        arrived = _rows(gradient)
        shape = (batch, height * width, channels)
        to_here, to_there = reference.new_empty(shape), source.new_zeros(shape)
        came, first, second = arrived.numpy(), to_here.numpy(), to_there.numpy()
        parts = max(1, min(channels // NARROWEST, torch.get_num_threads() // batch))
        cuts = [(channels * part // parts, channels * (part + 1) // parts) for part in range(parts)]
        _threads.run(  # of all pixels some channels: nothing is added to by two
            [
                partial(
                    _backward, here[i], there[i], matrix[i], depths[i], width, start, end, came[i], first[i], second[i]
                )
                for i in range(batch)
                for start, end in cuts
            ]
        )
        return _maps(to_here, reference), _maps(to_there, source), None, None


def _arrays(reference: Tensor, source: Tensor, projection: Tensor, inverse_depths: Tensor) -> tuple[Any, ...]:
    cameras = (projection.contiguous().numpy(), inverse_depths.contiguous().numpy())
    return _rows(reference.detach()).numpy(), _rows(source.detach()).numpy(), *cameras
