"""What the rooms contain: everything stands on something, every camera has air around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polyscene.data.rooms import camera, clutter, furniture, layout, palette, shapes
from polyscene.data.rooms.prop import Prop
from polyscene.data.rooms.scene import CLASSES, Scene, View
from polyscene.data.rooms.tracer import Tracer

SIZE = (48, 64)


def test_the_same_seed_gives_the_same_room_and_another_a_different_one(scenes: list[Scene]) -> None:
    again = layout.generate(3, 3)
    assert len(again.parts) == len(scenes[3].parts)
    for one, two in zip(again.parts, scenes[3].parts, strict=True):
        assert np.array_equal(one.vertices, two.vertices)
        assert np.array_equal(one.faces, two.faces)
        assert one.material == two.material
        assert (one.semseg, one.instance) == (two.semseg, two.instance)
    for one, two in zip(again.lights, scenes[3].lights, strict=True):
        assert np.array_equal(one.power, two.power)
    assert not np.array_equal(again.bounds, layout.generate(4, 3).bounds)


def test_every_class_occurs(scenes: list[Scene]) -> None:
    counts = np.zeros(len(CLASSES), int)
    for scene in scenes:
        counts[list({part.semseg for part in scene.parts})] += 1
    assert {name for name, n in zip(CLASSES, counts, strict=True) if n < 2} == set()


def test_rooms_are_of_real_size_and_within_the_triangle_budget(scenes: list[Scene]) -> None:
    sizes = np.array([scene.bounds[1] - scene.bounds[0] for scene in scenes])
    assert ((sizes[:, 0] * sizes[:, 1] > 4) & (sizes[:, 0] * sizes[:, 1] < 66)).all()
    assert ((sizes[:, 2] >= 2.2) & (sizes[:, 2] <= 3.5)).all()
    triangles = np.array([sum(len(part.faces) for part in scene.parts) for scene in scenes])
    assert triangles.max() < 60_000
    assert 3_000 < np.median(triangles) < 25_000


def test_meshes_and_lights_are_sound(scenes: list[Scene]) -> None:
    for scene in scenes:
        for part in scene.parts:
            assert part.vertices.dtype == np.float32
            assert np.isfinite(part.vertices).all()
            assert part.faces.dtype == np.int32
            assert part.faces.min() >= 0
            assert part.faces.max() < len(part.vertices)
            turn = part.texture_from_world[:3, :3]
            assert np.linalg.det(turn) > 0
            assert 0 < min(part.material.colour) and max(part.material.colour) < 1
        assert len(scene.lights) > 0
        for light in scene.lights:
            assert (light.power >= 0).all() and np.isfinite(light.power).all()
        assert (scene.ambient > 0).all()


def test_one_instance_is_one_object_of_one_class(scenes: list[Scene]) -> None:
    for scene in scenes:
        classes: dict[int, set[int]] = {}
        for part in scene.parts:
            classes.setdefault(part.instance, set()).add(part.semseg)
        assert all(len(found) == 1 for found in classes.values())
        assert 0 < min(classes) and max(classes) < 2**16
        walls = sum(CLASSES[next(iter(found))] == "wall" for found in classes.values())
        assert walls >= 4


def floating(scene: Scene, tracer: Tracer) -> list[int]:
    """Instances that neither stand on anything within 5 cm (what sinks into a duvet rests on the mattress), nor are
    within 3 cm of a wall or the ceiling."""
    found = []
    parts: dict[int, list[np.ndarray]] = {}
    for part in scene.parts:
        parts.setdefault(part.instance, []).append(part.vertices)
    for instance, pieces in parts.items():
        points = np.concatenate(pieces)
        low = points[points[:, 2] < points[:, 2].min() + 0.004]
        inner = low + 0.02 * (low.mean(0) - low)
        inner[:, 2] = low[:, 2].min() - 2e-4
        down = np.broadcast_to(np.float32([0, 0, -1]), inner.shape)
        distance, triangle = tracer.cast(inner, down)
        own = tracer.instance[tracer.part[np.maximum(triangle, 0)]] == instance
        stands = ((distance < 0.05) & ~own).any() or points[:, 2].min() < 0.02
        hangs = scene.bounds[1, 2] - points[:, 2].max() < 0.03
        if not stands and not hangs and _distance_to_walls(scene, points) > 0.03:
            found.append(instance)
    return found


def test_nothing_floats(tracers: list[Tracer]) -> None:
    for tracer in tracers:
        assert floating(tracer.scene, tracer) == [], tracer.scene.seed


def test_a_floating_thing_would_be_found(tracers: list[Tracer]) -> None:
    caught = tried = 0
    for tracer in tracers:
        scene = tracer.scene
        middle = scene.bounds.mean(0)[:2]
        things = [p for p in scene.parts if CLASSES[p.semseg] == "objects" and 0.3 < p.vertices[:, 2].min() < 1.2]
        if not things or tried == 4:
            continue
        thing = min(things, key=lambda p: float(np.linalg.norm(p.vertices.mean(0)[:2] - middle)))
        lift = np.float32([0, 0, 0.15])
        mutant = replace(
            scene,
            parts=tuple(
                replace(p, vertices=p.vertices + lift) if p.instance == thing.instance else p for p in scene.parts
            ),
        )
        own = np.concatenate([p.vertices for p in mutant.parts if p.instance == thing.instance])
        if _distance_to_walls(scene, own) < 0.05:
            continue
        tried += 1
        caught += thing.instance in floating(mutant, Tracer(mutant))
    assert tried >= 3 and caught == tried


def _distance_to_walls(scene: Scene, points: np.ndarray) -> float:
    """To the nearest vertical face of class wall."""
    nearest = np.inf
    for part in scene.parts:
        if CLASSES[part.semseg] not in ("wall", "window"):
            continue
        a, b, c = (part.vertices[part.faces[:, k]].astype(float) for k in range(3))
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1)
        flat = (area > 1e-6) & (np.abs(normal[:, 2]) < 1e-3 * area)
        if flat.any():
            n = normal[flat] / area[flat, None]
            gap = np.abs(points[::3] @ n.T - (n * a[flat]).sum(1))
            nearest = min(nearest, float(gap.min()))
    return nearest


def test_cameras_are_inside_clear_and_close_to_their_neighbours(
    tracers: list[Tracer], paths: list[tuple[View, ...]]
) -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4000, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for tracer, path in zip(tracers, paths, strict=True):
        eyes = np.stack([view.world_from_camera[:3, 3] for view in path])
        bounds = tracer.scene.bounds
        assert (eyes > bounds[0]).all() and (eyes < bounds[1]).all()
        assert ((eyes[:, 2] >= camera.LOWEST - 1e-3) & (eyes[:, 2] <= camera.HIGHEST + 1e-3)).all()
        steps = np.linalg.norm(np.diff(eyes, axis=0), axis=1)
        assert ((steps >= 0.049) & (steps <= 0.501)).all()
        for view, eye in zip(path, eyes, strict=True):
            turn = view.world_from_camera[:3, :3]
            assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-5)
            assert np.linalg.det(turn) > 0
            assert turn[2, 1] < 0  # the picture's down is down
            assert 0.6 <= view.intrinsics[0, 0] / view.size[1] <= 1.3
            assert (tracer.look(view).triangle >= 0).mean() > 0.999
            distance, triangle = tracer.cast(np.broadcast_to(eye, directions.shape), directions)
            assert (triangle >= 0).all()
            assert distance.min() >= camera.CLEARANCE
            assert tracer.clearance(eye) <= distance.min() + 1e-5


def test_views_are_deterministic_and_depend_on_their_seed(tracers: list[Tracer]) -> None:
    scene, tracer = tracers[0].scene, tracers[0]
    one, two, other = (camera.views(scene, 3, SIZE, seed=seed, tracer=tracer) for seed in (1, 1, 2))
    for a, b, c in zip(one, two, other, strict=True):
        assert np.array_equal(a.world_from_camera, b.world_from_camera)
        assert np.array_equal(a.intrinsics, b.intrinsics)
        assert not np.allclose(a.world_from_camera, c.world_from_camera)


def test_neighbouring_views_share_what_they_see(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    for tracer, (first, second, *_) in zip(tracers, paths, strict=True):
        h, w = first.size
        points = tracer.look(first).point
        local = (points - second.world_from_camera[:3, 3]) @ second.world_from_camera[:3, :3]
        pixel = local @ second.intrinsics.T
        x, y = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
        inside = (pixel[:, 2] > 0) & (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
        assert inside.mean() > 0.8 * camera.OVERLAP


@pytest.mark.parametrize(
    "mesh",
    [
        shapes.box(), shapes.bevelled((1, 2, 0.5), 0.05), shapes.extruded(shapes.rounded_outline(1.0, 0.5, 0.1), 0.3),
        shapes.lathe([(0, 0), (1, 0), (0.8, 1), (0, 1)]), shapes.superellipsoid(0.3, 0.3), shapes.cushion((1, 1, 0.2)),
        shapes.tube([(np.cos(a), np.sin(a), 0) for a in np.arange(0, 6.2, 0.4)], 0.1, closed=True),
    ],
)  # fmt: skip
def test_solids_face_outward(mesh: shapes.Mesh) -> None:
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0  # six times the volume


def _makers() -> list[object]:
    made = [
        name for name in dir(furniture) if name.islower() and getattr(furniture, name).__class__.__name__ == "function"
    ]
    return [getattr(furniture, n) for n in made if getattr(furniture, n).__annotations__.get("return") == "Prop"]


@pytest.mark.parametrize("maker", _makers(), ids=lambda m: m.__name__)
def test_furniture_stands_on_its_origin(maker) -> None:  # type: ignore[no-untyped-def]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        style = palette.style(rng)
        extra = {"base_units": (2.0, True, True, 0), "wall_units": (1.2, 0)}.get(maker.__name__, ())
        prop: Prop = maker(rng, style, *extra)
        low, high = prop.bounds
        hung = maker.__name__ in ("coat_rack", "washbasin", "wall_shelf", "wall_units", "hood")
        assert hung or abs(low[2]) < 0.012
        assert (high - low < (4.0, 3.0, 2.3)).all()
        for surface in prop.surfaces:
            assert surface.low[0] < surface.high[0] and surface.low[1] < surface.high[1]
            assert low[2] <= surface.z <= high[2] + 1e-3
            assert low[0] - 1e-3 <= surface.low[0] and surface.high[0] <= high[0] + 1e-3


@pytest.mark.parametrize(
    "kind", ["table", "desk", "worktop", "shelf", "display", "floor", "cushions", "bathroom", "sill"]
)
def test_clutter_stands_clear_of_its_neighbours(kind: str) -> None:
    from polyscene.data.rooms.prop import Surface

    rng = np.random.default_rng(3)
    surface = Surface(kind, (-0.6, -0.4), (0.6, 0.4), 0.7, 0.9)
    rectangles = []
    for prop, pose in clutter.scatter(rng, surface, 12):
        assert abs(prop.bounds[0, 2]) < 0.012
        assert pose.at[2] == pytest.approx(0.7 + clutter.GAP)
        turn = pose.matrix()
        corners = np.concatenate([p.mesh.vertices for p in prop.pieces]) @ turn[:3, :3].T + turn[:3, 3]
        rectangles.append(np.r_[corners[:, :2].min(0), corners[:, :2].max(0)])
        assert corners[:, 0].min() > -0.602 and corners[:, 0].max() < 0.602
    assert len(rectangles) >= 1
    for k, a in enumerate(rectangles):
        for b in rectangles[:k]:
            assert a[0] > b[2] - 1e-3 or b[0] > a[2] - 1e-3 or a[1] > b[3] - 1e-3 or b[1] > a[3] - 1e-3
