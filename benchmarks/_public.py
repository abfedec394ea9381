"""The public code of decoders, as modules: ``NAME(checkout, size, encoder)`` is a network, and how to run it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import yaml
from torch import Tensor, nn

CHANNELS = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
WIDTHS = [18, 36, 72, 144]
"""Of HRNet-18's levels."""
DEPTHS = {"vit_base_patch16_384": (768, 12, 12), "vit_large_patch16_384": (1024, 24, 16)}
Network = tuple[nn.Module, Callable[[nn.Module, Tensor], list[Tensor]]]
"""The second gives all maps that are trained."""


def _survey(checkout: str) -> None:
    """Makes SimonVandenhende/Multi-Task-Learning-PyTorch importable, and what was made from it."""
    unused = {"torchvision.models.utils": ["load_state_dict_from_url"], "termcolor": ["colored"]}
    for name, functions in unused.items():
        module = types.ModuleType(name)
        module.__dict__.update(dict.fromkeys(functions))
        sys.modules[name] = module
    vars(numpy)["int"] = int  # which it had when that code was written
    sys.path.insert(0, checkout)


def _hrnet_description(checkout: str) -> Any:
    return yaml.safe_load((Path(checkout) / "models/model_info/hrnet_w18.yml").read_text())


def pad_net(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """SimonVandenhende/Multi-Task-Learning-PyTorch."""
    _survey(checkout)
    from models.padnet import PADNet  # type: ignore[import-not-found]
    from models.seg_hrnet import HighResolutionFuse, HighResolutionNet  # type: ignore[import-not-found]

    names = types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS)
    backbone = nn.Sequential(HighResolutionNet(_hrnet_description(checkout)), HighResolutionFuse(WIDTHS, 256))
    return PADNet(types.SimpleNamespace(TASKS=names, AUXILARY_TASKS=names), backbone, sum(WIDTHS)), _initial_and_final


def pap(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """code_cnn of Armanfard-Lab/CTAL, a re-implementation: the authors published none."""
    _survey(checkout)
    from models.hrnet import HighResolutionFuse, HighResolutionNet  # type: ignore[import-not-found]
    from models.papnet import PAPNet  # type: ignore[import-not-found]

    class Options(dict[str, Any]):
        TASKS = types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS)

    diffusion = types.SimpleNamespace(beta=0.05, num_iters=1)
    backbone = nn.Sequential(HighResolutionNet(_hrnet_description(checkout)), HighResolutionFuse(WIDTHS, 256))
    return PAPNet(Options(model_kwargs={"diffusion": diffusion}), backbone, sum(WIDTHS)), _initial_and_final


def _initial_and_final(model: nn.Module, images: Tensor) -> list[Tensor]:
    found: dict[str, Tensor] = model(images)
    return [found[f"{kind}{name}"] for kind in ("", "initial_") for name in CHANNELS]


def mti_net(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """SimonVandenhende/Multi-Task-Learning-PyTorch."""
    _survey(checkout)
    from models.mti_net import MTINet  # type: ignore[import-not-found]
    from models.seg_hrnet import HighResolutionHead, HighResolutionNet

    names = types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS)
    backbone = HighResolutionNet(_hrnet_description(checkout))
    heads = nn.ModuleDict({name: HighResolutionHead(WIDTHS, count) for name, count in CHANNELS.items()})
    model: nn.Module = MTINet(types.SimpleNamespace(TASKS=names, AUXILARY_TASKS=names), backbone, WIDTHS, heads)

    def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
        found: dict[str, Any] = model(images)
        scales = found["deep_supervision"].values()
        return [found[name] for name in CHANNELS] + [scale[name] for scale in scales for name in CHANNELS]

    return model, outputs


def invpt(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """prismformore/Multi-Task-Transformer, which needs einops; with BatchNorm2d for SyncBatchNorm, which processors
    lack."""
    layers, helpers = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.helpers")
    import timm.layers

    layers.__dict__.update(timm.layers.__dict__)
    helpers.__dict__.update(build_model_with_cfg=None, named_apply=None, adapt_input_conv=None)
    utils, config = types.ModuleType("utils.utils"), types.ModuleType("easydict")
    utils.__dict__.update(to_2tuple=timm.layers.to_2tuple)
    config.__dict__.update(EasyDict=types.SimpleNamespace)
    sys.modules |= {"timm.models.layers": layers, "timm.models.helpers": helpers}
    sys.modules |= {"utils": types.ModuleType("utils"), "utils.utils": utils, "easydict": config}
    sys.path.insert(0, f"{checkout}/InvPT")
    from models import transformer_net
    from models.transformers import invpt, transformer_decoder, vit

    invpt.BATCHNORM = transformer_decoder.BATCHNORM = nn.BatchNorm2d
    width, depth, heads = DEPTHS[encoder]
    vit._init_vit_weights = lambda *_, **__: None
    vit.named_apply = lambda *_, **__: None
    backbone = vit.VisionTransformer(
        select_list=[depth // 4 * taken for taken in (1, 2, 3)],
        img_size=size,
        patch_size=16,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
    )
    p = types.SimpleNamespace(
        embed_dim=512,
        PRED_OUT_NUM_CONSTANT=64,
        mtt_resolution_downsample_rate=2,
        spatial_dim=[[side // 16 for side in size]] * 4,
        backbone_channels=[width] * 4,
        TASKS=types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS),
    )
    tasks = nn.ModuleDict({name: transformer_decoder.MLPHead(576, count) for name, count in CHANNELS.items()})
    model: nn.Module = transformer_net.TransformerNet(p, backbone, [width] * 4, tasks)

    def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
        found = model(images)
        return [found[name] for name in CHANNELS] + [found["inter_preds"][name] for name in CHANNELS]

    return model, outputs
