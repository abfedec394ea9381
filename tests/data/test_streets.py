"""Rendered streets: exact labels, views that agree, free lanes, the same street for the same number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import polyscene
from polyscene.data.rooms.labels import Labels, labels
from polyscene.data.rooms.scene import View
from polyscene.data.streets import buildings, camera, layout, people, plants, posts, vehicles
from polyscene.data.streets.dataset import Streets, painted
from polyscene.data.streets.record import Recipe
from polyscene.data.streets.render import Tracer, picture, prepare, radiance
from polyscene.data.streets.scene import CLASSES, Course, Street

SIZE = (72, 96)


@pytest.fixture(scope="module")
def tracers() -> list[Tracer]:
    return [Tracer(layout.generate(3, index)) for index in range(3)]


@pytest.fixture(scope="module")
def paths(tracers: list[Tracer]) -> list[tuple[View, ...]]:
    return [camera.views(street(tracer), 3, SIZE) for tracer in tracers]


def street(tracer: Tracer) -> Street:
    assert isinstance(tracer.scene, Street)
    return tracer.scene


def rays(view: View) -> np.ndarray:
    """(h, w, 3): through the pixel centres, camera axes, one long along the optical axis."""
    h, w = view.size
    y, x = np.mgrid[:h, :w]
    return np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(view.intrinsics.astype(float)).T


def disagreement(tracer: Tracer, one: View, a: Labels, two: View, b: Labels) -> np.ndarray:
    """Metres between the depth of what ``one`` sees carried into ``two`` and the depth that ``two`` itself has there,
    at points within 30 m that ``two`` sees unhidden and whose four pixels there show the instance."""
    pose, other = one.world_from_camera.astype(float), two.world_from_camera.astype(float)
    world = (rays(one) * a.depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    image = ((world - other[:3, 3]) @ other[:3, :3]) @ two.intrinsics.T.astype(float)
    z = image[..., 2]
    front = (z > 0.1) & (z < 30)
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


def test_views_agree(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    errors = []
    for tracer, path in zip(tracers, paths, strict=True):
        known = [labels(tracer, view) for view in path]
        for k in range(len(path) - 1):
            errors.append(disagreement(tracer, path[k], known[k], path[k + 1], known[k + 1]))
    found = np.concatenate(errors)
    assert len(found) > 0.15 * len(errors) * SIZE[0] * SIZE[1]
    assert np.median(found) < 1e-3
    one, two = paths[0][:2]
    a, b = labels(tracers[0], one), labels(tracers[0], two)
    pose = two.world_from_camera.copy()
    pose[:3, 3] += 0.05 * pose[:3, 2]
    assert np.median(disagreement(tracers[0], one, a, View(two.size, two.intrinsics, pose), b)) > 1e-3


def test_normals_of_flat_parts_are_their_faces(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    checked = 0
    for tracer, path in zip(tracers, paths, strict=True):
        parts, hits, got = tracer.scene.parts, tracer.look(path[0]), labels(tracer, path[0])
        first = np.cumsum([0] + [len(p.faces) for p in parts])
        turn = path[0].world_from_camera[:3, :3].astype(float)
        normals = got.normals.reshape(-1, 3).astype(float) @ turn.T
        for number in np.unique(hits.part[hits.part >= 0]):
            part = parts[number]
            if part.smooth:
                continue
            rows = np.flatnonzero(hits.part == number)
            a, b, c = part.vertices.astype(float)[part.faces[hits.triangle[rows] - first[number]]].transpose(1, 0, 2)
            face = np.cross(b - a, c - a)
            face /= np.linalg.norm(face, axis=1, keepdims=True)
            assert np.linalg.norm(np.cross(face, normals[rows]), axis=1).max() < 2e-3
            checked += len(rows)
        assert (np.einsum("hwk,hwk->hw", got.normals, rays(path[0])) <= 1e-5).all()
    assert checked > 10_000


def test_the_sky_is_a_class_without_depth(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    for tracer, path in zip(tracers, paths, strict=True):
        got = labels(tracer, path[0])
        assert ((got.semseg == CLASSES.index("sky")) == ~got.valid).all()
        assert (got.depth[~got.valid] == 0).all() and (got.depth[got.valid] > 0.3).all()


def test_the_road_is_level_below_the_camera(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    for tracer, path in zip(tracers, paths, strict=True):
        hits, got = tracer.look(path[0]), labels(tracer, path[0])
        road = got.semseg.ravel() == CLASSES.index("road")
        assert road.mean() > 0.08
        assert np.abs(hits.point[road, 2]).max() < 0.01
        np.testing.assert_allclose(hits.geometric[road], np.broadcast_to([0, 0, 1], (road.sum(), 3)), atol=1e-5)


def test_meshes_are_sound_and_instances_of_one_class(tracers: list[Tracer]) -> None:
    seen: set[str] = set()
    for tracer in tracers:
        classes: dict[int, set[int]] = {}
        for part in tracer.scene.parts:
            assert part.vertices.dtype == np.float32 and np.isfinite(part.vertices).all()
            assert part.faces.min() >= 0 and part.faces.max() < len(part.vertices)
            assert 0 < min(part.material.colour) and max(part.material.colour) < 1
            classes.setdefault(part.instance, set()).add(part.semseg)
        assert all(len(found) == 1 for found in classes.values())
        assert 0 < min(classes) and max(classes) < 2**16
        assert sum(len(part.faces) for part in tracer.scene.parts) < 400_000
        seen |= {CLASSES[next(iter(found))] for found in classes.values()}
    assert seen == set(CLASSES) - {"sky"}


def test_cameras_have_the_lane_to_themselves(tracers: list[Tracer]) -> None:
    for tracer in tracers:
        path = camera.views(street(tracer), 8, SIZE)
        eyes = np.stack([view.world_from_camera[:3, 3] for view in path])
        assert ((eyes[:, 2] > 0.9) & (eyes[:, 2] < 2.4)).all()
        steps = np.linalg.norm(np.diff(eyes, axis=0), axis=1)
        assert ((steps > 0.1) & (steps < 1.8)).all()
        for view, eye in zip(path, eyes, strict=True):
            assert tracer.clearance(eye) > 0.4
            turn = view.world_from_camera[:3, :3]
            assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-5) and turn[2, 1] < -0.9


def test_the_same_number_gives_the_same_street_and_picture(
    tracers: list[Tracer], paths: list[tuple[View, ...]]
) -> None:
    again = layout.generate(3, 0)
    assert len(again.parts) == len(tracers[0].scene.parts) and again.weather == street(tracers[0]).weather
    for one, two in zip(again.parts, tracers[0].scene.parts, strict=True):
        assert np.array_equal(one.vertices, two.vertices) and one.material == two.material
    assert layout.generate(4, 0).weather != again.weather
    view, tracer = paths[0][0], tracers[0]
    truth = labels(tracer, view)
    fast = picture(tracer, view, truth, seed=5)
    assert fast.shape == (*SIZE, 3) and fast.dtype == np.uint8 and fast.std() > 5
    assert np.array_equal(fast, picture(Tracer(again), view, truth, seed=5))
    assert (picture(tracer, view, truth, seed=6) != fast).any()
    assert 0 < np.abs(picture(tracer, view, truth, "high", seed=5).astype(int) - fast).mean() < 25
    with pytest.raises(ValueError, match=r"best.*fast, high"):
        radiance(tracer, view, "best")  # type: ignore[arg-type]


def test_light_is_finite_and_the_sun_casts_shadows(tracers: list[Tracer], paths: list[tuple[View, ...]]) -> None:
    for tracer, path in zip(tracers, paths, strict=True):
        light = radiance(tracer, path[0])
        assert np.isfinite(light).all() and (light >= 0).all()
        assert (prepare(tracer).sky.open > 0).all()


def test_a_course_is_as_long_as_it_says() -> None:
    course = Course((3.0, 1.0), 0.4, 10.0, 40.0, 0.02)
    s = np.linspace(-5, 80, 4001)
    points = course.at(s, 0.0)
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).sum() == pytest.approx(85, rel=1e-4)
    along = np.diff(points, axis=0) / np.diff(s)[:, None]
    heading = course.heading((s[1:] + s[:-1]) / 2)
    np.testing.assert_allclose(along, np.stack([-np.sin(heading), np.cos(heading)], 1), atol=1e-3)
    right = course.at(20.0, 1.0) - course.at(20.0, 0.0)
    assert right @ [np.cos(course.heading(20.0)), np.sin(course.heading(20.0))] == pytest.approx(1)


@pytest.mark.parametrize(
    ("maker", "low", "high"),
    [
        (vehicles.car, (1.5, 3.4, 1.2), (2.5, 5.8, 2.5)), (vehicles.bus, (2.4, 8.5, 2.8), (3.2, 12, 4.5)),
        (vehicles.lorry, (2.0, 5, 2.4), (3.2, 9, 3.8)), (people.pedestrian, (0.3, 0.2, 0.9), (1.2, 1.4, 2.2)),
        (people.bicyclist, (0.4, 1.5, 1.4), (0.9, 2.0, 2.1)), (plants.tree, (0.5, 0.5, 3.5), (14, 14, 16)),
        (posts.lamp_post, (0.1, 0.1, 4.9), (1, 2.6, 10.5)), (posts.bollard, (0.1, 0.1, 0.7), (0.3, 0.3, 1.2)),
    ],
)  # fmt: skip
def test_things_are_of_real_size_and_stand_on_the_ground(maker, low, high) -> None:  # type: ignore[no-untyped-def]
    for seed in range(8):
        thing = maker(np.random.default_rng(seed))
        assert abs(thing.bounds[0, 2]) < 0.05
        assert (thing.size >= low).all() and (thing.size <= high).all()


def test_walls_have_windows_set_into_them() -> None:
    face = buildings.Facade(6.0, 0.0, 5.0)
    face.holes = [(1.0, 2.0, 1.0, 2.5), (3.0, 4.0, 1.0, 2.5)]
    mesh = face.wall()
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a) / 2
    front = np.abs(mesh.vertices[mesh.faces][..., 1]).max(1) < 1e-9
    assert normal[front, 1].sum() == pytest.approx(-(6 * 5 - 2 * 1.5))
    assert np.linalg.norm(normal[~front], axis=1).sum() == pytest.approx(2 * (2 * 1.0 + 2 * 1.5) * buildings.REVEAL)


# -- on disk -----------------------------------------------------------------------------------------------------------
SMALL = (24, 32)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Streets:
    made = Streets(2, 2, SMALL, root=tmp_path_factory.mktemp("streets"), workers=1)
    made.prepare()
    return made


def test_a_sample_is_whole(streets: Streets) -> None:
    sample = streets.read(1)
    assert sample.images.shape == (2, 3, *SMALL) and 0.02 < sample.images.mean() < 0.98
    assert set(sample.targets) == set(streets.tasks) == {"semseg", "depth", "normals", "edges"}
    sky = sample.targets["semseg"].value == CLASSES.index("sky")
    for name, target in sample.targets.items():
        assert torch.equal(target.valid, torch.ones_like(sky) if name in ("semseg", "edges") else ~sky), name
        checked = streets.tasks[name].accept(target)
        seen = target.valid.expand_as(target.value)
        assert torch.allclose(checked.value[seen].double(), target.value[seen].double(), atol=1e-4), name
    assert sample.camera.known.all() and sample.source == "streets"


def test_rendering_again_gives_the_same_and_what_is_there_stays(streets: Streets, tmp_path: Path) -> None:
    other = Streets(1, 2, SMALL, root=tmp_path, workers=1)
    other.prepare()
    (file,) = other.folder.glob("*.street")
    assert file.read_bytes() == (streets.folder / file.name).read_bytes()
    before = file.stat().st_mtime_ns
    more = Streets(2, 2, SMALL, root=tmp_path, workers=1)
    (more.folder / "00000001.99.part").write_bytes(b"half")
    more.prepare()
    assert file.stat().st_mtime_ns == before and not list(more.folder.glob("*.part"))
    assert (more.folder / "00000001.street").read_bytes() == (streets.folder / "00000001.street").read_bytes()


def test_a_killed_rendering_is_taken_up_again(streets: Streets, tmp_path: Path) -> None:
    make = f"Streets(2, 2, {SMALL}, root={str(tmp_path)!r}, workers=1).prepare()"
    code = f"from polyscene.data.streets.dataset import Streets; {make}"
    package = str(Path(polyscene.__file__).parents[1])
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": package}) as process:
        while process.poll() is None and not list(tmp_path.glob("*/*.street")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    made = Streets(2, 2, SMALL, root=tmp_path, workers=1)
    made.prepare()
    for number in made.numbers:
        name = made.recipe.file(made.folder, number).name
        assert (made.folder / name).read_bytes() == (streets.folder / name).read_bytes()


def test_the_recipe_names_the_folder() -> None:
    recipe = Recipe(0, 2, SMALL, "fast")
    assert recipe.key() != Recipe(1, 2, SMALL, "fast").key()
    with pytest.raises(RuntimeError, match="changed"):
        Recipe(0, 2, SMALL, "fast", code="older").render(0)


def test_painted_outlines_close_what_shows_through_a_crown_but_not_what_stands_before_it() -> None:
    sky, tree, pole = (CLASSES.index(name) for name in ("sky", "tree", "pole"))
    classes, depth = np.full((96, 96), sky), np.zeros((96, 96), np.float32)
    classes[20:60, 20:60], depth[20:60, 20:60] = tree, 20.0
    classes[30:32, 20:60], depth[30:32, 20:60] = sky, 0.0
    classes[20:60, 40:42], depth[20:60, 40:42] = pole, 10.0
    found = painted(classes, depth)
    assert (found[30:32, 22:38] == tree).all()  # sky between branches
    assert (found[22:58, 40:42] == pole).all()  # nearer than the crown
    far = np.ones_like(classes, bool)
    far[18:62, 18:62] = False
    assert (found[far] == sky).all()
