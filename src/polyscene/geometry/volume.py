"""Rendering of a volume along rays: emission and absorption, after EG3D (arXiv 2112.07945), with an opaque end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from polyscene.geometry import triplane
from polyscene.geometry.precision import without_autocast
from polyscene.geometry.triplane import Implementation

Rendered = tuple[dict[str, Tensor], Tensor]


def weights(
    density: Float[Tensor, "*n s"], depths: Float[Tensor, "*n s"] | Float[Tensor, " s"], *, opaque_tail: bool = True
) -> Float[Tensor, "*n s"]:
    """What each sample counts in its ray. ``density`` is raw: the volume's is softplus(density - 1); depths ascend.

    Between two samples density and value are the mean of theirs. With ``opaque_tail`` the last interval stops
    all light, and the weights sum to one; otherwise to the share of light that is stopped. At least fp32.
    """
    if density.shape[-1] < 2 or depths.shape[-1] != density.shape[-1]:
        raise ValueError(
            f"a ray needs two samples or more, as many depths as densities: {depths.shape[-1]}, {density.shape[-1]}"
        )
    dtype = torch.promote_types(density.dtype, torch.float32)
    with without_autocast(density):
        density, depths = density.to(dtype), depths.to(dtype)
        thickness = functional.softplus((density[..., 1:] + density[..., :-1]) / 2 - 1) * depths.diff()
        before = functional.pad(thickness[..., :-1].cumsum(-1), (1, 0)).neg().exp()
        stopped = -torch.expm1(-thickness)
        if opaque_tail:
            stopped = torch.cat([stopped[..., :-1], torch.ones_like(stopped[..., -1:])], -1)
        interval = functional.pad(before * stopped, (1, 1)) / 2
        return interval[..., 1:] + interval[..., :-1]


def composite(
    density: Float[Tensor, "b n s"],
    values: Float[Tensor, "b n s c"],
    depths: Float[Tensor, "p n s"] | Float[Tensor, " s"],
    *,
    opaque_tail: bool = True,
) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n"], Float[Tensor, "b n s"]]:
    """(values, expected depth, weights) of rays: the sums over samples of weight times value and depth.

    ``density`` is raw; depths ascend along the ray, have any unit and serve the whole batch if p is 1: see
    :func:`weights`. All three are at least fp32, under autocast too.
    """
    share = weights(density, depths, opaque_tail=opaque_tail)
    with without_autocast(density):
        return (
            torch.einsum("bns,bnsc->bnc", share, values.to(share.dtype)),
            (share * depths.to(share.dtype)).sum(-1),
            share,
        )


def point_mlp(channels: int, outputs: int, hidden: int = 64) -> nn.Sequential:
    """What :func:`render` takes for a density (``outputs`` 1) or for values: one hidden layer, softplus."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.Softplus(), nn.Linear(hidden, outputs))


def render(
    planes: Float[Tensor, "b 3 c h w"],
    points: Float[Tensor, "p n s 3"],
    depths: Float[Tensor, "p n s"] | Float[Tensor, " s"],
    density: nn.Sequential,
    values: Mapping[str, nn.Sequential],
    *,
    opaque_tail: bool = True,
    chunk: int = 512,
    implementation: Implementation = "auto",
) -> Rendered:
    """({name: (b, n, outputs)}, expected depth (b, n)) of rays through a triplane, by MLPs on its points' features.

    ``density`` and each of ``values`` are of :func:`point_mlp`'s form. Equal to sampling, running the MLPs on every
    point and compositing, but the first layers run on the planes' texels and the last ones on rays, and no
    point's activations are kept: the backward pass works them out anew, ``chunk`` rays at a time. At least fp32.
    """
    if points.ndim != 4 or points.shape[-1] != 3 or points.shape[2] < 2:
        raise ValueError(f"the points of rays are (b, n, s, 3), two or more a ray, not {tuple(points.shape)}")
    if len(points) not in (1, len(planes)):
        raise ValueError(f"{len(points)} sets of points for {len(planes)} sets of planes: give one, or one each")
    hidden = _hide(planes, [density, *values.values()])
    points, depths = points.to(hidden.dtype), depths.to(hidden.dtype).expand(points.shape[:-1])
    last, rays = _layers(density)[1], points.shape[1]
    if triplane.use_numba(implementation, hidden) and not (points.requires_grad or depths.requires_grad):
        from ._volume_numba import RenderPoints

        shown, depth = RenderPoints.apply(hidden, points, depths, last.weight[0], last.bias, opaque_tail)
        return _show(shown, depth, values)
    points, depths = (given.expand(len(planes), *given.shape[1:]) for given in (points, depths))

    def part(planes: Tensor, points: Tensor, depths: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        found = triplane.sample(planes, points.flatten(1, 2), implementation="torch")
        return _march(found.unflatten(1, points.shape[1:3]), depths, weight, bias, opaque_tail)

    parts = [
        _recomputed(part, hidden, points[:, i : i + chunk], depths[:, i : i + chunk], last.weight, last.bias)
        for i in range(0, rays, chunk)
    ]
    return _show(torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1), values)


def render_grid(
    planes: Float[Tensor, "b 3 c h w"],
    x: Float[Tensor, " ws"],
    y: Float[Tensor, " hs"],
    z: Float[Tensor, " s"],
    density: nn.Sequential,
    values: Mapping[str, nn.Sequential],
    depths: Float[Tensor, " s"] | None = None,
    *,
    opaque_tail: bool = True,
    chunk: int = 512,
    implementation: Implementation = "auto",
) -> Rendered:
    """({name: (b, hs, ws, outputs)}, expected depth (b, hs, ws)) seen along z, by one ray for each (x_i, y_j).

    As :func:`render`; ``depths`` are those at ``z``, which they are themselves if not given (orthographic rays).
    """
    depths = z if depths is None else depths
    hidden = _hide(planes, [density, *values.values()])
    xy, xz, yz = triplane.sample_axes(hidden, x, y, z)
    depths, last = depths.to(hidden.dtype), _layers(density)[1]
    if len(depths) != len(z) or len(z) < 2:
        raise ValueError(f"a ray needs two samples or more, and a depth for each: {len(z)} and {len(depths)}")
    if triplane.use_numba(implementation, hidden) and not depths.requires_grad:
        from ._volume_numba import RenderGrid

        shown, depth = RenderGrid.apply(xy, xz, yz, depths, last.weight[0], last.bias, opaque_tail)
        return _show(shown, depth, values)

    def part(xy: Tensor, xz: Tensor, yz: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        found = (xy[:, :, :, None] + xz[:, None] + yz[:, :, None]).flatten(1, 2)
        return _march(found, depths, weight, bias, opaque_tail)

    rows = max(1, chunk // len(x))
    parts = [
        _recomputed(part, xy[:, i : i + rows], xz, yz[:, i : i + rows], last.weight, last.bias)
        for i in range(0, len(y), rows)
    ]
    shown, depth = _show(torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1), values)
    size = (len(y), len(x))
    return {name: value.unflatten(1, size) for name, value in shown.items()}, depth.unflatten(1, size)


def render_within(
    planes: Float[Tensor, "b 3 c h w"],
    points: Float[Tensor, "b n s 3"],
    inside: Bool[Tensor, "b n s"],
    depths: Float[Tensor, " s"],
    density: nn.Sequential,
    values: Mapping[str, nn.Sequential],
    *,
    chunk: int = 512,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """As :func:`render`, for rays that leave the volume: what lies outside is empty and is not seen.

    Third comes the share (b, n) of a ray's light that stopped inside, of which values and depth are the mean; they mean
    nothing where it is zero. A ray whose last sample is outside loses what light reaches it.
    """
    hidden = _hide(planes, [density, *values.values()])

    def part(planes: Tensor, points: Tensor, inside: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        found = triplane.sample(planes, points.flatten(1, 2), implementation="torch").unflatten(1, points.shape[1:3])
        active, size = functional.softplus(found), weight.shape[1]
        with without_autocast(found):
            raw = functional.linear(active[..., :size], weight, bias).squeeze(-1).masked_fill(~inside, -1e4)
            share = weights(raw, depths) * inside
            seen = share.sum(-1)
            share = share / seen.clamp_min(1e-6)[..., None]
            return torch.einsum("bns,bnsc->bnc", share, active[..., size:]), (share * depths).sum(-1), seen

    last, rays = _layers(density)[1], range(0, points.shape[1], chunk)
    parts = [
        _recomputed(part, hidden, points[:, i : i + chunk], inside[:, i : i + chunk], last.weight, last.bias)
        for i in rays
    ]
    shown, depth, seen = (torch.cat(piece, 1) for piece in zip(*parts, strict=True))
    return *_show(shown, depth, values), seen


def _recomputed(part: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return part(*inputs)
    return checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)


def _layers(mlp: nn.Sequential) -> tuple[nn.Linear, nn.Linear]:
    match list(mlp):
        case [nn.Linear() as first, nn.Softplus(), nn.Linear() as last]:
            return first, last
    raise ValueError(f"an MLP for rays is linear, softplus, linear, as point_mlp makes it, not {mlp}")


def _hide(planes: Tensor, mlps: Sequence[nn.Sequential]) -> Tensor:
    """The planes after the first layers of all MLPs, before their softplus."""
    with without_autocast(planes):
        weight = torch.cat([_layers(mlp)[0].weight for mlp in mlps])
        bias = torch.cat([_layers(mlp)[0].bias for mlp in mlps])
        wide = functional.conv2d(planes.to(weight.dtype).flatten(0, 1), weight[:, :, None, None], bias)
        return wide.unflatten(0, planes.shape[:2])


def _march(
    hidden: Float[Tensor, "b n s k"], depths: Tensor, weight: Tensor, bias: Tensor, opaque_tail: bool
) -> tuple[Float[Tensor, "b n v"], Float[Tensor, "b n"]]:
    """Composited activations and depth: the density reads the first of ``hidden``, the values are the rest."""
    active, size = functional.softplus(hidden), weight.shape[1]
    with without_autocast(hidden):
        density = functional.linear(active[..., :size], weight, bias).squeeze(-1)
        shown, depth, _ = composite(density, active[..., size:], depths, opaque_tail=opaque_tail)
    return shown, depth


def _show(shown: Tensor, depth: Tensor, values: Mapping[str, nn.Sequential]) -> Rendered:
    """The last layers of the values, on rays."""
    pieces = shown.split([_layers(mlp)[1].in_features for mlp in values.values()], -1)
    with without_autocast(shown):
        return {name: _layers(mlp)[1](piece) for (name, mlp), piece in zip(values.items(), pieces, strict=True)}, depth
