"""The configuration: pydantic models whose fields are the constructor keywords of what they build.

A part (encoder, decoder, data set...) is written as its name, or as a mapping ``{name: ..., keyword: value}``.
Importing this file imports no torch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from polyscene.ranges import Amount, Count, Decay, Positive, Share

Fit = Literal["cover", "pad", "stretch"]
"""Pictures resized to cover the size, cut and padded as large as they are, or resized to it whatever their aspect."""
Recipe = Literal["polyscene", "invpt", "mtlpt_nyuv2", "mtlpt_pascal", "dense_mtl", "mtan"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Strict):
    """A part by name, with constructor keywords."""

    name: str
    options: dict[str, Any] = {}

    def written(self) -> str | dict[str, Any]:
        """As it stands in a file."""
        return {"name": self.name, **self.options} if self.options else self.name

    @model_validator(mode="before")
    @classmethod
    def _spelt_inline(cls, value: Any) -> Any:
        if isinstance(value, Part):
            return value
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict) or "name" not in value:
            raise ValueError("a part is written as its name, or as {name: ..., keyword: value}")
        if set(value) != {"name", "options"}:
            return {"name": value.get("name"), "options": {key: item for key, item in value.items() if key != "name"}}
        return value


class Augment(Strict):
    """The training transform by the name of its recipe (docs/augmentation.md), or as a mapping. What else that may hold
    are settings of ours, ``polyscene``; see ``transforms.Augment``."""

    name: Recipe = "polyscene"
    zoom: tuple[Positive, Positive] = (1.0, 1.6)
    mirror: bool = True
    strength: Share = 1.0
    zoom_depth: bool = False

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_this_recipe(self) -> Augment:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom: the first bound {self.zoom[0]:g} exceeds the second, {self.zoom[1]:g}")
        fields = type(self).model_fields
        own = [key for key in fields if key != "name" and getattr(self, key) != fields[key].default]
        if self.name != "polyscene" and own:
            raise ValueError(f"{', '.join(own)}: a setting of the recipe polyscene; {self.name} is as published")
        return self


class Source(Strict):
    """One data set in the mixture. ``tasks`` keeps only some of its labels; ``classes`` renames its classes to the
    model's, by name (the rest becomes invalid and is listed); ``augment`` takes the place of ``data.augment``. Of more
    than ``limit`` samples so many are drawn, by the run's seed where they are trained on, and a smaller ``limit`` draws
    among those of a larger one. The share ``rare`` of training samples is drawn among those that show a
    rare class (``data.rare``)."""

    dataset: Part
    batch: Count = 8
    tasks: tuple[str, ...] | None = None
    classes: dict[str, str] | None = None
    augment: Augment | None = None
    limit: Count | None = None
    rare: Share = 0.0


class Data(Strict):
    """``train`` are sources with labels; of those under ``target`` only pictures and cameras are read. In training the
    network sees windows of ``crop``, if there is one, of pictures that cover ``size``."""

    size: tuple[Count, Count] = (192, 256)  # height, width the network sees
    crop: tuple[Count, Count] | None = None
    train: dict[str, Source] = {}
    target: dict[str, Source] = {}
    evaluate: dict[str, Source] = {}
    fit: Fit | None = None  # None: as the recipe of `augment` does, `cover` for ours
    augment: Augment = Augment()
    labels: Literal["own", "network"] = "own"  # evaluation at the labels' own size, or brought to the network's
    workers: Annotated[int, Field(ge=0)] = 1  # loader threads beside the training process
    on_bad_sample: Literal["error", "skip"] = "error"

    @property
    def trained_on(self) -> dict[str, Source]:
        return self.train | self.target

    @model_validator(mode="after")
    def _cropped(self) -> Data:
        if self.crop and any(part > whole for part, whole in zip(self.crop, self.size, strict=True)):
            part, whole = ("x".join(map(str, each)) for each in (self.crop, self.size))
            raise ValueError(f"crop: {part} is no part of the size {whole}")
        if self.crop and self.augment.name != "polyscene":
            raise ValueError(f"crop: a setting of the recipe polyscene; {self.augment.name} is as published")
        if self.crop and self.fit == "stretch":
            raise ValueError("crop: a window of pictures that are not stretched; leave out `fit: stretch`")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Data:
        if both := sorted(set(self.train) & set(self.target)):
            raise ValueError(f"{', '.join(both)}: named in train and in target; give each source a name of its own")
        if labelled := [name for name, source in self.target.items() if source.tasks or source.classes or source.rare]:
            raise ValueError(
                f"{', '.join(labelled)}: labels of a target are not read; leave out tasks, classes and rare"
            )
        return self


class Model(Strict):
    encoder: Part = Part(name="tf_efficientnet_lite0")
    pretrained: bool | Literal["package", "hub"] | Path = False  # True is "package"; a hub is asked only if named
    neck: Part | None = None
    decoder: Part = Part(name="multi_head")
    regularizer: Part | None = None
    canonical_focal: Positive | None = None  # times the width; None: depth knows no focal length


def _one_or_several(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return pattern


class Group(Strict):
    """Parameters in whose name the regular expression ``pattern`` is found get their own rate and decay; ``lr_scale`` 0
    freezes them, and the statistics of their batch norms."""

    pattern: Annotated[str, AfterValidator(_expression)]
    lr_scale: Amount = 1.0
    weight_decay: Amount | None = None


class Optimiser(Strict):
    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: Amount = 0.01
    momentum: Share = 0.9
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    groups: tuple[Group, ...] = ()
    clip: Positive | None = 10.0  # gradient norm
    accumulate: Count = 1


class Schedule(Strict):
    name: Literal["constant", "poly", "step", "cosine"] = "cosine"
    warmup: Share = 0.03  # share of all steps
    power: Positive = 0.9  # poly
    milestones: tuple[Share, ...] = (0.6, 0.85)  # step: shares of all steps
    gamma: Share = 0.1  # step
    floor: Share = 0.0  # cosine: final share of the rate


class Training(Strict):
    """One of ``steps``, ``epochs`` (of the first source) or ``minutes`` says how long."""

    steps: Count | None = None
    epochs: Count | None = None
    minutes: Positive | None = None
    optimiser: Optimiser = Optimiser()
    balancing: Part = Part(name="fixed")  # of the tasks' losses; see balancing.BALANCERS
    schedule: Schedule = Schedule()
    ema: Decay = 0.0  # decay a step; 0: off
    autocast: Literal["off", "auto", "bf16", "fp16"] = "off"  # auto: bf16 unless the encoder is depthwise
    channels_last: bool = True
    freeze_norm: bool = False
    evaluate_every: Count | None = None  # steps; None: at the end only
    checkpoint_every: Count | None = None  # steps; None: ten times a run and at every evaluation
    device: str = "auto"
    init: Annotated[str | tuple[str, ...] | None, BeforeValidator(_one_or_several)] = None  # starter, RUN or FILE
    track: Literal["tensorboard", "wandb", "trackio"] | None = None
    threads: Count | None = None
    elastic: bool = False  # `batch` is that of all ranks together, so that a restart may have another number of them
    sharded: bool = False  # over ranks: weights, gradients and what the optimiser remembers
    sync_norm: bool = False  # batch norms normalise by what all ranks see; GPUs only
    recompute: bool = False  # what blocks make in between is made again on the way back: less memory, more time
    compile: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if sum(length is not None for length in (self.steps, self.epochs, self.minutes)) > 1:
            raise ValueError("give one of steps, epochs and minutes, not several")
        return self

    @model_validator(mode="after")
    def _compiled_alone(self) -> Training:
        if self.compile and (self.sharded or self.recompute):
            raise ValueError("compile: goes with whole weights whose maps are kept; leave out sharded and recompute")
        return self


class Config(Strict):
    """One run. ``tasks``: the name of a training source's data set (its tasks and classes), or a list of task names or
    ``{type: Depth, encoding: log_bins}`` mappings. ``weights`` override the tasks' own."""

    name: str = "run"
    out: Path | None = None  # default: runs/NAME
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    tasks: Annotated[str | tuple[str | dict[str, Any], ...], BeforeValidator(_one_or_several)]
    weights: dict[str, Amount] = {}
    data: Data = Data()
    method: Part = Part(name="supervised")  # what a step learns from; see adaptation.METHODS
    model: Model = Model()
    training: Training = Training()

    @model_validator(mode="after")
    def _same_camera(self) -> Config:
        if self.data.crop and self.model.canonical_focal:
            raise ValueError("data.crop: a window has not the picture's field of view, by which canonical_focal goes")
        return self
