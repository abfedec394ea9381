"""Rendering of a volume along rays: emission and absorption, after EG3D (arXiv 2112.07945), with an opaque end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from polyscene.geometry import triplane
from polyscene.geometry.precision import without_autocast
from polyscene.geometry.triplane import Implementation

EMPTY = -1e4
"""The raw density of what is not there."""


def weights(
    density: Float[Tensor, "*n s"], depths: Float[Tensor, "*#n s"] | Float[Tensor, " s"], *, opaque_tail: bool = True
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


@dataclass(frozen=True)
class Points:
    """Rays through points in [-1, 1]³; depths may be each ray's own.

    With ``inside``, rays may leave the volume: what lies outside is empty and is not seen.
    """

    points: Float[Tensor, "p n s 3"]
    depths: Float[Tensor, "p n d"] | Float[Tensor, " d"]
    inside: Bool[Tensor, "p n s"] | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 4 or self.points.shape[-1] != 3:
            raise ValueError(f"the points of rays are (b, n, s, 3), not {tuple(self.points.shape)}")
        _check_ray(self.points.shape[2], self.depths.shape[-1])


@dataclass(frozen=True)
class Grid:
    """A ray along z for each (x_i, y_j), row by row.

    ``depths`` are those at ``z``, which they are themselves if not given (orthographic rays).
    """

    x: Float[Tensor, " ws"]
    y: Float[Tensor, " hs"]
    z: Float[Tensor, " s"]
    depths: Float[Tensor, " d"] | None = None

    def __post_init__(self) -> None:
        _check_ray(len(self.z), len(self.z if self.depths is None else self.depths))


Rays = Points | Grid


class Rendered(NamedTuple):
    """What rays show: values by name, and how deep they end.

    ``seen`` is given for rays that may leave the volume: the share of a ray's light that stopped inside, of which
    values and depth are the mean; they mean nothing where it is zero.
    """

    values: dict[str, Float[Tensor, "b n _"]]
    depth: Float[Tensor, "b n"]
    seen: Float[Tensor, "b n"] | None


class _Layers(NamedTuple):
    """The first layers of all MLPs, and the density's last one."""

    weight: Float[Tensor, "k c"]
    bias: Float[Tensor, " k"]
    density: Float[Tensor, " d"]
    density_bias: Float[Tensor, " 1"]


Sums = tuple[Float[Tensor, "b n v"], Float[Tensor, "b n"], Float[Tensor, "b n"]]
"""Of each ray: its samples' activations, their depths, and one for each, times what they count."""


def render(
    planes: Float[Tensor, "b 3 c h w"],
    rays: Rays,
    density: nn.Sequential,
    values: Mapping[str, nn.Sequential],
    *,
    opaque_tail: bool = True,
    chunk: int = 512,
    implementation: Implementation = "auto",
) -> Rendered:
    """Values and expected depth of rays through a triplane, by MLPs on its points' features.

    ``density`` and each of ``values`` are of :func:`point_mlp`'s form. Equal to sampling, running the MLPs on every
    point and compositing, but the first layers run on texels, the values' last ones on rays, and no point's activations
    are kept: the backward pass works them out anew, ``chunk`` rays at a time. At least fp32.
    A ray whose last sample is outside loses what light reaches it.
    """
    mlps = [density, *values.values()]
    with without_autocast(planes):
        first, last = [_layers(mlp)[0] for mlp in mlps], _layers(density)[1]
        layers = _Layers(
            torch.cat([layer.weight for layer in first]),
            torch.cat([layer.bias for layer in first]),
            last.weight[0],
            last.bias,
        )
        planes = planes.to(last.weight.dtype)
        if isinstance(rays, Grid):
            shown, depth, seen = _along_grid(planes, rays, layers, opaque_tail, chunk, implementation)
        else:
            shown, depth, seen = _through_points(planes, rays, layers, opaque_tail, chunk, implementation)
        inside = isinstance(rays, Points) and rays.inside is not None
        if inside:
            least = seen.clamp_min(1e-6)
            shown, depth = shown / least[..., None], depth / least
        pieces = shown.split([_layers(mlp)[1].in_features for mlp in values.values()], -1)
        named = {name: _layers(mlp)[1](piece) for (name, mlp), piece in zip(values.items(), pieces, strict=True)}
    return Rendered(named, depth, seen if inside else None)


def _along_grid(
    planes: Tensor, rays: Grid, layers: _Layers, opaque: bool, chunk: int, implementation: Implementation
) -> Sums:
    weight, bias = layers.weight[:, :, None, None], layers.bias
    hidden = functional.conv2d(planes.flatten(0, 1), weight, bias).unflatten(0, planes.shape[:2])
    xy, xz, yz = triplane.sample_axes(hidden, rays.x, rays.y, rays.z)
    depths = (rays.z if rays.depths is None else rays.depths).to(hidden.dtype)
    if triplane.use_numba(implementation, hidden) and not depths.requires_grad:
        from ._triplane_numba import RenderGrid

        shown, depth = RenderGrid.apply(xy, xz, yz, depths, layers.density, layers.density_bias, opaque)
        return shown.flatten(1, 2), depth.flatten(1), depth.flatten(1)

    def part(xy: Tensor, xz: Tensor, yz: Tensor, *density: Tensor) -> Sums:
        found = (xy[:, :, :, None] + xz[:, None] + yz[:, :, None]).flatten(1, 2)
        return _march(found, None, depths, *density, opaque=opaque)

    rows = max(1, chunk // len(rays.x))
    return _joined(
        _recomputed(part, xy[:, i : i + rows], xz, yz[:, i : i + rows], layers.density, layers.density_bias)
        for i in range(0, len(rays.y), rows)
    )


def _through_points(
    planes: Tensor, rays: Points, layers: _Layers, opaque: bool, chunk: int, implementation: Implementation
) -> Sums:
    points = rays.points.to(planes.dtype)
    if len(points) not in (1, len(planes)):
        raise ValueError(f"{len(points)} sets of points for {len(planes)} sets of planes: give one, or one each")
    depths = rays.depths.to(planes.dtype).expand(points.shape[:-1])
    inside = torch.ones_like(depths, dtype=torch.bool) if rays.inside is None else rays.inside
    if triplane.use_numba(implementation, planes) and not (points.requires_grad or depths.requires_grad):
        from ._triplane_numba import RenderPoints, texels_first

        hidden = functional.linear(texels_first(planes), layers.weight, layers.bias)
        size, density = tuple(planes.shape[-2:]), (layers.density, layers.density_bias)
        sums: Sums = RenderPoints.apply(hidden, points, inside, depths, size, *density, opaque)
        return sums

    def part(planes: Tensor, points: Tensor, inside: Tensor, depths: Tensor, *layers: Tensor) -> Sums:
        # a product with a matrix costs less here than samples of so many channels
        found = triplane.sample(planes, points.flatten(1, 2), implementation="torch")
        hidden = functional.linear(found, *layers[:2]).unflatten(1, points.shape[1:3])
        return _march(hidden, inside, depths, *layers[2:], opaque=opaque)

    return _joined(
        _recomputed(part, planes, *(each[:, i : i + chunk] for each in (points, inside, depths)), *layers)
        for i in range(0, points.shape[1], chunk)
    )


def _march(
    hidden: Float[Tensor, "b n s k"],
    inside: Bool[Tensor, "p n s"] | None,
    depths: Float[Tensor, "p n s"] | Float[Tensor, " s"],
    weight: Float[Tensor, " d"],
    bias: Float[Tensor, " 1"],
    *,
    opaque: bool,
) -> Sums:
    """The density reads the first of the activations, the values are the rest."""
    active, size = functional.softplus(hidden), len(weight)
    raw = active[..., :size] @ weight + bias
    share = weights(raw if inside is None else raw.masked_fill(~inside, EMPTY), depths, opaque_tail=opaque)
    share = share if inside is None else share * inside
    return torch.einsum("bns,bnsv->bnv", share, active[..., size:]), (share * depths).sum(-1), share.sum(-1)


def _joined(parts: Iterable[Sums]) -> Sums:
    shown, depth, seen = (torch.cat(pieces, 1) for pieces in zip(*parts, strict=True))
    return shown, depth, seen


def _recomputed(part: Callable[..., Sums], *inputs: Tensor) -> Sums:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return part(*inputs)
    sums: Sums = checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)
    return sums


def _layers(mlp: nn.Sequential) -> tuple[nn.Linear, nn.Linear]:
    match list(mlp):
        case [nn.Linear() as first, nn.Softplus(), nn.Linear() as last]:
            return first, last
    raise ValueError(f"an MLP for rays is linear, softplus, linear, as point_mlp makes it, not {mlp}")


def _check_ray(samples: int, depths: int) -> None:
    if samples < 2 or depths != samples:
        raise ValueError(f"a ray needs two samples or more, and a depth for each: {samples} and {depths}")
