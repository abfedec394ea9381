"""Labels of generated rooms: views agree with each other, normals with the meshes."""

from __future__ import annotations

import numpy as np

from polyscene.data.rooms.labels import Labels, labels
from polyscene.data.rooms.scene import Scene, View
from polyscene.data.rooms.tracer import Tracer


def rays(view: View) -> np.ndarray:
    """(h, w, 3): through the pixel centres, camera axes, one long along the optical axis."""
    h, w = view.size
    y, x = np.mgrid[:h, :w]
    return np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(view.intrinsics.astype(float)).T


def disagreement(tracer: Tracer, one: View, a: Labels, two: View, b: Labels) -> np.ndarray:
    """Metres between the depth of what ``one`` sees carried into ``two`` and the depth that ``two`` itself has there.

    Asked are points that ``two`` sees unhidden, by a ray of its own, and whose four pixels there show the instance.
    """
    pose, other = one.world_from_camera.astype(float), two.world_from_camera.astype(float)
    world = (rays(one) * a.depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    image = ((world - other[:3, 3]) @ other[:3, :3]) @ two.intrinsics.T.astype(float)
    z = image[..., 2]
    front = z > 0.1
    x, y = (np.where(front, image[..., k] / np.where(front, z, 1), -1) for k in (0, 1))
    h, w = two.size
    inside = a.valid & front & (x >= 0) & (y >= 0) & (x < w - 1) & (y < h - 1)
    i, j = np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int)
    fx, fy = x - j, y - i
    corner = [(0, 0, (1 - fx) * (1 - fy)), (0, 1, fx * (1 - fy)), (1, 0, (1 - fx) * fy), (1, 1, fx * fy)]
    same = inside & np.all([b.instance[i + v, j + u] == a.instance for v, u, _ in corner], 0)
    target = world[same]
    way = target - other[:3, 3]
    length = np.linalg.norm(way, axis=1)
    reached, _ = tracer.cast(np.broadcast_to(other[:3, 3], way.shape), way / length[:, None])
    seen = reached > length - 1e-3
    inverse = sum(weight[same][seen] / b.depth[i + v, j + u][same][seen] for v, u, weight in corner)
    return np.abs(1 / inverse - z[same][seen])


def test_views_of_generated_rooms_agree(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    errors = []
    for tracer, path in zip(tracers, paths, strict=True):
        known = [labels(tracer, view) for view in path]
        for k in range(len(path) - 1):
            errors.append(disagreement(tracer, path[k], known[k], path[k + 1], known[k + 1]))
    found = np.concatenate(errors)
    assert len(found) > 0.3 * len(errors) * paths[0][0].size[0] * paths[0][0].size[1]
    assert np.median(found) < 1e-3
    assert np.quantile(found, 0.95) < 1e-2


def test_a_moved_camera_would_be_noticed(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    tracer, (one, two, *_) = tracers[0], paths[0]
    a, b = labels(tracer, one), labels(tracer, two)
    pose = two.world_from_camera.copy()
    pose[:3, 3] += 0.02 * pose[:3, 2]
    assert np.median(disagreement(tracer, one, a, View(two.size, two.intrinsics, pose), b)) > 1e-3


def test_normals_of_flat_parts_are_their_faces(
    scenes: list[Scene], tracers: list[Tracer], paths: list[tuple[View, ...]]
) -> None:
    """Smooth parts stand for the surface whose normal is interpolated; a sphere shows that elsewhere."""
    checked = 0
    for scene, tracer, path in zip(scenes, tracers, paths, strict=False):
        hits, got = tracer.look(path[0]), labels(tracer, path[0])
        first = np.cumsum([0] + [len(p.faces) for p in scene.parts])
        turn = path[0].world_from_camera[:3, :3].astype(float)
        normals = got.normals.reshape(-1, 3).astype(float) @ turn.T
        for number in np.unique(hits.part[hits.part >= 0]):
            part = scene.parts[number]
            if part.smooth:
                continue
            rows = np.flatnonzero(hits.part == number)
            a, b, c = part.vertices.astype(float)[part.faces[hits.triangle[rows] - first[number]]].transpose(1, 0, 2)
            face = np.cross(b - a, c - a)
            face /= np.linalg.norm(face, axis=1, keepdims=True)
            turned = np.linalg.norm(np.cross(face, normals[rows]), axis=1)
            assert np.degrees(np.arcsin(np.clip(turned, 0, 1))).max() < 0.1
            checked += len(rows)
        assert (np.einsum("hwk,hwk->hw", got.normals, rays(path[0])) <= 1e-5).all()
    assert checked > 10_000
