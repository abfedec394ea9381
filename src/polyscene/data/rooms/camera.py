"""Hand-held paths through a room: a few overlapping views of something worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .scene import CLASSES, Array, Scene, View
from .tracer import Tracer

CLEARANCE = 0.3  # metres between the camera and anything
BASELINE = (0.05, 0.5)  # metres between neighbouring views
LOWEST, HIGHEST = 0.5, 2.2  # metres above the floor
OVERLAP = 0.4  # the least part of a view that the next one sees again
_ROWS, _COLUMNS = 12, 16  # of the probe
_BATCH = 8
_AROUND = 256  # probe rays to all sides
_BARE = [CLASSES.index(name) for name in ("wall", "ceiling", "floor", "window")]
_INTEREST = {"table": 5.0, "furniture": 3.0, "objects": 1.0, "books": 1.0, "tv": 1.5, "sofa": 4.0, "bed": 4.0,
             "chair": 3.0, "picture": 0.7, "window": 0.8, "wall": 0.15}  # fmt: skip


class _Stand(NamedTuple):
    """Where a camera is and how it is turned: camera axes are the columns of ``turn``."""

    eye: Array
    turn: Array


def views(
    scene: Scene, count: int, size: tuple[int, int], seed: int = 0, tracer: Tracer | None = None
) -> tuple[View, ...]:
    """``count`` views of ``size`` (h, w) pixels along one path; deterministic in the scene's seed and ``seed``.

    Neighbours lie 5-50 cm apart and share most of what they see; every camera is inside the room and at least
    0.3 m from everything. The focal length is one for the path, the principal point near the centre.
    ``tracer`` saves building another for the same scene.
    """
    rng = np.random.default_rng([*scene.seed, seed, 0xCA])
    height, width = size
    focal = float(np.clip(rng.normal((0.915, 1.03, 0.8)[int(rng.integers(3))], 0.07), 0.6, 1.3))
    focal = float(rng.uniform(0.6, 1.3)) if rng.random() < 0.25 else focal
    principal = np.array([width - 1, height - 1]) / 2 + rng.normal(0, 0.012, 2) * width
    intrinsics = np.array([[focal * width, 0, principal[0]], [0, focal * width, principal[1]], [0, 0, 1]], np.float32)
    path = _Scout(scene, tracer or Tracer(scene), rng, focal, height / width).path(count)
    return tuple(View(size, intrinsics, _matrix(stand)) for stand in path)


def _matrix(stand: _Stand) -> Array:
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3], matrix[:3, 3] = stand.turn, stand.eye
    return matrix


def _looking(azimuth: float, pitch: float, roll: float) -> Array:
    """(3, 3): x right, y down, z forward, for angles in radians; pitch is positive upward."""
    forward = np.array([np.cos(azimuth) * np.cos(pitch), np.sin(azimuth) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, forward], 1).astype(np.float32)


@dataclass
class _Seen:
    """What the probe rays of some candidates meet: (k, rays) each, and the nearest thing about each camera (k,)."""

    distance: Array
    semseg: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    nearest: Array
    enclosed: NDArray[np.bool_]


class _Scout:
    def __init__(self, scene: Scene, tracer: Tracer, rng: Generator, focal: float, aspect: float) -> None:
        self.scene, self.tracer, self.rng = scene, tracer, rng
        self.focal, self.aspect = focal, aspect
        x = ((np.arange(_COLUMNS) + 0.5) / _COLUMNS - 0.5) / focal
        y = ((np.arange(_ROWS) + 0.5) / _ROWS - 0.5) * aspect / focal
        grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        self.rays = np.c_[grid, np.ones(len(grid))].astype(np.float32)
        k = np.arange(_AROUND) + 0.5
        z, turn = 1 - 2 * k / _AROUND, k * np.pi * (3 - np.sqrt(5))
        ring = np.sqrt(1 - z * z)
        self.around = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1).astype(np.float32)
        self._boxes()

    def _boxes(self) -> None:
        parts = self.scene.parts
        instance = np.array([p.instance for p in parts])
        low = np.array([p.vertices.min(0) for p in parts])
        high = np.array([p.vertices.max(0) for p in parts])
        names, inverse = np.unique(instance, return_inverse=True)
        self.low = np.full((len(names), 3), np.inf, np.float32)
        self.high = np.full((len(names), 3), -np.inf, np.float32)
        np.minimum.at(self.low, inverse, low)
        np.maximum.at(self.high, inverse, high)
        semseg = np.zeros(len(names), int)
        semseg[inverse] = [p.semseg for p in parts]
        weight = np.array([_INTEREST.get(CLASSES[c], 0.0) for c in semseg])
        self.weight = weight / weight.sum()
        flat = [CLASSES.index("table"), CLASSES.index("furniture")]
        self.tops = np.flatnonzero(np.isin(semseg, flat) & (self.high[:, 2] > 0.6) & (self.high[:, 2] < 1.1))

    def _candidate(self) -> _Stand:
        rng, bounds = self.rng, self.scene.bounds
        roll = float(np.radians(np.clip(rng.normal(0, 4) if rng.random() < 0.85 else rng.normal(0, 11), -25, 25)))
        top = min(HIGHEST, float(bounds[1, 2]) - 0.25)
        style = rng.random()
        if style < 0.42 and len(self.tops):
            return self._across(roll, top)
        if style < 0.58:  # the room as a whole
            eye = rng.uniform(bounds[0] + 0.3, bounds[1] - 0.3)
            eye[2] = np.clip(rng.normal(1.45, 0.28), LOWEST, top)
            middle = bounds.mean(0) + rng.normal(0, 0.15, 3) * (bounds[1] - bounds[0])
            azimuth = np.arctan2(middle[1] - eye[1], middle[0] - eye[0]) + rng.normal(0, 0.4)
            pitch = np.radians(np.clip(rng.normal(-14, 12), -45, 15))
            return _Stand(eye.astype(np.float32), _looking(azimuth, pitch, roll))
        k = int(rng.choice(len(self.weight), p=self.weight))
        spot = rng.uniform(self.low[k], self.high[k])
        if rng.random() < 0.6:
            spot[2] = self.high[k, 2]
        near = rng.random() < 0.3
        distance = np.exp(rng.uniform(np.log(0.5), np.log(1.2)) if near else rng.uniform(np.log(1.0), np.log(3.6)))
        rise = rng.normal(0.45, 0.2) * distance if near else np.clip(rng.normal(1.45, 0.3), LOWEST, HIGHEST) - spot[2]
        rise = float(np.clip(rise, -0.5 * distance, 0.85 * distance))
        level = np.sqrt(distance**2 - rise**2)
        azimuth = rng.uniform(-np.pi, np.pi)
        eye = spot + np.array([-np.cos(azimuth) * level, -np.sin(azimuth) * level, rise])
        eye[2] = np.clip(eye[2], LOWEST, top)
        pitch = np.arctan2(spot[2] - eye[2], level)
        if not near and rng.random() < 0.35:
            pitch = np.radians(rng.normal(-12, 12))
        azimuth += rng.normal(0, 0.2)
        pitch = float(np.clip(pitch + rng.normal(0, 0.12), np.radians(-75), np.radians(20)))
        return _Stand(eye.astype(np.float32), _looking(azimuth, pitch, roll))

    def _across(self, roll: float, top: float) -> _Stand:
        """Held in the hands before a table, a worktop or a desk, looking over it into the room."""
        rng = self.rng
        k = int(rng.choice(self.tops))
        spot = rng.uniform(self.low[k], self.high[k])
        middle = self.scene.bounds.mean(0)
        azimuth = np.arctan2(middle[1] - spot[1], middle[0] - spot[0]) + rng.normal(0, 0.9)
        level = rng.uniform(0.45, 1.3)
        eye = spot - level * np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        eye[2] = np.clip(rng.normal(1.45, 0.14), 1.15, top)
        pitch = -np.radians(np.clip(rng.normal(23, 8), 8, 42))
        return _Stand(eye.astype(np.float32), _looking(azimuth + rng.normal(0, 0.25), pitch, roll))

    def _probe(self, stands: list[_Stand]) -> _Seen:
        eyes = np.stack([s.eye for s in stands])
        turns = np.stack([s.turn for s in stands])
        k, n, m = len(stands), len(self.rays), len(self.around)
        ahead = np.einsum("kij,nj->kni", turns, self.rays)
        directions = np.concatenate([ahead, np.broadcast_to(self.around, (k, m, 3))], 1)
        origins = np.broadcast_to(eyes[:, None], directions.shape)
        flat = np.ascontiguousarray(directions.reshape(-1, 3), np.float32)
        distance, triangle = self.tracer.cast(np.ascontiguousarray(origins.reshape(-1, 3), np.float32), flat)
        hit = triangle >= 0
        behind = np.zeros(len(hit), bool)
        behind[hit] = self._from_behind(triangle[hit], flat[hit])
        part = self.tracer.part[np.maximum(triangle, 0)]
        ahead_of, seen = distance.reshape(k, -1), part.reshape(k, -1)[:, :n]
        nearest = np.minimum(ahead_of[:, n:].min(1), (ahead_of[:, :n] * np.linalg.norm(self.rays, axis=1)).min(1))
        enclosed = hit.reshape(k, -1).all(1) & (behind.reshape(k, -1)[:, n:].mean(1) < 0.15)
        return _Seen(ahead_of[:, :n], self.tracer.semseg[seen], self.tracer.instance[seen], nearest, enclosed)

    def _from_behind(self, triangle: NDArray[np.int32], directions: Array) -> NDArray[np.bool_]:
        """Whether faces are seen from their inner side; leaves, curtains and other single sheets have none."""
        return np.asarray(np.einsum("nk,nk->n", self.tracer.outward(triangle), directions) > 0)

    def _good(self, seen: _Seen, k: int, demand: float) -> bool:
        """Clear of everything, not all bare wall, with some depth; ``demand`` in [0, 1] says how picky to be."""
        if not seen.enclosed[k] or seen.nearest[k] < CLEARANCE:
            return False
        bare = np.isin(seen.semseg[k], _BARE).mean()
        upright = np.isin(seen.semseg[k], [_BARE[0], _BARE[3]]).mean()
        ceiling = (seen.semseg[k] == _BARE[1]).mean()
        shares = np.unique(seen.instance[k], return_counts=True)[1] / seen.instance.shape[1]
        depth = seen.distance[k]
        return bool(
            bare < 1 - 0.35 * demand
            and upright < 0.85 - 0.25 * demand
            and ceiling < 0.5 - 0.2 * demand
            and shares.max() < 1 - 0.4 * demand
            and (shares > 0.01).sum() >= 2 + 3 * demand
            and np.log(depth).std() > 0.2 * demand
        )

    def _clear(self, stand: _Stand) -> bool:
        return self.tracer.clearance(stand.eye) >= CLEARANCE

    def path(self, count: int) -> list[_Stand]:
        """The views of one path; the demands on the scenery fall while nothing is found."""
        for attempt in range(60):
            demand = max(0.0, self.rng.uniform(0.4, 1.0) - 0.03 * attempt)
            stands = [self._candidate() for _ in range(_BATCH)]
            seen = self._probe(stands)
            for k in range(_BATCH):
                if self._good(seen, k, demand) and self._clear(stands[k]):
                    path = self._walk(stands[k], seen.distance[k], count)
                    if len(path) == count:
                        return path
        raise ValueError(f"room {self.scene.seed} has no free place for {count} views: generate it with another index")

    def _walk(self, start: _Stand, distance: Array, count: int) -> list[_Stand]:
        """Steps on from ``start``; shorter than ``count`` where the way is blocked."""
        rng = self.rng
        path = [start]
        depth = distance
        pace = np.exp(rng.uniform(np.log(0.06), np.log(0.45)))
        heading = rng.normal(0, 1, 3) * (1, 1, 0.35)
        while len(path) < count:
            here = path[-1]
            middle = float(np.median(depth))
            step = min(pace, 0.4 * middle)
            ahead = []
            for k in range(_BATCH):
                way = heading + rng.normal(0, 0.3 + 0.25 * k, 3) * (1, 1, 0.5)
                length = float(
                    np.clip(step * rng.uniform(0.6, 1.3) * 0.93**k, BASELINE[0] + 0.003, BASELINE[1] - 0.003)
                )
                eye = here.eye + way / np.linalg.norm(way) * length
                if not LOWEST <= eye[2] <= HIGHEST:
                    eye[2] = np.clip(eye[2], LOWEST, HIGHEST)
                    if np.linalg.norm(eye - here.eye) < BASELINE[0]:
                        continue
                aim = here.eye + here.turn[:, 2] * middle * rng.uniform(0.8, 2.5) - eye
                azimuth = np.arctan2(aim[1], aim[0]) + rng.normal(0, 0.05)
                pitch = np.arcsin(np.clip(aim[2] / np.linalg.norm(aim), -0.97, 0.5)) + rng.normal(0, 0.04)
                roll = np.arctan2(here.turn[2, 0], -here.turn[2, 1]) if abs(here.turn[2, 2]) < 0.98 else 0.0
                ahead.append(_Stand(eye.astype(np.float32), _looking(azimuth, pitch, rng.normal(-0.8 * roll, 0.03))))
            if not ahead:
                break
            seen = self._probe(ahead)
            points = here.eye + (self.rays @ here.turn.T) * depth[:, None]
            good = [
                k
                for k in range(len(ahead))
                if self._good(seen, k, 0.1) and self._shared(points, ahead[k]) >= OVERLAP and self._clear(ahead[k])
            ]
            if not good:
                break
            heading = 0.5 * heading + 0.5 * (ahead[good[0]].eye - here.eye) / step
            path.append(ahead[good[0]])
            depth = seen.distance[good[0]]
        return path

    def _shared(self, points: Array, stand: _Stand) -> float:
        """The part of ``points`` (n, 3) that lies in the picture of ``stand``; what hides them is not asked."""
        local = (points - stand.eye) @ stand.turn
        z = np.maximum(local[:, 2], 1e-6)
        inside = (np.abs(local[:, 0]) / z < 0.5 / self.focal) & (
            np.abs(local[:, 1]) / z < 0.5 * self.aspect / self.focal
        )
        return float((inside & (local[:, 2] > 0.05)).mean())
