"""Triplane sampling on processors: loops over points, channels innermost. Planes are (b, 3, h w, c) here.

A plane's gradient is summed by one thread alone, so the result does not depend on how many there are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from numba import njit
from torch import Tensor

from . import _threads

FLOATS = {"reassoc", "contract", "nsz", "arcp"}
"""What sums may be reordered for; not-a-number stays what it is."""


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
def corners(point: Any, plane: int, height: int, width: int) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Of a point in a plane: its upper left texel, the shares of the four, and the slopes along width and height.

    The shares add up to a third.
    """
    i, u, across = place(point[plane // 2], width)
    j, v, down = place(point[(plane + 3) // 2], height)
    kind = type(u)
    one, third = kind(1), kind(1) / kind(3)
    top, bottom = (one - v) * third, v * third
    return j * width + i, (one - u) * top, u * top, (one - u) * bottom, u * bottom, u, across, down


@njit(forceinline=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def gather(out: Any, plane: Any, texel: int, right: int, below: int, a: Any, b: Any, c: Any, d: Any) -> None:
    first, second = plane[texel], plane[texel + right]
    third, fourth = plane[texel + below], plane[texel + below + right]
    for k in range(len(out)):
        out[k] += a * first[k] + b * second[k] + c * third[k] + d * fourth[k]


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


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def gather_all(planes: Any, points: Any, height: int, width: int, out: Any) -> None:
    """Points (n, 3) of one sample into ``out`` (n, c)."""
    right, below = min(1, width - 1), width * min(1, height - 1)
    for n in range(len(points)):
        out[n] = 0
        for plane in range(3):
            texel, a, b, c, d, _, _, _ = corners(points[n], plane, height, width)
            gather(out[n], planes[plane], texel, right, below, a, b, c, d)


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def scatter(grad: Any, points: Any, height: int, width: int, plane: int, out: Any) -> None:
    """What points (n, 3) are owed, ``grad`` (n, c), to one plane's texels ``out`` (h w, c)."""
    right, below = min(1, width - 1), width * min(1, height - 1)
    for n in range(len(points)):
        texel, a, b, c, d, _, _, _ = corners(points[n], plane, height, width)
        add(out[texel], a, grad[n])
        add(out[texel + right], b, grad[n])
        add(out[texel + below], c, grad[n])
        add(out[texel + below + right], d, grad[n])


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def steer(planes: Any, grad: Any, points: Any, height: int, width: int, out: Any) -> None:
    """The gradient of points (n, 3), added to ``out``."""
    right, below = min(1, width - 1), width * min(1, height - 1)
    kind = planes.dtype.type
    third = kind(1) / kind(3)
    for n in range(len(points)):
        for plane in range(3):
            texel, _, _, c, d, u, across, down = corners(points[n], plane, height, width)
            v = (c + d) / third
            rows = planes[plane]
            first, second = dot(rows[texel], grad[n]), dot(rows[texel + right], grad[n])
            low, fourth = dot(rows[texel + below], grad[n]), dot(rows[texel + below + right], grad[n])
            along = (second - first) * (kind(1) - v) + (fourth - low) * v
            upright = (low - first) * (kind(1) - u) + (fourth - second) * u
            out[n, plane // 2] += along * across * third
            out[n, (plane + 3) // 2] += upright * down * third


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
def spread(xy: Any, xz: Any, yz: Any, first: int, last: int, out: Any) -> None:
    """Sums (h, w, s, c) of what three faces (h, w, c), (w, s, c), (h, s, c) say, for rows ``first`` to ``last``."""
    for j in range(first, last):
        for i in range(xy.shape[1]):
            for s in range(xz.shape[1]):
                target, a, b, c = out[j, i, s], xy[j, i], xz[i, s], yz[j, s]
                for k in range(len(target)):
                    target[k] = a[k] + b[k] + c[k]


@njit(cache=True, fastmath=FLOATS, error_model="numpy", nogil=True)
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


def texels_first(planes: Tensor) -> Tensor:
    """(b, 3, c, h, w) -> (b, 3, h w, c)."""
    return planes.flatten(3).transpose(2, 3).contiguous()


class Sample(torch.autograd.Function):
    """(planes (b, 3, c, h, w), points (b, n, 3) of the same type) -> (b, n, c)."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, points: Tensor) -> Tensor:
        ctx.save_for_backward(planes, points)
        batch, _, channels, height, width = planes.shape
        out = planes.new_empty(batch, points.shape[1], channels)
        source, places, found = texels_first(planes.detach()).numpy(), points.detach().numpy(), out.numpy()
        _threads.run(
            [
                partial(gather_all, source[b], places[b % len(places), i:j], height, width, found[b, i:j])
                for b in range(batch)
                for i, j in _threads.cuts(points.shape[1])
            ]
        )
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        planes, points = ctx.saved_tensors
        batch, _, channels, height, width = planes.shape
        arrived, places = grads[0].contiguous().numpy(), points.detach().numpy()
        to_planes = to_points = None
        if ctx.needs_input_grad[0]:
            total = planes.new_zeros(batch, 3, height * width, channels)
            summed = total.numpy()
            _threads.run(
                [
                    partial(scatter, arrived[b], places[b % len(places)], height, width, plane, summed[b, plane])
                    for b in range(batch)
                    for plane in range(3)
                ]
            )
            to_planes = total.transpose(2, 3).unflatten(3, (height, width))
        if ctx.needs_input_grad[1]:
            to_points = torch.zeros_like(points)
            source, steered = texels_first(planes.detach()).numpy(), to_points.numpy()
            for b in range(batch):
                steer(source[b], arrived[b], places[b % len(places)], height, width, steered[b % len(places)])
        return to_planes, to_points


class Spread(torch.autograd.Function):
    """(xy (b, h, w, c), xz (b, w, s, c), yz (b, h, s, c)) -> (b, h, w, s, c)."""

    @staticmethod
    def forward(ctx: Any, *faces: Tensor) -> Tensor:
        xy, xz, yz = (face.detach().contiguous().numpy() for face in faces)
        batch, height, width, channels = xy.shape
        out = faces[0].new_empty(batch, height, width, xz.shape[2], channels)
        summed = out.numpy()
        _threads.run(
            [
                partial(spread, xy[b], xz[b], yz[b], i, j, summed[b])
                for b in range(batch)
                for i, j in _threads.cuts(height)
            ]
        )
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        batch, height, width, depth, channels = grads[0].shape
        arrived, parts = grads[0].contiguous().numpy(), _threads.cuts(width)
        xy = grads[0].new_zeros(batch, height, width, channels)
        xz = grads[0].new_zeros(batch, width, depth, channels)
        yz = grads[0].new_zeros(len(parts), batch, height, depth, channels)
        faces = xy.numpy(), xz.numpy(), yz.numpy()
        _threads.run(
            [
                partial(collect, arrived[b], i, j, faces[0][b], faces[1][b], faces[2][part, b])
                for b in range(batch)
                for part, (i, j) in enumerate(parts)
            ]
        )
        return xy, xz, yz.sum(0)
