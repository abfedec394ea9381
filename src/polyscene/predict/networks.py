"""Networks as ``predict`` calls them: in torch, or exported and run by an engine."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyscene.tasks import Task, build
from polyscene.types import Camera, Target

if TYPE_CHECKING:
    from polyscene.model import MultiTaskModel

Soft = dict[str, Tensor]


class Network(ABC):
    """Images (b, 3, h, w), RGB in [0, 1], to soft values (b, c, h, w) by task, on the CPU. ``focal`` (b,) is in pixels
    of the images, NaN where unknown. ``size`` (h, w) is what it was trained at; other sizes are taken if ``any_size``.
    ``wants_threads``: whether it computes in the threads of torch.
    """

    tasks: Mapping[str, Task]
    size: tuple[int, int]
    any_size: bool = True
    wants_threads: bool = False
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def __call__(self, images: Float[Tensor, "b 3 h w"], focal: Float[Tensor, " b"]) -> Soft: ...

    def digest(self) -> str:
        """Differs between networks that see differently."""
        raise NotImplementedError(f"{type(self).__name__} cannot be told from another network")


class Torch(Network):
    """A ``MultiTaskModel``. With a neck it can also see several views at once."""

    def __init__(self, model: MultiTaskModel, size: tuple[int, int], device: torch.device) -> None:
        from polyscene.portable import Portable

        self.model, self.size, self.device, self.tasks = model.to(device).eval(), size, device, model.tasks
        self.portable, self.wants_threads = Portable(model), device.type == "cpu"

    @property
    def sees_views(self) -> bool:
        return self.model.neck is not None

    def digest(self) -> str:
        digest = _told(self.size, self.tasks, self.model.canonical_focal, self.model.describe())
        for name, tensor in self.model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, images: Float[Tensor, "b 3 h w"], focal: Float[Tensor, " b"]) -> Soft:
        known = focal
        if self.model.canonical_focal is not None:
            known = torch.where(focal.isnan(), self.model.canonical_focal * images.shape[-1], focal)
        found = self.portable(images.to(self.device), known.to(self.device))
        return {name: value.cpu() for name, value in found.items()}

    @torch.inference_mode()
    def views(self, images: Float[Tensor, "v 3 h w"], camera: Camera, memory: Any = None) -> tuple[list[Soft], Any]:
        """The views of one scene seen together, and what the next frame of a video can reuse."""
        own, at = images[None].to(self.device), camera.map(lambda tensor: tensor[None].to(self.device))
        seen, memory = self.model.remember(own, at, memory=memory)
        values = {name: self.tasks[name].soft(raw.float()) for name, raw in seen.final.items()}
        back, valid = 1 / self.model.focal_scale(at, images.shape[-1]), torch.ones_like(own[:, :, :1], dtype=torch.bool)
        zoomed = {
            name: self.tasks[name].zoom(Target(value, valid), back).value[0].cpu() for name, value in values.items()
        }
        return [{name: value[view] for name, value in zoomed.items()} for view in range(len(images))], memory


class Exported(Network):
    """What ``polyscene export`` wrote: the folder, or the ``.onnx`` or ``.xml`` file in it. Raises as ``open_engine``
    does."""

    def __init__(self, path: Path) -> None:
        from polyscene.export.engine import open_engine

        self.engine = open_engine(path)
        self.facts = self.engine.about
        if lacking := sorted({"tasks", "inputs", "any_size"} - self.facts.keys()):
            raise ValueError(f"{path}: its export.json lacks {', '.join(lacking)}; run `polyscene export` again")
        self.tasks = {description["name"]: build(description) for description in self.facts["tasks"]}
        self.size, self.any_size, self.path = self.engine.size, self.facts["any_size"], path

    def digest(self) -> str:
        folder = self.path if self.path.is_dir() else self.path.parent
        digest = _told(self.size, self.tasks, self.facts.get("canonical_focal"), self.facts["inputs"], self.any_size)
        for file in sorted([*folder.glob("*.onnx"), *folder.glob("*.xml"), *folder.glob("*.bin")]):
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def __call__(self, images: Float[Tensor, "b 3 h w"], focal: Float[Tensor, " b"]) -> Soft:
        given = {"images": images.numpy()}
        if "focal" in self.facts["inputs"]:
            usual = self.facts["canonical_focal"] * images.shape[-1]
            given["focal"] = torch.where(focal.isnan(), usual, focal).numpy()
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in self.engine(given).items()}


def _told(size: tuple[int, int], tasks: Mapping[str, Task], *more: Any) -> hashlib._Hash:
    """A digest of what is not in the numbers of a network."""
    facts = [list(size), [task.describe() for task in tasks.values()], *more]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())


def is_exported(path: Path) -> bool:
    return path.suffix in (".onnx", ".xml") or (path / "export.json").is_file()
