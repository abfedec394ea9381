"""The types that travel between the parts. Shapes are part of the types; tests check them, production does not.

``b`` batch, ``v`` views (always there; an ordinary data set has v = 1), ``h w`` pixels. A ``Sample`` has no ``b``;
a ``Batch`` is a ``Sample`` with one leading axis. Missing labels are ``valid = False``, never a sentinel value.
Conventions (axes, units, pixel centres) stand in docs/conventions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from polyscene.tasks import Task


T = TypeVar("T", bound="Travels")


class Travels:
    """A frozen dataclass of tensors that moves as one: ``.to()``, ``.pin_memory()``, and a torch pytree."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        pytree.register_pytree_node(cls, _flatten, _unflatten_as(cls), serialized_type_name=f"polyscene.{cls.__name__}")

    def map(self: T, function: Callable[[Tensor], Tensor]) -> T:
        """Every tensor in it replaced by ``function(tensor)``."""
        return pytree.tree_map_only(Tensor, function, self)

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        return self.map(lambda tensor: tensor.pin_memory())


def _flatten(node: Any) -> tuple[list[Any], list[str]]:
    names = [item.name for item in fields(node)]
    return [getattr(node, name) for name in names], names


def _unflatten_as(cls: type) -> Callable[[Any, list[str]], Any]:
    def unflatten(values: Any, names: list[str]) -> Any:
        node: Any = object.__new__(cls)  # not cls(...): a mapped tree may hold leaves that are no tensors
        for name, value in zip(names, values, strict=True):
            object.__setattr__(node, name, value)
        return node

    return unflatten


@dataclass(frozen=True)
class Target(Travels):
    """One task's label. ``value``: class ids (one channel, int64), metres, unit vectors, or {0, 1}; anything where
    ``valid`` is false."""

    value: Shaped[Tensor, "*b v c h w"]
    valid: Bool[Tensor, "*b v 1 h w"]


@dataclass(frozen=True)
class Camera(Travels):
    """``intrinsics`` in pixels of the image they come with; ``world_from_camera`` in metres, OpenCV axes; ``known``
    says of which views both can be trusted (others hold an identity pose and an assumed focal length)."""

    intrinsics: Float[Tensor, "*b v 3 3"]
    world_from_camera: Float[Tensor, "*b v 4 4"]
    known: Bool[Tensor, "*b v"]


@dataclass(frozen=True)
class Sample(Travels):
    """What a data set yields and a batch is made of. ``images`` are RGB in [0, 1]. ``present`` is false for views that
    collation padded. ``meta`` names the files, one entry a sample."""

    images: Float[Tensor, "*b v 3 h w"]
    targets: dict[str, Target]
    camera: Camera
    present: Bool[Tensor, "*b v"]
    source: str
    meta: tuple[str, ...] = ()


Batch = Sample


@dataclass(frozen=True)
class Features(Travels):
    """A pyramid of maps, finest first, each (b·v, c, h, w); ``by_task`` where a method keeps one pyramid a task."""

    maps: list[Float[Tensor, "bv _ _ _"]]
    by_task: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Auxiliary:
    """Extra maps to be supervised in training: initial predictions, deep supervision, renderings.

    ``tasks`` may hold variants of the model's own (log-bins, two-class edges); the key says which target is read.
    Where ``valid`` is false the maps say nothing, and are not judged. ``shares`` multiply the ``weight`` of tasks.
    ``penalty`` is minimised besides, also times ``weight``, and belongs to no task.
    """

    maps: dict[str, Float[Tensor, "b v _ _ _"]]
    tasks: dict[str, Task]
    weight: float = 1.0
    name: str = "auxiliary"
    valid: Bool[Tensor, "b v 1 _ _"] | None = None
    shares: dict[str, float] = field(default_factory=dict)
    penalty: Float[Tensor, ""] | None = None


@dataclass(frozen=True)
class Predictions:
    """``final``: raw maps by task name, before ``Task.activate``."""

    final: dict[str, Float[Tensor, "b v _ h w"]]
    auxiliary: list[Auxiliary]
    shared: Features


@dataclass(frozen=True)
class Report:
    """A step's losses. ``total`` is minimised; ``by_task`` are unweighted; ``parts`` are auxiliary and others.
    ``shares`` is what each task adds to ``total``, auxiliaries included and weighted, ``others`` what no task owns."""

    total: Float[Tensor, ""]
    by_task: dict[str, Tensor]
    parts: dict[str, Tensor]
    shares: dict[str, Tensor] = field(default_factory=dict)
    others: Float[Tensor, ""] | None = None


def collate(samples: list[Sample]) -> Batch:
    """Samples of one source into a batch; views are padded to the longest sample and marked absent in ``present``.

    Tasks that a sample lacks become all-invalid. Images must agree in size: ``ValueError`` otherwise.
    """
    views = max(sample.images.shape[0] for sample in samples)
    sizes = {tuple(sample.images.shape[-2:]) for sample in samples}
    if len(sizes) > 1:
        raise ValueError(f"images of one batch differ in size: {sorted(sizes)}; resize or crop them in the transforms")
    names = {name: target for sample in samples for name, target in sample.targets.items()}

    def padded(tensor: Tensor) -> Tensor:
        missing = views - tensor.shape[0]
        return tensor if not missing else torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])

    def target(sample: Sample, name: str) -> Target:
        like = sample.targets.get(name)
        if like is None:
            value, valid = names[name].value, names[name].valid
            blank = sample.images.shape[0], *value.shape[1:]
            return Target(value.new_zeros(blank), valid.new_zeros(blank[0], 1, *blank[2:]))
        return like

    def masked(tensor: Tensor) -> Tensor:  # padded views carry no label
        missing = views - tensor.shape[0]
        return tensor if not missing else torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])

    return Sample(
        images=torch.stack([padded(sample.images) for sample in samples]),
        targets={
            name: Target(
                torch.stack([padded(target(sample, name).value) for sample in samples]),
                torch.stack([masked(target(sample, name).valid) for sample in samples]),
            )
            for name in names
        },
        camera=Camera(
            torch.stack([padded(sample.camera.intrinsics) for sample in samples]),
            torch.stack([padded(sample.camera.world_from_camera) for sample in samples]),
            torch.stack([masked(sample.camera.known) for sample in samples]),
        ),
        present=torch.stack([masked(sample.present) for sample in samples]),
        source=samples[0].source,
        meta=tuple(name for sample in samples for name in sample.meta),
    )
