"""Several views of one scene, through a network with a neck."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from polyscene.model import MultiTaskModel, create_model
from polyscene.predict import Predictor, predict_paths, predict_shard
from polyscene.predict.predictor import nearest
from polyscene.scene import Scene
from polyscene.shard import Shard
from polyscene.tasks import Depth, SemanticSegmentation
from polyscene.types import Camera

K = np.array([[80, 0, 47.5], [0, 80, 31.5], [0, 0, 1]], np.float32)


def moved(x: float) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = x
    return pose


POSES = [moved(0.0), moved(0.1), moved(5.0), moved(0.3)]


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    torch.manual_seed(0)
    tasks = [SemanticSegmentation(classes=("a", "b", "c")), Depth()]
    return create_model(tasks, encoder="tf_efficientnet_lite0", neck={"name": "cross_view", "planes": 8})


@pytest.fixture
def predictor(model: MultiTaskModel) -> Predictor:
    return Predictor(model, size=(64, 96), device="cpu")


@pytest.fixture
def views(photo: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.roll(photo, shift, 1)) for shift in (0, 5, 11, 20)]


def depth(model: MultiTaskModel, views: list[np.ndarray], poses: list[np.ndarray]) -> np.ndarray:
    """Of the first, seen by the network itself beside the others."""
    images = torch.stack([torch.from_numpy(view).movedim(-1, 0) / 255 for view in views])[None]
    intrinsics = torch.from_numpy(K).expand(1, len(views), 3, 3)
    known = torch.ones(1, len(views), dtype=torch.bool)
    seen = model.eval().infer(images, Camera(intrinsics, torch.from_numpy(np.stack(poses))[None], known))
    return seen["depth"][0, 0, 0].numpy()


def test_pictures_with_poses_are_seen_together(
    predictor: Predictor, model: MultiTaskModel, views: list[np.ndarray]
) -> None:
    scenes = predictor(views, K, POSES)
    beside = depth(model, [views[0], views[1], views[3]], [POSES[0], POSES[1], POSES[3]])
    np.testing.assert_allclose(scenes[0].depth, beside, rtol=1e-4)
    assert not np.allclose(scenes[0].depth, predictor(views[0], K).depth, rtol=1e-4)
    assert scenes[3].camera == "known" and (scenes[3].pose == POSES[3]).all()


def test_without_poses_or_neck_each_is_seen_alone(predictor: Predictor, views: list[np.ndarray]) -> None:
    alone = predictor(views[0], K)
    np.testing.assert_allclose(predictor(views[:2], K)[0].depth, alone.depth, rtol=1e-4)
    plain = Predictor(create_model([Depth()], encoder="tf_efficientnet_lite0"), size=(64, 96), device="cpu")
    seen = plain(views[:2], K, POSES[:2])
    np.testing.assert_allclose(seen[0].depth, plain(views[0], K).depth, rtol=1e-4)
    assert seen[1].pose is not None


def test_pictures_of_two_sizes_are_not_seen_together(predictor: Predictor, views: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="must be of one size"):
        predictor([views[0], np.ascontiguousarray(views[1].swapaxes(0, 1))], None, POSES[:2])


def test_the_nearest_are_by_place() -> None:
    assert nearest(0, dict(enumerate(POSES))) == [1, 3] and nearest(2, dict(enumerate(POSES))) == [3, 1]
    assert nearest(0, {0: POSES[0]}) == nearest(9, {0: POSES[0]}) == []


def cameras(path: Path, names: list[str]) -> Path:
    facts = {
        "image_size": {"width": 96, "height": 64},
        "intrinsics": {"fx": 80, "fy": 80, "cx": 47.5, "cy": 31.5},
        "frames": [{"id": name, "T_world_cam": pose.tolist()} for name, pose in zip(names, POSES, strict=False)],
    }
    path.write_text(json.dumps(facts))
    return path


def test_a_folder_with_cameras(predictor: Predictor, views: list[np.ndarray], tmp_path: Path) -> None:
    for number, view in enumerate(views):
        Image.fromarray(view).save(tmp_path / f"v{number}.png")
    (tmp_path / "v1.png").write_text("damaged")  # neither seen nor a neighbour
    file = cameras(tmp_path / "cameras.json", ["v0", "v1", "v2", "v3"])
    outcome = predict_paths([tmp_path], tmp_path / "out", predictor, write=["npz"], cameras=file)
    assert [path.name for path in outcome.failed] == ["v1.png"] and outcome.exit_code == 1
    scene = Scene.load(tmp_path / "out" / "v0.npz")
    assert scene.camera == "known" and scene.pose is not None and (scene.pose == POSES[0]).all()
    together = predictor([views[0], views[3]], K, [POSES[0], POSES[3]])[0]
    np.testing.assert_allclose(scene.depth, together.depth, rtol=1e-4)


def test_pictures_of_one_name_in_two_folders_are_two(
    predictor: Predictor, views: list[np.ndarray], tmp_path: Path
) -> None:
    for place, view in zip(("left/0", "right/0", "left/1", "right/1"), views, strict=False):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(view).save(tmp_path / f"{place}.png")
    file = cameras(tmp_path / "cameras.json", ["0", "1"])
    with pytest.raises(ValueError, match=r"frame 0 may be .*left/0.png or .*right/0.png; give one of them"):
        predict_paths([tmp_path], tmp_path / "out", predictor, write=["npz"], cameras=file)
    file = cameras(tmp_path / "cameras.json", ["left/0", "right/0", "left/1", "right/1"])
    whole = predict_paths([tmp_path], tmp_path / "out", predictor, write=["npz"], cameras=file)
    assert not whole.failed and len(whole.written) == 4
    for place, pose in zip(("left/0", "right/0"), POSES, strict=False):
        scene = Scene.load(tmp_path / "out" / f"{place}.npz")
        assert scene.pose is not None and (scene.pose == pose).all()
    for number in (1, 2, 3):
        predict_shard([tmp_path / "left", tmp_path / "right"], tmp_path / "shards", Shard(number, 3), predictor,
                      write=["npz"], cameras=file)  # fmt: skip
    made = {path.name: path.read_bytes() for path in (tmp_path / "shards").glob("*.npz")}
    other = {path.name for path in (tmp_path / "out").rglob("*.npz")}
    assert len(made) == 4 and other == {"0.npz", "1.npz"}
    assert made["0_png.npz"] == (tmp_path / "out" / "left" / "0.npz").read_bytes(), "neighbours are of all shards"


def test_a_film_with_cameras_is_seen_frame_after_frame(
    predictor: Predictor, views: list[np.ndarray], tmp_path: Path
) -> None:
    film = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    for view in views:
        writer.write(np.ascontiguousarray(view[..., ::-1]))
    writer.release()
    file = cameras(tmp_path / "cameras.json", ["000000", "000001"])
    predict_paths([film], tmp_path / "out", predictor, write=["npz"], cameras=file)
    first, second, third = (Scene.load(tmp_path / "out" / "walk" / f"{number:06d}.npz") for number in range(3))
    pair = predictor([second.image, first.image], K, [POSES[1], POSES[0]])[0]
    np.testing.assert_allclose(second.depth, pair.depth, rtol=1e-4)
    np.testing.assert_allclose(first.depth, predictor([first.image], K, [POSES[0]])[0].depth, rtol=1e-4)
    assert third.camera == "assumed" and third.pose is None
