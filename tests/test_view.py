"""Walking through predictions: views of known cameras meet in one space, the page does what its handles say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import walls

from polyscene import cli, view
from polyscene.data import DATASETS
from polyscene.model import create_model
from polyscene.predict import Predictor
from polyscene.scene import Scene
from polyscene.tasks import Depth
from polyscene.view import Shot

viser = pytest.importorskip("viser")


@pytest.fixture
def shots() -> list[Shot]:
    """Two views of the wall at 1.5 m, their depth exact."""
    sample = walls.Walls().read(0)
    found = []
    for number in range(2):
        picture = (sample.images[number].movedim(0, -1) * 255).byte().numpy()
        depth = sample.targets["depth"].value[number, 0].numpy()
        matrix = sample.camera.intrinsics[number].numpy()
        scene = Scene(picture, {"depth": depth}, {"depth": Depth()}, matrix, "known", f"wall, view {number + 1}")
        found.append(Shot(scene, sample.camera.world_from_camera[number].numpy(), depth * 2))
    return found


def test_views_meet_in_the_world(shots: list[Shot]) -> None:
    first, second = (shot.points() for shot in shots)
    assert first.xyz[:, 2] == pytest.approx(1.5) and second.xyz[:, 2] == pytest.approx(1.5)
    assert second.xyz[:, 0].min() - first.xyz[:, 0].min() == pytest.approx(walls.BASELINE, abs=1e-5)
    assert shots[0].points(true=True).xyz[:, 2] == pytest.approx(3.0)


def test_the_page_draws_what_is_chosen(shots: list[Shot]) -> None:
    walk = view.serve(shots, port=0)
    try:
        drawn = {"/points/0", "/points/1", "/cameras/0", "/cameras/1"}
        held = walk.server.scene._handle_from_node_name
        assert drawn <= set(held)
        colours = held["/points/0"].colors
        walk.colour.value = "depth"
        assert not np.array_equal(held["/points/0"].colors, colours)
        walk.view.value = walk.names[1]
        assert "/points/0" not in held and "/points/1" in held and not held["/cameras/0"].visible
        walk.kind.value = "true"
        assert held["/points/1"].points[:, 2] == pytest.approx(3.0, abs=1e-3)
        assert "m" in walk.legend.content
        before = held["/points/1"].point_size
        walk.size.value = 3.0
        assert held["/points/1"].point_size == pytest.approx(3 * before)
    finally:
        walk.server.stop()


def test_data_is_seen_from_its_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "walls", "tests.walls:Walls")
    torch.manual_seed(0)
    predictor = Predictor(create_model([Depth()], encoder="tf_efficientnet_lite0"), walls.SIZE, "cpu")
    found = view.of_data(predictor, "walls", sample=1)
    assert [shot.pose[0, 3] for shot in found] == pytest.approx([0, walls.BASELINE])
    assert found[0].true is not None and found[0].true == pytest.approx(3.0)
    assert found[1].scene.camera == "known" and found[1].scene.depth.shape == walls.SIZE
    with pytest.raises(ValueError, match="--sample 2: walls has 2 samples"):
        view.of_data(predictor, "walls", sample=2)


def test_what_predict_saved_needs_no_network_and_stands_where_it_was_taken(shots: list[Shot], tmp_path: Path) -> None:
    shots[0].scene.save(tmp_path / "wall", ("npz",))
    replace(shots[1].scene, pose=shots[1].world_from_camera).save(tmp_path / "posed", ("npz",))
    first, second = view.of_pictures(None, [tmp_path / "wall.npz", tmp_path / "posed.npz"])
    assert np.array_equal(first.scene.depth, shots[0].scene.depth)
    assert first.world_from_camera is None and np.array_equal(first.pose, np.eye(4))
    assert np.array_equal(second.pose, shots[1].pose) and np.array_equal(second.points().xyz, shots[1].points().xyz)


def test_mistakes(shots: list[Shot], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view"]) == 2
    assert "one of the two" in capsys.readouterr().err
    np.savez(tmp_path / "other.npz", image=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").touch()
    for name in ("other", "text", "empty"):
        assert cli.main(["view", str(tmp_path / f"{name}.npz")]) == 2
        assert f"{name}.npz: holds no scene" in capsys.readouterr().err
    flat = shots[0].scene
    with pytest.raises(ValueError, match="no depth to walk through"):
        view._with_depth([Scene(flat.image, {}, {}, flat.intrinsics, "known", "flat")])
