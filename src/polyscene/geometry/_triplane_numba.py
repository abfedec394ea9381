"""Triplane sampling and rendering on processors, with their gradients; nothing of a ray is kept for the way back.

Where points are sampled, a plane's gradient is summed by one thread alone, so the result does not depend on how many
there are; where rays are rendered, each thread has sums of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import _threads
from . import _triplane_loops as loops


def texels_first(planes: Tensor) -> Tensor:
    """(b, 3, c, h, w) -> (b, 3, h w, c)."""
    rows, columns = planes[:, :1].permute(0, 1, 3, 4, 2), planes[:, 1:].permute(0, 1, 4, 3, 2)
    return torch.cat([rows.flatten(2, 3), columns.flatten(2, 3)], 1)


def texels_last(texels: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of ``texels_first``."""
    rows, columns = texels[:, :1].unflatten(2, size), texels[:, 1:].unflatten(2, size[::-1])
    return torch.cat([rows.permute(0, 1, 4, 2, 3), columns.permute(0, 1, 4, 3, 2)], 1)


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
                partial(loops.gather, source[b], places[b % len(places), i:j], height, width, found[b, i:j])
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
                    partial(loops.scatter, arrived[b], places[b % len(places)], height, width, plane, summed[b, plane])
                    for b in range(batch)
                    for plane in range(3)
                ]
            )
            to_planes = texels_last(total, (height, width))
        if ctx.needs_input_grad[1]:
            to_points = torch.zeros_like(points)
            source, steered = texels_first(planes.detach()).numpy(), to_points.numpy()
            for b in range(batch):
                loops.steer(source[b], arrived[b], places[b % len(places)], height, width, steered[b % len(places)])
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
                partial(loops.spread, xy[b], xz[b], yz[b], i, j, summed[b])
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
                partial(loops.collect, arrived[b], i, j, faces[0][b], faces[1][b], faces[2][part, b])
                for b in range(batch)
                for part, (i, j) in enumerate(parts)
            ]
        )
        return xy, xz, yz.sum(0)


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
                partial(
                    loops.show_grid, xy[b], xz[b], yz[b], depths, weight, bias, opaque, i, j, values[b], expected[b]
                )
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
                    loops.owe_grid,
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
    """(texels (b, 3, h w, k), points (p, n, s, 3), inside (p, n, s), depths (p, n, s), (h, w), weight (d,), bias (1,),
    opaque) -> sums over samples of activations (b, n, k - d), of depths and of ones (b, n).

    Texels are in the order of ``texels_first``. No gradient reaches points and depths.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        *tensors, ctx.size, weight, bias, ctx.opaque = inputs
        tensors = [tensor.detach().contiguous() for tensor in (*tensors, weight, bias)]
        ctx.save_for_backward(*tensors)
        texels, points, inside, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, rays = len(texels), points.shape[1]
        out = tensors[0].new_empty(batch, rays, texels.shape[-1] - len(weight))
        deep, seen = tensors[0].new_empty(2, batch, rays)
        totals = [tensor.numpy() for tensor in (out, deep, seen)]
        _threads.run(
            [
                partial(
                    loops.show_points,
                    texels[b],
                    *(each[b % len(points), i:j] for each in (points, inside, depths)),
                    *ctx.size,
                    weight,
                    bias,
                    ctx.opaque,
                    *(each[b, i:j] for each in totals),
                )
                for b in range(batch)
                for i, j in _threads.cuts(rays)
            ]
        )
        return out, deep, seen

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        texels, points, inside, depths, weight, bias = (tensor.numpy() for tensor in tensors)
        batch, parts = len(texels), _threads.cuts(points.shape[1])
        totals = [tensor.new_zeros(len(parts), batch, *shape) for tensor, shape in (
            (tensors[0], texels.shape[1:]), (tensors[4], weight.shape), (tensors[5], bias.shape)
        )]  # fmt: skip
        arrived = [grad.contiguous().numpy() for grad in grads]
        owed = [total.numpy() for total in totals]
        _threads.run(
            [
                partial(
                    loops.owe_points,
                    texels[b],
                    *(each[b % len(points), i:j] for each in (points, inside, depths)),
                    *ctx.size,
                    weight,
                    bias,
                    ctx.opaque,
                    *(each[b, i:j] for each in arrived),
                    *(each[part, b] for each in owed),
                )
                for b in range(batch)
                for part, (i, j) in enumerate(parts)
            ]
        )
        to_texels = totals[0][0] if len(parts) == 1 else totals[0].sum(0)
        return to_texels, None, None, None, None, totals[1].sum((0, 1)), totals[2].sum((0, 1)), None
