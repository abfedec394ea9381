"""Whole streets: a road with its junctions, what lines it, and who is about.

``generate`` is the only entry. Light is radiometric up to one scale: the sun gives up to 8 W/m2 a channel, the sky
sends about 1 W/m2/sr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from polyscene.data.rooms.prop import Pose
from polyscene.data.rooms.scene import Material, Part
from polyscene.data.rooms.shapes import Mesh

from . import buildings, finish, ground, people, plants, posts, sky, vehicles
from .ground import KERB, Profile, Span
from .scene import Course, Street
from .thing import Thing

LENGTH = 130.0  # metres of street ahead
NEAR = 30.0  # metres ahead that things are drawn in detail
BEHIND = -16.0
WIDE = 1500.0  # metres of ground to each side
_DISTRICTS = {"terrace": 0.27, "shops": 0.26, "centre": 0.15, "suburb": 0.16, "park": 0.08, "works": 0.08}
_LIVELY = {"shops": 1.0, "centre": 1.0, "terrace": 0.5, "suburb": 0.3, "park": 0.6, "works": 0.25}


@dataclass
class Town:
    rng: Generator
    district: str
    parts: list[Part] = field(default_factory=list)
    things: int = 0

    def put(self, thing: Thing, pose: Pose, coat: Material | None = None) -> None:
        self.things += 1
        self.parts.extend(thing.parts(pose, self.things, coat))

    def beside(
        self, thing: Thing, course: Course, span: Span, t: float, z: float = 0.0, coat: Material | None = None
    ) -> None:
        """A thing whose length runs along x: over ``span`` of the course, its front to the road."""
        pose = course.facing((span[0] + span[1]) / 2, t, z)
        self.put(thing, Pose(pose.point(-(span[1] - span[0]) / 2, 0.0), pose.yaw), coat)

    def build(self, thing: Thing, course: Course, span: Span, t: float, z: float = 0.0) -> None:
        """The same with walls of its own."""
        self.beside(thing, course, span, t, z, finish.wall(self.rng))


@dataclass(frozen=True)
class _Junction:
    s: float
    half: float
    sides: tuple[int, ...]
    lights: bool


def generate(seed: int, index: int) -> Street:
    """The street number ``index`` of the data set ``seed``: the same arguments give the same street."""
    rng = np.random.default_rng([seed, index, 0x57EE7])
    district = str(rng.choice(list(_DISTRICTS), p=list(_DISTRICTS.values())))
    town = Town(rng, district)
    course = _course(rng)
    parked = tuple(bool(b) for b in rng.random(2) < (0.15 if district in ("park", "works") else 0.34))  # left, right
    lanes = 4 if district in ("centre", "works", "park") and rng.random() < 0.35 else 2
    half = float(rng.uniform(2.9, 3.7) * lanes / 2 + 0.7 * sum(parked))
    profile = Profile(half, float(rng.uniform(1.9, 4.8)))
    keep = -1 if rng.random() < 0.65 else 1  # the side one drives on
    lane = keep * half * (0.5 if lanes == 2 else 0.3)
    if parked[(keep + 1) // 2] and lanes == 2:
        lane = keep * max(0.3, min(abs(lane), half - 3.0))
    junctions = _junctions(rng, half)
    spans = {side: _spans(junctions, side) for side in (-1, 1)}
    _roads(town, course, profile, junctions, spans, lanes, keep)
    for junction in junctions:
        for side in junction.sides:
            _side_street(town, course, profile, junction, side)
    for side in (-1, 1):
        for span in spans[side]:
            margin = 1.6
            _row(town, course, side, (span[0] + margin, span[1] - margin), profile.half + profile.pavement)
            _kerbside(town, course, side, span, profile, parked[(side + 1) // 2])
            _people(town, course, side, span, profile)
    free = float(rng.uniform(14, 50))
    _traffic(town, course, profile, lane, keep, free, lanes, parked, spans)
    _far(town, course, profile)
    weather = sky.weather(rng, float(course.heading(0.0)))
    bounds = np.array([[-WIDE, -WIDE, 0.0], [WIDE, WIDE, 40.0]], np.float32)
    ambient = np.array(weather.horizon, np.float32)
    return Street(tuple(town.parts), (), ambient, bounds, (seed, index), course, weather, lane, free)


def _course(rng: Generator) -> Course:
    if rng.random() < 0.5:
        return Course()
    start = float(rng.uniform(-5, 50))
    angle, radius = rng.uniform(0.15, 1.0), rng.uniform(45, 160)
    return Course((0.0, 0.0), 0.0, start, start + float(angle * radius), float(rng.choice([-1, 1]) / radius))


def _junctions(rng: Generator, half: float) -> list[_Junction]:
    found: list[_Junction] = []
    for low, high, chance in ((9, 34, 0.5), (52, 95, 0.5)):
        if rng.random() < chance:
            sides = ((-1, 1), (-1,), (1,))[int(rng.choice(3, p=[0.4, 0.3, 0.3]))]
            own = float(rng.uniform(2.8, max(3.0, min(half, 5.0))))
            found.append(_Junction(float(rng.uniform(low, high)), own, sides, bool(rng.random() < 0.4)))
    return found


def _spans(junctions: list[_Junction], side: int) -> list[Span]:
    cuts = [BEHIND]
    for junction in junctions:
        if side in junction.sides:
            cuts += [junction.s - junction.half, junction.s + junction.half]
    cuts.append(LENGTH)
    return [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


def _roads(
    town: Town, course: Course, profile: Profile, junctions: list[_Junction], spans: dict[int, list[Span]], lanes: int,
    keep: int,
) -> None:  # fmt: skip
    rng = town.rng
    road, tar = Thing("road"), finish.asphalt(rng)
    road.add(ground.strip(course, (BEHIND - 20, LENGTH + 120), (-profile.half, profile.half), 0.0), tar)
    stone, edge = finish.paving(rng), finish.kerb(rng)
    path = Thing("pavement")
    for side in (-1, 1):
        for span in spans[side]:
            ground.pavement(path, course, span, side, profile, stone, edge)
    gaps = [BEHIND, *(c for j in junctions for c in (j.s - j.half - 0.5, j.s + j.half + 0.5)), LENGTH]
    ground.markings(road, rng, course, list(zip(gaps[::2], gaps[1::2], strict=True)), profile, lanes)
    ground.patches(road, rng, course, 70.0, profile)
    for junction in junctions:
        for side in junction.sides:
            branch = _branch(course, junction, side)
            road.add(ground.strip(branch, (profile.half, 75.0), (-junction.half, junction.half), 0.0), tar)
            if rng.random() < 0.7:  # give way
                line = (0.0, junction.half) if keep * side > 0 else (-junction.half, 0.0)
                ground.stop_line(road, rng, branch, profile.half + 0.1, line)
            if rng.random() < 0.5:
                ground.line(road, branch, (profile.half + 2, 70.0), 0.0, 0.12, finish.marking(rng), (2.0, 3.0))
        if junction.lights:
            ours = (0.0, profile.half) if keep > 0 else (-profile.half, 0.0)
            ground.stop_line(road, rng, course, junction.s - junction.half - 3.4, ours)
    if junctions and rng.random() < 0.5:
        ground.zebra(road, rng, course, junctions[0].s - junctions[0].half - 3.0, profile)
    elif rng.random() < 0.2:
        ground.zebra(road, rng, course, float(rng.uniform(8, 50)), profile)
    if lanes > 2 or rng.random() < 0.2:
        ground.arrow(road, rng, course, float(rng.uniform(6, 25)), keep * profile.half / 2)
    town.put(road, _HOME)
    town.put(path, _HOME)
    green = town.district in ("suburb", "park") or rng.random() < 0.25
    base = Thing("tree" if green else "pavement")
    sheet = np.array([(x * WIDE, y * WIDE, -0.03) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))], np.float32)
    base.add(
        Mesh(sheet, np.array([[0, 1, 2], [0, 2, 3]], np.int32)), finish.grass(rng) if green else finish.paving(rng)
    )
    town.put(base, _HOME)


_HOME = Pose((0.0, 0.0, 0.0))


def _branch(course: Course, junction: _Junction, side: int) -> Course:
    x, y = course.at(junction.s, 0.0)
    return Course((float(x), float(y)), float(course.heading(junction.s)) - side * np.pi / 2)


def _side_street(town: Town, course: Course, profile: Profile, junction: _Junction, side: int) -> None:
    rng, branch = town.rng, _branch(course, junction, side)
    own, start = Profile(junction.half, 1.6), profile.half + profile.pavement
    path, stone, edge = Thing("pavement"), finish.paving(rng), finish.kerb(rng)
    for other in (-1, 1):
        ground.pavement(path, branch, (start, 72.0), other, own, stone, edge)
        _row(town, branch, other, (start + 13.0, 64.0), own.half + own.pavement, 0.0)
        for s in np.arange(start + 6, 45, 7.0):
            if rng.random() < 0.3:
                town.put(vehicles.car(rng, False), branch.pose(float(s), other * (own.half - 0.9), 0.0, _either(rng)))
        if rng.random() < 0.6:
            town.put(plants.tree(rng, 0), branch.pose(rng.uniform(start + 3, 60), other * (own.half + 0.9), KERB))
        if junction.lights:
            at = course.at(junction.s + other * (junction.half + 0.6), side * (profile.half + 0.5))
            _light(
                town,
                (float(at[0]), float(at[1]), KERB),
                float(course.heading(junction.s)) + (0.0 if other < 0 else np.pi),
            )
    town.put(path, _HOME)


def _light(town: Town, at: tuple[float, float, float], yaw: float) -> None:
    z = town.rng.uniform(2.3, 3.1)
    town.put(posts.sign_post(town.rng, z + 0.6), Pose(at, yaw))
    town.put(posts.traffic_light(town.rng, z), Pose(at, yaw))


def _detail(s: float) -> plants.Detail:
    return 2 if -4 < s < 26 else 1 if s < 60 else 0


def _either(rng: Generator) -> float:
    """Parked with or against the traffic."""
    return float(np.pi * (rng.random() < 0.5) + rng.normal(0, 0.02))


def _row(town: Town, course: Course, side: int, span: Span, t: float, horizon: float = 38.0) -> None:
    """What stands behind the pavement, from ``t`` metres off the course; beyond ``horizon`` drawn with less detail."""
    rng, district = town.rng, town.district
    s = span[0]
    floors = int(rng.choice([2, 3]))
    while s < span[1] - 3.0:
        left = span[1] - s
        roll = rng.random()
        if district == "park" or roll < (0.08 if district == "shops" else 0.15):
            width = min(left, rng.uniform(10, 25))
            _green(town, course, side, (s, s + width), t)
        elif district == "works" and roll < 0.8:
            width = float(int(min(left, rng.choice([14, 19, 24, 29]))))
            back = rng.uniform(1, 9)
            town.build(buildings.shed(rng, width - 1), course, (s + 0.5, s + width - 0.5), side * (t + back))
            _border(town, course, side, (s, s + width), t, 0.6)
        elif (district == "centre" and roll < 0.75) or (district == "works"):
            width = float(int(min(left, rng.choice([12, 16, 20, 24, 28]))))
            office = buildings.office(rng, width, -4 < s < horizon)
            town.build(office, course, (s, s + width), side * (t + rng.uniform(0, 1.5)))
        elif district == "suburb":
            wide = float(int(min(max(left - 2.5, 3.0), rng.uniform(6.5, 13.5))))
            width, back = wide + 2.5, rng.uniform(3.5, 8)
            villa = buildings.house(rng, wide, floors=2, near=-4 < s < horizon)
            town.build(villa, course, (s, s + wide), side * (t + back))
            _garden(town, course, side, (s, s + width), t, back)
        else:
            width = float(int(min(left, rng.uniform(5, 10))))
            shop = (district == "shops" and rng.random() < 0.8) or rng.random() < 0.12
            back = 0.0 if shop or district != "terrace" else town.rng.choice([0.0, 1.8])
            levels = floors + int(rng.integers(0, 2)) if rng.random() < 0.6 else None
            house = buildings.house(rng, width, shop, levels, -4 < s < horizon)
            town.build(house, course, (s, s + width), side * (t + back + rng.uniform(0, 0.15)), KERB - 0.02)
            if back:
                _border(town, course, side, (s, s + width), t, 0.8)
            if shop and rng.random() < 0.6:
                hang = posts.shop_sign(rng, rng.uniform(2.8, 4.0))
                town.put(hang, course.facing(s + rng.uniform(0.5, width - 0.5), side * (t + back), 0.0))
            if rng.random() < 0.12:
                width += rng.uniform(2, 4)
        s += width


def _green(town: Town, course: Course, side: int, span: Span, t: float) -> None:
    rng = town.rng
    lawn = Thing("tree")
    lawn.add(
        ground.strip(course, span, (min(side * t, side * (t + 25)), max(side * t, side * (t + 25))), 0.05),
        finish.grass(rng),
    )
    town.put(lawn, _HOME)
    _border(town, course, side, span, t, 0.7)
    for _ in range(int((span[1] - span[0]) / 5.5) + 1):
        deep = rng.uniform(2.5, 16)
        tree = plants.tree(rng, _detail(span[0] if deep < 6 else max(span[0], 30.0)))
        town.put(tree, course.pose(rng.uniform(*span), side * (t + deep), 0.05, rng.uniform(0, 6)))
    for _ in range(2):
        town.put(plants.bush(rng), course.pose(rng.uniform(*span), side * (t + rng.uniform(1, 4)), 0.05))


def _garden(town: Town, course: Course, side: int, span: Span, t: float, back: float) -> None:
    rng = town.rng
    if rng.random() < 0.75:
        lawn = Thing("tree")
        lawn.add(
            ground.strip(course, span, (min(side * t, side * (t + back)), max(side * t, side * (t + back))), 0.06),
            finish.grass(rng),
        )
        town.put(lawn, _HOME)
    _border(town, course, side, span, t, 0.85)
    if rng.random() < 0.6:
        tree = plants.tree(rng, _detail(span[0]), rng.uniform(3.5, 8))
        town.put(tree, course.pose(rng.uniform(*span), side * (t + rng.uniform(1.2, 2.6)), 0.05, rng.uniform(0, 6)))
    if rng.random() < 0.5:
        town.put(plants.bush(rng), course.pose(rng.uniform(*span), side * (t + rng.uniform(1, back)), 0.05))
    if rng.random() < 0.35 and back > 5:
        town.put(vehicles.car(rng), course.facing(span[1] - 1.6, side * (t + 2.9), 0.0, rng.choice([0, np.pi])))


def _border(town: Town, course: Course, side: int, span: Span, t: float, chance: float) -> None:
    """A hedge, fence or low wall at the back of the pavement, with an opening."""
    rng = town.rng
    if rng.random() > chance:
        return
    gap = rng.uniform(1.0, 3.0)
    length = span[1] - span[0] - gap
    if length < 1.5:
        return
    kind = rng.random()
    maker = plants.hedge if kind < 0.25 else posts.railing if kind < 0.65 else posts.low_wall
    first = span[0] + gap * rng.integers(0, 2)
    pieces = max(1, int(np.ceil(length / 9)) if course.curvature else 1)
    piece = maker(rng, length / pieces)
    for a, b in pairwise(np.linspace(first, first + length, pieces + 1).tolist()):
        town.beside(piece, course, (a, b), side * (t + 0.1), KERB)


def _kerbside(town: Town, course: Course, side: int, span: Span, profile: Profile, parked: bool) -> None:
    rng, kerb = town.rng, side * (profile.half + 0.45)
    lamps = rng.uniform(18, 34)
    at_back = profile.pavement > 2.5 and rng.random() < 0.3
    for s in np.arange(span[0] + rng.uniform(2, lamps), span[1] - 1, lamps):
        t = side * (profile.half + profile.pavement - 0.4) if at_back else kerb
        town.put(posts.lamp_post(rng), course.facing(float(s), t, KERB))
    for _ in range(rng.poisson((span[1] - span[0]) / 15)):
        s = rng.uniform(span[0] + 1, span[1] - 1)
        z = rng.uniform(1.9, 2.8)
        pose = course.pose(s, side * (profile.half + 0.6), KERB, rng.normal(0, 0.12) + np.pi * (rng.random() < 0.3))
        town.put(posts.sign_post(rng, z + 0.35), pose)
        for k in range(1 + int(rng.random() < 0.3)):
            town.put(posts.sign(rng), Pose((pose.at[0], pose.at[1], KERB + z - 0.75 * k), pose.yaw))
    for _ in range(rng.poisson((span[1] - span[0]) / 60)):
        t = side * (profile.half + rng.uniform(0.8, profile.pavement + 0.5))
        turned = course.pose(rng.uniform(span[0] + 1, span[1] - 1), t, KERB, rng.normal(0, 0.5))
        town.put(posts.hoarding(rng), turned)
    for _ in range(rng.poisson((span[1] - span[0]) / 60)):
        town.put(posts.bare_pole(rng), course.facing(rng.uniform(span[0] + 1, span[1] - 1), kerb, KERB))
    roll = rng.random()
    if roll < 0.2 and not parked:
        railing = posts.railing(rng, 3.9)
        for a in np.arange(span[0] + 1, min(span[1] - 1, 80), 4.0)[:-1].tolist():
            town.beside(railing, course, (a, a + 3.9), side * (profile.half + 0.3), KERB)
    elif roll < 0.34:
        bollard = posts.bollard(rng)
        for s in np.arange(span[0] + 1, min(span[1], 60), rng.uniform(1.6, 3.5)).tolist():
            town.put(bollard, course.pose(s, kerb, KERB))
    if (
        rng.random() < {"shops": 0.4, "centre": 0.5, "suburb": 0.6, "park": 0.6}.get(town.district, 0.4)
        and profile.pavement > 2
    ):
        apart, height = rng.uniform(7, 16), rng.uniform(5, 11)
        for s in np.arange(span[0] + rng.uniform(1, apart), min(span[1] - 1, 110), apart).tolist():
            tree = plants.tree(rng, _detail(s), height * rng.uniform(0.8, 1.2))
            town.put(tree, course.pose(float(s), side * (profile.half + 0.9), KERB, rng.uniform(0, 6)))
    if parked:
        s, full = span[0] + 4, rng.uniform(0.3, 0.85)
        while s < min(span[1] - 5, 105):
            if rng.random() < full:
                car = vehicles.car(rng, s < NEAR) if rng.random() < 0.97 else vehicles.lorry(rng)
                long = float(car.size[1])
                place = course.pose(s + long / 2, side * (profile.half - 1.02), 0.0, _either(rng))
                town.put(car, place, finish.car_paint(rng))
                s += long
            s += rng.uniform(0.7, 2.2) if rng.random() < 0.75 else rng.uniform(4, 9)


def _people(town: Town, course: Course, side: int, span: Span, profile: Profile) -> None:
    rng = town.rng
    count = rng.poisson(_LIVELY[town.district] * rng.gamma(1.2, 1.0) * (span[1] - span[0]) / 11)
    for _ in range(count):
        s = span[0] + (span[1] - span[0]) * rng.beta(1, 1.6)
        t = profile.half + rng.uniform(0.7, max(0.9, profile.pavement - 0.5))
        yaw = np.pi * rng.integers(0, 2) + rng.normal(0, 0.3) if rng.random() < 0.8 else rng.uniform(0, 6.3)
        for k in range(1 + int(rng.random() < 0.3)):
            town.put(people.pedestrian(rng, s < NEAR), course.pose(s + 0.15 * k, side * (t + 0.65 * k), KERB, yaw))
    first, last = span[0] + 2, min(span[1], 70.0) - 4
    for _ in range(rng.poisson(max(last - first, 0.0) / 60)):  # bicycles left at the wall or the kerb
        s = rng.uniform(first, last)
        t, turned = profile.half + rng.choice([0.9, profile.pavement - 0.3]), rng.choice([0.2, 1.2])
        for k in range(int(rng.integers(1, 8))):
            pose = course.pose(s + 0.55 * k, side * t, KERB, turned + rng.normal(0, 0.1))
            town.put(people.parked_bicycle(rng), pose)


def _traffic(
    town: Town, course: Course, profile: Profile, lane: float, keep: int, free: float, lanes: int,
    parked: tuple[bool, ...], spans: dict[int, list[Span]],
) -> None:  # fmt: skip
    rng = town.rng
    if rng.random() < 0.75:
        s = free + 3.0
        for _ in range(int(rng.integers(1, 4))):
            machine = vehicles.vehicle(rng, s < NEAR)
            long = float(machine.size[1])
            pose = course.pose(s + long / 2, lane + rng.normal(0, 0.15), 0.0, np.pi + rng.normal(0, 0.015))
            town.put(machine, pose, finish.car_paint(rng))
            s += long + rng.uniform(2.5, 18)
    other = -keep * profile.half * (0.5 if lanes == 2 else 0.3)
    if parked[(1 - keep) // 2] and lanes == 2:
        other = -keep * (profile.half - 3.1)
    meet = abs(other - lane) > 2.6
    s = rng.uniform(3, 30) if meet else free + 22
    while s < 110:
        machine = vehicles.vehicle(rng, s < NEAR)
        long = float(machine.size[1])
        if rng.random() < 0.6:
            pose = course.pose(s + long / 2, other + rng.normal(0, 0.12), 0.0, rng.normal(0, 0.02))
            town.put(machine, pose, finish.car_paint(rng))
        s += long + rng.exponential(16) + 2.5
    if lanes > 2:
        for sign, yaw in ((keep, np.pi), (-keep, 0.0)):
            s = rng.uniform(4, 30)
            while s < 100:
                machine = vehicles.vehicle(rng, s < NEAR)
                town.put(machine, course.pose(s + float(machine.size[1]) / 2, sign * 0.76 * profile.half, 0.0, yaw))
                s += float(machine.size[1]) + rng.exponential(20) + 3
    for _ in range(rng.poisson(1.3)):
        side = keep if rng.random() < 0.6 else -keep
        off = profile.half - (2.75 if parked[(side + 1) // 2] else 0.6)
        if lanes > 2 or abs(side * off - lane) < 0.9:
            off = profile.half + 0.8
        z = KERB if off > profile.half else 0.0
        s = rng.uniform(6, free - 2) if rng.random() < 0.8 else rng.uniform(free, 70)
        if any(a + 1 < s < b - 1 for a, b in spans[side]):
            yaw = (np.pi if side == keep else 0.0) + rng.normal(0, 0.06)
            town.put(people.bicyclist(rng, s < NEAR), course.pose(s, side * off, z, yaw))
    if rng.random() < 0.15:  # somebody crosses
        s = rng.uniform(min(10, free - 2), free)
        for k in range(int(rng.integers(1, 4))):
            pose = course.facing(s + rng.normal(0, 0.8), -keep * rng.uniform(0.2, 0.9) * profile.half + 0.6 * k, 0.0)
            town.put(people.pedestrian(rng), Pose(pose.at, pose.yaw + np.pi * rng.integers(0, 2)))


def _far(town: Town, course: Course, profile: Profile) -> None:
    """What closes the view: houses across the end of the road, blocks and trees behind the rows."""
    rng = town.rng
    clear = profile.half + profile.pavement + 3
    if rng.random() < 0.55:
        t = -45.0
        while t < 45:
            width = float(rng.integers(6, 13))
            town.put(buildings.house(rng, width, near=False), course.pose(LENGTH + 12, t), finish.wall(rng))
            t += width + (rng.uniform(0, 5) if rng.random() < 0.3 else 0)
    else:
        for side in (-1, 1):
            for s in np.arange(LENGTH, LENGTH + 110, 16):
                pose = course.facing(float(s), side * (clear + rng.uniform(0, 6)))
                town.put(buildings.house(rng, 12.0, near=False), pose, finish.wall(rng))
    for _ in range(7):
        side = rng.choice([-1, 1])
        pose = course.facing(rng.uniform(30, 260), side * rng.uniform(42, 120), 0.0)
        town.put(buildings.tower(rng), pose, finish.wall(rng))
    for _ in range(12):
        side = rng.choice([-1, 1])
        tree = plants.tree(rng, 0, rng.uniform(8, 15))
        town.put(tree, course.pose(rng.uniform(10, 240), side * rng.uniform(clear + 16, 80), 0.0))
    for _ in range(8 if town.district in ("park", "suburb") else 3):
        town.put(
            plants.tree(rng, 0, rng.uniform(7, 14)),
            course.pose(LENGTH + rng.uniform(1, 8), rng.choice([-1, 1]) * rng.uniform(clear, 25)),
        )
