"""The rendered rooms on disk: what is read is what was rendered, and interruptions leave no trace."""

from __future__ import annotations

import math
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import polyscene
from polyscene.cli import main
from polyscene.data import rendered
from polyscene.data.base import BadSample
from polyscene.data.rooms.dataset import RenderError, Rooms
from polyscene.data.rooms.record import Recipe
from polyscene.lock import Held, held
from polyscene.shard import Shard

SIZE = (24, 32)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    made = Rooms(2, 2, SIZE, root=tmp_path_factory.mktemp("rooms"), workers=1)
    made.prepare()
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.room")}


def test_a_sample_is_whole(rooms: Rooms) -> None:
    sample = rooms.read(1)
    assert sample.images.shape == (2, 3, *SIZE) and 0.02 < sample.images.mean() < 0.98
    assert set(sample.targets) == set(rooms.tasks) == {"semseg", "depth", "normals", "edges"}
    for name, target in sample.targets.items():
        assert target.valid.float().mean() > 0.95, name
        checked = rooms.tasks[name].accept(target)
        seen = target.valid.expand_as(target.value)
        assert torch.allclose(checked.value[seen].double(), target.value[seen].double(), atol=1e-4), name
    assert sample.camera.known.all() and sample.present.all()
    rotation = sample.camera.world_from_camera[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-4)
    assert rooms.instances(1).shape == (2, 1, *SIZE) and len(rooms.instances(1).unique()) > 1


def test_what_is_stored_is_what_was_rendered(rooms: Rooms) -> None:
    from polyscene.data.rooms import camera, labels, layout, render

    room = layout.generate(0, 1)
    tracer = render.Tracer(room)
    view = camera.views(room, 2, size=SIZE)[1]
    truth, sample = labels.labels(tracer, view), rooms.read(1)
    assert np.array_equal(sample.targets["depth"].value[1, 0].numpy(), truth.depth)
    assert np.array_equal(sample.targets["edges"].value[1, 0].numpy(), truth.edges)
    stored = sample.targets["normals"].value[1].movedim(0, -1)
    cosine = (torch.nn.functional.normalize(stored, dim=-1) * torch.from_numpy(truth.normals)).sum(-1).clamp(-1, 1)
    assert math.degrees(float(cosine[sample.targets["normals"].valid[1, 0]].double().acos().max())) < 0.1
    assert np.allclose(sample.camera.intrinsics[1].numpy(), view.intrinsics)


def test_held_out_scenes_are_others(rooms: Rooms) -> None:
    assert not set(Rooms(10_000, split="train").numbers) & set(Rooms(10_000, split="val").numbers)
    with pytest.raises(ValueError, match="scenes"):
        Rooms(0)


def test_every_parameter_and_the_code_name_the_folder() -> None:
    plain = Recipe(0, 2, SIZE, "fast")
    others = [
        Recipe(1, 2, SIZE, "fast"), Recipe(0, 3, SIZE, "fast"), Recipe(0, 2, (32, 24), "fast"),
        Recipe(0, 2, SIZE, "high"), Recipe(0, 2, SIZE, "fast", code="another"),
    ]  # fmt: skip
    assert len({recipe.key() for recipe in [plain, *others]}) == 6
    assert plain.key() == Recipe(0, 2, SIZE, "fast").key()


def test_code_that_changed_under_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="changed since"):
        Recipe(0, 1, SIZE, "fast", code="yesterday").render(0)


def test_unrendered_scenes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"00000000\.room: not rendered; call prepare"):
        Rooms(1, root=tmp_path).read(0)


def test_a_scene_that_fails_stops_the_rendering_with_its_report(tmp_path: Path) -> None:
    broken = Rooms(3, 1, (0, 0), root=tmp_path, workers=1)
    with pytest.raises(RenderError, match="Traceback"):
        broken.prepare()


def rendering(root: Path) -> subprocess.Popen[bytes]:
    """Another process that renders three scenes."""
    code = (
        f"from polyscene.data.rooms.dataset import Rooms; Rooms(3, 2, {SIZE}, root={str(root)!r}, workers=1).prepare()"
    )
    path = os.pathsep.join([str(Path(polyscene.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )


def test_one_killed_another_resumes_and_ends_alike(rooms: Rooms, tmp_path: Path) -> None:
    resumed = Rooms(3, 2, SIZE, root=tmp_path, workers=1)
    folder = resumed.folder
    killed = rendering(tmp_path)
    try:
        patience = time.monotonic() + 240
        while not files(folder) and killed.poll() is None and time.monotonic() < patience:
            time.sleep(0.01)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.room")}
    assert 0 < len(finished) < 3
    left = folder / "00000002.999.part"
    left.write_bytes(b"half a scene")
    other = rendering(tmp_path)
    resumed.prepare()
    assert other.wait(timeout=240) == 0
    ours = files(folder)
    assert len(ours) == 3 and files(rooms.folder).items() <= ours.items()
    assert all((folder / name).stat().st_mtime_ns == when for name, when in finished.items())
    assert not left.exists()


def test_three_machines_render_what_one_does(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into folders of their own, or at once into one, whose lock none has alone."""

    def here(recipe: Recipe, folder: Path, todo: queue.SimpleQueue[int], advance: Callable[[], None]) -> None:
        while not todo.empty():  # workers need seconds to start
            recipe.write(folder, todo.get())

    monkeypatch.setattr(rendered, "_serve", here)
    alone = {}
    for number in (1, 2, 3):
        made = Rooms(2, 2, SIZE, root=tmp_path / str(number), workers=1)
        made.prepare(Shard(number, 3))
        assert len(files(made.folder)) == int(number < 3)
        alone |= files(made.folder)
    assert alone == files(rooms.folder)
    shared = Rooms(2, 2, SIZE, root=tmp_path / "shared", workers=1)
    shared.folder.mkdir(parents=True)
    old, others = shared.folder / "00000001.9.part", shared.folder / "00000000.9.part"
    old.touch(), others.touch()
    with held(shared.folder / "lock", shared=True), held(shared.folder / "lock.00001-of-00002"):
        status = main(["data", "render", "rooms", "--scenes", "2", "--size", *map(str, SIZE), "--shard", "2/2",
                       "--root", str(tmp_path / "shared"), "--workers", "1"])  # fmt: skip
    assert status == 0 and list(files(shared.folder)) == ["00000001.room"]
    assert others.exists() and not old.exists(), "what another machine writes is left alone"
    with pytest.raises(Held), held(shared.folder / "lock", shared=True), held(shared.folder / "lock"):
        pass
    shared.prepare(Shard(1, 2))
    assert files(shared.folder) == files(rooms.folder)


def test_shards_are_counted_from_one() -> None:
    assert [list(Shard(index, 3).of(range(7))) for index in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    keys = [f"place/{number}" for number in range(1000)]
    held_by = [sum(Shard(index, 4).has(key) for index in (1, 2, 3, 4)) for key in keys]
    assert set(held_by) == {1} and 200 < sum(Shard(2, 4).has(key) for key in keys) < 300
    for wrong in ("0/4", "5/4", "0/0"):
        with pytest.raises(ValueError, match="counted from 1"):
            Shard.parse(wrong)
    for wrong in ("1", "a/b", "-1/4", "1/2/3", "1/٣٣٣٣٣٣٣٣٣٣"):
        with pytest.raises(ValueError, match="as in 3/8"):
            Shard.parse(wrong)


def test_a_path_is_cut_into_samples(tmp_path: Path) -> None:
    whole = Rooms(2, 4, SIZE, root=tmp_path, workers=1)
    whole.prepare()
    cut = Rooms(2, 2, path=4, size=SIZE, root=tmp_path)
    assert len(cut) == 4 and cut.folder == whole.folder
    for scene in range(2):
        pieces = torch.cat([cut.read(scene).images, cut.read(scene + 2).images])
        assert torch.equal(pieces, whole.read(scene).images)
    assert len({name for index in range(4) for name in cut.read(index).meta}) == 4
    with pytest.raises(ValueError, match="does not divide"):
        Rooms(2, 3, path=4, size=SIZE, root=tmp_path)
    with pytest.raises(IndexError):
        cut.read(4)
