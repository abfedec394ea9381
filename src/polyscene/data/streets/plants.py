"""Trees, hedges and bushes: blobs of leaf clusters."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Floats, Mesh

from . import finish
from .thing import Thing, quads, stock

Detail = Literal[0, 1, 2]


def _clusters(rng: Generator, centres: Floats, radii: Floats, fine: bool = True) -> Mesh:
    """Lumpy balls (n, 3) of ``radii`` (n,): spheres whose vertices are moved in and out."""
    unit = shapes.superellipsoid(1.0, 1.0, 4, 6) if fine else shapes.superellipsoid(1.0, 1.0, 3, 5)
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
    return centres, rng.uniform(0.2, 0.42, count) * (0.45 * reach + 0.55 * radius * 0.7)


HEIGHTS = (4.0, 5.0, 6.2, 7.6, 9.2, 11.0, 13.0)  # metres, of the trees in stock
_STYLES = {"round": 0.42, "bare": 0.36, "cone": 0.06, "column": 0.08, "ivy": 0.08}


def tree(rng: Generator, detail: Detail = 2, height: float | None = None) -> Thing:
    """One in stock whose height is the nearest; ``detail`` 2 within some 25 m, 0 beyond 60."""
    height = height or float(rng.uniform(4.5, 12))
    nearest = min(HEIGHTS, key=lambda h: abs(h - height))
    return stock(grown, rng, 40, detail, nearest)


def grown(rng: Generator, detail: Detail, height: float) -> Thing:
    thing, near = Thing("tree"), detail == 2
    style = str(rng.choice(list(_STYLES), p=list(_STYLES.values())))
    height *= rng.uniform(0.92, 1.08)
    bark, thick = finish.bark(rng), 0.018 * height + 0.05
    if style == "bare":
        _bare(thing, rng, bark, height, thick, detail)
        return thing
    crown = "round" if style == "ivy" else style
    radius = height * {"round": rng.uniform(0.24, 0.42), "cone": 0.2, "column": 0.13}[crown]
    low = height * {"round": rng.uniform(0.2, 0.4), "cone": 0.1, "column": 0.15}[crown]
    bend = rng.normal(0, 0.02 * height, 2)
    top = np.array([bend[0], bend[1], low + 0.3 * (height - low)])
    trunk = [(1.35 * thick, 0), (thick, 0.4), (0.85 * thick, low), (0.6 * thick, top[2]), (0, top[2])]
    thing.add(shapes.lathe(trunk, 8 if near else 5), bark)
    count = int(22 + 3.5 * radius) if near else 5 + 6 * detail
    centres, radii = _crown(rng, crown, low + 0.2 * radius, height - 0.3 * radius, radius, count)
    for k in range(4 if near else 0):
        start = (0, 0, low * rng.uniform(0.75, 1.2))
        thing.add(shapes.tube([start, 0.5 * centres[k] + (0, 0, 0.45 * low), centres[k]], 0.35 * thick, 5), bark)
    leaf = finish.foliage(rng)
    sparse = rng.uniform(0.7, 0.9) if rng.random() < 0.3 and style != "ivy" else 1.0  # spring
    thing.add(_clusters(rng, centres, sparse * (radii if near else 1.35 * radii), near), leaf)
    size = 0.012 * height + 0.12 if near else 0.07 * height
    leaves = _leaves(rng, centres, sparse * (radii if near else 1.35 * radii), 14 if near else 6, size)
    thing.add(leaves, Material("leaves", leaf.second, leaf.colour, 0.5, 0.0, seed=leaf.seed))
    return thing


def _bare(thing: Thing, rng: Generator, bark: Material, height: float, thick: float, detail: Detail) -> None:
    """Branches that divide three times; the last are flat twigs."""
    fork = height * rng.uniform(0.18, 0.4)
    thing.add(
        shapes.lathe([(1.4 * thick, 0), (thick, 0.4), (0.8 * thick, fork), (0.0, fork)], 8 if detail == 2 else 5), bark
    )
    spread = rng.uniform(0.5, 1.1)
    ways = rng.normal(0, spread, (8, 3))
    ways[0] *= 0.2
    ways[:, 2] = rng.uniform(0.8, 1.4, 8)
    ways *= (height - fork) * 0.62 / np.linalg.norm(ways, axis=1, keepdims=True)
    starts = np.zeros_like(ways)
    starts[:, 2] = fork * rng.uniform(0.75, 1.0, 8)
    starts[0, 2] = 0.9 * fork
    wide = thick
    for level, count in enumerate(((14,), (4, 8), (4, 6, 7))[detail]):
        wide *= 0.4
        if level == 0:
            for start, way in zip(starts, ways, strict=True):
                bow = start + 0.5 * way + rng.normal(0, 0.04 * height, 3)
                thing.add(shapes.tube([start, bow, start + way], wide, 4), bark)
        else:
            thing.add(_twigs(rng, starts, ways, wide), bark)
        t = rng.uniform(0.3, 1.0, (len(ways), count, 1))
        starts = (starts[:, None] + t * ways[:, None]).reshape(-1, 3)
        length = np.linalg.norm(ways, axis=1).repeat(count)[:, None]
        ways = ways.repeat(count, 0) / length + rng.normal(0, 0.6, (len(length), 3)) + (0, 0, 0.25)
        ways *= 0.52 * length * rng.uniform(0.7, 1.2, length.shape) / np.linalg.norm(ways, axis=1, keepdims=True)
    thing.add(_twigs(rng, starts, ways, (0.12, 0.075, 0.028)[detail]), bark)


def _twigs(rng: Generator, starts: Floats, ways: Floats, wide: float) -> Mesh:
    """Flat strips (n) from ``starts`` along ``ways``, ``wide`` metres to each side."""
    side = np.cross(ways, rng.standard_normal(ways.shape))
    side *= wide / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
    ends = starts + ways
    return quads(np.stack([starts - side, starts + side, ends + 0.5 * side, ends - 0.5 * side], 1))


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
    return stock(shrub, rng, 40)


def shrub(rng: Generator) -> Thing:
    thing, leaf = Thing("tree"), finish.foliage(rng)
    size, count = rng.uniform(0.5, 1.3), 9
    centres = rng.normal(0, 0.42, (count, 3)) * size
    centres[:, 2] = np.abs(centres[:, 2]) + 0.15 * size
    radii = rng.uniform(0.3, 0.5, count) * size
    thing.add(_clusters(rng, centres, radii), leaf)
    thing.add(_leaves(rng, centres, radii, 22, 0.12), leaf)
    return thing
