"""The compiled loops of triplanes and of the rays through them: points and channels, channels innermost.

Planes are (b, 3, h w, c) here, XY row by row and the two others column by column: rays mostly run along z, and what
they read of a column is contiguous. ``hidden`` of a ray is (s, k) before softplus: the density reads its first
``len(weight)`` columns, the rest are values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from polyscene.compiled import compiled

FLOATS = {"reassoc", "contract", "nsz", "arcp"}
"""What sums may be reordered for; not-a-number stays what it is."""
BLOCK = 8
"""Columns of a grid that are gone through together: what all rows read of them stays in the cache."""
EMPTY = -1e4
"""The raw density of what is not there."""


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def place(coordinate: Any, texels: int) -> tuple[Any, Any, Any]:
    """The texel left of a coordinate in [-1, 1], the share of the next one, and how fast it grows.

    Not-a-number goes to the first texel: it must not become an address.
    """
    kind = type(coordinate)
    last = kind(texels - 1)
    at = (coordinate + kind(1)) * kind(texels) * kind(0.5) - kind(0.5)
    slope = kind(texels) * kind(0.5)
    if not at > kind(0):
        at, slope = kind(0), kind(0)
    if at >= last:
        at, slope = last, kind(0)
    left = min(int(at), max(texels - 2, 0))
    return left, at - kind(left), slope


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def strides(plane: int, height: int, width: int) -> tuple[int, int]:
    """How far apart neighbours along a plane's width and along its height are."""
    return (1, width) if plane == 0 else (height, 1)


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def corners(point: Any, plane: int, height: int, width: int) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Of a point in a plane: its upper left texel, the shares of the four, and the slopes along width and height.

    The shares add up to a third.
    """
    i, u, across = place(point[plane // 2], width)
    j, v, down = place(point[(plane + 3) // 2], height)
    kind = type(u)
    one, third = kind(1), kind(1) / kind(3)
    top, bottom = (one - v) * third, v * third
    right, below = strides(plane, height, width)
    return j * below + i * right, (one - u) * top, u * top, (one - u) * bottom, u * bottom, u, across, down


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def add(out: Any, share: Any, value: Any) -> None:
    for k in range(len(out)):
        out[k] += share * value[k]


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def dot(first: Any, second: Any) -> Any:
    total = first.dtype.type(0)
    for k in range(len(first)):
        total += first[k] * second[k]
    return total


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def gather(planes: Any, points: Any, height: int, width: int, out: Any) -> None:
    """Points (n, 3) of one sample into ``out`` (n, c)."""
    more, deeper = min(1, width - 1), min(1, height - 1)
    below, aside = deeper * width, more * height
    xy, xz, yz = planes[0], planes[1], planes[2]
    for n in range(len(points)):
        point, row = points[n], out[n]
        at, a, b, c, d, _, _, _ = corners(point, 0, height, width)
        first, second, third, fourth = xy[at], xy[at + more], xy[at + below], xy[at + below + more]
        at, e, f, g, h, _, _, _ = corners(point, 1, height, width)
        fifth, sixth, seventh, eighth = xz[at], xz[at + aside], xz[at + deeper], xz[at + deeper + aside]
        at, p, q, r, s, _, _, _ = corners(point, 2, height, width)
        ninth, tenth, eleventh, twelfth = yz[at], yz[at + aside], yz[at + deeper], yz[at + deeper + aside]
        for k in range(len(row)):
            row[k] = (
                (a * first[k] + b * second[k] + c * third[k] + d * fourth[k])
                + (e * fifth[k] + f * sixth[k] + g * seventh[k] + h * eighth[k])
                + (p * ninth[k] + q * tenth[k] + r * eleventh[k] + s * twelfth[k])
            )


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def scatter(grad: Any, points: Any, height: int, width: int, plane: int, out: Any) -> None:
    """What points (n, 3) are owed, ``grad`` (n, c), to one plane's texels ``out`` (h w, c)."""
    right, below = strides(plane, height, width)
    right, below = right * min(1, width - 1), below * min(1, height - 1)
    for n in range(len(points)):
        texel, a, b, c, d, _, _, _ = corners(points[n], plane, height, width)
        add(out[texel], a, grad[n])
        add(out[texel + right], b, grad[n])
        add(out[texel + below], c, grad[n])
        add(out[texel + below + right], d, grad[n])


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def steer(planes: Any, grad: Any, points: Any, height: int, width: int, out: Any) -> None:
    """The gradient of points (n, 3), added to ``out``."""
    more, deeper = min(1, width - 1), min(1, height - 1)
    kind = planes.dtype.type
    third = kind(1) / kind(3)
    for n in range(len(points)):
        for plane in range(3):
            texel, _, _, c, d, u, across, down = corners(points[n], plane, height, width)
            right, below = strides(plane, height, width)
            right, below = right * more, below * deeper
            v = (c + d) / third
            rows = planes[plane]
            first, second = dot(rows[texel], grad[n]), dot(rows[texel + right], grad[n])
            low, fourth = dot(rows[texel + below], grad[n]), dot(rows[texel + below + right], grad[n])
            along = (second - first) * (kind(1) - v) + (fourth - low) * v
            upright = (low - first) * (kind(1) - u) + (fourth - second) * u
            out[n, plane // 2] += along * across * third
            out[n, (plane + 3) // 2] += upright * down * third


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def spread(xy: Any, xz: Any, yz: Any, first: int, last: int, out: Any) -> None:
    """Sums (h, w, s, c) of what three faces (h, w, c), (w, s, c), (h, s, c) say, for rows ``first`` to ``last``."""
    for j in range(first, last):
        for i in range(xy.shape[1]):
            for s in range(xz.shape[1]):
                target, a, b, c = out[j, i, s], xy[j, i], xz[i, s], yz[j, s]
                for k in range(len(target)):
                    target[k] = a[k] + b[k] + c[k]


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def collect(grad: Any, first: int, last: int, xy: Any, xz: Any, yz: Any) -> None:
    """What columns ``first`` to ``last`` of a grid (h, w, s, c) owe its faces, added to those."""
    one = grad.dtype.type(1)
    for j in range(len(grad)):
        for i in range(first, last):
            for s in range(grad.shape[2]):
                value = grad[j, i, s]
                add(xy[j, i], one, value)
                add(xz[i, s], one, value)
                add(yz[j, s], one, value)


@intrinsic
def _as_float(typing: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits."""
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


def _decay(x: Any) -> Any:
    """(exp(-x), 1 - exp(-x)) for x >= 0."""
    raise NotImplementedError("compiled code only")


@overload(_decay, jit_options={"forceinline": True, "fastmath": FLOATS, "error_model": "numpy", "nogil": True})
def _decay_of(x: Any) -> Any:
    if x == types.float32:
        return _decay_32
    return _decay_64


def _decay_64(x: Any) -> Any:
    return math.exp(-x), -math.expm1(-x)


def _decay_32(x: Any) -> Any:
    # Without a call and a branch, so that it runs many at a time: a power of two and a series.
    # Divisions must not look for zero: it is a branch.
    power = min(x, np.float32(87)) * np.float32(-1.4426950408889634)
    whole = np.floor(power + np.float32(0.5))
    r = (power - whole) * np.float32(0.6931471805599453)
    rest = np.float32(1 / 720)
    rest = rest * r + np.float32(1 / 120)
    rest = rest * r + np.float32(1 / 24)
    rest = rest * r + np.float32(1 / 6)
    rest = rest * r + np.float32(0.5)
    rest = rest * r * r + r
    scale: Any = _as_float((np.int32(whole) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]
    return scale + scale * rest, (np.float32(1) - scale) - scale * rest


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
    # log(1 + e) = 2 artanh(e / (2 + e)), as a series. Errors stay below 4e-7.
    one = np.float32(1)
    e, _ = _decay(abs(x))
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
    for i in range(last + 1):
        thickness = _softplus((density[i] + density[i + 1]) * half - kind(1))[0] * (depths[i + 1] - depths[i])
        reach[i], stop[i] = _decay(thickness)
    share[0] = kind(0)
    for i in range(last + 1):
        passed, stopped = reach[i], light if opaque and i == last else light * stop[i]
        reach[i], stop[i] = light, stopped
        light = light * passed
        share[i] += stopped * half
        share[i + 1] = stopped * half


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _show(
    hidden: Any, inside: Any, depths: Any, weight: Any, bias: Any, opaque: bool, room: Any, out: Any
) -> tuple[Any, Any]:
    """Composites a ray's activations into ``out`` (v,); returns the sum of its depths, and of what its samples count.

    ``room`` is (4, s).
    """
    kind, size = hidden.dtype.type, len(weight)
    density, share = room[0], room[3]
    for s in range(len(hidden)):
        total = kind(0)
        row = hidden[s]
        for k in range(size):
            total += weight[k] * _softplus(row[k])[0]
        density[s] = total + bias if inside[s] else kind(EMPTY)
    _weigh(density, depths, opaque, room[1], room[2], share)
    depth, seen = kind(0), kind(0)
    out[:] = 0
    for s in range(len(hidden)):
        counts = share[s] if inside[s] else kind(0)
        depth += counts * depths[s]
        seen += counts
        row = hidden[s, size:]
        for k in range(len(out)):
            out[k] += counts * _softplus(row[k])[0]
    return depth, seen


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def _owe(
    hidden: Any, inside: Any, depths: Any, weight: Any, bias: Any, opaque: bool, room: Any, active: Any,
    grad: Any, grad_depth: Any, grad_seen: Any, to_weight: Any,
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
        density[s] = total + bias if inside[s] else kind(EMPTY)
        to_density[s] = kind(0)
    _weigh(density, depths, opaque, reach, stop, share)
    for s in range(samples):
        total, counts = grad_seen + grad_depth * depths[s], share[s] if inside[s] else kind(0)
        row = hidden[s, size:]
        for k in range(len(row)):
            value, slope = _softplus(row[k])
            total += grad[k] * value
            row[k] = counts * grad[k] * slope
        to_share[s] = total if inside[s] else kind(0)
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
        row, kept, owed = hidden[s], active[s], to_density[s] if inside[s] else kind(0)
        to_bias += owed
        for k in range(size):
            to_weight[k] += owed * kept[k]
            row[k] = owed * weight[k] * row[k]
    return to_bias


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def show_grid(
    xy: Any, xz: Any, yz: Any, depths: Any, weight: Any, bias: Any, opaque: bool, first: int, last: int,
    out: Any, deep: Any,
) -> None:  # fmt: skip
    """Columns ``first`` to ``last`` of the rays of one sample: faces as in ``spread``."""
    samples, width = xz.shape[1:]
    hidden, room = np.empty((samples, width), xy.dtype), np.empty((4, samples), xy.dtype)
    inside = np.ones(samples, np.bool_)
    for start in range(first, last, BLOCK):
        for j in range(len(xy)):
            for i in range(start, min(start + BLOCK, last)):
                _fill(xy[j, i], xz[i], yz[j], hidden)
                deep[j, i], _ = _show(hidden, inside, depths, weight, bias[0], opaque, room, out[j, i])


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def owe_grid(
    xy: Any, xz: Any, yz: Any, depths: Any, weight: Any, bias: Any, opaque: bool, first: int, last: int,
    grad: Any, grad_depth: Any, to_xy: Any, to_xz: Any, to_yz: Any, to_weight: Any, to_bias: Any,
) -> None:  # fmt: skip
    samples, width = xz.shape[1:]
    hidden, room = np.empty((samples, width), xy.dtype), np.empty((6, samples), xy.dtype)
    active, inside = np.empty((samples, len(weight)), xy.dtype), np.ones(samples, np.bool_)
    for start in range(first, last, BLOCK):
        for j in range(len(xy)):
            for i in range(start, min(start + BLOCK, last)):
                _fill(xy[j, i], xz[i], yz[j], hidden)
                to_bias[0] += _owe(
                    hidden, inside, depths, weight, bias[0], opaque, room, active,
                    grad[j, i], grad_depth[j, i], xy.dtype.type(0), to_weight,
                )  # fmt: skip
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


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def show_points(
    planes: Any, points: Any, inside: Any, depths: Any, height: int, width: int, weight: Any, bias: Any, opaque: bool,
    out: Any, deep: Any, seen: Any,
) -> None:  # fmt: skip
    """Rays through points (n, s, 3) of one sample."""
    samples, size = points.shape[1], planes.shape[2]
    hidden, room = np.empty((samples, size), planes.dtype), np.empty((4, samples), planes.dtype)
    for n in range(len(points)):
        gather(planes, points[n], height, width, hidden)
        deep[n], seen[n] = _show(hidden, inside[n], depths[n], weight, bias[0], opaque, room, out[n])


@compiled(fastmath=FLOATS, error_model="numpy", nogil=True)
def owe_points(
    planes: Any, points: Any, inside: Any, depths: Any, height: int, width: int, weight: Any, bias: Any, opaque: bool,
    grad: Any, grad_depth: Any, grad_seen: Any, to_planes: Any, to_weight: Any, to_bias: Any,
) -> None:  # fmt: skip
    samples, size = points.shape[1], planes.shape[2]
    hidden, room = np.empty((samples, size), planes.dtype), np.empty((6, samples), planes.dtype)
    active = np.empty((samples, len(weight)), planes.dtype)
    for n in range(len(points)):
        gather(planes, points[n], height, width, hidden)
        to_bias[0] += _owe(
            hidden, inside[n], depths[n], weight, bias[0], opaque, room, active,
            grad[n], grad_depth[n], grad_seen[n], to_weight,
        )  # fmt: skip
        for plane in range(3):
            scatter(hidden, points[n], height, width, plane, to_planes[plane])
