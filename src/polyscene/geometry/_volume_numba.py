"""Rays on processors: activation, density and compositing in one pass, of which nothing is kept for the way back.

``hidden`` of a ray is (s, k) before softplus: the density reads its first ``len(weight)`` columns, the rest are values.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from torch import Tensor

from . import _threads
from ._triplane_numba import FLOATS, add, corners, gather, texels_first

BLOCK = 8
"""Columns of a grid that are gone through together: what all rows read of them stays in the cache."""
Faces = tuple[Tensor, Tensor, Tensor]


@intrinsic
def _as_float(typing: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits."""
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


def _softplus(x: Any) -> Any:
    """(softplus, its derivative)."""
    raise NotImplementedError("compiled code only")


@overload(_softplus, jit_options={"forceinline": True, "fastmath": FLOATS, "error_model": "numpy", "nogil": True})
def _softplus_of(x: Any) -> Any:
    if x == types.float32:
        return _softplus_32
    return _softplus_64


def _softplus_64(x: Any) -> Any:
    small = math.exp(-abs(x))
    slope = (1.0 if x >= 0 else small) / (1.0 + small)
    return (0.0 if x < 0 else x) + math.log1p(small), slope


def _softplus_32(x: Any) -> Any:
    # Without a call and a branch, so that it runs many at a time: e = exp(-|x|) as a power of two and a series,
    # log(1 + e) = 2 artanh(e / (2 + e)). Errors stay below 4e-7. Divisions must not look for zero: it is a branch.
    one = np.float32(1)
    power = min(abs(x), np.float32(87)) * np.float32(-1.4426950408889634)
    whole = np.floor(power + np.float32(0.5))
    r = (power - whole) * np.float32(0.6931471805599453)
    e = np.float32(1 / 720)
    e = e * r + np.float32(1 / 120)
    e = e * r + np.float32(1 / 24)
    e = e * r + np.float32(1 / 6)
    e = e * r + np.float32(0.5)
    e = e * r + one
    e = e * r + one
    e = e * _as_float((np.int32(whole) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]
    q = e / (e + np.float32(2))
    s = q * q
    log = np.float32(1 / 11)
    log = log * s + np.float32(1 / 9)
    log = log * s + np.float32(1 / 7)
    log = log * s + np.float32(1 / 5)
    log = log * s + np.float32(1 / 3)
    log = log * s + one
    negative = x < np.float32(0)
    slope = (e if negative else one) / (one + e)
    return (np.float32(0) if negative else x) + np.float32(2) * q * log, slope


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _weigh(density: Any, depths: Any, opaque: bool, reach: Any, stop: Any, share: Any) -> None:
    """Of each interval: the light that reaches it, the light that it stops; of each sample: what it counts."""
    kind = density.dtype.type
    half, light = kind(0.5), kind(1)
    last = len(density) - 2
    share[0] = kind(0)
    for i in range(last + 1):
        thickness = _softplus((density[i] + density[i + 1]) * half - kind(1))[0] * (depths[i + 1] - depths[i])
        passed = kind(math.exp(-thickness))
        reach[i] = light
        stop[i] = light if opaque and i == last else -light * kind(math.expm1(-thickness))
        light = light * passed
        share[i] += stop[i] * half
        share[i + 1] = stop[i] * half


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _show(hidden: Any, depths: Any, weight: Any, bias: Any, opaque: bool, room: Any, out: Any) -> Any:
    """Composites a ray's activations into ``out`` (v,) and returns its expected depth; ``room`` is (4, s)."""
    kind, size = hidden.dtype.type, len(weight)
    density, share = room[0], room[3]
    for s in range(len(hidden)):
        total = kind(0)
        row = hidden[s]
        for k in range(size):
            total += weight[k] * _softplus(row[k])[0]
        density[s] = total + bias
    _weigh(density, depths, opaque, room[1], room[2], share)
    depth = kind(0)
    out[:] = 0
    for s in range(len(hidden)):
        depth += share[s] * depths[s]
        row = hidden[s, size:]
        for k in range(len(out)):
            out[k] += share[s] * _softplus(row[k])[0]
    return depth


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _owe(
    hidden: Any, depths: Any, weight: Any, bias: Any, opaque: bool, room: Any, active: Any,
    grad: Any, grad_depth: Any, to_weight: Any,
) -> Any:  # fmt: skip
    """Turns ``hidden`` into its gradient, adds to that of ``weight``, and returns that of ``bias``.

    ``room`` is (6, s), ``active`` (s, len(weight)).
    """
    kind, size, samples = hidden.dtype.type, len(weight), len(hidden)
    half = kind(0.5)
    density, reach, stop, share, to_share, to_density = room
    for s in range(samples):
        total = kind(0)
        row, kept = hidden[s], active[s]
        for k in range(size):
            value, slope = _softplus(row[k])
            kept[k] = value
            row[k] = slope
            total += weight[k] * value
        density[s] = total + bias
        to_density[s] = kind(0)
    _weigh(density, depths, opaque, reach, stop, share)
    for s in range(samples):
        total = grad_depth * depths[s]
        row = hidden[s, size:]
        for k in range(len(row)):
            value, slope = _softplus(row[k])
            total += grad[k] * value
            row[k] = share[s] * grad[k] * slope
        to_share[s] = total
    behind = kind(0)
    for i in range(samples - 2, -1, -1):
        to_stop = (to_share[i] + to_share[i + 1]) * half
        ahead = kind(0) if opaque and i == samples - 2 else to_stop * (reach[i] - stop[i]) - behind
        behind += to_stop * stop[i]
        slope = _softplus((density[i] + density[i + 1]) * half - kind(1))[1]
        ahead = ahead * (depths[i + 1] - depths[i]) * slope * half
        to_density[i] += ahead
        to_density[i + 1] += ahead
    to_bias = kind(0)
    for s in range(samples):
        row, owed = hidden[s], to_density[s]
        to_bias += owed
        add(to_weight, owed, active[s])
        for k in range(size):
            row[k] = owed * weight[k] * row[k]
    return to_bias


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def show_grid(
    xy: Any, xz: Any, yz: Any, depths: Any, weight: Any, bias: Any, opaque: bool, first: int, last: int,
    out: Any, deep: Any,
) -> None:  # fmt: skip
    """Columns ``first`` to ``last`` of the rays of one sample: faces as in ``_triplane_numba.spread``."""
    samples, width = xz.shape[1:]
    hidden, room = np.empty((samples, width), xy.dtype), np.empty((4, samples), xy.dtype)
    for start in range(first, last, BLOCK):
        for j in range(len(xy)):
            for i in range(start, min(start + BLOCK, last)):
                _fill(xy[j, i], xz[i], yz[j], hidden)
                deep[j, i] = _show(hidden, depths, weight, bias[0], opaque, room, out[j, i])


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def owe_grid(
    xy: Any, xz: Any, yz: Any, depths: Any, weight: Any, bias: Any, opaque: bool, first: int, last: int,
    grad: Any, grad_depth: Any, to_xy: Any, to_xz: Any, to_yz: Any, to_weight: Any, to_bias: Any,
) -> None:  # fmt: skip
    samples, width = xz.shape[1:]
    hidden, room = np.empty((samples, width), xy.dtype), np.empty((6, samples), xy.dtype)
    active = np.empty((samples, len(weight)), xy.dtype)
    for start in range(first, last, BLOCK):
        for j in range(len(xy)):
            for i in range(start, min(start + BLOCK, last)):
                _fill(xy[j, i], xz[i], yz[j], hidden)
                to_bias[0] += _owe(
                    hidden, depths, weight, bias[0], opaque, room, active, grad[j, i], grad_depth[j, i], to_weight
                )
                total = to_xy[j, i]
                for s in range(samples):
                    row, right, left = hidden[s], to_xz[i, s], to_yz[j, s]
                    for k in range(width):
                        total[k] += row[k]
                        right[k] += row[k]
                        left[k] += row[k]


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _fill(xy: Any, xz: Any, yz: Any, hidden: Any) -> None:
    for s in range(len(hidden)):
        row, right, left = hidden[s], xz[s], yz[s]
        for k in range(len(row)):
            row[k] = xy[k] + right[k] + left[k]


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def show_points(
    planes: Any, points: Any, height: int, width: int, depths: Any, weight: Any, bias: Any, opaque: bool,
    out: Any, deep: Any,
) -> None:  # fmt: skip
    """Rays through points (n, s, 3) of one sample."""
    samples, size = points.shape[1], planes.shape[2]
    hidden, room = np.empty((samples, size), planes.dtype), np.empty((4, samples), planes.dtype)
    for n in range(len(points)):
        _find(planes, points[n], height, width, hidden)
        deep[n] = _show(hidden, depths[n], weight, bias[0], opaque, room, out[n])


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def owe_points(
    planes: Any, points: Any, height: int, width: int, depths: Any, weight: Any, bias: Any, opaque: bool,
    grad: Any, grad_depth: Any, to_planes: Any, to_weight: Any, to_bias: Any,
) -> None:  # fmt: skip
    samples, size = points.shape[1], planes.shape[2]
    hidden, room = np.empty((samples, size), planes.dtype), np.empty((6, samples), planes.dtype)
    active = np.empty((samples, len(weight)), planes.dtype)
    right, below = min(1, width - 1), width * min(1, height - 1)
    for n in range(len(points)):
        _find(planes, points[n], height, width, hidden)
        to_bias[0] += _owe(hidden, depths[n], weight, bias[0], opaque, room, active, grad[n], grad_depth[n], to_weight)
        for plane in range(3):
            owed = to_planes[plane]
            for s in range(samples):
                texel, a, b, c, d, _, _, _ = corners(points[n, s], plane, height, width)
                add(owed[texel], a, hidden[s])
                add(owed[texel + right], b, hidden[s])
                add(owed[texel + below], c, hidden[s])
                add(owed[texel + below + right], d, hidden[s])


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _find(planes: Any, points: Any, height: int, width: int, hidden: Any) -> None:
    right, below = min(1, width - 1), width * min(1, height - 1)
    hidden[:] = 0
    for plane in range(3):
        for s in range(len(points)):
            texel, a, b, c, d, _, _, _ = corners(points[s], plane, height, width)
            gather(hidden[s], planes[plane], texel, right, below, a, b, c, d)


class RenderGrid(torch.autograd.Function):
    """(xy (b, h, w, k), xz (b, w, s, k), yz (b, h, s, k), depths (s,), weight (d,), bias (1,), opaque) ->
    activations (b, h, w, k - d), expected depth (b, h, w)."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, opaque = inputs
        tensors = [tensor.detach().contiguous() for tensor in tensors]
        ctx.save_for_backward(*tensors)
        ctx.opaque = opaque
        xy, xz, yz, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, height, width, size = xy.shape
        out = tensors[0].new_empty(batch, height, width, size - len(weight))
        deep = tensors[0].new_empty(batch, height, width)
        values, expected = out.numpy(), deep.numpy()
        _threads.run(
            [
                partial(show_grid, xy[b], xz[b], yz[b], depths, weight, bias, opaque, i, j, values[b], expected[b])
                for b in range(batch)
                for i, j in _threads.cuts(width)
            ]
        )
        return out, deep

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        xy, xz, yz, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, _, width, _ = xy.shape
        parts = _threads.cuts(width)
        to_xy, to_xz = torch.zeros_like(tensors[0]), torch.zeros_like(tensors[1])
        to_yz, to_weight, to_bias = (tensor.new_zeros(len(parts), batch, *shape) for tensor, shape in (
            (tensors[2], tensors[2].shape[1:]), (tensors[4], weight.shape), (tensors[5], bias.shape)
        ))  # fmt: skip
        grad, grad_depth = (grad.contiguous().numpy() for grad in grads)
        owed = [tensor.numpy() for tensor in (to_xy, to_xz, to_yz, to_weight, to_bias)]
        _threads.run(
            [
                partial(
                    owe_grid,
                    xy[b],
                    xz[b],
                    yz[b],
                    depths,
                    weight,
                    bias,
                    ctx.opaque,
                    i,
                    j,
                    grad[b],
                    grad_depth[b],
                    owed[0][b],
                    owed[1][b],
                    *(each[part, b] for each in owed[2:]),
                )
                for b in range(batch)
                for part, (i, j) in enumerate(parts)
            ]
        )
        return to_xy, to_xz, to_yz.sum(0), None, to_weight.sum((0, 1)), to_bias.sum((0, 1)), None


class RenderPoints(torch.autograd.Function):
    """(planes (b, 3, k, h, w), points (b, n, s, 3), depths (b, n, s), weight (d,), bias (1,), opaque) ->
    activations (b, n, k - d), expected depth (b, n). No gradient reaches points."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        planes, *rest, opaque = inputs
        ctx.size, ctx.opaque = tuple(planes.shape[-2:]), opaque
        tensors = [texels_first(planes.detach()), *(tensor.detach().contiguous() for tensor in rest)]
        ctx.save_for_backward(*tensors)
        source, points, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, rays = len(source), points.shape[1]
        out = planes.new_empty(batch, rays, source.shape[-1] - len(weight))
        deep = planes.new_empty(batch, rays)
        values, expected = out.numpy(), deep.numpy()
        _threads.run(
            [
                partial(  # type: ignore[call-arg]
                    show_points,
                    source[b],
                    points[b % len(points), i:j],
                    *ctx.size,
                    depths[b % len(points), i:j],
                    weight,
                    bias,
                    opaque,
                    values[b, i:j],
                    expected[b, i:j],
                )
                for b in range(batch)
                for i, j in _threads.cuts(rays)
            ]
        )
        return out, deep

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        source, points, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, parts = len(source), _threads.cuts(points.shape[1])
        totals = [tensor.new_zeros(len(parts), batch, *shape) for tensor, shape in (
            (tensors[0], source.shape[1:]), (tensors[3], weight.shape), (tensors[4], bias.shape)
        )]  # fmt: skip
        grad, grad_depth = (grad.contiguous().numpy() for grad in grads)
        owed = [total.numpy() for total in totals]
        _threads.run(
            [
                partial(  # type: ignore[call-arg]
                    owe_points,
                    source[b],
                    points[b % len(points), i:j],
                    *ctx.size,
                    depths[b % len(points), i:j],
                    weight,
                    bias,
                    ctx.opaque,
                    grad[b, i:j],
                    grad_depth[b, i:j],
                    *(each[part, b] for each in owed),
                )
                for b in range(batch)
                for part, (i, j) in enumerate(parts)
            ]
        )
        to_planes = totals[0].sum(0).transpose(2, 3).unflatten(3, ctx.size)
        return to_planes, None, None, totals[1].sum((0, 1)), totals[2].sum((0, 1)), None
