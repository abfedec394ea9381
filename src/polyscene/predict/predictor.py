"""A network that looks at pictures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import devices, parts, pictures
from polyscene.geometry import camera as geometry
from polyscene.pictures import Picture, Source
from polyscene.predict import enlarging, tiles
from polyscene.predict.networks import Exported, Network, Soft, Torch, is_exported
from polyscene.scene import Origin, Scene
from polyscene.types import Camera

if TYPE_CHECKING:
    from polyscene.model import MultiTaskModel

Key = TypeVar("Key", bound=Hashable)
STEP = 32  # network sizes are multiples of this, so that every stride of a pyramid divides them


def load(name_or_path: str | Path = "starter", device: str = "auto") -> Predictor:
    """A network ready to look at pictures: a run folder, a weights folder or a ``.safetensors`` file; what ``polyscene
    export`` wrote, the folder or the ``.onnx`` or ``.xml`` file; or the name of a run in ``runs/``, or ``starter``.

    Raises ``FileNotFoundError``, ``weights.BadWeights``, or ``ImportError`` where the runtime of an exported network is
    not installed, naming the remedy.
    """
    if is_exported(Path(name_or_path)):
        network = Exported(Path(name_or_path))
        return Predictor(network, facts=network.facts)
    from polyscene import weights

    model, facts = weights.load(name_or_path)
    return Predictor(model, size=tuple(facts.get("size") or (192, 256)), device=device, facts=facts)


@dataclass(frozen=True)
class Prepared:
    """A picture and what the network gets of it: ``small`` (3, h, w) uint8, and its focal length in pixels of that,
    NaN where the camera is ``assumed``. ``pose``: (4, 4) camera to world, where known."""

    picture: Picture
    small: Tensor
    focal: float
    intrinsics: np.ndarray
    camera: Origin
    pose: np.ndarray | None = None


class Predictor:
    """Pictures -> ``Scene``s. ``network``: a ``MultiTaskModel``, whose ``size`` (h, w) is what it was trained at, or a
    ``Network`` of any kind. A picture keeps its own aspect ratio and gets about as many pixels, unless ``configure``
    says otherwise. ``device``: ``auto`` takes a GPU where there is one.
    """

    def __init__(
        self,
        network: MultiTaskModel | Network,
        size: tuple[int, int] = (192, 256),
        device: str = "auto",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network if isinstance(network, Network) else Torch(network, size, devices.pick(device))
        self.size = self.network.size
        self.facts = dict(facts or {})
        self.configure()

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def model(self) -> MultiTaskModel:
        """The network in torch. ``AttributeError`` if it is an exported one."""
        if isinstance(self.network, Torch):
            return self.network.model
        raise AttributeError("an exported network has no model; load the weights that it was made of")

    @property
    def sees_views(self) -> bool:
        """Whether several views of a scene, seen together, tell the network more."""
        return isinstance(self.network, Torch) and self.network.sees_views

    def configure(
        self,
        tasks: Sequence[str] = (),
        size: Sequence[int] = (),
        tiles: int = 1,
        batch: int = 4,
    ) -> Predictor:
        """Itself, set to give these ``tasks`` only, and to see pictures at ``size``: (h, w), of which a picture keeps
        its own aspect ratio and gets about as many pixels, or the longer side. ``tiles`` along each side are looked at
        besides the whole, see ``predict.tiles``; ``batch`` pictures at a time. ``ValueError`` says what cannot be."""
        for name in tasks:
            if name not in self.network.tasks:
                raise ValueError(parts.unknown(name, self.network.tasks, "task"))
        if size and not self.network.any_size:
            height, width = self.network.size
            raise ValueError(f"this exported network sees {width}x{height} only; export it again at another --size")
        if size and (len(size) > 2 or min(size) < STEP):
            raise ValueError(f"size {' '.join(map(str, size))}: give H W, or the longer side, in pixels from {STEP} on")
        if tiles < 1 or batch < 1:
            raise ValueError(f"tiles {tiles}, batch {batch}: both are counts, from 1 on")
        self.tasks = {name: task for name, task in self.network.tasks.items() if name in tasks or not tasks}
        self.scale = tuple(size) or self.size
        self.tiles, self.batch = tiles, batch
        return self

    @overload
    def __call__(self, source: Source, intrinsics: Any = None) -> Scene: ...
    @overload
    def __call__(self, source: list[Any], intrinsics: Any = None, poses: Any = None) -> list[Scene]: ...

    def __call__(self, source: Source | list[Any], intrinsics: Any = None, poses: Any = None) -> Scene | list[Scene]:
        """A path, PIL image, array (h, w[, c]), tensor (c, h, w); or a list of such, which gives a list.
        ``intrinsics``: (3, 3) in pixels of the picture, where known; else the file's EXIF or a guess stands in.
        ``poses``: (n, 4, 4) camera to world of the pictures of a list, taken by one camera of one scene: a network with
        a neck then sees each together with the nearest others. Raises ``BadPicture``."""
        if not isinstance(source, list):
            prepared = self.prepare(pictures.read(source), intrinsics)
            return self.finish(prepared, next(self.look([prepared]))[1])
        each = [
            self.prepare(pictures.read(item), intrinsics, pose)
            for item, pose in zip(source, [None] * len(source) if poses is None else poses, strict=True)
        ]
        looks = self.look(each) if poses is None else self.look_together(each)
        scenes = {id(prepared): self.finish(prepared, soft) for prepared, soft in looks}
        return [scenes[id(prepared)] for prepared in each]

    def prepare(self, picture: Picture, intrinsics: Any = None, pose: Any = None) -> Prepared:
        """``ValueError`` if the ``intrinsics`` cannot be this picture's."""
        height, width = picture.pixels.shape[:2]
        matrix, camera = _camera(picture, intrinsics)
        size = network_size((height, width), self.scale) if self.network.any_size else self.network.size
        focal = math.nan if camera == "assumed" else float(matrix[0, 0]) * size[1] / width
        place = None if pose is None else np.asarray(pose, np.float32)
        return Prepared(picture, _resized(picture.pixels, size), focal, matrix, camera, place)

    def look(self, pictures: Iterable[Prepared]) -> Iterator[tuple[Prepared, Soft]]:
        """Each picture and what the network says of it, ``batch`` of one size at a time; so not always in order."""
        for together in batches(pictures, self.batch):
            images, focal = _images(together), torch.tensor([each.focal for each in together])
            found = self._seen(images, focal)
            for index, each in enumerate(together):
                whole = {name: value[index] for name, value in found.items()}
                yield each, self._tiled(each, whole) if self.tiles > 1 else whole

    def look_together(self, views: Sequence[Prepared]) -> Iterator[tuple[Prepared, Soft]]:
        """The same of pictures of one scene, each beside the two whose cameras stand nearest; alone where the network
        has no neck."""
        if not self.sees_views:
            yield from self.look(views)
            return
        poses = {place: view.pose for place, view in enumerate(views) if view.pose is not None}
        for place, view in enumerate(views):
            yield view, self.look_beside(view, [views[other] for other in nearest(place, poses)])

    def look_beside(self, view: Prepared, others: Sequence[Prepared]) -> Soft:
        """One view as the network sees it beside ``others``. ``ValueError`` if they differ in size."""
        return self._views([view, *others], None)[0][0]

    def look_on(self, frame: Prepared, memory: Any) -> tuple[Soft, Any]:
        """A frame of a video after the one that ``memory`` is of, and the memory of this one."""
        softs, memory = self._views([frame], memory)
        return softs[0], memory

    def finish(self, prepared: Prepared, soft: Soft) -> Scene:
        """Soft values enlarged to the picture, and decided."""
        picture = prepared.picture
        size = picture.pixels.shape[0], picture.pixels.shape[1]
        values = {name: enlarging.decided(soft[name], size, task.decide) for name, task in self.tasks.items()}
        return Scene(
            picture.pixels, values, dict(self.tasks), prepared.intrinsics, prepared.camera, picture.name, prepared.pose
        )

    def _seen(self, images: Tensor, focal: Tensor) -> Soft:
        found = self.network(images, focal)
        return {name: found[name] for name in self.tasks}

    def _tiled(self, prepared: Prepared, whole: Soft) -> Soft:
        height, width = prepared.small.shape[-2:]
        large = _resized(prepared.picture.pixels, (height * self.tiles, width * self.tiles)).float() / 255
        focal = torch.tensor([prepared.focal * self.tiles])
        return tiles.refined(large, whole, self.tasks, self.tiles, lambda images: self._seen(images, focal))

    def _views(self, views: Sequence[Prepared], memory: Any) -> tuple[list[Soft], Any]:
        if not isinstance(self.network, Torch):
            raise TypeError("only a network in torch sees several views together")
        if len({view.small.shape for view in views}) > 1:
            raise ValueError(f"{views[0].picture.name}: pictures that are seen together must be of one size")
        cameras = [_network_camera(view) for view in views]
        softs, memory = self.network.views(
            _images(views), Camera(*map(torch.stack, zip(*cameras, strict=True))), memory
        )
        return [{name: soft[name] for name in self.tasks} for soft in softs], memory


def nearest(key: Key, poses: Mapping[Key, np.ndarray], count: int = 2) -> list[Key]:
    """The other keys, by the distance of their cameras (4, 4) from the key's."""
    if key not in poses:
        return []
    here = poses[key][:3, 3]
    return sorted(
        (other for other in poses if other != key), key=lambda other: np.linalg.norm(poses[other][:3, 3] - here)
    )[:count]


def network_size(picture: tuple[int, int], trained: Sequence[int]) -> tuple[int, int]:
    """(h, w) with the picture's aspect ratio, in multiples of 32: with about the pixels of ``trained`` (h, w), or with
    that longer side. Strips are shortened to what they may have of pixels."""
    if len(trained) == 1:
        scale = trained[0] / max(picture)
    else:
        pixels = trained[0] * trained[1]
        scale = min(math.sqrt(pixels / (picture[0] * picture[1])), pixels / STEP / max(picture))
    height, width = (max(STEP, round(side * scale / STEP) * STEP) for side in picture)
    return height, width


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(h, w, 3) uint8 -> (3, *size) uint8."""
    channels_last = torch.from_numpy(pixels).movedim(-1, 0)[None]
    return F.interpolate(channels_last, size, mode="bilinear", antialias=True)[0]


def _images(prepared: Sequence[Prepared]) -> Tensor:
    return torch.stack([each.small for each in prepared]).contiguous().float() / 255


def _network_camera(view: Prepared) -> tuple[Tensor, Tensor, Tensor]:
    """Intrinsics in pixels of what the network gets, pose, and whether both are known."""
    (height, width), (small_height, small_width) = view.picture.pixels.shape[:2], view.small.shape[-2:]
    matrix = geometry.resize_intrinsics(torch.from_numpy(view.intrinsics), small_width / width, small_height / height)
    pose = torch.eye(4) if view.pose is None else torch.from_numpy(view.pose)
    return matrix, pose, torch.tensor(view.pose is not None)


def batches(pictures: Iterable[Prepared], most: int) -> Iterator[list[Prepared]]:
    """Pictures of one size together; no more than twice ``most`` are held back."""
    waiting: dict[torch.Size, list[Prepared]] = {}
    for each in pictures:
        alike = waiting.setdefault(each.small.shape, [])
        alike.append(each)
        if len(alike) < most and sum(map(len, waiting.values())) < 2 * most:
            continue
        yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()


def _camera(picture: Picture, given: Any) -> tuple[np.ndarray, Origin]:
    height, width = picture.pixels.shape[:2]
    if given is not None:
        matrix = np.asarray(given, np.float32)
        inside = matrix.shape == (3, 3) and 0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height
        if not inside or not (matrix.diagonal() > 0).all():
            raise ValueError(
                f"{picture.name}: intrinsics {np.asarray(given).tolist()} do not fit a picture of {width}x{height}"
                "; give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels of the picture"
            )
        return matrix, "known"
    if picture.focal is not None:
        return geometry.assumed_intrinsics(height, width, picture.focal / max(height, width)).numpy(), "EXIF"
    return geometry.assumed_intrinsics(height, width).numpy(), "assumed"
