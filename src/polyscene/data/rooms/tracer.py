"""Rays through a scene: embree finds the triangle, double-precision planes say where exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numba import njit
from numpy.typing import NDArray

from .scene import Array, Part, Scene, View

T = TypeVar("T")
Ints = NDArray[np.int32]
CREASE = np.cos(np.radians(50))  # a smooth part keeps edges sharper than this


@dataclass(frozen=True)
class Hits:
    """Where the rays of a view meet the scene, one row a ray; -1, zeros and far depth 0 where they leave it.

    ``pixel`` (n, 2) x, y; ``ray`` (n, 3) unit, world; ``triangle``, ``part`` (n,); ``depth`` (n,) float64 metres;
    ``point`` (n, 3) world; ``geometric`` and ``normal`` (n, 3) world, facing the camera, the second interpolated
    on smooth parts; ``slope`` (n, 2) the change of 1/depth from one pixel to the next along x and y.
    """

    pixel: NDArray[np.float64]
    ray: Array
    triangle: Ints
    part: Ints
    depth: NDArray[np.float64]
    point: Array
    geometric: Array
    normal: Array
    slope: NDArray[np.float64]


@njit(cache=True)
def _corner_normals(faces, face_normals, angle, vertex_count, crease, out):  # type: ignore[no-untyped-def]
    """Normals (m, 3, 3) at the corners of ``faces``: the mean over faces within the crease, by corner angle (m, 3)."""
    start = np.zeros(vertex_count + 1, np.int64)
    for face in faces:
        for v in face:
            start[v + 1] += 1
    start = np.cumsum(start)
    fill = start.copy()
    around = np.empty(start[-1], np.int64)
    for f in range(len(faces)):
        for c in range(3):
            v = faces[f, c]
            around[fill[v]] = 3 * f + c
            fill[v] += 1
    for f in range(len(faces)):
        n = face_normals[f]
        for c in range(3):
            v = faces[f, c]
            x, y, z = 0.0, 0.0, 0.0
            for j in range(start[v], start[v + 1]):
                m = face_normals[around[j] // 3]
                if n[0] * m[0] + n[1] * m[1] + n[2] * m[2] > crease:
                    a = angle[around[j] // 3, around[j] % 3]
                    x, y, z = x + a * m[0], y + a * m[1], z + a * m[2]
            length = np.sqrt(x * x + y * y + z * z)
            if length > 0:
                out[f, c, 0], out[f, c, 1], out[f, c, 2] = x / length, y / length, z / length
            else:
                out[f, c] = n


@njit(cache=True)
def _rays(carry, pixel, out):  # type: ignore[no-untyped-def]
    for i in range(len(pixel)):
        x, y = pixel[i, 0], pixel[i, 1]
        for k in range(3):
            out[i, k] = carry[k, 0] * x + carry[k, 1] * y + carry[k, 2]


@njit(cache=True)
def _resolve(  # type: ignore[no-untyped-def]
    carry, eye, pixel, triangle, bary, plane, corner, depth, ray, point, geometric, normal, slope
):
    for i in range(len(pixel)):
        x, y = pixel[i, 0], pixel[i, 1]
        dx = carry[0, 0] * x + carry[0, 1] * y + carry[0, 2]
        dy = carry[1, 0] * x + carry[1, 1] * y + carry[1, 2]
        dz = carry[2, 0] * x + carry[2, 1] * y + carry[2, 2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        ray[i, 0], ray[i, 1], ray[i, 2] = dx / length, dy / length, dz / length
        t = triangle[i]
        if t < 0:
            continue
        gx, gy, gz = plane[t, 0], plane[t, 1], plane[t, 2]
        away = gx * dx + gy * dy + gz * dz
        gap = plane[t, 3] - gx * eye[0] - gy * eye[1] - gz * eye[2]
        if gap == 0.0 or away == 0.0 or gap / away <= 0.0:
            triangle[i] = -1
            continue
        z = gap / away
        depth[i] = z
        slope[i, 0] = (gx * carry[0, 0] + gy * carry[1, 0] + gz * carry[2, 0]) / gap
        slope[i, 1] = (gx * carry[0, 1] + gy * carry[1, 1] + gz * carry[2, 1]) / gap
        point[i, 0], point[i, 1], point[i, 2] = eye[0] + z * dx, eye[1] + z * dy, eye[2] + z * dz
        side = -1.0 if away > 0 else 1.0
        geometric[i, 0], geometric[i, 1], geometric[i, 2] = side * gx, side * gy, side * gz
        u, v = bary[i, 0], bary[i, 1]
        w = 1 - u - v
        nx = side * (w * corner[t, 0, 0] + u * corner[t, 1, 0] + v * corner[t, 2, 0])
        ny = side * (w * corner[t, 0, 1] + u * corner[t, 1, 1] + v * corner[t, 2, 1])
        nz = side * (w * corner[t, 0, 2] + u * corner[t, 1, 2] + v * corner[t, 2, 2])
        behind = (nx * dx + ny * dy + nz * dz) / (length * length)
        if behind > 0:  # an interpolated normal past the silhouette is turned back to it
            nx, ny, nz = nx - behind * dx, ny - behind * dy, nz - behind * dz
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length < 1e-6:
            nx, ny, nz, length = side * gx, side * gy, side * gz, 1.0
        normal[i, 0], normal[i, 1], normal[i, 2] = nx / length, ny / length, nz / length


def _build(vertices: Array, faces: Ints) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return scene


def _normals(part: Part) -> tuple[NDArray[np.float64], Array]:
    """A part's planes (m, 4), normal and offset, and its corner normals (m, 3, 3)."""
    faces = np.ascontiguousarray(part.faces, np.int32)
    points = np.asarray(part.vertices, np.float64)[faces]
    a, b, c = points[:, 0], points[:, 1], points[:, 2]
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    normal = cross / np.maximum(area, 1e-300)[:, None]
    plane = np.concatenate([normal, np.sum(normal * a, 1, keepdims=True)], 1)
    corner = np.repeat(normal.astype(np.float32)[:, None], 3, 1)
    if part.smooth:
        on = np.roll(points, -1, 1) - points
        on /= np.maximum(np.linalg.norm(on, axis=2, keepdims=True), 1e-300)
        angle = np.arccos(np.clip(-np.einsum("fck,fck->fc", on, np.roll(on, 1, 1)), -1, 1))
        _corner_normals(faces, normal, angle, len(part.vertices), CREASE, corner)
    return plane, corner


class Tracer:
    """A scene ready for rays. Glowing parts (lamps, windows, screens) are seen but cast no shadow."""

    def __init__(self, scene: Scene) -> None:
        if not scene.parts:
            raise ValueError("cannot trace a scene without parts")
        self.scene = scene
        counts = [len(p.faces) for p in scene.parts]
        starts = np.cumsum([0] + [len(p.vertices) for p in scene.parts])
        vertices = np.concatenate([np.asarray(p.vertices, np.float32) for p in scene.parts])
        faces = np.concatenate([p.faces + at for p, at in zip(scene.parts, starts[:-1], strict=True)]).astype(np.int32)
        self.part: Ints = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        shape = [_normals(p) for p in scene.parts]
        self._plane = np.concatenate([plane for plane, _ in shape])
        self._corner = np.concatenate([corner for _, corner in shape])
        # row -1, what a ray hits that leaves the scene, is all zeros
        self.semseg = np.array([p.semseg for p in scene.parts] + [0], np.uint8)
        self.instance = np.array([p.instance for p in scene.parts] + [0], np.uint16)
        self._solid = _build(vertices, faces)
        opaque = np.array([p.material.glow <= 0 for p in scene.parts])[self.part]
        self._opaque = self._solid if opaque.all() or not opaque.any() else _build(vertices, faces[opaque])
        self._last: tuple[View, Hits] | None = None
        self._kept: dict[str, object] = {}

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Ints]:
        """First hits of rays (n, 3): distance (n,) in lengths of the direction, inf on a miss; triangle (n,) or -1."""
        found = self._run(origins, directions)
        triangle = found["primID"]
        return np.where(triangle >= 0, found["tfar"], np.float32(np.inf)), triangle

    def occluded(self, origins: Array, directions: Array, max_distance: Array) -> NDArray[np.bool_]:
        """Whether anything that does not glow lies on rays (n, 3) within ``max_distance`` (n,) direction lengths."""
        reach = np.array(np.broadcast_to(max_distance, len(origins)), np.float32)
        found = self._opaque.run(_floats(origins), _floats(directions), query="OCCLUDED", dists=reach)
        return np.asarray(found == 0)

    def remember(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once per scene and ``name``."""
        if name not in self._kept:
            self._kept[name] = make()
        return cast(T, self._kept[name])

    def _run(self, origins: Array, directions: Array) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = self._solid.run(_floats(origins), _floats(directions), output=True)
        return found

    def normals_of(self, triangle: Ints, directions: Array) -> Array:
        """Geometric normals (n, 3) of triangles, turned against ``directions`` (n, 3)."""
        normal = self._plane[triangle, :3].astype(np.float32)
        normal[np.einsum("nk,nk->n", normal, directions) > 0] *= -1
        return normal

    def look(self, view: View) -> Hits:
        """What the pixel centres of ``view`` see, row by row; the last view is remembered."""
        if self._last is None or self._last[0] is not view:
            height, width = view.size
            grid = np.empty((height, width, 2))
            grid[..., 0] = np.arange(width)
            grid[..., 1] = np.arange(height)[:, None]
            self._last = (view, self.through(view, grid.reshape(-1, 2)))
        return self._last[1]

    def through(self, view: View, pixel: NDArray[np.float64]) -> Hits:
        """What rays through ``pixel`` (n, 2) x, y of ``view`` see."""
        pose = np.asarray(view.world_from_camera, np.float64)
        carry = pose[:3, :3] @ np.linalg.inv(np.asarray(view.intrinsics, np.float64))
        eye = pose[:3, 3].copy()
        n = len(pixel)
        directions = np.empty((n, 3), np.float32)
        _rays(carry, pixel, directions)
        found = self._run(np.broadcast_to(eye.astype(np.float32), (n, 3)), directions)
        triangle = found["primID"].astype(np.int32)
        bary = np.stack([found["u"], found["v"]], 1)
        lost = np.flatnonzero(triangle < 0)
        if 0 < len(lost) < n // 4:  # a ray can slip between two triangles: try beside it
            _rays(carry, pixel[lost] + 1e-3, again := np.empty((len(lost), 3), np.float32))
            found = self._run(np.broadcast_to(eye.astype(np.float32), (len(lost), 3)), again)
            triangle[lost] = found["primID"]
            bary[lost] = np.stack([found["u"], found["v"]], 1)
        hits = Hits(
            pixel, directions, triangle, triangle, np.zeros(n), *(np.zeros((n, 3), np.float32) for _ in range(3)),
            np.zeros((n, 2)),
        )  # fmt: skip
        _resolve(
            carry, eye, pixel, triangle, bary, self._plane, self._corner, hits.depth, hits.ray, hits.point,
            hits.geometric, hits.normal, hits.slope,
        )  # fmt: skip
        part = np.where(triangle >= 0, self.part[triangle], np.int32(-1)).astype(np.int32)
        return Hits(
            pixel, hits.ray, triangle, part, hits.depth, hits.point, hits.geometric, hits.normal, hits.slope
        )  # fmt: skip


def _floats(rows: Array) -> Array:
    return np.ascontiguousarray(rows, np.float32)
