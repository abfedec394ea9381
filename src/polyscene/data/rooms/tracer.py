"""Rays through a scene: embree finds the triangle, double-precision planes say where exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar, cast

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from polyscene.compiled import compiled

from .scene import Array, Scene, View

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

    def at(self, rows: NDArray[np.int64]) -> Hits:
        return Hits(*(getattr(self, column.name)[rows] for column in fields(self)))


@compiled()
def _planes(points, out):  # type: ignore[no-untyped-def]
    for i in range(len(points)):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = max(np.sqrt(x * x + y * y + z * z), 1e-300)
        x, y, z = x / length, y / length, z / length
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = x, y, z, x * a[0] + y * a[1] + z * a[2]


@compiled()
def _angles(points, out):  # type: ignore[no-untyped-def]
    """Angles (m, 3) at the corners of triangles (m, 3, 3)."""
    for i in range(len(points)):
        for c in range(3):
            a, b, d = points[i, c], points[i, (c + 1) % 3], points[i, (c + 2) % 3]
            dot, one, two = 0.0, 0.0, 0.0
            for k in range(3):
                u, v = b[k] - a[k], d[k] - a[k]
                dot, one, two = dot + u * v, one + u * u, two + v * v
            out[i, c] = np.arccos(min(max(dot / max(np.sqrt(one * two), 1e-300), -1.0), 1.0))


@compiled()
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


@compiled()
def _rays(carry, pixel, out):  # type: ignore[no-untyped-def]
    for i in range(len(pixel)):
        x, y = pixel[i, 0], pixel[i, 1]
        for k in range(3):
            out[i, k] = carry[k, 0] * x + carry[k, 1] * y + carry[k, 2]


@compiled()
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


@compiled()
def _nearest(corners, faces, x, y, z):  # type: ignore[no-untyped-def]
    """Least distance of a point from triangles."""
    least = np.inf
    for f in range(len(faces)):
        a, b, c = corners[faces[f, 0]], corners[faces[f, 1]], corners[faces[f, 2]]
        apart = 0.0  # from the box about the triangle
        for k in range(3):
            p = x if k == 0 else y if k == 1 else z
            low, high = min(a[k], b[k], c[k]), max(a[k], b[k], c[k])
            gap = max(low - p, p - high, 0.0)
            apart += gap * gap
        if apart >= least:
            continue
        ux, uy, uz = float(b[0] - a[0]), float(b[1] - a[1]), float(b[2] - a[2])
        vx, vy, vz = float(c[0] - a[0]), float(c[1] - a[1]), float(c[2] - a[2])
        wx, wy, wz = x - a[0], y - a[1], z - a[2]
        uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
        uw, vw = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
        bottom = max(uu * vv - uv * uv, 1e-30)
        s, t = (vv * uw - uv * vw) / bottom, (uu * vw - uv * uw) / bottom
        if s >= 0 and t >= 0 and s + t <= 1:
            dx, dy, dz = wx - s * ux - t * vx, wy - s * uy - t * vy, wz - s * uz - t * vz
            least = min(least, dx * dx + dy * dy + dz * dz)
            continue
        for e in range(3):
            p, q = (a, b) if e == 0 else (b, c) if e == 1 else (c, a)
            ex, ey, ez = float(q[0] - p[0]), float(q[1] - p[1]), float(q[2] - p[2])
            dx, dy, dz = x - p[0], y - p[1], z - p[2]
            along = (dx * ex + dy * ey + dz * ez) / max(ex * ex + ey * ey + ez * ez, 1e-30)
            along = min(max(along, 0.0), 1.0)
            dx, dy, dz = dx - along * ex, dy - along * ey, dz - along * ez
            least = min(least, dx * dx + dy * dy + dz * dz)
    return np.sqrt(least)


@compiled()
def _turned(plane, triangle, directions, out):  # type: ignore[no-untyped-def]
    for i in range(len(triangle)):
        p, d = plane[triangle[i]], directions[i]
        side = -1.0 if p[0] * d[0] + p[1] * d[1] + p[2] * d[2] > 0 else 1.0
        for k in range(3):
            out[i, k] = side * p[k]


def _build(vertices: Array, faces: Ints) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return scene


def _normals(vertices: Array, faces: Ints, smooth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], Array]:
    """Planes (m, 4), normal and offset, and corner normals (m, 3, 3), bent on the faces that are ``smooth`` (m,)."""
    points = vertices[faces].astype(np.float64)
    plane = np.empty((len(faces), 4))
    _planes(points, plane)
    corner = np.repeat(plane[:, None, :3].astype(np.float32), 3, 1)
    bent = np.flatnonzero(smooth)
    if len(bent):
        angle, out = np.empty((len(bent), 3)), corner[bent]
        _angles(points[bent], angle)
        _corner_normals(faces[bent], plane[bent, :3].copy(), angle, len(vertices), CREASE, out)
        corner[bent] = out
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
        self._plane, self._corner = _normals(vertices, faces, np.repeat([p.smooth for p in scene.parts], counts))
        # row -1, what a ray hits that leaves the scene, is all zeros
        self.semseg = np.array([p.semseg for p in scene.parts] + [0], np.uint8)
        self.instance = np.array([p.instance for p in scene.parts] + [0], np.uint16)
        self._vertices, self._faces = vertices, faces
        self._solid = _build(vertices, faces)
        opaque = np.array([p.material.glow <= 0 for p in scene.parts])[self.part]
        self._opaque = self._solid if opaque.all() or not opaque.any() else _build(vertices, faces[opaque])
        self._last: tuple[View, Hits] | None = None
        self._kept: dict[str, object] = {}

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Ints]:
        """First hits of rays (n, 3): distance (n,) in lengths of the direction, inf on a miss; triangle (n,) or -1."""
        found = self._run(origins, directions)
        triangle = found["primID"].astype(np.int32, copy=False)
        return np.where(triangle >= 0, found["tfar"], np.float32(np.inf)).astype(np.float32, copy=False), triangle

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

    def clearance(self, point: Array) -> float:
        """Metres from ``point`` (3,) to the nearest surface."""
        x, y, z = (float(p) for p in point)
        return float(_nearest(self._vertices, self._faces, x, y, z))

    def normals_of(self, triangle: Ints, directions: Array) -> Array:
        """Geometric normals (n, 3) of triangles, turned against ``directions`` (n, 3)."""
        normal = np.empty((len(triangle), 3), np.float32)
        _turned(self._plane, triangle, directions, normal)
        return normal

    def outward(self, triangle: Ints) -> Array:
        """Geometric normals (n, 3) of triangles as they are wound."""
        return self._plane[triangle, :3].astype(np.float32)

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
        depth, slope = np.zeros(n), np.zeros((n, 2))
        ray = directions
        point, geometric, normal = (np.zeros((n, 3), np.float32) for _ in range(3))
        _resolve(
            carry, eye, pixel, triangle, bary, self._plane, self._corner, depth, ray, point, geometric, normal, slope
        )  # fmt: skip
        part = np.where(triangle >= 0, self.part[triangle], np.int32(-1)).astype(np.int32)
        return Hits(pixel, ray, triangle, part, depth, point, geometric, normal, slope)


def _floats(rows: Array) -> Array:
    return np.ascontiguousarray(rows, np.float32)
