"""Labels are exact, views agree, pictures repeat; every material shows something."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from polyscene.data.rooms import materials
from polyscene.data.rooms.labels import labels
from polyscene.data.rooms.render import Tracer, picture, radiance
from polyscene.data.rooms.scene import Light, Material, Part, Scene, View

PAINT = Material("paint", (0.6, 0.5, 0.4))
SIZE = (48, 64)


def part(
    mesh: trimesh.Trimesh, instance: int, semseg: int = 0, material: Material = PAINT, smooth: bool = False
) -> Part:
    return Part(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), material, semseg, instance, smooth)


def box(size: tuple[float, float, float], at: tuple[float, float, float]) -> trimesh.Trimesh:
    mesh = trimesh.creation.box(size)
    mesh.apply_translation(at)
    return mesh


def scene(*parts: Part) -> Scene:
    lamp = Light(np.float32([0, 1, 1.2]), np.float32([0.3, 0, 0]), np.float32([0, 0.3, 0]), np.float32([30, 28, 25]))
    return Scene(parts, (lamp,), np.float32([0.2] * 3), np.float32([[-3, -3, -1.5], [3, 3, 1.5]]), (3, 4))


def room(*more: Part) -> Scene:
    return scene(part(box((6, 6, 3), (0, 0, 0)), 1, 11), *more)


def view(eye: tuple[float, float, float], at: tuple[float, float, float], size: tuple[int, int] = SIZE) -> View:
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = eye
    h, w = size
    return View(size, np.float32([[w, 0, (w - 1) / 2], [0, w, (h - 1) / 2], [0, 0, 1]]), pose)


def rays(seen: View) -> np.ndarray:
    h, w = seen.size
    y, x = np.mgrid[:h, :w]
    return np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(seen.intrinsics.astype(float)).T


def test_a_wall_seen_head_on_is_flat_and_faces_the_camera() -> None:
    got = labels(Tracer(room()), view((0, 0.5, 0), (0, 3, 0)))
    wall = np.abs(got.depth - 2.5) < 1e-5
    assert wall[SIZE[0] // 2].all() and got.valid.all()
    np.testing.assert_allclose(got.normals[SIZE[0] // 2, 5], [0, 0, -1], atol=1e-6)
    assert (got.instance == 1).all() and (got.semseg == 11).all()


def test_depth_and_normals_of_a_slanted_plane_are_analytic() -> None:
    seen = view((0.3, -0.7, 0.9), (0.8, 2.0, -1.5))
    got = labels(Tracer(room()), seen)
    pose = seen.world_from_camera.astype(float)
    down = (rays(seen) @ pose[:3, :3].T)[..., 2]
    floor = np.isclose((got.normals @ pose[:3, :3].T.astype(np.float32))[..., 2], 1, atol=1e-4)
    assert floor.mean() > 0.5
    np.testing.assert_allclose(got.depth[floor], ((-1.5 - pose[2, 3]) / down)[floor], rtol=1e-6)


def test_normals_of_a_smooth_mesh_are_those_of_the_sphere() -> None:
    ball = trimesh.creation.icosphere(5, radius=0.5)
    ball.apply_translation((0, 2, 0))
    seen = view((0, 0, 0), (0, 2, 0))
    got = labels(Tracer(room(part(ball, 2, smooth=True))), seen)
    points = (rays(seen) * got.depth[..., None]) - (0, 0, 2)
    inner = (got.instance == 2) & (np.hypot(points[..., 0], points[..., 1]) < 0.4)
    cosine = np.einsum("nk,nk->n", got.normals[inner], points[inner] / np.linalg.norm(points[inner], axis=1)[:, None])
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.1
    assert (np.einsum("hwk,hwk->hw", got.normals, rays(seen)) <= 1e-6).all()


def test_clearance_is_the_distance_to_faces_edges_and_corners() -> None:
    tracer = Tracer(room(part(box((1, 1, 1), (0, 0, -1)), 2)))
    for point, distance in (((0, 0, 0), 0.5), ((0.8, 0, -0.1), 0.5), ((0.7, 0.7, -0.4), 0.3), ((2.9, 0, 0), 0.1)):
        nearest = np.maximum(np.abs(np.subtract(point, (0, 0, -1))) - 0.5, 0)
        assert tracer.clearance(np.float32(point)) == pytest.approx(min(distance, np.linalg.norm(nearest)), abs=1e-6)


def test_edges_are_one_pixel_wide_on_the_nearer_side() -> None:
    got = labels(Tracer(room(part(box((0.8, 0.1, 0.8), (0, 1.5, 0)), 2))), view((0, 0, 0), (0, 2, 0)))
    near = got.instance == 2
    inner = near.copy()
    inner[1:-1, 1:-1] = near[:-2, 1:-1] & near[2:, 1:-1] & near[1:-1, :-2] & near[1:-1, 2:] & near[1:-1, 1:-1]
    rim = near & ~inner
    assert rim.any() and (got.edges[near] == rim[near]).all()
    assert not got.edges[~near].any()


def test_an_object_that_hides_part_of_itself_has_an_edge_there() -> None:
    both = trimesh.util.concatenate([box((0.5, 0.1, 2), (-0.25, 1, 0)), box((2, 0.1, 2), (0, 2, 0))])
    got = labels(Tracer(room(part(both, 2))), view((0, 0, 0), (0, 2, 0)))
    row = SIZE[0] // 2
    step = np.flatnonzero((got.depth[row, :-1] < 1.2) & (got.depth[row, 1:] > 1.5))
    assert len(step) == 1
    assert got.edges[row, step[0]] and not got.edges[row, step[0] + 1] and not got.edges[row, step[0] - 1]


def test_rays_past_the_scene_are_not_valid() -> None:
    got = labels(Tracer(scene(part(box((1, 1, 1), (0, 3, 0)), 1))), view((0, 0, 0), (0, 2, 0)))
    assert 0 < got.valid.mean() < 1 and (got.depth[~got.valid] == 0).all() and (got.depth[got.valid] > 2.4).all()


def test_cast_and_occluded_agree() -> None:
    tracer = Tracer(room())
    origin = np.zeros((2, 3), np.float32)
    direction = np.float32([[0, 1, 0], [0, 0, 2]])
    distance, triangle = tracer.cast(origin, direction)
    np.testing.assert_allclose(distance, [3, 0.75], rtol=1e-6)
    assert (triangle >= 0).all()
    assert tracer.occluded(origin, direction, np.float32([3.1, 0.8])).all()
    assert not tracer.occluded(origin, direction, np.float32([2.9, 0.7])).any()
    miss, none = Tracer(scene(part(box((1, 1, 1), (0, 3, 0)), 1))).cast(origin[:1], -direction[:1])
    assert np.isinf(miss[0]) and none[0] == -1


def test_what_stands_on_the_floor_darkens_it() -> None:
    seen = view((0, -1.5, 0.5), (0, 1, -1.5))
    table = part(box((1.2, 1.2, 0.05), (0, 1, -0.9)), 2)
    bare, under = (radiance(Tracer(s), seen, "high").sum(-1) for s in (room(), room(table)))
    below = labels(Tracer(room()), seen)
    at = (rays(seen) * below.depth[..., None]) @ seen.world_from_camera[:3, :3].T + seen.world_from_camera[:3, 3]
    shadow = (np.abs(at[..., 0]) < 0.4) & (np.abs(at[..., 1] - 1) < 0.4) & (at[..., 2] < -1.49)
    shadow &= labels(Tracer(room(table)), seen).instance == 1
    assert shadow.any() and under[shadow].mean() < 0.6 * bare[shadow].mean()


def test_pictures_repeat_and_quality_leaves_labels_alone() -> None:
    seen = view((0.3, -0.7, 0.5), (0.5, 2.0, -0.5))
    tracer = Tracer(room(part(box((0.6, 0.4, 0.5), (0.2, 1.6, -0.4)), 2)))
    truth = labels(tracer, seen)
    fast = picture(tracer, seen, truth, seed=5)
    assert fast.shape == (*SIZE, 3) and fast.dtype == np.uint8 and fast.std() > 5
    high = picture(tracer, seen, truth, "high", seed=5)
    again = Tracer(tracer.scene)
    truth_again = labels(again, seen)
    np.testing.assert_array_equal(fast, picture(again, seen, truth_again, seed=5))
    np.testing.assert_array_equal(truth.depth, truth_again.depth)
    assert (picture(tracer, seen, truth, seed=6) != fast).any()
    assert 0 < np.abs(high.astype(int) - fast).mean() < 25


def test_wrong_arguments_are_named() -> None:
    tracer, seen = Tracer(room()), view((0, 0, 0), (0, 2, 0))
    with pytest.raises(ValueError, match=r"best.*fast, high"):
        picture(tracer, seen, labels(tracer, seen), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="velvet"):
        radiance(Tracer(room(part(box((1, 1, 1), (0, 2, 0)), 2, material=Material("velvet", (1, 1, 1))))), seen)
    with pytest.raises(ValueError, match="own labels"):
        picture(tracer, view((0, 0, 0), (0, 2, 0), (24, 32)), labels(tracer, seen))


@pytest.mark.parametrize("kind", materials.KINDS)
def test_every_material_is_finite_and_varied(kind: str) -> None:
    sheet = part(box((2, 0.1, 2), (0, 2, 0)), 2, material=Material(kind, (0.8, 0.6, 0.4), (0.1, 0.1, 0.2), 1.0))
    albedo = materials.Palette((sheet,)).mean_albedo
    assert np.isfinite(albedo).all() and (albedo > 0).all() and (albedo < 1.5).all()
    light = radiance(Tracer(room(sheet)), view((0, 0, 0), (0, 2, 0)))
    patch = light[12:36, 20:44].mean(-1)
    assert np.isfinite(light).all() and (light >= 0).all() and patch.std() > 0.003 * patch.mean()
