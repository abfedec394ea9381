"""Exact labels of a view: depth, normals, classes, instances and edges.

Rays pass through integer pixel centres; embree names the triangle, and depth follows in double precision from that
triangle's plane. The normal of a flat part is its face's; that of a smooth part is interpolated from the corners, the
normal of the curved surface the mesh stands for, which a facet's own normal misses by up to half its turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyscene.compiled import compiled

from .scene import View
from .tracer import Hits, Tracer

EDGE_GAP = 0.02  # metres, and the same fraction of depth: a smaller step within one instance is no occlusion


@dataclass(frozen=True)
class Labels:
    """Ground truth of one view, all (h, w): zero (no edge, not valid) where a ray leaves the scene.

    ``depth`` float32 metres along the optical axis; ``normals`` (h, w, 3) float32 unit, camera axes, facing the
    camera; ``semseg`` uint8 class; ``instance`` uint16; ``edges`` bool, one pixel wide, on the nearer side of
    instance boundaries and of depth steps within an instance; ``valid`` bool.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    semseg: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    edges: NDArray[np.bool_]
    valid: NDArray[np.bool_]


@compiled()
def _edges(depth, slope, instance, valid, gap, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for y in range(height):
        for x in range(width):
            for k in range(2):
                yy, xx = (y, x + 1) if k == 0 else (y + 1, x)
                if yy >= height or xx >= width or not (valid[y, x] or valid[yy, xx]):
                    continue
                near = valid[y, x] and (not valid[yy, xx] or depth[y, x] <= depth[yy, xx])
                if valid[y, x] and valid[yy, xx] and instance[y, x] == instance[yy, xx]:
                    a, b = depth[y, x], depth[yy, xx]
                    step = abs(a - b)
                    # both planes carried to the midpoint: 1/z is affine along the image
                    p = 1 / a + 0.5 * slope[y, x, k]
                    q = 1 / b - 0.5 * slope[yy, xx, k]
                    if p > 0 and q > 0:
                        step = min(step, abs(1 / p - 1 / q))
                    if step <= gap * max(1.0, min(a, b)):
                        continue
                if near:
                    out[y, x] = True
                else:
                    out[yy, xx] = True


def edges(hits: Hits, size: tuple[int, int], instance: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Boundaries (h, w), one pixel wide and on the nearer side."""
    found = np.zeros(size, np.bool_)
    valid = (hits.triangle >= 0).reshape(size)
    _edges(hits.depth.reshape(size), hits.slope.reshape(*size, 2), instance, valid, EDGE_GAP, found)
    return found


def labels(tracer: Tracer, view: View) -> Labels:
    """Everything known about ``view``, without its picture."""
    hits = tracer.look(view)
    size = view.size
    part = hits.part
    instance = tracer.instance[part].reshape(size)
    rotation = np.asarray(view.world_from_camera, np.float32)[:3, :3]
    return Labels(
        depth=hits.depth.astype(np.float32).reshape(size),
        normals=(hits.normal @ rotation).reshape(*size, 3),
        semseg=tracer.semseg[part].reshape(size),
        instance=instance,
        edges=edges(hits, size, instance),
        valid=(part >= 0).reshape(size),
    )
