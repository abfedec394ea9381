"""Pedestrians and bicyclists."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms import shapes
from polyscene.data.rooms.scene import Material
from polyscene.data.rooms.shapes import Floats, Point

from . import finish
from .thing import Thing, stock

_BALL = (1.0, 1.0)


def _limb(thing: Thing, material: Material, points: Floats, radius: float, near: bool) -> None:
    thing.add(shapes.tube(points, radius, 6 if near else 4), material)
    if near:
        for end in (points[0], points[-1]):
            thing.add(shapes.superellipsoid(*_BALL, 4, 6), material, end, radius)


def _head(thing: Thing, rng: Generator, at: Point, skin: Material, near: bool) -> None:
    x, y, z = at
    ball = shapes.superellipsoid(*_BALL, 6, 10) if near else shapes.superellipsoid(*_BALL, 3, 5)
    thing.add(ball, skin, at, (0.085, 0.1, 0.125))
    if near:
        thing.add(shapes.cylinder(6), skin, (x, y + 0.01, z - 0.2), (0.05, 0.05, 0.12))
    thing.add(ball, finish.hair(rng), (x, y + 0.025, z + 0.03), (0.095, 0.1, 0.115))


def pedestrian(rng: Generator, near: bool = True) -> Thing:
    """One in stock."""
    return stock(walker, rng, 120, near)


def walker(rng: Generator, near: bool = True) -> Thing:
    """Walking or standing, looking along -y."""
    thing = Thing("pedestrian")
    k = float(rng.normal(1.0, 0.06)) * (0.68 if rng.random() < 0.08 else 1.0)
    skin, top, legs, shoe = finish.skin(rng), finish.cloth(rng), finish.cloth(rng), finish.rubber(rng)
    stride = float(rng.uniform(0.1, 0.42)) if rng.random() < 0.7 else 0.04
    hip, shoulder = 0.9 * k, 1.42 * k
    wide, deep = 0.2 * k * rng.uniform(0.9, 1.25), 0.125 * k * rng.uniform(0.85, 1.4)
    for side in (-1, 1):
        x, reach = side * 0.095 * k, side * stride
        knee = (x, -0.5 * reach - 0.06 * k, 0.48 * k)
        foot = (x, -reach, 0.09 * k + 0.08 * max(-side * stride, 0))
        _limb(thing, legs, np.array([(x, 0, hip), knee, foot]), 0.075 * k, near)
        toe, heel = (foot[0] - 0.05, foot[1] - 0.19 * k, foot[2] - 0.09 * k), (foot[0] + 0.05, foot[1] + 0.08, foot[2])
        thing.block(shoe, toe, heel)
        arm = (side * (wide + 0.055), 0.55 * reach - 0.05, 1.12 * k)
        hand = (side * (wide + 0.05), 0.85 * reach - 0.12 * k, 0.88 * k)
        _limb(thing, top, np.array([(side * (wide - 0.01), 0, shoulder - 0.04), arm, hand]), 0.05 * k, near)
        thing.add(
            shapes.superellipsoid(*_BALL, 4, 6) if near else shapes.box(), skin, hand, (0.055 if near else 0.08) * k
        )
    torso = shapes.superellipsoid(0.6, 0.8, 6, 10) if near else shapes.superellipsoid(0.6, 0.8, 3, 5)
    thing.add(torso, top, (0, 0, (hip + shoulder) / 2 - 0.01), (wide, deep, (shoulder - hip) / 2 + 0.1))
    if rng.random() < 0.35:  # a coat or a skirt
        thing.add(shapes.lathe([(0.24 * k, 0.5 * k), (0.17 * k, hip + 0.1), (0.0, hip + 0.1)], 8), top)
    _head(thing, rng, (0, -0.02, 1.64 * k), skin, near)
    roll = rng.random()
    if roll < 0.25:
        thing.block(finish.cloth(rng), (-0.15, deep, 1.05 * k), (0.15, deep + 0.16, 1.42 * k))
    elif roll < 0.45:
        thing.block(finish.cloth(rng), (wide + 0.03, -0.2, 0.5 * k), (wide + 0.15, 0.15, 0.85 * k))
    return thing


def _bicycle(thing: Thing, rng: Generator, near: bool) -> None:
    paint, tyre = finish.painted(rng), finish.rubber(rng)
    sides = 5 if near else 3
    angle = np.linspace(0, 2 * np.pi, 18 if near else 10, endpoint=False)
    for y in (-0.52, 0.5):
        ring = np.stack([np.zeros_like(angle), y + 0.33 * np.cos(angle), 0.345 + 0.33 * np.sin(angle)], 1)
        thing.add(shapes.tube(ring, 0.022, sides, closed=True), tyre)
        spoke = finish.plain(finish.grey(rng, 0.4, 0.6), rng)
        for turn in np.arange(6 if near else 0) * np.pi / 6:
            way = np.array([0.0, np.cos(turn), np.sin(turn)]) * 0.32
            thing.rod(spoke, np.array([0, y, 0.345]) - way, np.array([0, y, 0.345]) + way, 0.004, 3)
    crank, seat, head = (0, 0.08, 0.32), (0, 0.2, 0.86), (0, -0.36, 0.86)
    for a, b in ((crank, seat), (crank, head), (seat, head), ((0, 0.5, 0.345), seat), ((0, 0.5, 0.345), crank)):
        thing.rod(paint, a, b, 0.02, sides)
    thing.rod(paint, (0, -0.52, 0.345), (0, -0.34, 1.0), 0.018, sides)
    thing.rod(tyre, (-0.26, -0.33, 1.03), (0.26, -0.33, 1.03), 0.016, sides)
    thing.block(tyre, (-0.07, 0.1, 0.9), (0.07, 0.36, 0.96))
    if rng.random() < 0.3:
        thing.block(finish.painted(rng), (-0.16, -0.66, 0.78), (0.16, -0.4, 1.0))


def parked_bicycle(rng: Generator) -> Thing:
    """One in stock."""
    return stock(bicycle, rng, 30)


def bicycle(rng: Generator) -> Thing:
    thing = Thing("bicyclist")
    _bicycle(thing, rng, near=False)
    return thing


def bicyclist(rng: Generator, near: bool = True) -> Thing:
    """One in stock."""
    return stock(rider, rng, 80, near)


def rider(rng: Generator, near: bool = True) -> Thing:
    """On a bicycle that goes along -y."""
    thing = Thing("bicyclist")
    _bicycle(thing, rng, near)
    skin, top, legs = finish.skin(rng), finish.cloth(rng), finish.cloth(rng)
    lean = rng.uniform(0.05, 0.25)
    hip, chest = np.array([0.0, 0.22, 1.0]), np.array([0.0, -0.02 - lean, 1.45 - 0.35 * lean])
    way = chest - hip
    tilt = float(np.arctan2(-way[1], way[2]))
    torso = shapes.superellipsoid(0.6, 0.8, 6, 10) if near else shapes.superellipsoid(0.6, 0.8, 4, 6)
    thing.add(torso, top, (hip + chest) / 2, (0.2, 0.14, 0.34), shapes.turn_x(tilt))
    for side in (-1, 1):
        x = side * 0.1
        pedal = np.array([x, 0.08 + side * 0.1, 0.36 - side * 0.12])
        knee = np.array([x, -0.12 - 0.06 * side, 0.78 - side * 0.1])
        _limb(thing, legs, np.array([hip + np.array([x, 0, 0]), knee, pedal]), 0.07, near)
        thing.block(finish.rubber(rng), pedal - np.array([0.05, 0.18, 0.06]), pedal + np.array([0.05, 0.08, 0.02]))
        hand = np.array([side * 0.24, -0.34, 1.06])
        elbow = (chest + hand) / 2 + (side * 0.12, 0.02, -0.08)
        _limb(thing, top, np.array([chest + np.array([side * 0.17, 0, 0.02]), elbow, hand]), 0.045, near)
        thing.add(shapes.superellipsoid(*_BALL, 4, 6), skin, hand, 0.05)
    x, y, z = chest + np.array([0, -0.06, 0.28])
    _head(thing, rng, (float(x), float(y), float(z)), skin, near)
    if rng.random() < 0.5:
        helmet = finish.plain(finish.grey(rng, 0.1, 0.9), rng, 0.4)
        thing.add(shapes.superellipsoid(*_BALL, 4, 8), helmet, (x, y + 0.01, z + 0.07), (0.11, 0.14, 0.09))
    return thing
