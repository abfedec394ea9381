"""Whole rooms: a shell with doors, windows and lamps, furnished as its kind of room is.

``generate`` is the only entry. Light is radiometric up to one scale: ``Light.power`` is flux in watts per channel,
about 6-25 W a square metre of floor all lamps together, so that a white wall sends back roughly 0.3-2 W/m2/sr;
``Material.glow`` and ``Scene.ambient`` are radiances on that same scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from . import clutter, fixtures, furniture, palette, shapes
from .clutter import GAP
from .palette import Style
from .prop import Grain, Pose, Prop
from .room import Room, Wall
from .scene import Material, Scene


def generate(seed: int, index: int) -> Scene:
    """The room number ``index`` of the data set ``seed``: the same arguments give the same room."""
    rng = np.random.default_rng([seed, index, 0x700D])
    names = list(_KINDS)
    weights = np.array([_KINDS[name][0] for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    style = palette.style(rng)
    room = _shell(rng, style, name)
    _KINDS[name][1](room, style)
    _everywhere(room, style, name)
    low, high = np.append(room.low, 0.0), np.append(room.high, room.height)
    tint = np.array(palette.daylight(rng), np.float32)
    ambient = (tint * np.exp(rng.uniform(np.log(0.1), np.log(0.5)))).astype(np.float32)
    bounds = np.stack([low, high]).astype(np.float32)
    return Scene(tuple(room.parts), tuple(room.lights), ambient, bounds, (seed, index))


_SIZE = {  # shortest, longest first side; the same for the second
    "kitchen": (2.2, 5.0, 2.2, 5.5), "office": (2.8, 7.0, 2.8, 8.5),
    "living": (3.2, 6.5, 3.2, 7.5), "bedroom": (2.6, 4.8, 2.8, 5.2),
    "dining": (2.8, 5.5, 2.8, 6.0), "lounge": (4.5, 7.5, 5.0, 8.0),
    "corridor": (1.4, 2.4, 4.5, 10.0), "bathroom": (2.0, 3.2, 2.2, 4.0),
    "store": (2.4, 5.0, 2.4, 6.0),
}  # fmt: skip


def _shell(rng: Generator, style: Style, name: str) -> Room:
    a, b, c, d = _SIZE[name]
    width, depth = rng.uniform(a, b), rng.uniform(c, d)
    if rng.random() < 0.5:
        width, depth = depth, width
    height = float(np.clip(rng.normal(2.6, 0.25), 2.2, 3.5)) if rng.random() < 0.8 else rng.uniform(2.2, 3.5)
    outline = [(0.0, 0.0), (0.0, depth), (width, depth), (width, 0.0)]
    if name != "bathroom" and min(width, depth) > 3.0 and rng.random() < 0.3:
        u, v = rng.uniform(0.2, 0.5) * width, rng.uniform(0.2, 0.5) * depth
        corner = int(rng.integers(4))
        notch = (
            [(u, 0.0), (u, v), (0.0, v)], [(0.0, depth - v), (u, depth - v), (u, depth)],
            [(width - u, depth), (width - u, depth - v), (width, depth - v)],
            [(width, v), (width - u, v), (width - u, 0.0)],
        )[corner]  # fmt: skip
        outline[corner : corner + 1] = notch
    room = Room(outline, height, rng)
    _openings(room, style, name)
    paint, accent = palette.wall(rng), palette.wall(rng)
    lower = None
    if name == "bathroom" or rng.random() < 0.05:
        lower = palette.tiles(rng, rng.uniform(0.08, 0.35)) if name == "bathroom" else palette.board(rng)
    skirt = rng.uniform(0.05, 0.14)
    for line in room.walls:
        material = accent if rng.random() < 0.15 else paint
        prop = fixtures.wall(material, line, height, lower)
        if rng.random() < 0.9:
            fixtures.skirting(prop, style.frame, line, skirt)
        room.put(prop, line.pose(0.0))
    _floor_and_ceiling(room)
    for line in room.walls:
        for opening in line.openings:
            _fill(room, style, line, opening)
    _lamps(room, name)
    return room


def _openings(room: Room, style: Style, name: str) -> None:
    """Decides where doors and windows are; outer walls hold windows, doors may be anywhere."""
    rng = room.rng
    lines = [w for w in room.walls if w.length > 1.1]
    for _ in range(int(rng.integers(3, 6)) if name == "corridor" else 1 + int(rng.random() < 0.35)):
        line = lines[int(rng.integers(len(lines)))]
        width, high = rng.uniform(0.75, 0.95), min(rng.uniform(1.98, 2.15), room.height - 0.12)
        s = (
            rng.uniform(0.1, line.length - width - 0.1)
            if rng.random() < 0.5
            else rng.choice([0.12, line.length - width - 0.12])
        )
        if line.free(s - 0.1, s + width + 0.1, 0, 2) and s > 0.08 and s + width < line.length - 0.08:
            line.openings.append((s, s + width, 0.0, high, "door"))
            line.used.append((s - 0.1, s + width + 0.1, 0.0, high + 0.1))
    bright = rng.permutation(len(lines))[
        : {"corridor": 1, "bathroom": 1, "store": 1}.get(name, int(rng.integers(1, 3)))
    ]
    low = 1.1 if name in ("kitchen", "bathroom") else rng.choice([0.15, 0.5, 0.8, 0.95, 1.05])
    for k in bright:
        line = lines[k]
        high = min(rng.uniform(1.9, 2.4), room.height - 0.15)
        width = rng.uniform(0.6, 1.8)
        gap = rng.uniform(0.1, 0.6)
        s = rng.uniform(0.2, max(0.21, line.length - width - 0.2))
        while s + width < line.length - 0.15:
            if line.free(s - 0.1, s + width + 0.1, low, high):
                line.openings.append((s, s + width, low, high, "window"))
                line.used.append((s - 0.05, s + width + 0.05, low - 0.04, high + 0.05))
            s += width + gap
            if rng.random() < 0.4:
                break


def _floor_and_ceiling(room: Room) -> None:
    rng, height = room.rng, room.height
    x = room.outline[:, 0]
    cuts = sorted(set(x.tolist()))
    ground, top = Prop("floor"), Prop("ceiling")
    material, white = palette.floor(rng), palette.white(rng, 0.0) if rng.random() < 0.85 else palette.wall(rng)
    second = palette.floor(rng) if rng.random() < 0.12 else material
    border = rng.uniform(room.low[1], room.high[1])
    grain: Grain = "x" if rng.random() < 0.5 else "y"
    for a, b in itertools.pairwise(cuts):
        low, high = np.sort(room._crossings((a + b) / 2))
        spans = [(low, high, material)]
        if second is not material and low < border < high:
            spans = [(low, border, material), (border, high, second)]
        for c, d, stuff in spans:
            ground.add(shapes.quad((a, c, 0), (b, c, 0), (b, d, 0), (a, d, 0)), stuff, grain=grain)
        top.add(shapes.quad((a, low, height), (a, high, height), (b, high, height), (b, low, height)), white)
    if len(room.outline) == 4 and rng.random() < 0.12:
        line = room.walls[int(rng.integers(4))]
        if not line.openings:
            _slope(room, top, white, line)
    elif rng.random() < 0.12:
        wood = palette.wood(rng)
        w, d = room.high
        for s in np.arange(0.4, d - 0.2, rng.uniform(0.6, 1.2)):
            top.block(wood, (0, s, height - 0.16), (w, s + 0.12, height))
    room.put(ground, Pose((0.0, 0.0, 0.0)))
    room.put(top, Pose((0.0, 0.0, 0.0)))


def _slope(room: Room, top: Prop, white: Material, line: Wall) -> None:
    """An attic: the ceiling comes down to ``line``."""
    reach, low = room.rng.uniform(0.8, 1.8), room.rng.uniform(1.0, 1.8)
    pose = line.pose(0.0)
    sheet = Prop("ceiling")
    sheet.add(
        shapes.quad((0, 0, low), (line.length, 0, low), (line.length, -reach, room.height), (0, -reach, room.height)),
        white,
    )
    top.include(sheet, pose)
    line.used.append((0.0, line.length, low - 0.35, room.height))
    for other in room.walls:
        if other is not line:
            for s0, s1 in ((0.0, reach), (other.length - reach, other.length)):
                x, y, _ = other.pose((s0 + s1) / 2).at
                a, b = line.pose(0.0).at, line.pose(line.length).at
                off = abs((b[0] - a[0]) * (a[1] - y) - (a[0] - x) * (b[1] - a[1])) / line.length
                if off < reach:
                    other.used.append((s0, s1, low - 0.1, room.height))


def _fill(room: Room, style: Style, line: Wall, opening: tuple[float, float, float, float, str]) -> None:
    rng = room.rng
    a, b, c, d, kind = opening
    s, width, height = (a + b) / 2, b - a, d - c
    if kind == "door":
        room.put(fixtures.door(rng, style, width, height), line.pose(s))
        room.reserve((-width / 2, -0.75), (width / 2, 0.0), line.pose(s))
        return
    day = np.array(palette.daylight(rng))
    radiance = float(np.exp(rng.normal(np.log(4.0), 0.6)))
    night = rng.random() < 0.12
    if night:
        radiance = 0.05
    sky = Material("outside", palette.hsv(rng.uniform(0.5, 0.65), rng.uniform(0.0, 0.4), 0.9),
                   palette.hsv(rng.uniform(0.2, 0.4), 0.5, 0.4),
                   1.0, glow=radiance, seed=int(rng.integers(1 << 30)))  # fmt: skip
    power = day * radiance * np.pi * width * height
    room.put(fixtures.window(rng, style, width, height, sky, power), line.pose(s, 0.0, c), 40.0)
    roll = rng.random()
    if roll < 0.3 and c > 0.45 + 0.2:
        radiator = fixtures.radiator(rng, min(width, 1.4))
        room.against(radiator, line, s, 0.0)
    elif roll < 0.55:
        top = min(d + 0.15, room.height - 0.02)
        bottom = 0.03 if rng.random() < 0.6 else c - 0.2
        for side in (-1, 1):
            w = rng.uniform(0.25, 0.5) * width
            u = s + side * (width / 2 - 0.3 * w)
            if w / 2 < u < line.length - w / 2:
                room.put(fixtures.curtain(rng, w, top - bottom, style.cloth), line.pose(u, 0.14, bottom))
                if bottom < 0.5:
                    room.reserve((-w / 2, -0.26), (w / 2, 0.0), line.pose(u))
                    line.used.append((u - w / 2, u + w / 2, 0.0, top))
    elif roll < 0.7:
        room.put(fixtures.blind(rng, width * 0.98, height), line.pose(s, 0.0, c))


def _lamps(room: Room, name: str) -> None:
    """Ceiling lamps on a loose grid; now and then they are off and daylight does it all."""
    rng = room.rng
    width, depth = room.high
    kind = str(
        rng.choice(
            ["panel", "bowl", "spots", "pendant"],
            p=[0.75, 0.1, 0.1, 0.05] if name in ("office", "corridor", "store") else [0.2, 0.35, 0.2, 0.25],
        )
    )
    spacing = rng.uniform(1.8, 3.2)
    nx, ny = max(1, round(width / spacing)), max(1, round(depth / spacing))
    if kind in ("bowl", "pendant"):
        nx, ny = max(1, nx // 2), max(1, ny // 2)
    total = room.area * np.exp(rng.normal(np.log(9.0), 0.5))
    light = np.array(palette.lamplight(rng))
    on = rng.random() < 0.85
    drop = rng.uniform(0.3, max(0.31, room.height - 1.9))
    for i in range(nx):
        for j in range(ny):
            x, y = width * (i + 0.5) / nx, depth * (j + 0.5) / ny
            low, high = np.sort(room._crossings(x))[[0, -1]]
            if not low + 0.7 < y < high - 0.7:
                continue
            lamp = fixtures.ceiling_light(
                rng, kind, (light * total / (nx * ny) if on else light * 0.05), min(drop, 1.0)
            )
            room.put(lamp, Pose((x, y, room.height), rng.choice([0.0, np.pi / 2])))


def _long_walls(room: Room) -> list[Wall]:
    lines = [w for w in room.walls if w.length > 0.8]
    order = room.rng.permutation(len(lines))
    return sorted((lines[k] for k in order), key=lambda w: -w.length * room.rng.uniform(0.5, 1.0))


def _against(
    room: Room, maker: Callable[[], Prop], clutter_tries: float = 12.0, front: float = 0.0
) -> tuple[Wall, float] | None:
    prop = maker()
    for line in _long_walls(room):
        s = room.against(prop, line, clutter_tries=clutter_tries, front=front)
        if s is not None:
            return line, s
    return None


def _chairs_around(
    room: Room, maker: Callable[[], Prop], centre: tuple[float, float], yaw: float, size: np.ndarray, chance: float
) -> None:
    """Chairs facing a table, pushed under it, pulled out or turned."""
    rng = room.rng
    half = size[:2] / 2
    c, s = np.cos(yaw), np.sin(yaw)
    for axis in (0, 1):
        count = max(1, int(size[1 - axis] / 0.62))
        if axis == 0 and size[1] < 0.6:
            continue
        for side in (-1, 1):
            for k in range(count):
                if rng.random() > chance:
                    continue
                along = ((k + 0.5) / count - 0.5) * size[1 - axis] + rng.normal(0, 0.03)
                out = side * (half[axis] + rng.uniform(0.0, 0.3))
                u, v = (out, along) if axis == 0 else (along, out)
                face = (np.pi / 2 if side < 0 else -np.pi / 2) if axis == 0 else (np.pi if side < 0 else 0.0)
                turn = rng.normal(0, 0.15) if rng.random() < 0.7 else rng.normal(0, 0.7)
                chair = maker()
                at = (centre[0] + c * u - s * v, centre[1] + s * u + c * v)
                pose = Pose((*at, GAP), yaw + face + turn)
                if room.clear(chair, pose):
                    low, high = chair.bounds[:, :2]
                    room.reserve(low, high, pose)
                    room.put(chair, pose, 1.0)


def _table_group(room: Room, style: Style, tries: int = 14, size: tuple[float, float, float] | None = None) -> bool:
    rng = room.rng
    table = furniture.table(rng, style, "table", size)
    state = int(rng.integers(1 << 30))
    kind = furniture.wooden_chair if rng.random() < 0.5 else furniture.shell_chair
    for attempt in range(tries):
        point = room.free_point()
        if point is None:
            return False
        yaw = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.04) if rng.random() < 0.85 else rng.uniform(0, np.pi)
        margin = 0.55 if attempt < tries // 2 else 0.25
        if not room.clear(table, Pose((*point, GAP), yaw), margin):
            continue
        spare = room.taken.copy()
        room.stand(table, point, yaw, 0.0, rng.uniform(6, 16))
        after = room.taken.copy()
        # Chairs may reach under the table: only their backs need free floor.
        room.taken = spare
        low, high = table.bounds[:, :2] * 0.72
        room.reserve(low, high, Pose((*point, GAP), yaw))
        _chairs_around(
            room, lambda: kind(np.random.default_rng(state), style), point, yaw, table.size, rng.uniform(0.55, 1.0)
        )
        room.taken |= after
        return True
    return False


def _kitchen(room: Room, style: Style) -> None:
    rng = room.rng
    lines = sorted((w for w in room.walls if w.length > 1.6), key=lambda w: -w.length + rng.uniform(0, 1.5))
    handle = int(rng.integers(4))
    splash = palette.tiles(rng, rng.uniform(0.04, 0.25)) if rng.random() < 0.6 else palette.lacquer(rng)
    built = 0
    for line in lines[: 1 + int(rng.random() < 0.65) + int(rng.random() < 0.2)]:
        spans = _free_spans(line, 0.95)
        if not spans:
            continue
        a, b = max(spans, key=lambda span: span[1] - span[0])
        if rng.random() < 0.5:
            cold = furniture.fridge(rng, style) if rng.random() < 0.6 or built else furniture.wardrobe(rng, style)
            if b - a > cold.size[0] + 1.4:
                place = a + cold.size[0] / 2 + 0.03 if rng.random() < 0.5 else b - cold.size[0] / 2 - 0.03
                room.against(cold, line, place, 0.005, 10.0)
                spans = _free_spans(line, 0.95)
                a, b = max(spans, key=lambda span: span[1] - span[0])
        for _ in range(4):  # shrink where something stands in the corner
            width = b - a - 0.02
            if width < 0.6:
                break
            unit = furniture.base_units(
                rng, style, width, built == 0 or rng.random() < 0.3, built == 0 or rng.random() < 0.3, handle
            )
            placed = room.against(unit, line, (a + b) / 2, 0.002, rng.uniform(4, 14), height=0.92)
            if placed is not None:
                built += 1
                _above_worktop(room, style, line, a, b, splash, handle)
                break
            if rng.random() < 0.5:
                a += 0.64
            else:
                b -= 0.64
    if room.area > 9 and rng.random() < 0.25:
        isle = furniture.island(rng, style)
        for _ in range(8):
            point = room.free_point()
            if point and room.stand(isle, point, rng.choice([0, np.pi / 2, np.pi]), 0.7, 10.0):
                break
    if rng.random() < 0.85:
        _table_group(room, style, 20)
    if rng.random() < 0.4:
        _against(room, lambda: furniture.bookcase(rng, style))


def _free_spans(line: Wall, height: float) -> list[tuple[float, float]]:
    """Stretches of the wall with nothing below ``height``."""
    edges = sorted((a, b) for a, b, c, d in line.used if c < height)
    spans, start = [], 0.0
    for a, b in [*edges, (line.length, line.length)]:
        if a - start > 0.5:
            spans.append((start, min(a, line.length)))
        start = max(start, b)
    return spans


def _above_worktop(room: Room, style: Style, line: Wall, a: float, b: float, splash: Material, handle: int) -> None:
    rng = room.rng
    low = 0.9
    top = rng.uniform(1.35, 1.5)
    clear = [(c, d) for c, d in _free_spans_between(line, 1.0, 2.2) if d > a and c < b]
    if rng.random() < 0.85:
        sheet = Prop("wall")
        gaps = [(max(a, c), min(b, d)) for c, d in clear]
        for c, d in gaps:
            sheet.block(splash, (c, -0.006, low), (d, 0.0, top))
        if sheet.pieces:
            room.put(sheet, line.pose(0.0))
    for c, d in clear:
        c, d = max(a, c), min(b, d)
        roll = rng.random()
        if d - c < 0.45:
            continue
        if roll < 0.6:
            width = (d - c) * (1.0 if rng.random() < 0.5 else rng.uniform(0.4, 0.9))
            if width > 0.4:
                side = c + width / 2 if rng.random() < 0.5 else d - width / 2
                room.hang(furniture.wall_units(rng, style, width - 0.01, handle), line, top, side, clutter_tries=10.0)
        elif roll < 0.8:
            shelf = furniture.wall_shelf(rng, style)
            room.hang(shelf, line, rng.uniform(1.3, 1.6), clutter_tries=14.0)
        if rng.random() < 0.5:
            room.hang(fixtures.switches(rng), line, 1.1, rng.uniform(c + 0.1, d - 0.3), 0.008)
        if rng.random() < 0.4 and d - c > 0.9:
            room.hang(fixtures.notes(rng), line, 1.05, c + 0.05 + rng.uniform(0, 0.3), 0.008)


def _free_spans_between(line: Wall, low: float, high: float) -> list[tuple[float, float]]:
    edges = sorted((a, b) for a, b, c, d in line.used if c < high and d > low)
    spans, start = [], 0.0
    for a, b in [*edges, (line.length, line.length)]:
        if a - start > 0.3:
            spans.append((start, a))
        start = max(start, b)
    return spans


def _workplace(room: Room, style: Style, free_standing: bool) -> bool:
    """A desk with screens, keyboard and a chair drawn up to it."""
    rng = room.rng
    desk = furniture.desk(rng, style)
    place: Pose | None = None
    if not free_standing:
        found = None
        for line in _long_walls(room):
            found = room.against(desk, line, front=0.55)
            if found is not None:
                # The desk's own local origin, turned with the wall.
                place = line.pose(found, 0.01 + float(desk.bounds[1, 1]), GAP)
                break
    else:
        for _ in range(10):
            point = room.free_point()
            yaw = float(rng.choice([0, 1, 2, 3]) * np.pi / 2 + rng.normal(0, 0.03))
            if point and room.stand(desk, point, yaw, 0.35):
                place = Pose((*point, GAP), yaw)
                break
    if place is None:
        return False
    _equip(room, desk, place)
    chair = furniture.office_chair(rng, style) if rng.random() < 0.8 else furniture.chair(rng, style)
    for _ in range(6):
        u, v = rng.normal(0, 0.2), float(desk.bounds[0, 1]) - rng.uniform(0.12, 0.5)
        x, y, _z = place.point(u, v)
        if room.stand(chair, (x, y), place.yaw + np.pi + rng.normal(0, 0.6), 0.0, 0.3):
            break
    if rng.random() < 0.5:
        x, y, _z = place.point(rng.choice([-1, 1]) * (desk.size[0] / 2 + 0.25), 0.0)
        room.stand(clutter.bin_(rng) if rng.random() < 0.6 else clutter.computer(rng), (x, y), place.yaw)
    return True


def _equip(room: Room, desk: Prop, place: Pose) -> None:
    rng = room.rng
    surface = (
        desk.surfaces[-1]
        if desk.surfaces[-1].kind in ("desk", "table")
        else next(s for s in desk.surfaces if s.kind in ("desk", "table"))
    )
    (x0, y0), (x1, y1) = surface.low, surface.high
    z = surface.z + GAP
    screens = int(rng.choice([0, 1, 1, 2, 2]))
    used: list[tuple[float, float]] = []
    state = int(rng.integers(1 << 30))
    middle = rng.uniform(-0.2, 0.2) * (x1 - x0) / 2
    for k in range(screens):
        screen = clutter.monitor(np.random.default_rng(state))
        x = middle + (k - (screens - 1) / 2) * (screen.size[0] + 0.03)
        if x - screen.size[0] / 2 < x0 or x + screen.size[0] / 2 > x1:
            continue
        yaw = rng.normal(0, 0.1) - (k - (screens - 1) / 2) * 0.35
        spot = place.point(x, y1 - rng.uniform(0.13, 0.2), z)
        room.put(screen, Pose(spot, place.yaw + yaw))
        used.append((x - screen.size[0] / 2 - 0.02, x + screen.size[0] / 2 + 0.02))
    if screens or rng.random() < 0.4:
        x = float(np.clip(middle, x0 + 0.25, x1 - 0.35))
        room.put(clutter.keyboard(rng), Pose(place.point(x, y0 + 0.12, z), place.yaw + rng.normal(0, 0.1)))
        room.put(clutter.mouse(rng), Pose(place.point(x + 0.3, y0 + 0.12, z), place.yaw + rng.normal(0, 0.2)))
        used.append((x - 0.25, x + 0.36))
    left, right = x0, x1
    if used:
        a, b = min(u[0] for u in used), max(u[1] for u in used)
        sides = [(left, a), (b, right)]
    else:
        sides = [(left, right)]
    for a, b in sides:
        if b - a > 0.12:
            part = surface._replace(kind="desk", low=(a, y0), high=(b, y1))
            for thing, at in clutter.scatter(rng, part, int(rng.integers(1, 9))):
                room.put(thing, Pose(place.point(*at.at), place.yaw + at.yaw))
    for other in desk.surfaces:
        if other.kind == "shelf":
            for thing, at in clutter.scatter(rng, other, 2):
                room.put(thing, Pose(place.point(*at.at), place.yaw + at.yaw))


def _office(room: Room, style: Style) -> None:
    rng = room.rng
    desks = max(1, int(room.area / rng.uniform(7, 14)))
    for k in range(min(desks, 5)):
        _workplace(room, style, free_standing=k > 1 or rng.random() < 0.25)
    for _ in range(int(rng.integers(1, 4))):
        maker = (furniture.bookcase, furniture.chest, furniture.wardrobe, furniture.bookcase)[int(rng.integers(4))]
        _against(room, lambda maker=maker: maker(rng, style))  # type: ignore[misc]
    if rng.random() < 0.6:
        _hang(room, fixtures.whiteboard(rng), rng.uniform(0.85, 1.1))
    if room.area > 14 and rng.random() < 0.6:
        _table_group(room, style)
    if rng.random() < 0.3:
        _against(room, lambda: furniture.sofa(rng, style), front=0.3)


def _living(room: Room, style: Style) -> None:
    rng = room.rng
    seats = _against(room, lambda: furniture.sofa(rng, style), front=0.9)
    if seats is not None:
        line, s = seats
        table = furniture.coffee_table(rng, style)
        x, y, _ = line.pose(s + rng.normal(0, 0.2), rng.uniform(1.45, 1.8)).at
        yaw = line.yaw + rng.normal(0, 0.05)
        if rng.random() < 0.6:
            rug = fixtures.rug(rng)
            spread = Pose((x, y, GAP), yaw)
            if room.clear(rug, spread):
                room.put(rug, spread)
                room.stand(_raised(table, 0.012), (x, y), yaw, 0.0, rng.uniform(8, 20))
        else:
            room.stand(table, (x, y), yaw, 0.0, rng.uniform(8, 20))
        for _ in range(int(rng.integers(0, 3))):
            single = furniture.sofa(rng, style, 1) if rng.random() < 0.6 else furniture.chair(rng, style)
            for _ in range(6):
                u = rng.choice([-1, 1]) * rng.uniform(0.9, 1.6)
                x, y, _ = line.pose(s + u, rng.uniform(1.2, 2.6)).at
                if room.stand(single, (x, y), line.yaw + np.pi / 2 * np.sign(u) + rng.normal(0, 0.4), 0.05, 1.0):
                    break
    bench = furniture.tv_bench(rng, style)
    for line in _long_walls(room):
        found = room.against(bench, line, front=0.5)
        if found is None:
            continue
        pose = line.pose(found, 0.01 + float(bench.bounds[1, 1]))
        surface = bench.surfaces[-1]
        if rng.random() < 0.7:
            tv = clutter.television(rng)
            room.put(tv, Pose(pose.point(0.0, 0.0, surface.z + 2 * GAP), pose.yaw + rng.normal(0, 0.05)))
        else:
            room.hang(clutter.television(rng, wall=True), line, rng.uniform(0.95, 1.15), found)
        break
    for _ in range(int(rng.integers(1, 4))):
        maker = (furniture.bookcase, furniture.chest, furniture.side_table, furniture.bookcase)[int(rng.integers(4))]
        _against(room, lambda maker=maker: maker(rng, style))  # type: ignore[misc]
    if room.area > 18 and rng.random() < 0.6:
        _table_group(room, style)
    elif rng.random() < 0.2:
        _workplace(room, style, free_standing=False)


def _raised(prop: Prop, by: float) -> Prop:
    """The prop standing ``by`` metres higher, as on a rug."""
    higher = Prop("table")
    higher.semseg = prop.semseg
    higher.include(prop, Pose((0.0, 0.0, by)))
    higher.surfaces = [s._replace(z=s.z + by) for s in prop.surfaces]
    return higher


def _bedroom(room: Room, style: Style) -> None:
    rng = room.rng
    bed = furniture.bed(rng, style)
    found = None
    for line in _long_walls(room):
        found = room.against(bed, line, clutter_tries=6.0, front=0.2, tries=20, height=0.45)
        if found is not None:
            for side in (-1, 1):
                if rng.random() < 0.7:
                    stand = furniture.nightstand(rng, style)
                    room.against(stand, line, found + side * (bed.size[0] / 2 + stand.size[0] / 2 + 0.04), 0.01, 30.0)
            if rng.random() < 0.5:
                room.hang(fixtures.framed(rng), line, rng.uniform(1.25, 1.4), found + rng.normal(0, 0.2))
            break
    _against(room, lambda: furniture.wardrobe(rng, style))
    if rng.random() < 0.6:
        _against(room, lambda: furniture.chest(rng, style))
    if rng.random() < 0.45:
        _workplace(room, style, free_standing=False)
    if rng.random() < 0.4:
        _against(room, lambda: furniture.bookcase(rng, style))
    if rng.random() < 0.3:
        _against(room, lambda: furniture.sofa(rng, style, 1))


def _dining(room: Room, style: Style) -> None:
    rng = room.rng
    _table_group(
        room,
        style,
        24,
        (rng.uniform(1.2, 2.6), rng.uniform(0.8, 1.05), rng.uniform(0.71, 0.77)) if rng.random() < 0.7 else None,
    )
    for _ in range(int(rng.integers(1, 4))):
        maker = (furniture.chest, furniture.bookcase, furniture.chest)[int(rng.integers(3))]
        _against(room, lambda maker=maker: maker(rng, style))  # type: ignore[misc]
    if rng.random() < 0.35:
        _kitchen(room, style)


def _lounge(room: Room, style: Style) -> None:
    rng = room.rng
    if rng.random() < 0.5:
        _kitchen(room, style)
    for _ in range(int(rng.integers(1, 4))):
        _table_group(room, style)
    for _ in range(int(rng.integers(1, 3))):
        _against(room, lambda: furniture.sofa(rng, style), 2.0, 0.4)
    for _ in range(2):
        _against(room, lambda: clutter.tall_plant(rng))
    if rng.random() < 0.5:
        column = fixtures.column(room, palette.wall(rng))
        point = room.free_point()
        if point:
            room.stand(column, point, 0.0, 0.3)
    _against(room, lambda: furniture.bookcase(rng, style))


def _corridor(room: Room, style: Style) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(2, 6))):
        maker = (furniture.chest, furniture.bookcase, furniture.side_table, furniture.chair, furniture.sofa)[
            int(rng.integers(5))
        ]
        _against(room, lambda maker=maker: maker(rng, style), 10.0, 0.5)  # type: ignore[misc]
    if rng.random() < 0.5:
        _hang(room, furniture.coat_rack(rng, style), 0.75)
    for _ in range(int(rng.integers(0, 3))):
        _hang(room, fixtures.framed(rng), rng.uniform(0.9, 1.5))


def _bathroom(room: Room, style: Style) -> None:
    rng = room.rng
    for maker in (furniture.bathtub, furniture.washbasin, furniture.toilet):
        found = _against(room, lambda maker=maker: maker(rng, style), 30.0, 0.35)  # type: ignore[misc]
        if maker is furniture.washbasin and found is not None:
            room.hang(fixtures.mirror(rng), found[0], 1.05, found[1])
    if rng.random() < 0.6:
        _against(room, lambda: furniture.chest(rng, style, (0.5, 0.35, rng.uniform(0.6, 1.6))), 40.0)
    if rng.random() < 0.7:
        _hang(room, furniture.wall_shelf(rng, style), 1.3)


def _store(room: Room, style: Style) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(3, 7))):
        maker = (furniture.bookcase, furniture.bookcase, furniture.wardrobe, furniture.chest, furniture.table)[
            int(rng.integers(5))
        ]
        _against(room, lambda maker=maker: maker(rng, style), 14.0, 0.3)  # type: ignore[misc]
    for _ in range(int(rng.integers(3, 9))):
        point = room.free_point()
        if point:
            room.stand(clutter.carton(rng), point, rng.uniform(0, 6.3))
    _workplace(room, style, free_standing=True)


def _hang(room: Room, prop: Prop, z: float) -> bool:
    return any(room.hang(prop, line, z) for line in _long_walls(room)[:3])


def _everywhere(room: Room, style: Style, name: str) -> None:
    """What any room has: pictures, switches, shelves, lamps and plants on the floor, things left lying about."""
    rng = room.rng
    wet = name == "bathroom"
    for line in room.walls:
        if line.length < 1.0:
            continue
        for _ in range(int(rng.integers(0, 3))):
            if not wet:
                room.hang(fixtures.framed(rng), line, rng.uniform(1.0, 1.65))
        if rng.random() < 0.2:
            room.hang(furniture.wall_shelf(rng, style), line, rng.uniform(0.9, 1.7), clutter_tries=25.0)
        if rng.random() < 0.2:
            room.hang(fixtures.notes(rng), line, rng.uniform(1.0, 1.5))
        if rng.random() < 0.45:
            room.hang(fixtures.switches(rng), line, float(rng.choice([0.25, 1.05])))
        if rng.random() < 0.1:
            room.hang(fixtures.clock(rng), line, rng.uniform(1.7, 2.1))
        if rng.random() < 0.12 and not wet:
            room.hang(clutter.television(rng, wall=True), line, rng.uniform(1.0, 1.7))
        if rng.random() < 0.1:
            room.hang(fixtures.mirror(rng), line, rng.uniform(0.7, 1.1))
    if rng.random() < 0.35 and not wet:
        _against(room, lambda: fixtures.floor_lamp(rng))
    if rng.random() < 0.4:
        _against(room, lambda: clutter.tall_plant(rng))
    if rng.random() < 0.25:
        _against(room, lambda: furniture.stool(rng, style))
    if rng.random() < 0.3:
        point = room.free_point()
        if point:
            room.stand(furniture.chair(rng, style), point, rng.uniform(0, 6.3), 0.05, 1.0)
    for _ in range(int(rng.integers(1, 4 + int(room.area / 4)))):
        thing = clutter.something(rng, "floor")
        if rng.random() < 0.5:
            _against(room, lambda thing=thing: thing)  # type: ignore[misc]
        else:
            point = room.free_point()
            if point:
                room.stand(thing, point, rng.uniform(0, 6.3))


_KINDS: dict[str, tuple[float, Callable[[Room, Style], None]]] = {
    "kitchen": (0.22, _kitchen), "office": (0.2, _office), "living": (0.13, _living), "bedroom": (0.1, _bedroom),
    "dining": (0.18, _dining), "lounge": (0.08, _lounge), "corridor": (0.03, _corridor), "bathroom": (0.03, _bathroom),
    "store": (0.03, _store),
}  # fmt: skip
