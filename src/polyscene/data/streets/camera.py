"""Drives along a street: the views of a camera behind a windscreen."""

from __future__ import annotations

import numpy as np

from polyscene.data.rooms.scene import Array, View

from .scene import Street

LOWEST, HIGHEST = 1.0, 2.3  # metres above the road
STEP = (0.2, 1.6)  # metres from one view to the next
REACH = 11.0  # metres that all views of a path lie within


def views(street: Street, count: int, size: tuple[int, int], seed: int = 0) -> tuple[View, ...]:
    """``count`` views of ``size`` (h, w) pixels, one behind the other in the lane; deterministic in the street's seed
    and ``seed``. Height, focal length and pitch are one for the path but for the car's nodding."""
    rng = np.random.default_rng([*street.seed, seed, 0xD21])
    height, width = size
    focal = float(np.clip(rng.normal(1.0, 0.16), 0.6, 1.5))
    principal = np.array([width - 1, height - 1]) / 2 + rng.normal(0, 0.01, 2) * width
    intrinsics = np.array([[focal * width, 0, principal[0]], [0, focal * width, principal[1]], [0, 0, 1]], np.float32)
    z = float(np.clip(rng.normal(1.35, 0.2), LOWEST, HIGHEST))
    pitch, yaw, roll = rng.normal(0.015, 0.025), rng.normal(0, 0.02), rng.normal(0, 0.008)
    step = float(np.exp(rng.uniform(np.log(STEP[0]), np.log(STEP[1]))))
    step = min(step, REACH / max(count - 1, 1))
    drift = rng.uniform(-0.25, 0.25)
    found = []
    for k in range(count):
        s = step * k
        x, y = street.course.at(s, street.lane + drift * s / REACH)
        heading = float(street.course.heading(s)) + yaw + rng.normal(0, 0.002)
        eye = (float(x), float(y), z + float(rng.normal(0, 0.004)))
        found.append(View(size, intrinsics, _pose(eye, heading, pitch + float(rng.normal(0, 0.003)), roll)))
    return tuple(found)


def _pose(eye: tuple[float, float, float], heading: float, pitch: float, roll: float) -> Array:
    """(4, 4); ``heading`` 0 looks along y and turns to the left, ``pitch`` is positive upward."""
    forward = np.array([-np.sin(heading) * np.cos(pitch), np.cos(heading) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(heading), np.sin(heading), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], 1)
    matrix[:3, 3] = eye
    return matrix.astype(np.float32)
