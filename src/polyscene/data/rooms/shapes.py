"""Triangle meshes of simple solids, in metres, z up, faces counter-clockwise seen from outside."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scene import Array

Floats = NDArray[np.floating]
Number = float | int
Vector = Sequence[Any] | NDArray[Any] | Number  # what numpy makes an array of
Pair = tuple[Number, Number]
Point = tuple[Number, Number, Number]


class Mesh(NamedTuple):
    """Vertices (n, 3), faces (m, 3); ``smooth`` asks for normals interpolated between the vertices."""

    vertices: Array
    faces: NDArray[np.int32]
    smooth: bool = False


def join(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several; it is smooth where the first is."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    faces = np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)])
    return Mesh(np.concatenate([m.vertices for m in meshes]), faces.astype(np.int32), meshes[0].smooth)


def moved(mesh: Mesh, by: Vector = (0.0, 0.0, 0.0), turn: Floats | None = None, size: Vector = 1.0) -> Mesh:
    """Scaled by ``size``, then turned by the rotation ``turn`` (3, 3), then moved ``by``."""
    vertices: Floats = mesh.vertices * np.asarray(size, np.float32)
    if turn is not None:
        vertices = vertices @ turn.T
    return mesh._replace(vertices=(vertices + np.asarray(by, np.float32)).astype(np.float32, copy=False))


def turn_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def turn_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def turn_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    """Triangles of a (rows, columns) vertex grid, two a cell."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None]).ravel()
    lower = np.stack([first, first + 1, first + columns + 1], 1)
    upper = np.stack([first, first + columns + 1, first + columns], 1)
    return np.concatenate([lower, upper]).astype(np.int32)


@lru_cache(maxsize=64)
def _cached_grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    return _grid_faces(rows, columns)


@lru_cache(maxsize=1)
def box() -> Mesh:
    """The unit cube about the origin."""
    signs = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)], np.float32)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Mesh(signs, np.array(faces, np.int32))


def bevelled(size: Vector, bevel: float) -> Mesh:
    """A box of ``size`` about the origin whose twelve edges are cut by ``bevel`` metres."""
    half = np.asarray(size, np.float32) / 2
    bevel = min(bevel, 0.45 * 2 * float(half.min()))
    mesh = _unit_bevel()
    return Mesh(np.sign(mesh.vertices) * (half - bevel * (np.abs(mesh.vertices) < 0.75)), mesh.faces)


@lru_cache(maxsize=1)
def _unit_bevel() -> Mesh:
    """Corner (x, y, z) has one vertex on each face: that face's coordinate is 1, the others 0.5."""
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], np.float32)
    vertices = np.concatenate([corners * np.where(np.arange(3) == axis, 1.0, 0.5) for axis in range(3)])
    quads: list[tuple[int, ...]] = []
    for axis in range(3):
        others = [1 << a for a in range(3) if a != axis]
        for side in (0, 1 << axis):
            quads.append(tuple(8 * axis + side + k for k in (0, others[0], others[0] + others[1], others[1])))
        one, two = (a for a in range(3) if a != axis)
        for side in (0, 1 << one, 1 << two, (1 << one) + (1 << two)):
            quads.append((8 * one + side, 8 * one + side + (1 << axis), 8 * two + side + (1 << axis), 8 * two + side))
    faces = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    faces += [(k, 8 + k, 16 + k) for k in range(8)]
    return Mesh(vertices.astype(np.float32), _outward(vertices, np.array(faces, np.int32)))


def _outward(vertices: Floats, faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Faces of a solid that is convex about the origin, all turned outward."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a + b + c) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def extruded(outline: Vector, height: float, smooth: bool = False) -> Mesh:
    """A prism from z = 0 to ``height`` over a star-shaped counter-clockwise ``outline`` (k, 2)."""
    ring = np.asarray(outline, np.float32)
    k = len(ring)
    low, high = np.c_[ring, np.zeros(k)], np.c_[ring, np.full(k, height)]
    centre = ring.mean(0)
    caps = [[*centre, 0.0], [*centre, height]]
    i, j = np.arange(k), (np.arange(k) + 1) % k
    side = np.concatenate([np.stack([i, j, j + k], 1), np.stack([i, j + k, i + k], 1)])
    bottom = np.stack([j + 2 * k, i + 2 * k, np.full(k, 4 * k)], 1)
    top = np.stack([i + 3 * k, j + 3 * k, np.full(k, 4 * k + 1)], 1)
    vertices = np.concatenate([low, high, low, high, caps]).astype(np.float32)
    return Mesh(vertices, np.concatenate([side, bottom, top]).astype(np.int32), smooth)


def rounded_outline(width: float, depth: float, radius: float, steps: int = 4) -> Array:
    """A rectangle about the origin with round corners, (4 * steps, 2), counter-clockwise."""
    radius = min(radius, 0.499 * width, 0.499 * depth)
    angle = np.linspace(0, np.pi / 2, steps)
    corners = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        turn = angle + k * np.pi / 2
        centre = np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)])
        corners.append(centre + radius * np.c_[np.cos(turn), np.sin(turn)])
    return np.concatenate(corners).astype(np.float32)


@lru_cache(maxsize=64)
def _circle(segments: int) -> Array:
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def lathe(profile: Vector, segments: int = 16, crease: float = 40.0) -> Mesh:
    """The surface a ``profile`` (k, 2) of (radius, z), listed from the bottom's outside upward, sweeps about z.

    The profile breaks into separately smooth bands where it bends by more than ``crease`` degrees.
    """
    points = np.asarray(profile, np.float32)
    steps = np.diff(points, axis=0)
    heading = np.arctan2(steps[:, 1], steps[:, 0])
    bend = np.abs((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi)
    cuts = [0, *(np.flatnonzero(bend > np.radians(crease)) + 1), len(points) - 1]
    circle = _circle(segments)
    bands = []
    for start, stop in itertools.pairwise(cuts):
        band = points[start : stop + 1]
        ring = np.empty((len(band), segments + 1, 3), np.float32)
        ring[..., :2] = band[:, None, :1] * circle[None]
        ring[..., 2] = band[:, None, 1]
        ring[:, -1] = ring[:, 0]
        # One vertex serves both ends of the circle, so that normals close over the seam.
        faces = _ring_faces(len(band), segments)
        bands.append(Mesh(ring[:, :-1].reshape(-1, 3), faces, True))
    return join(bands)


@lru_cache(maxsize=128)
def _ring_faces(rows: int, segments: int) -> NDArray[np.int32]:
    i = np.arange(rows - 1)[:, None] * segments
    a, b = np.arange(segments)[None], (np.arange(segments)[None] + 1) % segments
    one = np.stack([i + a, i + b, i + b + segments], -1).reshape(-1, 3)
    two = np.stack([i + a, i + b + segments, i + a + segments], -1).reshape(-1, 3)
    return np.concatenate([one, two]).astype(np.int32)


@lru_cache(maxsize=16)
def cylinder(segments: int = 16) -> Mesh:
    """Radius 1 about z, from z = 0 to 1, with its caps."""
    return lathe([(0, 0), (1, 0), (1, 1), (0, 1)], segments)


@lru_cache(maxsize=64)
def superellipsoid(vertical: float = 1.0, around: float = 1.0, rows: int = 8, segments: int = 16) -> Mesh:
    """Half axes 1 about the origin: exponents 1, 1 make a sphere, smaller ones approach a box."""
    v = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[:, None]
    u = np.linspace(0, 2 * np.pi, segments, endpoint=False)[None]

    def power(value: Floats, exponent: float) -> Floats:
        return np.sign(value) * np.abs(value) ** exponent

    x = power(np.cos(v), vertical) * power(np.cos(u), around)
    y = power(np.cos(v), vertical) * power(np.sin(u), around)
    z = power(np.sin(v), vertical) * np.ones_like(u)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return Mesh(vertices, _ring_faces(rows + 1, segments), True)


def cushion(size: Vector, softness: float = 0.35) -> Mesh:
    """A padded block of ``size`` about the origin; greater ``softness`` is rounder."""
    mesh = superellipsoid(round(softness, 1), round(0.7 * softness, 1) or 0.1, 8, 20)
    return moved(mesh, size=np.asarray(size, np.float32) / 2)


def tube(path: Vector, radius: float, segments: int = 8, closed: bool = False) -> Mesh:
    """A round tube along ``path`` (k, 3)."""
    points = np.asarray(path, np.float32)
    if closed:
        ahead, behind = np.roll(points, -1, 0), np.roll(points, 1, 0)
    else:
        ahead, behind = np.concatenate([points[1:], points[-1:]]), np.concatenate([points[:1], points[:-1]])
    tangent = ahead - behind
    tangent /= np.maximum(np.sqrt((tangent * tangent).sum(1, keepdims=True)), 1e-9)
    least = int(np.abs(tangent).sum(0).argmin())
    # The cross product with axis ``least``, and that of the result with the tangent.
    one, two = (least + 1) % 3, (least + 2) % 3
    side = np.zeros_like(tangent)
    side[:, one], side[:, two] = tangent[:, two], -tangent[:, one]
    side /= np.maximum(np.sqrt((side * side).sum(1, keepdims=True)), 1e-9)
    up = side[:, [1, 2, 0]] * tangent[:, [2, 0, 1]] - side[:, [2, 0, 1]] * tangent[:, [1, 2, 0]]
    circle = _circle(segments)[:-1]
    ring = points[:, None] + radius * (circle[None, :, :1] * up[:, None] + circle[None, :, 1:] * side[:, None])
    if closed:
        ring = np.concatenate([ring, ring[:1]])
    return Mesh(ring.reshape(-1, 3).astype(np.float32), _ring_faces(len(ring), segments), True)


def rounded_path(corners: Vector, radius: float, steps: int = 4) -> Array:
    """The polyline ``corners`` (k, 3) with its inner corners rounded by ``radius``."""
    points = np.asarray(corners, np.float32)
    path = [points[0]]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        one, two = before - corner, after - corner
        a, b = float(np.linalg.norm(one)), float(np.linalg.norm(two))
        r = min(radius, 0.45 * a, 0.45 * b)
        start, end = corner + one / a * r, corner + two / b * r
        t = np.linspace(0, 1, steps)[:, None]
        path.extend((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    path.append(points[-1])
    return np.asarray(path, np.float32)


def sheet(points: Floats, smooth: bool = True) -> Mesh:
    """A surface through a grid of ``points`` (rows, columns, 3)."""
    rows, columns = points.shape[:2]
    return Mesh(points.reshape(-1, 3).astype(np.float32), _cached_grid_faces(rows, columns), smooth)


def quad(a: Vector, b: Vector, c: Vector, d: Vector) -> Mesh:
    """A flat quadrilateral, counter-clockwise seen from its front."""
    return Mesh(np.array([a, b, c, d], np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def blades(roots: Floats, directions: Floats, lengths: Floats, widths: Floats, droop: Floats) -> Mesh:
    """Leaves: bent pointed strips from ``roots`` (n, 3) along unit ``directions`` (n, 3), sagging by ``droop``."""
    t = np.array([0.0, 0.35, 0.7, 1.0], np.float32)
    breadth = np.array([0.15, 1.0, 0.75, 0.0], np.float32) / 2
    flat = np.stack([-directions[:, 1], directions[:, 0], np.zeros(len(roots))], 1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    spine = roots[:, None] + directions[:, None] * (t[None] * lengths[:, None])[..., None]
    spine[..., 2] -= (droop * lengths)[:, None] * t[None] ** 2
    offset = flat[:, None] * (breadth[None] * widths[:, None])[..., None]
    vertices = np.stack([spine - offset, spine + offset], 2).reshape(len(roots), 8, 3)
    strip = np.array([[0, 1, 3], [0, 3, 2], [2, 3, 5], [2, 5, 4], [4, 5, 6]], np.int32)
    faces = (strip[None] + 8 * np.arange(len(roots), dtype=np.int32)[:, None, None]).reshape(-1, 3)
    return Mesh(vertices.reshape(-1, 3).astype(np.float32), faces, True)
