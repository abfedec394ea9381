"""Light on surfaces: what arrives from the lamps, what the room sends back, and the filter that smooths both.

Kernels work on flat lists of hits; rays are traced by the caller between them. Sample positions are low-discrepancy
in the image plane, so that a small edge-aware filter turns one sample a pixel into soft shadows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from .scene import Light, Scene

F = NDArray[np.float32]
FACES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)


def lamp_table(lights: tuple[Light, ...]) -> F:
    """(n, 13): centre, u, v, power, 1 for an area or 0 for a point."""
    rows = [[*lamp.centre, *lamp.u, *lamp.v, *lamp.power, float(np.any(lamp.u) and np.any(lamp.v))] for lamp in lights]
    return np.array(rows, np.float32).reshape(-1, 13)


@compiled(fastmath=True, inline="always")
def _facing(nx, ny, nz, dx, dy, dz):  # type: ignore[no-untyped-def]
    return max(nx * dx + ny * dy + nz * dz, 0.0)


@compiled(fastmath=True)
def lamps(table, point, normal, geometric, offset, random, origin, direction, reach, light):  # type: ignore[no-untyped-def]
    """Pick, for each hit, one lamp by its unshadowed contribution, and a point on it.

    Writes the shadow ray (``origin``, unit ``direction``, ``reach``) and the irradiance ``light`` (n, 3) that
    arrives if the ray is free, divided by the pick's probability. ``random`` (n, 3) in [0, 1).
    """
    n_lamps = len(table)
    none, one, grazing = np.float32(0), np.float32(1), np.float32(0.2)
    extent = np.empty(n_lamps, np.float32)
    power = np.empty(n_lamps, np.float32)
    for k in range(n_lamps):
        extent[k] = np.sum(np.abs(table[k, 3:9])) ** 2
        power[k] = np.sum(table[k, 9:12])
    weight = np.empty(n_lamps, np.float32)
    for i in range(len(point)):
        x, y, z = point[i, 0], point[i, 1], point[i, 2]
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        total = np.float32(0)
        for k in range(n_lamps):
            t = table[k]
            dx, dy, dz = t[0] - x, t[1] - y, t[2] - z
            d2 = dx * dx + dy * dy + dz * dz + np.float32(0.01)
            # a large near lamp is seen by surfaces its centre does not face
            near = one / d2
            cosine = max(nx * dx + ny * dy + nz * dz, none) * np.sqrt(near) + grazing * min(extent[k] * near, one)
            w = power[k] * cosine * near
            weight[k] = w
            total += w
        reach[i] = 0
        light[i] = 0
        origin[i] = point[i]
        direction[i, 0], direction[i, 1], direction[i, 2] = 0, 0, 1
        if total <= 0:
            continue
        u = random[i, 0] * total
        k = 0
        while k < n_lamps - 1 and u >= weight[k]:
            u -= weight[k]
            k += 1
        if weight[k] <= 0:
            continue
        t = table[k]
        a, b = 2 * random[i, 1] - 1, 2 * random[i, 2] - 1
        gx, gy, gz = geometric[i, 0], geometric[i, 1], geometric[i, 2]
        ox, oy, oz = x + gx * offset[i], y + gy * offset[i], z + gz * offset[i]
        dx = t[0] + a * t[3] + b * t[6] - ox
        dy = t[1] + a * t[4] + b * t[7] - oy
        dz = t[2] + a * t[5] + b * t[8] - oz
        d2 = dx * dx + dy * dy + dz * dz
        inverse = 1 / np.sqrt(d2 + np.float32(1e-8))
        dx, dy, dz = dx * inverse, dy * inverse, dz * inverse
        cosine = nx * dx + ny * dy + nz * dz
        if cosine <= 0 or gx * dx + gy * dy + gz * dz <= 0:
            continue
        if t[12] > 0:
            ax = t[4] * t[8] - t[5] * t[7]
            ay = t[5] * t[6] - t[3] * t[8]
            az = t[3] * t[7] - t[4] * t[6]
            tilt = abs(ax * dx + ay * dy + az * dz) / np.sqrt(ax * ax + ay * ay + az * az)
            gain = tilt * np.float32(1 / (2 * np.pi))
        else:
            gain = np.float32(1 / (4 * np.pi))
        gain *= cosine / max(d2, np.float32(0.02)) * total / weight[k]
        # one lucky pick of an unlikely lamp must not outshine its neighbours
        ceiling = np.float32(4) * total / (t[9] + t[10] + t[11]) * np.float32(0.35)
        gain = min(gain, ceiling)
        origin[i, 0], origin[i, 1], origin[i, 2] = ox, oy, oz
        direction[i, 0], direction[i, 1], direction[i, 2] = dx, dy, dz
        reach[i] = max(1 / inverse - np.float32(0.01), 0.0)
        for c in range(3):
            light[i, c] = t[9 + c] * gain


@compiled(fastmath=True)
def hemisphere(point, normal, geometric, offset, random, origin, direction):  # type: ignore[no-untyped-def]
    """Cosine-weighted rays off each hit: ``random`` (n, 2) in [0, 1) to ``origin`` and unit ``direction`` (n, 3)."""
    for i in range(len(point)):
        radius, angle = np.sqrt(random[i, 0]), np.float32(2 * np.pi) * random[i, 1]
        a, b = radius * np.cos(angle), radius * np.sin(angle)
        c = np.sqrt(max(1 - random[i, 0], np.float32(0)))
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        sign = np.float32(1) if nz >= 0 else np.float32(-1)
        s = -1 / (sign + nz)
        q = nx * ny * s
        direction[i, 0] = a * (1 + sign * nx * nx * s) + b * q + c * nx
        direction[i, 1] = a * sign * q + b * (sign + ny * ny * s) + c * ny
        direction[i, 2] = -a * sign * nx - b * ny + c * nz
        for k in range(3):
            origin[i, k] = point[i, k] + geometric[i, k] * offset[i]


@compiled(fastmath=True)
def mirror(point, normal, geometric, ray, offset, rough, random, origin, direction):  # type: ignore[no-untyped-def]
    """Rays reflected about ``normal``, spread by ``rough`` (n,)."""
    for i in range(len(point)):
        along = ray[i, 0] * normal[i, 0] + ray[i, 1] * normal[i, 1] + ray[i, 2] * normal[i, 2]
        spread = rough[i] * rough[i] * 1.6
        length = np.float32(0)
        for k in range(3):
            d = ray[i, k] - 2 * along * normal[i, k] + spread * (2 * random[i, k] - 1)
            direction[i, k] = d
            length += d * d
        out = np.float32(0)
        for k in range(3):
            direction[i, k] /= np.sqrt(length)
            out += direction[i, k] * geometric[i, k]
        for k in range(3):
            if out < 0.01:
                direction[i, k] += (np.float32(0.02) - out) * geometric[i, k]
            origin[i, k] = point[i, k] + geometric[i, k] * offset[i]


@dataclass(frozen=True)
class LightField:
    """Irradiance on the six faces of a cube at every node of a grid through the room: its soft light, bounces included.

    ``bounced`` and ``whole`` (x, y, z, 6, 3): without and with what comes straight from the lamps.
    """

    origin: F
    spacing: F
    bounced: F
    whole: F


@compiled(fastmath=True)
def lookup(field, origin, spacing, point, normal, out):  # type: ignore[no-untyped-def]
    """Irradiance ``out`` (n, 3) at ``point`` on a surface facing ``normal``, between the eight nodes about it."""
    flat = field.reshape(-1)
    ny, nz = field.shape[1], field.shape[2]
    zero, one, lift = np.float32(0), np.float32(1), np.float32(0.12)
    for i in range(len(point)):
        nx_, ny_, nz_ = normal[i, 0], normal[i, 1], normal[i, 2]
        x = (point[i, 0] + nx_ * lift - origin[0]) / spacing[0]
        y = (point[i, 1] + ny_ * lift - origin[1]) / spacing[1]
        z = (point[i, 2] + nz_ * lift - origin[2]) / spacing[2]
        x = min(max(x, zero), np.float32(field.shape[0] - 1))
        y = min(max(y, zero), np.float32(ny - 1))
        z = min(max(z, zero), np.float32(nz - 1))
        x0, y0, z0 = min(int(x), field.shape[0] - 2), min(int(y), ny - 2), min(int(z), nz - 2)
        fx, fy, fz = x - np.float32(x0), y - np.float32(y0), z - np.float32(z0)
        a, b, c = nx_ * nx_, ny_ * ny_, nz_ * nz_
        ka, kb, kc = 0 if nx_ >= 0 else 3, 6 if ny_ >= 0 else 9, 12 if nz_ >= 0 else 15
        red, green, blue = zero, zero, zero
        for corner in range(8):
            u, v, w = corner & 1, (corner >> 1) & 1, corner >> 2
            share = (fx if u == 1 else one - fx) * (fy if v == 1 else one - fy) * (fz if w == 1 else one - fz)
            at = (((x0 + u) * ny + y0 + v) * nz + z0 + w) * 18
            red += share * (a * flat[at + ka] + b * flat[at + kb] + c * flat[at + kc])
            green += share * (a * flat[at + ka + 1] + b * flat[at + kb + 1] + c * flat[at + kc + 1])
            blue += share * (a * flat[at + ka + 2] + b * flat[at + kb + 2] + c * flat[at + kc + 2])
        out[i, 0], out[i, 1], out[i, 2] = red, green, blue


@compiled(fastmath=True)
def gather(direction, radiance, count, solid, out):  # type: ignore[no-untyped-def]
    """Sum ``radiance`` (nodes * count, 3) arriving along ``direction`` onto the six faces of each node: ``out``."""
    for i in range(len(direction)):
        cell = out[i // count]
        for k in range(3):
            d = direction[i, k]
            face = 2 * k if d >= 0 else 2 * k + 1
            for c in range(3):
                cell[face, c] += abs(d) * radiance[i, c] * solid


@compiled(fastmath=True)
def smooth(light, weight, point, normal, part, width, step, radius, scale, out, out_weight):  # type: ignore[no-untyped-def]
    """One pass of an edge-aware filter over ``light`` (h * w, 3) with taps ``step`` pixels apart.

    Neighbours count where they lie in the pixel's tangent plane (within ``scale`` (n,) metres) and face its way.
    """
    height = len(part) // width
    one = np.float32(1)  # a plain 1 would carry the sums to double
    near = np.empty((2 * radius + 1, 2 * radius + 1), np.float32)
    for v in range(-radius, radius + 1):
        for u in range(-radius, radius + 1):
            near[v + radius, u + radius] = 1 / (1 + 0.15 * (u * u + v * v))
    for y in range(height):
        for x in range(width):
            i = y * width + x
            if part[i] < 0:
                out[i] = 0
                out_weight[i] = 0
                continue
            nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
            px, py, pz = point[i, 0], point[i, 1], point[i, 2]
            tight = one / (scale[i] * scale[i])
            total = np.float32(0)
            r, g, b = np.float32(0), np.float32(0), np.float32(0)
            for v in range(-radius, radius + 1):
                yy = y + v * step
                if yy < 0 or yy >= height:
                    continue
                for u in range(-radius, radius + 1):
                    xx = x + u * step
                    if xx < 0 or xx >= width:
                        continue
                    j = yy * width + xx
                    if part[j] < 0 or weight[j] <= 0:
                        continue
                    facing = nx * normal[j, 0] + ny * normal[j, 1] + nz * normal[j, 2]
                    if facing < np.float32(0.7):
                        continue
                    off = nx * (point[j, 0] - px) + ny * (point[j, 1] - py) + nz * (point[j, 2] - pz)
                    w = near[v + radius, u + radius] * weight[j] * facing * facing / (one + off * off * tight)
                    total += w
                    r += w * light[j, 0]
                    g += w * light[j, 1]
                    b += w * light[j, 2]
            inverse = one / max(total, np.float32(1e-12))
            out[i, 0], out[i, 1], out[i, 2] = r * inverse, g * inverse, b * inverse
            out_weight[i] = np.float32(1) if total > 0 else np.float32(0)


@compiled(fastmath=True)
def carry(light, shine, few_part, few_normal, columns, step, part, normal, width, out, out_shine, lone):  # type: ignore[no-untyped-def]
    """Light and shine found at every ``step``-th pixel, to all pixels of the same part that face the same way.

    Marks in ``lone`` (h * w,) those that have no such neighbour.
    """
    height, rows = len(part) // width, len(few_part) // columns
    for y in range(height):
        for x in range(width):
            i = y * width + x
            x0, y0 = x // step, y // step
            fx, fy = np.float32(x - x0 * step) / np.float32(step), np.float32(y - y0 * step) / np.float32(step)
            total = np.float32(0)
            for c in range(3):
                out[i, c] = 0
                out_shine[i, c] = 0
            if part[i] < 0:
                continue
            for v in range(2):
                for u in range(2):
                    if x0 + u >= columns or y0 + v >= rows:
                        continue
                    j = (y0 + v) * columns + x0 + u
                    if few_part[j] != part[i]:
                        continue
                    facing = np.float32(0)
                    for k in range(3):
                        facing += normal[i, k] * few_normal[j, k]
                    if facing < np.float32(0.8):
                        continue
                    near = (fx if u else 1 - fx) * (fy if v else 1 - fy) + np.float32(0.05)
                    w = near * facing * facing
                    total += w
                    for c in range(3):
                        out[i, c] += w * light[j, c]
                        out_shine[i, c] += w * shine[j, c]
            if total <= 0:
                lone[i] = True
                continue
            for c in range(3):
                out[i, c] /= total
                out_shine[i, c] /= total


@compiled(fastmath=True)
def highlights(table, look, part, point, normal, ray, shade, out):  # type: ignore[no-untyped-def]
    """Broad highlights ``out`` (n, 3) of the lamps on glossy parts, dimmed by ``shade`` (n,)."""
    for i in range(len(part)):
        out[i] = 0
        if part[i] < 0 or look[part[i], 7] <= 0:
            continue
        m = look[part[i]]
        alpha = max(m[12] * m[12], np.float32(0.02))
        power = min(2 / (alpha * alpha), np.float32(800.0))
        narrow = 1 - 5 / power  # below this the lobe is under a hundredth
        for k in range(len(table)):
            t = table[k]
            dx, dy, dz = t[0] - point[i, 0], t[1] - point[i, 1], t[2] - point[i, 2]
            d2 = dx * dx + dy * dy + dz * dz + np.float32(0.01)
            inverse = 1 / np.sqrt(d2)
            dx, dy, dz = dx * inverse, dy * inverse, dz * inverse
            cosine = _facing(normal[i, 0], normal[i, 1], normal[i, 2], dx, dy, dz)
            if cosine <= 0:
                continue
            hx, hy, hz = dx - ray[i, 0], dy - ray[i, 1], dz - ray[i, 2]
            h = 1 / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
            half = _facing(normal[i, 0], normal[i, 1], normal[i, 2], hx * h, hy * h, hz * h)
            if half < narrow:
                continue
            lobe = half**power * (power + 2) / 8 * m[7] * np.float32(0.06)
            gain = min(lobe * cosine / d2 * np.float32(1 / (2 * np.pi * np.pi)), np.float32(4)) * shade[i]
            for c in range(3):
                out[i, c] += t[9 + c] * gain * (look[part[i], c] if m[13] > 0 else np.float32(1))


def field_nodes(scene: Scene, spacing: float = 0.6) -> tuple[F, F, tuple[int, int, int]]:
    """Where a scene's light field has its nodes: first node (3,), spacing (3,), counts."""
    low, high = np.asarray(scene.bounds, np.float32)
    counts = np.clip(np.ceil((high - low) / spacing), 2, 14).astype(int)
    step = ((high - low) / counts).astype(np.float32)
    return low + step / 2, step, (int(counts[0]), int(counts[1]), int(counts[2]))
