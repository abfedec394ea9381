"""The network of the figure: encoder, neck, decoder, heads; a regularizer while training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyscene import encoders, parts
from polyscene.config import Part
from polyscene.decoders import DECODERS
from polyscene.decoders.base import Decoder
from polyscene.encoders.base import Encoder
from polyscene.encoders.pretrained import Source
from polyscene.heads import Head
from polyscene.necks import NECKS
from polyscene.necks.base import Neck
from polyscene.regularizers import REGULARIZERS
from polyscene.regularizers.base import Regularizer
from polyscene.tasks import Task
from polyscene.tasks.sets import Tasks, resolve
from polyscene.types import Auxiliary, Camera, Predictions, Target

PartLike = str | Mapping[str, Any] | Part


class MultiTaskModel(nn.Module):
    """``canonical_focal``, in image widths: depth is predicted as if taken by that camera, and brought back in
    ``infer``. ``progress``, the share of the training that is done, is set by the training loop. ``reference`` says
    whose a converted network was: ``format``, in ``convert.CONVERTERS``, and ``meta``."""

    reference: Mapping[str, Any] | None = None

    def __init__(
        self,
        tasks: dict[str, Task],
        encoder: Encoder,
        neck: Neck | None,
        decoder: Decoder,
        regularizer: Regularizer | None = None,
        canonical_focal: float | None = None,
        parts: Mapping[str, Part | None] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.encoder = encoder
        self.neck = neck
        self.decoder = decoder
        self.heads = nn.ModuleDict({name: Head(decoder.channels[name], task) for name, task in tasks.items()})
        self.regularizer = regularizer
        self.canonical_focal = canonical_focal
        self.parts = dict(parts or {})

    @property
    def progress(self) -> float:
        return self.decoder.progress

    @progress.setter
    def progress(self, share: float) -> None:
        self.decoder.progress = share

    def forward(
        self,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None = None,
        present: Bool[Tensor, "b v"] | None = None,
    ) -> Predictions:
        """Images RGB in [0, 1] to raw maps at image size (``infer`` gives values)."""
        return self.remember(images, camera, present)[0]

    def remember(
        self,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None = None,
        present: Bool[Tensor, "b v"] | None = None,
        memory: Any = None,
    ) -> tuple[Predictions, Any]:
        """``forward`` with the neck's memory of the frame before, and for the next."""
        batch, views, _, *size = images.shape
        features = self.encoder(images.flatten(0, 1))
        if self.neck is not None:
            seen = images.new_ones(batch, views, dtype=torch.bool) if present is None else present
            features, memory = self.neck(features, images, camera, seen, memory)
        maps, early = self.decoder(features)
        auxiliary = [_by_view(item, batch, views) for item in early]
        final = {name: head(maps[name], tuple(size)).unflatten(0, (batch, views)) for name, head in self.heads.items()}
        if self.training and self.regularizer is not None:
            auxiliary.append(self._regularize(self.regularizer, features, camera))
        return Predictions(final, auxiliary, features), memory

    def _regularize(self, regularizer: Regularizer, features: Any, camera: Camera | None) -> Auxiliary:
        if camera is None:
            raise ValueError("the regularizer needs cameras: call the model with camera=..., or build it without one")
        auxiliary = regularizer(features, camera)
        return dataclasses.replace(auxiliary, weight=auxiliary.weight * regularizer.weight_at(self.progress))

    @torch.no_grad()
    def infer(
        self,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None = None,
        present: Bool[Tensor, "b v"] | None = None,
    ) -> dict[str, Tensor]:
        """Values (b, v, c, h, w) at image size: class ids, metres, unit vectors, probabilities."""
        return self.values(self(images, camera, present), images, camera)

    def values(self, predictions: Predictions, images: Tensor, camera: Camera | None = None) -> dict[str, Tensor]:
        """Raw predictions activated, and depth brought from the canonical camera to the picture's own."""
        values = {name: self.tasks[name].activate(raw.float()) for name, raw in predictions.final.items()}
        if self.canonical_focal is None or camera is None:
            return values
        back = 1 / self.focal_scale(camera, images.shape[-1])
        valid = torch.ones_like(images[:, :, :1], dtype=torch.bool)
        return {name: self.tasks[name].zoom(Target(value, valid), back).value for name, value in values.items()}

    @torch.no_grad()
    def raw(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """Of a converted network: the reference's outputs (b, c, h', w') by its names, from its own input, normalised
        as it wants it. ``ValueError`` for any other."""
        if self.reference is None:
            raise ValueError("this network was not converted from a reference's checkpoint: call `infer` instead")
        from polyscene.convert import CONVERTERS, base

        converter = parts.load(CONVERTERS, self.reference["format"], "format")(self.reference["meta"])
        return base.raw(converter, self, images)

    def focal_scale(self, camera: Camera, width: int) -> Float[Tensor, "b v"]:
        """Focal length over the canonical one; 1 where the camera is unknown, and if there is no canonical one."""
        focal = camera.intrinsics[..., 0, 0]
        if self.canonical_focal is None:
            return torch.ones_like(focal)
        return torch.where(camera.known, focal / (self.canonical_focal * width), 1.0)

    def stream(self) -> Stream:
        """For frames one after another: a neck with memory reuses what it saw before."""
        return Stream(self)

    def strip(self) -> MultiTaskModel:
        """Itself without the regularizer: inference is the same, bit for bit."""
        self.regularizer = None
        self.parts = {**self.parts, "regularizer": None}
        return self

    def save_pretrained(self, directory: str | Path, **facts: Any) -> None:
        """Writes weights, description and model card (see ``card.write``); ``facts`` must be JSON."""
        from polyscene import card, weights

        facts = {"parameters": sum(each.numel() for each in self.parameters()), **facts}
        weights.save(self, directory, **facts)
        (Path(directory) / card.FILE).write_text(card.write(self.describe(), facts), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> MultiTaskModel:
        """In inference mode: ``starter``, a run, a folder or a file of weights; else, of the form ``USER/NAME``, one
        of the Hugging Face hub. Raises ``FileNotFoundError`` and ``weights.BadWeights``."""
        from polyscene import hub, info, weights

        return weights.load(name if info.there(name) else hub.fetch(str(name).removeprefix(info.HUB), revision))[0]

    def push_to_hub(self, repo: str, private: bool = False, token: str | None = None, **facts: Any) -> str:
        """``save_pretrained`` to ``USER/NAME`` of the Hugging Face hub; the address."""
        from polyscene import hub

        return hub.push(self, repo, private, token, **facts)

    def describe(self) -> dict[str, Any]:
        """All that ``from_description`` needs to build it again, as JSON."""
        return {
            "tasks": [task.describe() for task in self.tasks.values()],
            **{kind: part and {"name": part.name, **part.options} for kind, part in self.parts.items()},
            "canonical_focal": self.canonical_focal,
            **({"reference": dict(self.reference)} if self.reference else {}),
        }


class Stream:
    """``stream(images, camera)`` is ``model.infer`` that remembers the frame before."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.model = model
        self.memory: Any = None

    @torch.no_grad()
    def __call__(
        self,
        images: Float[Tensor, "b v 3 h w"],
        camera: Camera | None = None,
        present: Bool[Tensor, "b v"] | None = None,
    ) -> dict[str, Tensor]:
        predictions, self.memory = self.model.remember(images, camera, present, self.memory)
        return self.model.values(predictions, images, camera)


def create_model(
    tasks: Tasks,
    encoder: PartLike = "tf_efficientnet_lite0",
    decoder: PartLike = "multi_head",
    neck: PartLike | None = None,
    regularizer: PartLike | None = None,
    pretrained: Source = False,
    canonical_focal: float | None = None,
) -> MultiTaskModel:
    """A network from the names of its parts, each a name or ``{"name": ..., keyword: value}``.

    ``tasks``: see ``tasks.sets.resolve``; ``pretrained``: see ``encoders.build``. No network is asked unless
    ``pretrained="hub"``. Raises ``ValueError`` naming the part and the nearest that exists.
    """
    chosen = resolve(tasks)
    encoder_part, decoder_part = _part(encoder), _part(decoder)
    neck_part = None if neck is None else _part(neck)
    regularizer_part = None if regularizer is None else _part(regularizer)
    decoder_class = parts.load(DECODERS, decoder_part.name, "decoder")

    eyes = encoders.build(encoder_part.name, pretrained, **encoder_part.options)
    eyes = decoder_class.wrap_encoder(eyes, chosen, **decoder_part.options)
    between = None
    if neck_part:
        neck_class = parts.load(NECKS, neck_part.name, "neck")
        between = _build(neck_class, neck_part, eyes.channels, eyes.strides)
    seen = between or eyes
    branch = None
    if regularizer_part:
        regularizer_class = parts.load(REGULARIZERS, regularizer_part.name, "regularizer")
        branch = _build(regularizer_class, regularizer_part, chosen, seen.channels, seen.strides)
    return MultiTaskModel(
        chosen,
        eyes,
        between,
        _build(decoder_class, decoder_part, chosen, seen.channels, seen.strides),
        branch,
        canonical_focal,
        {"encoder": encoder_part, "decoder": decoder_part, "neck": neck_part, "regularizer": regularizer_part},
    )


def from_description(description: Mapping[str, Any]) -> MultiTaskModel:
    """The inverse of ``MultiTaskModel.describe``, with fresh weights."""
    names = ("tasks", "encoder", "decoder", "neck", "regularizer", "canonical_focal")
    model = create_model(**{name: description[name] for name in names})
    model.reference = description.get("reference")
    return model


def _by_view(auxiliary: Auxiliary, batch: int, views: int) -> Auxiliary:
    maps = {name: raw.flatten(0, 1).unflatten(0, (batch, views)) for name, raw in auxiliary.maps.items()}
    return dataclasses.replace(auxiliary, maps=maps)


def _part(value: PartLike) -> Part:
    return value if isinstance(value, Part) else Part.model_validate(value)


def _build(kind: Any, part: Part, *structure: Any) -> Any:
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in part.options.items()}
    try:  # files know lists alone
        return kind(*structure, **options)
    except TypeError as error:
        raise ValueError(f"{part.name}: {error}") from error
