"""From a picture to a ``Scene``: in Python ``load(...)(picture)``, on the command line ``predict_paths``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polyscene import devices, pictures, weights
from polyscene.geometry import camera as geometry
from polyscene.model import MultiTaskModel
from polyscene.pictures import BadPicture, Picture, Source
from polyscene.scene import Origin, Scene
from polyscene.types import Camera

__all__ = ["BadPicture", "Predictor", "Scene", "load", "predict_paths"]

STEP = 32  # network sizes are multiples of this, so that every stride of a pyramid divides them


def load(name_or_path: str | Path = "starter", device: str = "auto") -> Predictor:
    """A network ready to look at pictures: a run folder, a weights folder or a ``.safetensors`` file; or the name of a
    run in ``runs/``, or ``starter``, the network that ``polyscene demo`` trained there.

    Raises ``FileNotFoundError`` or ``weights.BadWeights``, naming the remedy.
    """
    model, facts = weights.load(name_or_path)
    return Predictor(model, size=tuple(facts.get("size") or (192, 256)), device=device, facts=facts)


class Predictor:
    """Pictures -> ``Scene``s. ``size`` (h, w) is what the network was trained at: a picture keeps its own aspect ratio
    and gets about as many pixels. ``device``: ``auto`` takes a GPU where there is one."""

    def __init__(
        self,
        model: MultiTaskModel,
        size: tuple[int, int] = (192, 256),
        device: str = "auto",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = devices.pick(device)
        self.model = model.to(self.device).eval()
        self.size = size
        self.facts = dict(facts or {})

    @overload
    def __call__(self, source: Source, intrinsics: Any = None) -> Scene: ...
    @overload
    def __call__(self, source: list[Any], intrinsics: Any = None) -> list[Scene]: ...

    def __call__(self, source: Source | list[Any], intrinsics: Any = None) -> Scene | list[Scene]:
        """A path, PIL image, array (h, w[, c]), tensor (c, h, w); or a list of such, which gives a list.
        ``intrinsics``: (3, 3) in pixels of the picture, where known; else the file's EXIF or a guess stands in. Raises
        ``BadPicture``."""
        if isinstance(source, list):
            return [self._look(pictures.read(item), intrinsics) for item in source]
        return self._look(pictures.read(source), intrinsics)

    @torch.inference_mode()
    def _look(self, picture: Picture, intrinsics: Any) -> Scene:
        height, width = picture.pixels.shape[:2]
        matrix, origin = self._intrinsics(picture, intrinsics)
        camera = Camera(matrix[None, None], torch.eye(4)[None, None], torch.tensor([[origin != "assumed"]]))
        camera = camera.to(self.device)
        image = torch.from_numpy(picture.pixels).to(self.device).movedim(-1, 0)[None].float() / 255
        size = network_size((height, width), self.size)
        small = F.interpolate(image, size, mode="bilinear", antialias=True)
        shrunk = geometry.resize_intrinsics(camera.intrinsics, size[1] / width, size[0] / height)
        seen = self.model(small[None], replace(camera, intrinsics=shrunk))
        values = {}
        for name, raw in seen.final.items():  # one at a time: those of a large photograph fill the memory
            # raw maps are enlarged, not values: class borders and depth come out smooth
            enlarged = F.interpolate(raw[0].float(), (height, width), mode="bilinear")[None]
            value = self.model.values(replace(seen, final={name: enlarged}), image[None], camera)[name]
            array = value[0, 0].movedim(0, -1).cpu().numpy()
            values[name] = array[..., 0] if array.shape[-1] == 1 else array
        return Scene(picture.pixels, values, dict(self.model.tasks), matrix.numpy(), origin, picture.name)

    def _intrinsics(self, picture: Picture, given: Any) -> tuple[Tensor, Origin]:
        height, width = picture.pixels.shape[:2]
        if given is not None:
            matrix = torch.as_tensor(np.asarray(given), dtype=torch.float32)
            inside = matrix.shape == (3, 3) and 0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height
            if not inside or not (matrix.diagonal() > 0).all():
                raise ValueError(
                    f"{picture.name}: intrinsics {np.asarray(given).tolist()} do not fit a picture of {width}x{height}"
                    "; give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels of the picture"
                )
            return matrix, "known"
        if picture.focal is not None:
            return geometry.assumed_intrinsics(height, width, picture.focal / max(height, width)), "EXIF"
        return geometry.assumed_intrinsics(height, width), "assumed"


def network_size(picture: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """(h, w) with the picture's aspect ratio and about the pixels of ``trained``, in multiples of 32."""
    scale = math.sqrt(trained[0] * trained[1] / (picture[0] * picture[1]))
    height, width = (max(STEP, round(side * scale / STEP) * STEP) for side in picture)
    return height, width


@dataclass(frozen=True)
class Outcome:
    """What ``predict_paths`` did: files written by picture, and what was wrong with the others."""

    written: dict[Path, list[Path]]
    failed: dict[Path, str]

    @property
    def exit_code(self) -> int:
        """0: all went well; 1: some picture failed."""
        return int(bool(self.failed))


def predict_paths(
    inputs: Sequence[str | Path], out: str | Path, network: str | Path | Predictor = "starter", device: str = "auto"
) -> Outcome:
    """Every picture among ``inputs``, files and folders searched through, into ``out``: panel, ``.npz``, ``.glb``.

    A picture that cannot be read is named and the rest goes on. Raises ``FileNotFoundError`` for an input that is not
    there and ``ValueError`` where no picture was found, before anything is loaded.
    """
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    out = Path(out)
    found = pictures.find(inputs, leave_out=out)
    if not found:
        suffixes = ", ".join(sorted(pictures.SUFFIXES))
        raise ValueError(f"no picture in {', '.join(map(str, inputs))}; looked for {suffixes}")
    predictor = network if isinstance(network, Predictor) else load(network, device)
    outcome = Outcome({}, {})
    shown = (
        TextColumn("[bold]predict"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*shown) as progress:
        bar = progress.add_task("", total=len(found))
        for path, name in found:
            progress.update(bar, description=path.name)
            try:
                outcome.written[path] = predictor(path).save(out / name)
            except BadPicture as error:
                outcome.failed[path] = str(error)
                progress.console.print(f"[red]skipped[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            progress.advance(bar)
    print(f"{len(outcome.written)} of {len(found)} pictures -> {out}")
    return outcome
