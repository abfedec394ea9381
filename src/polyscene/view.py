"""``polyscene view``: walk in a browser through what a network sees; views of known cameras stand in one space."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polyscene import pictures
from polyscene.pointcloud import Cloud
from polyscene.scene import Scene

if TYPE_CHECKING:
    from viser import ViserServer

    from polyscene.predict import Predictor

POINTS = 60_000  # of a view
SIZE = 0.004  # of a point, as a share of the median depth
ALL, PHOTO = "all views", "photo"


@dataclass(frozen=True)
class Shot:
    """A scene, where it was taken from (4, 4), metres, OpenCV's axes, where that is known, and its labelled depth
    (h, w), 0 where that is unknown."""

    scene: Scene
    world_from_camera: np.ndarray | None = None
    true: np.ndarray | None = None

    @property
    def pose(self) -> np.ndarray:
        return np.eye(4) if self.world_from_camera is None else self.world_from_camera

    def points(self, true: bool = False) -> Cloud:
        """In the world's axes."""
        scene = self.scene
        if true and self.true is not None:
            scene = Scene(scene.image, {**scene.values, "depth": self.true}, scene.tasks, scene.intrinsics)
        cloud = scene.cloud(POINTS)
        turn, place = self.pose[:3, :3], self.pose[:3, 3]
        return Cloud(cloud.xyz @ turn.T + place, cloud.colours, cloud.ids, cloud.classes)


def of_pictures(predictor: Predictor | None, places: Sequence[Path]) -> list[Shot]:
    """A shot of each picture and of each ``.npz`` that ``Scene.save`` wrote, which may know its pose; ``predictor`` is
    only asked for pictures."""
    stored = [path for path in places if path.suffix == ".npz"]
    found = pictures.find([path for path in places if path not in stored]) if len(stored) < len(places) else []
    if found and predictor is None:
        raise ValueError("pictures need a network")
    scenes = [*map(Scene.load, stored), *(predictor(path) for path, _ in found if predictor)]
    return [Shot(scene, scene.pose) for scene in _with_depth(scenes)]


def of_data(predictor: Predictor, data: str, split: str | None = None, sample: int = 0) -> list[Shot]:
    """The views of one sample of a data set (named as for ``polyscene eval``), which the network sees together."""
    from polyscene import scenes, transforms
    from polyscene.data import sources
    from polyscene.evaluate import command, in_metres
    from polyscene.types import collate

    section = command.configuration(data, split).data.model_copy(update={"size": predictor.size})
    name, source = next(iter(section.evaluate.items()))
    try:
        model = predictor.model
    except AttributeError as error:
        raise ValueError(f"--data: {error}") from None
    dataset, _ = sources.join(sources.make(source.dataset), model.tasks, source, name)
    dataset.prepare()
    if not 0 <= sample < len(dataset):
        raise ValueError(f"--sample {sample}: {data} has {len(dataset)} samples, counted from 0")
    seen = transforms.testing(section, "network")(dataset.read(sample), model.tasks, torch.Generator())
    batch = collate([seen]).to(predictor.device)
    found = scenes.of_views(batch, model.infer(batch.images, batch.camera, batch.present), model.tasks)
    depth = in_metres(batch.targets, model.tasks)
    shots = []
    for place, scene in zip(torch.nonzero(batch.present[0])[:, 0].tolist(), _with_depth(found), strict=True):
        known = bool(batch.camera.known[0, place])
        pose = batch.camera.world_from_camera[0, place].cpu().numpy() if known else None
        true = None if depth is None else torch.where(depth.valid, depth.value, 0.0)[0, place, 0].cpu().numpy()
        shots.append(Shot(scene, pose, true))
    return shots


def _with_depth(scenes: Sequence[Scene]) -> Sequence[Scene]:
    if not scenes:
        raise ValueError("there is no picture to look at")
    for scene in scenes:
        if "depth" not in scene.values:
            raise ValueError(f"{scene.name}: seen are {', '.join(scene.values)}, but no depth to walk through")
    return scenes


class Walk:
    """The page: what to look at, in which colours, how large the points are. ``server``: viser's."""

    def __init__(self, server: ViserServer, shots: Sequence[Shot]) -> None:
        self.server, self.shots = server, shots
        self.depth = float(np.median([np.median(shot.scene.depth) for shot in shots]))
        self.together = len(shots) > 1 and any(shot.world_from_camera is not None for shot in shots)
        names = [f"{number}: {Path(shot.scene.name).name}" for number, shot in enumerate(shots, 1)]
        server.gui.configure_theme(control_layout="collapsible", show_logo=False, show_share_button=False)
        server.scene.set_up_direction("-y")
        gui: Any = server.gui
        self.view = gui.add_dropdown("view", [*([ALL] if self.together else []), *names])
        self.colour = gui.add_dropdown("colours", [facet.title for facet in shots[0].scene.facets()])
        self.kind = gui.add_dropdown("depth", ["predicted", *(["true"] if shots[0].true is not None else [])])
        self.size = gui.add_slider("point size", 0.2, 4.0, 0.1, 1.0)
        self.frustums = gui.add_checkbox("cameras", self.together)
        self.legend = gui.add_html("")
        self.names = names
        self.clouds: dict[int, Any] = {}
        for handle in (self.view, self.colour, self.kind, self.frustums):
            handle.on_update(lambda _: self.draw())
        self.size.on_update(lambda _: self._resize())
        self.draw()
        server.on_client_connect(self._stand)

    def chosen(self) -> Iterator[tuple[int, Shot]]:
        for number, (name, shot) in enumerate(zip(self.names, self.shots, strict=True)):
            if self.view.value in (ALL, name):
                yield number, shot

    def draw(self) -> None:
        shown = dict(self.chosen())
        for number, shot in enumerate(self.shots):
            self._draw(number, shot, number in shown)
        self.legend.content = _legend(next(iter(shown.values())).scene, self.colour.value)

    def _draw(self, number: int, shot: Shot, shown: bool) -> None:
        scene: Any = self.server.scene
        height, width = shot.scene.image.shape[:2]
        pose = shot.pose
        turn = quaternion(pose[:3, :3])
        if shown:
            cloud = shot.points(self.kind.value == "true")
            self.clouds[number] = scene.add_point_cloud(
                f"/points/{number}",
                cloud.xyz.astype(np.float32),
                cloud.colours.get(self.colour.value, cloud.colours[PHOTO]),
                point_size=SIZE * self.depth * self.size.value,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
            )
        elif number in self.clouds:
            self.clouds.pop(number).remove()
        scene.add_camera_frustum(
            f"/cameras/{number}",
            2 * float(np.arctan(height / 2 / shot.scene.intrinsics[1, 1])),
            width / height,
            scale=0.08 * self.depth,
            color=(47, 111, 219),
            image=shot.scene.image,
            wxyz=turn,
            position=pose[:3, 3],
            visible=bool(self.frustums.value) and shown,
        )

    def _resize(self) -> None:
        for cloud in self.clouds.values():
            cloud.point_size = SIZE * self.depth * self.size.value

    def _stand(self, client: Any) -> None:
        """A little behind the first camera."""
        pose = self.shots[0].pose
        client.camera.up_direction = -pose[:3, 1]
        client.camera.position = pose[:3, 3] - 0.35 * self.depth * pose[:3, 2] - 0.1 * self.depth * pose[:3, 1]
        client.camera.look_at = pose[:3, 3] + self.depth * pose[:3, 2]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) -> (w, x, y, z)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat(scalar_first=True)


def _legend(scene: Scene, colour: str) -> str:
    facet = next(facet for facet in scene.facets() if facet.title == colour)
    swatches = [f'<span style="color:rgb{rgb}">■</span> {escape(name)}' for name, rgb in facet.legend.swatches]
    ticks = [escape(name) for _, name in facet.legend.ticks]
    return " &nbsp; ".join(swatches) or " … ".join(ticks)


def serve(shots: Sequence[Shot], host: str = "127.0.0.1", port: int = 8080) -> Walk:
    """The page at ``host``; another port if that is taken. It runs in threads of its own."""
    import viser

    return Walk(viser.ViserServer(host, port, label="Polyscene", verbose=False), shots)


def run(
    places: Sequence[Path],
    weights: str,
    data: str | None,
    split: str | None,
    sample: int,
    host: str,
    port: int,
    device: str,
) -> None:
    """``polyscene view``, until interrupted."""
    from polyscene import predict

    if bool(places) == bool(data):
        raise ValueError("name pictures (or .npz files of predict), or --data, a data set: one of the two")
    stored = not data and all(path.suffix == ".npz" for path in places)
    predictor = None if stored else predict.load(weights, device)
    shots = of_data(predictor, data, split, sample) if data and predictor else of_pictures(predictor, places)
    walk = serve(shots, host, port)
    print(f"{len(shots)} views at http://{host}:{walk.server.get_port()} (ctrl-c ends it)", flush=True)
    while True:
        time.sleep(3600)
