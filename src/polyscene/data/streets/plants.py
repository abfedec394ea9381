"""Trees, hedges and bushes: blobs of leaf clusters."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Floats, Mesh

from . import finish
from .thing import Thing, quads


def _clusters(rng: Generator, centres: Floats, radii: Floats) -> Mesh:
    """Lumpy balls (n, 3) of ``radii`` (n,): spheres whose vertices are moved in and out."""
    unit = shapes.superellipsoid(1.0, 1.0, 6, 8)
    n = len(centres)
    push = 1 + 0.16 * rng.standard_normal((n, len(unit.vertices), 1))
    squash = rng.uniform(0.7, 1.0, (n, 1, 1)) * (0, 0, 1) + (1, 1, 0)
    vertices = centres[:, None] + unit.vertices[None] * push * squash * np.asarray(radii)[:, None, None]
    faces = unit.faces[None] + len(unit.vertices) * np.arange(n, dtype=np.int32)[:, None, None]
    return Mesh(vertices.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32), True)


def _leaves(rng: Generator, centres: Floats, radii: Floats, each: int, size: float) -> Mesh:
    """Sprays of leaves that stand about the clusters' surfaces, ``size`` metres across."""
    way = rng.standard_normal((len(centres), each, 3))
    way /= np.linalg.norm(way, axis=2, keepdims=True)
    at = centres[:, None] + way * np.asarray(radii)[:, None, None] * rng.uniform(0.85, 1.2, (*way.shape[:2], 1))
    at, way = at.reshape(-1, 3), way.reshape(-1, 3)
    side = np.cross(way, rng.standard_normal(way.shape))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
    along = way * 0.6 + 0.8 * np.cross(side, way)
    half = size * rng.uniform(0.3, 0.7, (len(at), 1))
    corners = np.stack([at - half * along, at + 0.6 * half * side, at + half * along, at - 0.6 * half * side], 1)
    return quads(corners)


def _crown(rng: Generator, style: str, low: float, high: float, radius: float, count: int) -> tuple[Floats, Floats]:
    t = rng.random(count)
    z = low + (high - low) * t
    if style == "cone":
        reach = radius * (1 - 0.9 * t)
    elif style == "column":
        reach = radius * (0.5 + 0.5 * np.sin(np.pi * np.clip(0.15 + t, 0, 1)))
    else:
        reach = radius * np.sqrt(np.clip(1 - (2 * t - 0.9) ** 2 / 1.25, 0.05, 1))
    angle, out = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0.1, 1, count))
    centres = np.stack([reach * out * np.cos(angle), reach * out * np.sin(angle), z], 1)
    return centres, rng.uniform(0.28, 0.5, count) * (0.45 * reach + 0.55 * radius * 0.7)


def tree(rng: Generator, near: bool = True, height: float | None = None) -> Thing:
    """``near`` trees have leaves, far ones only their clusters."""
    thing = Thing("tree")
    style = str(
        rng.choice(["round", "round", "round", "cone", "column", "bare"], p=[0.28, 0.28, 0.22, 0.06, 0.08, 0.08])
    )
    height = height or float(rng.uniform(4.5, 12))
    radius = height * {"round": rng.uniform(0.24, 0.42), "cone": 0.2, "column": 0.13, "bare": 0.3}[style]
    low = height * {"round": rng.uniform(0.25, 0.4), "cone": 0.1, "column": 0.15, "bare": 0.3}[style]
    bark, thick = finish.bark(rng), 0.018 * height + 0.05
    bend = rng.normal(0, 0.02 * height, 2)
    top = np.array([bend[0], bend[1], low + 0.3 * (height - low)])
    thing.add(
        shapes.lathe([(1.35 * thick, 0), (thick, 0.4), (0.85 * thick, low), (0.6 * thick, top[2]), (0, top[2])], 8),
        bark,
    )
    count = 22 if style == "bare" else int(12 + 2.5 * radius) if near else 9
    centres, radii = _crown(rng, style, low + 0.2 * radius, height - 0.3 * radius, radius, count)
    for k in range(8 if style == "bare" else 4 if near else 0):
        thing.add(
            shapes.tube(
                [(0, 0, low * rng.uniform(0.75, 1.2)), 0.5 * centres[k] + (0, 0, 0.45 * low), centres[k]],
                0.35 * thick,
                5,
            ),
            bark,
        )
    if style == "bare":
        _twigs(thing, rng, centres, bark)
        return thing
    leaf = finish.foliage(rng)
    thing.add(_clusters(rng, centres, radii if near else 1.35 * radii), leaf)
    if near:
        thing.add(
            _leaves(rng, centres, radii, 22, 0.045 * height + 0.1),
            Material("leaves", leaf.second, leaf.colour, 0.5, 0.0, seed=leaf.seed),
        )
    return thing


def _twigs(thing: Thing, rng: Generator, ends: Floats, bark: Material) -> None:
    for end in ends:
        start = 0.35 * end + (0, 0, 0.35 * float(ends[:, 2].min()))
        thing.add(shapes.tube([start, 0.5 * (start + end) + rng.normal(0, 0.15, 3), end], 0.03, 4), bark)
        for _ in range(4):
            tip = end + rng.normal(0, 0.6, 3) + (0, 0, 0.3)
            thing.add(shapes.tube([0.5 * (start + end), end, tip], 0.012, 3), bark)


def hedge(rng: Generator, length: float) -> Thing:
    """Along x, its front at y = 0."""
    thing, leaf = Thing("tree"), finish.foliage(rng)
    height, deep = rng.uniform(0.8, 2.2), rng.uniform(0.5, 0.9)
    thing.block(leaf, (0, 0.1, 0), (length, deep, height - 0.1))
    count = int(length * 2.2)
    centres = np.stack(
        [rng.uniform(0.1, length - 0.1, count), rng.uniform(0.15, deep, count), rng.uniform(0.1, height - 0.15, count)],
        1,
    )
    thing.add(_clusters(rng, centres, rng.uniform(0.25, 0.45, count)), leaf)
    thing.add(_leaves(rng, centres, np.full(count, 0.3), 8, 0.14), leaf)
    return thing


def bush(rng: Generator) -> Thing:
    thing, leaf = Thing("tree"), finish.foliage(rng)
    size, count = rng.uniform(0.5, 1.3), 9
    centres = rng.normal(0, 0.42, (count, 3)) * size
    centres[:, 2] = np.abs(centres[:, 2]) + 0.15 * size
    radii = rng.uniform(0.3, 0.5, count) * size
    thing.add(_clusters(rng, centres, radii), leaf)
    thing.add(_leaves(rng, centres, radii, 22, 0.16), leaf)
    return thing
