"""Pictures of a street by day: sun, sky and one bounce on textured surfaces, haze, and an imperfect camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled
from polyscene.data.rooms import materials, shading
from polyscene.data.rooms import render as shared
from polyscene.data.rooms.labels import Labels
from polyscene.data.rooms.record import Quality
from polyscene.data.rooms.scene import Array, View
from polyscene.data.rooms.tracer import Hits, Tracer

from .exposure import expose
from .scene import Street
from .sky import SOFTNESS, Sky

__all__ = ["Quality", "Tracer", "picture", "prepare", "radiance"]

FAR = 500.0  # metres a shadow may fall


@dataclass(frozen=True)
class _Effort:
    """``step``: soft light is found at every such pixel of every such row and carried to the others."""

    step: int
    sun_rays: int
    sky_rays: int
    filters: tuple[tuple[int, int], ...]  # step and radius of each pass, in those pixels


_EFFORT: dict[str, _Effort] = {
    "fast": _Effort(2, 1, 1, ((1, 1), (2, 1), (4, 1))),
    "high": _Effort(1, 6, 16, ((1, 1),)),
}


class _Daylight:
    """What every view of a street shares: its materials and its sky."""

    def __init__(self, street: Street) -> None:
        self.palette = materials.Palette(street.parts)
        self.sky = Sky(street.weather)
        self.haze = np.float32(street.weather.haze)


@compiled(fastmath=True)
def _sunward(point, normal, geometric, part, offset, sun, softness, random, origin, direction, cosine):  # type: ignore[no-untyped-def]
    """Rays to the sun's disc and the ``cosine`` (n,) it falls with, 0 where it is behind the surface."""
    for i in range(len(part)):
        cosine[i] = 0
        if part[i] < 0:
            continue
        dx = sun[0] + softness * (2 * random[i, 0] - 1)
        dy = sun[1] + softness * (2 * random[i, 1] - 1)
        dz = sun[2] + softness * (2 * random[i, 2] - 1)
        if geometric[i, 0] * dx + geometric[i, 1] * dy + geometric[i, 2] * dz <= 0:
            continue
        cosine[i] = max(normal[i, 0] * dx + normal[i, 1] * dy + normal[i, 2] * dz, np.float32(0))
        direction[i, 0], direction[i, 1], direction[i, 2] = dx, dy, dz
        for k in range(3):
            origin[i, k] = point[i, k] + geometric[i, k] * offset[i]


@compiled(fastmath=True)
def _soft(part, distance, facing, albedo, look, cosine, sunlight, sky, out):  # type: ignore[no-untyped-def]
    """Radiance ``out`` (n, 3) of what secondary rays hit: its sunlight and its guessed share of the ``sky``."""
    for i in range(len(part)):
        k = part[i]
        if k < 0:
            continue
        near = distance[i] / (distance[i] + np.float32(1.5))
        share = (np.float32(0.45) + np.float32(0.35) * facing[i, 2]) * near
        for c in range(3):
            light = sunlight[c] * cosine[i] + sky[c] * share
            out[i, c] = albedo[i, c] * light * np.float32(1 / np.pi) + look[k, 8] * albedo[i, c]


@compiled(fastmath=True)
def _veil(colour, depth, length, part, haze, air):  # type: ignore[no-untyped-def]
    for i in range(len(part)):
        if part[i] >= 0:
            clear = np.exp(-haze * np.float32(depth[i]) * length[i])
            for c in range(3):
                colour[i, c] = colour[i, c] * clear + air[i, c] * (1 - clear)


def _offset(hits: Hits) -> Array:
    return np.asarray(1e-3 * np.minimum(hits.depth, 20.0) + 1e-3, np.float32)


def _sunlit(
    tracer: Tracer, day: _Daylight, point: Array, normal: Array, geometric: Array, part: NDArray[np.int32],
    offset: Array, random: Array,
) -> Array:  # fmt: skip
    """Cosine (n,) of the sun on each surface, 0 in the shade."""
    origin, direction = np.zeros_like(point), np.zeros_like(point)
    cosine = np.empty(len(point), np.float32)
    _sunward(
        point, normal, geometric, part, offset, day.sky.sun, np.float32(SOFTNESS), random, origin, direction, cosine
    )  # fmt: skip
    if day.sky.sunlight.max() <= 0:
        return cosine
    live = np.flatnonzero(cosine > 0)
    cosine[live[tracer.occluded(origin[live], direction[live], np.array(FAR, np.float32))]] = 0
    return cosine


def _arriving(
    tracer: Tracer, day: _Daylight, origin: Array, direction: Array, random: Array, textured: Array | None = None
) -> Array:
    """Radiance (n, 3) from ``direction``; with ``textured`` (n,), a footprint a metre, surfaces keep their texture."""
    distance, triangle = tracer.cast(origin, direction)
    missed = triangle < 0
    out = np.zeros_like(origin)
    out[missed] = np.minimum(day.sky.radiance(direction[missed]), 6)
    hit = np.flatnonzero(~missed)
    triangle, distance, way = triangle[hit], distance[hit], direction[hit]
    part = tracer.part[triangle]
    point = origin[hit] + way * distance[:, None]
    facing = tracer.normals_of(triangle, way)
    offset = np.full(len(hit), 5e-3, np.float32)
    cosine = _sunlit(tracer, day, point, facing, facing, part, offset, random[hit])
    if textured is None:
        albedo = day.palette.mean_albedo[part]
    else:
        albedo, glow = np.empty_like(point), np.empty_like(point)
        materials.surface(*day.palette.tables(), point, facing, part, textured[hit] * distance, albedo, glow)
    got = np.zeros_like(point)
    _soft(part, distance, facing, albedo, day.palette.look, cosine, day.sky.sunlight, day.sky.open, got)
    out[hit] = got
    return out


def _skylight(tracer: Tracer, day: _Daylight, hits: Hits, effort: _Effort, rng: np.random.Generator) -> Array:
    """Irradiance (n, 3) from the sky and what it lights, unfiltered."""
    seed = int(rng.integers(1 << 32))
    offset = _offset(hits)
    random = np.empty((len(hits.part), 5), np.float32)
    origin, direction = np.empty_like(hits.point), np.empty_like(hits.point)
    total = np.zeros_like(hits.point)
    seen = np.flatnonzero(hits.part >= 0)
    for turn in range(effort.sky_rays):
        shared._spread(hits.pixel / effort.step, shared._AXES, shared._ORDER, turn, seed, random)
        shading.hemisphere(
            hits.point, hits.normal, hits.geometric, offset, random[:, 3:5], origin, direction
        )  # fmt: skip
        total[seen] += np.float32(np.pi) * _arriving(tracer, day, origin[seen], direction[seen], random[seen, :3])
    return np.asarray(total / np.float32(effort.sky_rays), np.float32)


def _reflections(tracer: Tracer, day: _Daylight, hits: Hits, sun: Array, rng: np.random.Generator) -> Array:
    """Mirror images of sky and surroundings, and the sun's highlight (n, 3), on glossy parts."""
    look = day.palette.look
    shine = np.zeros_like(hits.point)
    glossy = np.flatnonzero((hits.part >= 0) & (look[hits.part, 7] > 0.25))
    if len(glossy) == 0:
        return shine
    point, normal, ray = hits.point[glossy], hits.normal[glossy], hits.ray[glossy]
    mine = look[hits.part[glossy]]
    origin, direction = np.empty_like(point), np.empty_like(point)
    random = rng.random((len(glossy), 3), np.float32)
    shading.mirror(
        point, normal, hits.geometric[glossy], ray, _offset(hits)[glossy] + np.float32(5e-3), mine[:, 12].copy(),
        random, origin, direction,
    )  # fmt: skip
    seen = _arriving(tracer, day, origin, direction, random, mine[:, 12])
    cosine = np.clip(-np.einsum("nk,nk->n", ray, normal), 0, 1)
    fresnel = mine[:, 7] * (0.05 + 0.75 * (1 - cosine) ** 5)
    half = day.sky.sun - ray
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    power = np.minimum(2 / np.maximum(mine[:, 12] ** 4, 4e-4), 800.0)
    lobe = np.clip(np.einsum("nk,nk->n", half, normal), 0, 1) ** power * (power + 2) / 8 * 0.06 / np.pi
    glint = (lobe * mine[:, 7] * sun[glossy])[:, None] * day.sky.sunlight
    shine[glossy] = seen * fresnel[:, None] + np.minimum(glint, 8)
    return shine


def _lit(
    tracer: Tracer, day: _Daylight, hits: Hits, size: tuple[int, int], effort: _Effort, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Light (h * w, 3) on what the pixels see, and its reflections (h * w, 3) towards the camera."""
    height, width = size
    step, columns = effort.step, -(-width // effort.step)
    random = np.empty((len(hits.part), 3), np.float32)
    sun = np.zeros(len(hits.part), np.float32)
    seed = int(rng.integers(1 << 32))
    for turn in range(effort.sun_rays):
        shared._spread(hits.pixel, shared._AXES, shared._ORDER, turn, seed, random)
        sun += _sunlit(tracer, day, hits.point, hits.normal, hits.geometric, hits.part, _offset(hits), random)
    sun /= effort.sun_rays
    few = hits if step == 1 else hits.at(np.arange(height * width).reshape(size)[::step, ::step].ravel())
    light, covered = _skylight(tracer, day, few, effort, rng), (few.part >= 0).astype(np.float32)
    scale = (0.006 * few.depth + 0.004).astype(np.float32)
    for apart, radius in effort.filters:
        smoothed, weight = np.empty_like(light), np.empty_like(covered)
        shading.smooth(
            light, covered, few.point, few.normal, few.part, columns, apart, radius, scale, smoothed, weight
        )  # fmt: skip
        light, covered = smoothed, weight
    soft, unused = np.empty_like(hits.point), np.empty_like(hits.point)
    if step == 1:
        soft = light
    else:
        lone = np.zeros(len(hits.part), np.bool_)
        shading.carry(
            light, light, few.part, few.normal, columns, step, hits.part, hits.normal, width, soft, unused, lone
        )  # fmt: skip
        alone = np.flatnonzero(lone)
        if len(alone):
            soft[alone] = _skylight(tracer, day, hits.at(alone), effort, rng)
    return soft + sun[:, None] * day.sky.sunlight, _reflections(tracer, day, hits, sun, rng)


def prepare(tracer: Tracer) -> _Daylight:
    """Materials and sky of the tracer's street: made with its first picture, or here, and kept."""
    street = tracer.scene
    if not isinstance(street, Street):
        raise TypeError(f"daylight needs a Street, got {type(street).__name__}")
    return tracer.remember("daylight", lambda: _Daylight(street))


def _seen(day: _Daylight, hits: Hits, pixel_size: float, light: Array, shine: Array, length: Array) -> Array:
    """Radiance (n, 3) that reaches the camera through the air."""
    albedo, glow = shared._textured(day.palette, hits, pixel_size)
    colour = np.empty_like(light)
    shared._surface_light(albedo, glow, day.palette.look, hits.part, light, shine, colour)
    level = hits.ray.copy()
    level[:, 2] = np.maximum(level[:, 2], 0.02)
    sky = day.sky.radiance(level)
    away = hits.part < 0
    colour[away] = sky[away]
    _veil(colour, hits.depth, length, hits.part, day.haze, np.minimum(sky, 2))
    return colour


def _stretch(view: View, pixel: NDArray[np.float64]) -> Array:
    """Length (n,) of rays that are one long along the optical axis."""
    x = (pixel[:, 0] - view.intrinsics[0, 2]) / view.intrinsics[0, 0]
    y = (pixel[:, 1] - view.intrinsics[1, 2]) / view.intrinsics[1, 1]
    return np.asarray(np.sqrt(1 + x * x + y * y), np.float32)


def radiance(tracer: Tracer, view: View, quality: Quality = "fast", seed: int = 0) -> Array:
    """Linear RGB radiance (h, w, 3) that reaches the camera, before lens and sensor."""
    if quality not in _EFFORT:
        raise ValueError(f"unknown quality {quality!r}; choose one of: {', '.join(_EFFORT)}")
    effort, day = _EFFORT[quality], prepare(tracer)
    height, width = view.size
    hits = tracer.look(view)
    rng = shared._generator(tracer.scene, view, seed, 0)
    light, shine = _lit(tracer, day, hits, view.size, effort, rng)
    pixel_size = float(1 / view.intrinsics[0, 0])
    colour = _seen(day, hits, pixel_size, light, shine, _stretch(view, hits.pixel))

    jagged = np.zeros(len(hits.part), np.bool_)
    facing = np.where((hits.part < 0)[:, None], np.array([0, 0, 1], np.float32), hits.normal)
    shared._jagged(hits.part, hits.depth, facing, width, jagged)
    rough = np.flatnonzero(jagged)
    if len(rough):
        stencil = shared._STENCIL
        pixel = (hits.pixel[rough][:, None] + stencil).reshape(-1, 2)
        extra = tracer.through(view, pixel)
        lender = np.repeat(rough, len(stencil))
        shared._borrow(
            extra.part, extra.point, extra.normal, pixel, hits.part, hits.point, hits.normal, width, lender
        )  # fmt: skip
        borrowed = light[lender]
        borrowed[hits.part[lender] < 0] = 0.6 * day.sky.open  # what stands alone before the sky
        finer = _seen(day, extra, 0.5 * pixel_size, borrowed, shine[lender], _stretch(view, pixel))
        white = np.float32(5 * np.median(colour[::7]) + 1e-3)  # the sky's white must not eat a branch
        samples = np.concatenate([finer.reshape(-1, len(stencil), 3), colour[rough, None]], 1)
        colour[rough] = np.minimum(samples, white).mean(1)
    return colour.reshape(height, width, 3)


def picture(tracer: Tracer, view: View, labels: Labels, quality: Quality = "fast", seed: int = 0) -> NDArray[np.uint8]:
    """What a camera at ``view`` records: sRGB (h, w, 3). The same (seed, scene, view) gives the same picture.

    ``fast`` and ``high`` share geometry, labels, materials and the camera's draw; ``high`` traces more rays to sun and
    sky. Raises ValueError for an unknown quality or labels of another size.
    """
    if labels.depth.shape != tuple(view.size):
        raise ValueError(f"labels are {labels.depth.shape}, the view is {tuple(view.size)}: pass the view's own labels")
    light = radiance(tracer, view, quality, seed)
    camera = np.random.default_rng([seed, *tracer.scene.seed, 1])
    return expose(light, ~labels.valid, camera, shared._generator(tracer.scene, view, seed, 2))
