"""Pictures of a scene: soft light from lamps and walls on textured surfaces, seen by an imperfect camera."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from . import materials, shading
from .labels import Labels
from .scene import Array, Scene, View
from .sensor import expose
from .tracer import Hits, Tracer

__all__ = ["Quality", "Tracer", "picture", "radiance"]

Quality = Literal["fast", "high"]
_AXES = 1.1347241384 ** -np.arange(1.0, 6.0)  # steps of a low-discrepancy sequence in five dimensions
_ORDER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])  # of the pixels in a tile
_STENCIL = np.array([[0.0, 0.36], [0.31, -0.18], [-0.31, -0.18]])  # about the pixel's own sample


@dataclass(frozen=True)
class _Effort:
    """``step``: light is found at every such pixel of every such row and carried to the others."""

    step: int
    lamp_rays: int
    bounce_rays: int
    node_rays: int
    node_spacing: float  # metres
    filters: tuple[tuple[int, int], ...]  # step and radius of each pass, in those pixels


_EFFORT: dict[str, _Effort] = {
    "fast": _Effort(2, 2, 1, 40, 0.85, ((1, 1), (2, 1), (4, 1))),
    "high": _Effort(1, 8, 12, 256, 0.6, ((1, 2),)),
}


@compiled()
def _spread(pixel, axes, order, turn, seed, out):  # type: ignore[no-untyped-def]
    """Numbers ``out`` (n, d) in [0, 1): evenly spread within each tile of 4 x 4 pixels, unrelated between tiles."""
    mask = 0xFFFFFFFF
    for i in range(len(pixel)):
        x, y = int(np.floor(pixel[i, 0])), int(np.floor(pixel[i, 1]))
        number = order[y & 3, x & 3] + 16 * turn + 1
        state = ((x >> 2) * 73856093 ^ (y >> 2) * 19349663 ^ seed) & mask
        for k in range(out.shape[1]):
            state = (state * 747796405 + 2891336453) & mask
            word = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & mask
            value = number * axes[k] + ((word >> 22) ^ word) / 4294967296.0
            out[i, k] = min(value - np.floor(value), 0.999999)


@compiled(fastmath=True)
def _jagged(part, depth, normal, width, out):  # type: ignore[no-untyped-def]
    """Mark in ``out`` (n,) pixels that differ from a neighbour in part, facing or distance."""
    height = len(part) // width
    for y in range(height):
        for x in range(width):
            i = y * width + x
            for k in range(2):
                if (k == 0 and x + 1 == width) or (k == 1 and y + 1 == height):
                    continue
                j = i + 1 if k == 0 else i + width
                facing = normal[i, 0] * normal[j, 0] + normal[i, 1] * normal[j, 1] + normal[i, 2] * normal[j, 2]
                if part[i] != part[j] or facing < 0.9 or abs(depth[i] - depth[j]) > 0.1 * depth[i]:
                    out[i] = True
                    out[j] = True


@compiled(fastmath=True)
def _borrow(sub_part, sub_point, sub_normal, pixel, part, point, normal, width, out):  # type: ignore[no-untyped-def]
    """For each extra sample, the pixel ``out`` (n,) of its neighbourhood that shares its surface best."""
    height = len(part) // width
    for i in range(len(sub_part)):
        x0, y0 = int(np.floor(pixel[i, 0] + 0.5)), int(np.floor(pixel[i, 1] + 0.5))
        best = np.float32(-1e9)
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                j = y * width + x
                if part[j] < 0:
                    continue
                facing, apart = np.float32(0), np.float32(0)
                for k in range(3):
                    facing += sub_normal[i, k] * normal[j, k]
                    apart += (sub_point[i, k] - point[j, k]) ** 2
                score = facing - 2 * np.sqrt(apart) + (2 if part[j] == sub_part[i] else 0)
                if score > best:
                    best = score
                    out[i] = j


@compiled(fastmath=True)
def _surface_light(albedo, glow, look, part, light, shine, out):  # type: ignore[no-untyped-def]
    """Radiance that leaves a surface: irradiance on its albedo, its reflections and its own glow."""
    for i in range(len(part)):
        k = part[i]
        dull = np.float32(1)
        if k >= 0:
            if look[k, 13] > 0:
                dull = np.float32(1) - np.float32(0.7) * look[k, 7]
            if look[k, 8] > 0:
                dull *= np.float32(0.1)
        for c in range(3):
            out[i, c] = albedo[i, c] * dull * light[i, c] * np.float32(1 / np.pi) + shine[i, c] + glow[i, c]


@compiled(fastmath=True)
def _bounce(triangle, distance, part_of, mean_albedo, look, field_light, ambient, out):  # type: ignore[no-untyped-def]
    """Irradiance from one cosine-weighted ray: the far surface's light, and ambient where nothing is near."""
    for i in range(len(triangle)):
        t = triangle[i]
        if t < 0:
            for c in range(3):
                out[i, c] = ambient[c] * np.float32(np.pi)
            continue
        k = part_of[t]
        open_ = distance[i] / (distance[i] + np.float32(0.5))
        lit = np.float32(0) if look[k, 8] > 0 else np.float32(1)
        for c in range(3):
            out[i, c] = mean_albedo[k, c] * field_light[i, c] * lit + ambient[c] * np.float32(np.pi) * open_


class _Lighting:
    """What every view of a scene shares: its materials, its lamps and its field of soft light."""

    def __init__(self, tracer: Tracer, effort: _Effort) -> None:
        scene = tracer.scene
        self.palette = materials.Palette(scene.parts)
        self.lamps = shading.lamp_table(scene.lights)
        self.ambient = np.asarray(scene.ambient, np.float32)
        self.field = self._soak(tracer, scene, effort)

    def _soak(self, tracer: Tracer, scene: Scene, effort: _Effort) -> shading.LightField:
        rays = effort.node_rays
        origin, spacing, counts = shading.field_nodes(scene, effort.node_spacing)
        index = np.stack(np.meshgrid(*[np.arange(c) for c in counts], indexing="ij"), -1).reshape(-1, 3)
        nodes = (origin + index * spacing).astype(np.float32)
        k = np.arange(rays) + 0.5
        z, turn = 1 - 2 * k / rays, k * np.pi * (3 - 5**0.5)
        sphere = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], 1)
        direction = np.tile(sphere.astype(np.float32), (len(nodes), 1))
        start = np.repeat(nodes, rays, 0)
        distance, triangle = tracer.cast(start, direction)
        hit = triangle >= 0
        point = start + direction * np.where(hit, distance, 0)[:, None]
        normal = tracer.normals_of(triangle, direction)
        random = np.random.default_rng([*scene.seed, 5]).random((len(point), 3), np.float32)
        direct = _lamp_light(tracer, self.lamps, point, normal, normal, np.full(len(point), 2e-3, np.float32), random)
        part = np.where(hit, tracer.part[triangle], -1)
        albedo = self.palette.mean_albedo[part] * (self.palette.look[part, 8:9] <= 0) / np.float32(np.pi)
        missed = np.where(hit[:, None], 0, self.ambient[None]).astype(np.float32)
        solid = np.float32(4 * np.pi / rays)
        first, both = (np.zeros((len(nodes), 6, 3), np.float32) for _ in range(2))
        shading.gather(direction, albedo * direct + missed, rays, solid, first)
        shape = (*counts, 6, 3)
        bounced = first
        for _ in range(2):
            again = np.empty_like(point)
            shading.lookup(bounced.reshape(shape), origin, spacing, point, normal, again)
            bounced = first.copy()
            shading.gather(direction, albedo * again, rays, solid, bounced)
        faces = np.tile(shading.FACES, (len(nodes), 1))
        at = np.repeat(nodes, 6, 0)
        for sample in range(4):
            shift = np.random.default_rng([*scene.seed, 6, sample]).random((len(at), 3), np.float32)
            both += _lamp_light(tracer, self.lamps, at, faces, faces, np.zeros(len(at), np.float32), shift).reshape(
                -1, 6, 3
            )
        return shading.LightField(
            origin, spacing, bounced.reshape(shape), (bounced + both / np.float32(4)).reshape(shape)
        )


def _lamp_light(
    tracer: Tracer, lamps: Array, point: Array, normal: Array, geometric: Array, offset: Array, random: Array
) -> Array:
    """Irradiance (n, 3) straight from one lamp a hit, picked by contribution."""
    origin, direction, light = (np.empty((len(point), 3), np.float32) for _ in range(3))
    reach = np.empty(len(point), np.float32)
    shading.lamps(lamps, point, normal, geometric, offset, random, origin, direction, reach, light)
    live = np.flatnonzero(reach > 0)
    light[live[tracer.occluded(origin[live], direction[live], reach[live])]] = 0
    return light


def _textured(palette: materials.Palette, hits: Hits, pixel_size: float) -> tuple[Array, Array]:
    """Albedo and glow (n, 3) of what is seen, averaged over a pixel's footprint."""
    facing = np.abs(np.einsum("nk,nk->n", hits.ray, hits.geometric))
    footprint = (hits.depth * pixel_size).astype(np.float32) / np.sqrt(np.maximum(facing, 0.08))
    albedo, glow = (np.empty_like(hits.point) for _ in range(2))
    materials.surface(*palette.tables(), hits.point, hits.geometric, hits.part, footprint, albedo, glow)
    return albedo, glow


def _irradiance(
    tracer: Tracer, lighting: _Lighting, hits: Hits, effort: _Effort, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Light (n, 3) that falls on each surface, unfiltered, and the part (n, 3) straight from the lamps."""
    point, normal, geometric = hits.point, hits.normal, hits.geometric
    offset = (1e-3 * hits.depth + 5e-4).astype(np.float32)
    pixel = hits.pixel / effort.step
    seeds = rng.integers(1 << 32, size=2)
    direct, soft = np.zeros_like(point), np.zeros_like(point)
    random = np.empty((len(point), 5), np.float32)
    for turn in range(effort.lamp_rays):
        _spread(pixel, _AXES, _ORDER, turn, seeds[0], random)
        direct += _lamp_light(tracer, lighting.lamps, point, normal, geometric, offset, random[:, :3])
    origin, direction, arriving, got = (np.empty_like(point) for _ in range(4))
    field = lighting.field
    for turn in range(effort.bounce_rays):
        _spread(pixel, _AXES, _ORDER, turn, seeds[1], random)
        shading.hemisphere(point, normal, geometric, offset, random[:, 3:5], origin, direction)
        distance, triangle = tracer.cast(origin, direction)
        far = origin + direction * np.where(triangle >= 0, distance, 0)[:, None]
        facing = tracer.normals_of(triangle, direction)
        shading.lookup(field.whole, field.origin, field.spacing, far, facing, arriving)
        _bounce(
            triangle, distance, tracer.part, lighting.palette.mean_albedo, lighting.palette.look, arriving,
            lighting.ambient, got,
        )  # fmt: skip
        soft += got
    direct /= effort.lamp_rays
    total = direct + soft / np.float32(effort.bounce_rays)
    total[hits.part < 0] = 0
    return total, direct


def _lit(
    tracer: Tracer, lighting: _Lighting, hits: Hits, size: tuple[int, int], effort: _Effort, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Light (h * w, 3) on what the pixels see, and its reflections (h * w, 3) towards the camera."""
    height, width = size
    step = effort.step
    few = hits
    if step > 1:
        few = hits.at(np.arange(height * width).reshape(size)[::step, ::step].ravel())
    columns = -(-width // step)
    light, direct = _irradiance(tracer, lighting, few, effort, rng)
    covered = (few.part >= 0).astype(np.float32)
    scale = (0.006 * few.depth + 0.004).astype(np.float32)
    for apart, radius in effort.filters:
        smoothed, weight = np.empty_like(light), np.empty_like(covered)
        shading.smooth(
            light, covered, few.point, few.normal, few.part, columns, apart, radius, scale, smoothed, weight
        )  # fmt: skip
        light, covered = smoothed, weight
    glints, covered = _reflections(tracer, lighting, few, _open(direct, light), rng), (few.part >= 0).astype(np.float32)
    shine = np.empty_like(glints)
    shading.smooth(
        glints, covered, few.point, few.normal, few.part, columns, 1, 1, scale, shine, np.empty_like(covered)
    )  # fmt: skip
    if step == 1:
        return light, shine
    full_light, full_shine = np.empty_like(hits.point), np.empty_like(hits.point)
    lone = np.zeros(len(hits.part), np.bool_)
    shading.carry(
        light, shine, few.part, few.normal, columns, step, hits.part, hits.normal, width, full_light, full_shine, lone
    )
    alone = np.flatnonzero(lone)
    if len(alone):
        rest = hits.at(alone)
        light, direct = _irradiance(tracer, lighting, rest, effort, rng)
        full_light[alone] = light
        full_shine[alone] = _reflections(tracer, lighting, rest, _open(direct, light), rng)
    return full_light, full_shine


def _open(direct: Array, total: Array) -> Array:
    """How much (n,) of the light comes straight from the lamps."""
    return np.clip(direct.sum(1) / np.maximum(total.sum(1), 1e-6), 0, 1).astype(np.float32)


def _reflections(tracer: Tracer, lighting: _Lighting, hits: Hits, shade: Array, rng: np.random.Generator) -> Array:
    """Highlights and mirror images (n, 3) on glossy parts."""
    look = lighting.palette.look
    shine = np.empty_like(hits.point)
    shading.highlights(lighting.lamps, look, hits.part, hits.point, hits.normal, hits.ray, shade, shine)
    glossy = np.flatnonzero((hits.part >= 0) & (look[hits.part, 7] > 0.25))
    if len(glossy) == 0:
        return shine
    point, normal, ray = hits.point[glossy], hits.normal[glossy], hits.ray[glossy]
    mine = look[hits.part[glossy]]
    offset = (1e-3 * hits.depth[glossy] + 1e-3).astype(np.float32)
    origin, direction, arriving = (np.empty_like(point) for _ in range(3))
    random = rng.random((len(glossy), 3), np.float32)
    shading.mirror(
        point, normal, hits.geometric[glossy], ray, offset, mine[:, 12].copy(), random, origin, direction
    )  # fmt: skip
    distance, triangle = tracer.cast(origin, direction)
    part = np.where(triangle >= 0, tracer.part[triangle], -1).astype(np.int32)
    far = origin + direction * np.where(triangle >= 0, distance, 0)[:, None]
    facing = tracer.normals_of(triangle, direction)
    field = lighting.field
    shading.lookup(field.whole, field.origin, field.spacing, far, facing, arriving)
    albedo, glow, seen = (np.empty_like(point) for _ in range(3))
    footprint = (distance * mine[:, 12]).astype(np.float32)
    materials.surface(*lighting.palette.tables(), far, facing, part, footprint, albedo, glow)
    _surface_light(albedo, glow, look, part, arriving, np.zeros_like(glow), seen)
    cosine = np.clip(-np.einsum("nk,nk->n", ray, normal), 0, 1)
    fresnel = mine[:, 7] * (0.05 + 0.75 * (1 - cosine) ** 5)
    tint = np.where(mine[:, 13:14] > 0, 0.7 * mine[:, 7:8] * mine[:, 0:3], fresnel[:, None])
    shine[glossy] += np.minimum(seen, 6) * tint
    return shine


def prepare(tracer: Tracer, quality: Quality = "fast") -> _Lighting:
    """Materials and soft light of the tracer's scene: made with its first picture, or here, and kept."""
    return tracer.remember(quality, lambda: _Lighting(tracer, _EFFORT[quality]))


def radiance(tracer: Tracer, view: View, quality: Quality = "fast", seed: int = 0) -> Array:
    """Linear RGB radiance (h, w, 3) that reaches the camera, before lens and sensor."""
    if quality not in _EFFORT:
        raise ValueError(f"unknown quality {quality!r}; choose one of: {', '.join(_EFFORT)}")
    effort = _EFFORT[quality]
    lighting = prepare(tracer, quality)
    height, width = view.size
    hits = tracer.look(view)
    rng = _generator(tracer.scene, view, seed, 0)
    light, shine = _lit(tracer, lighting, hits, view.size, effort, rng)
    pixel_size = float(1 / view.intrinsics[0, 0])
    colour = np.empty_like(light)
    albedo, glow = _textured(lighting.palette, hits, pixel_size)
    _surface_light(albedo, glow, lighting.palette.look, hits.part, light, shine, colour)

    jagged = np.zeros(len(hits.part), np.bool_)
    _jagged(hits.part, hits.depth, hits.normal, width, jagged)
    rough = np.flatnonzero(jagged)
    if len(rough):
        pixel = (hits.pixel[rough][:, None] + _STENCIL).reshape(-1, 2)
        extra = tracer.through(view, pixel)
        lender = np.repeat(rough, len(_STENCIL))
        _borrow(
            extra.part, extra.point, extra.normal, pixel, hits.part, hits.point, hits.normal, width, lender
        )  # fmt: skip
        albedo, glow = _textured(lighting.palette, extra, 0.5 * pixel_size)
        finer = np.empty_like(albedo)
        _surface_light(albedo, glow, lighting.palette.look, extra.part, light[lender], shine[lender], finer)
        white = np.float32(5 * np.median(colour[::7]) + 1e-3)  # a window's white must not eat its frame
        samples = np.concatenate([finer.reshape(-1, len(_STENCIL), 3), colour[rough, None]], 1)
        colour[rough] = np.minimum(samples, white).mean(1)
    return colour.reshape(height, width, 3)


def picture(tracer: Tracer, view: View, labels: Labels, quality: Quality = "fast", seed: int = 0) -> NDArray[np.uint8]:
    """What a camera at ``view`` records: sRGB (h, w, 3). The same (seed, scene, view) gives the same picture.

    ``fast`` and ``high`` share geometry, labels, materials and the camera's draw; ``high`` traces more shadow and
    bounce rays. Raises ValueError for an unknown quality or labels of another size.
    """
    if labels.depth.shape != tuple(view.size):
        raise ValueError(f"labels are {labels.depth.shape}, the view is {tuple(view.size)}: pass the view's own labels")
    light = radiance(tracer, view, quality, seed)
    camera = np.random.default_rng([seed, *tracer.scene.seed, 1])
    return expose(light, camera, _generator(tracer.scene, view, seed, 2))


def _generator(scene: Scene, view: View, seed: int, purpose: int) -> np.random.Generator:
    pose = np.concatenate([np.ravel(view.world_from_camera), np.ravel(view.intrinsics)]).astype(np.float32)
    return np.random.default_rng([seed, *scene.seed, zlib.crc32(pose.tobytes()), purpose])
