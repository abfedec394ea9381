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
CLASSES = {"semseg": 40, "depth": 40, "normals": 40, "edge": 2}
"""Of ATRC's tasks, told in classes."""
STAGES = {f"layer{place}": 128 << place for place in (1, 2, 3, 4)}
"""Channels of ResNet-50's."""
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


def mtan(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """SimonVandenhende/Multi-Task-Learning-PyTorch."""
    _survey(checkout)
    from models.mtan import MTAN  # type: ignore[import-not-found]

    halved = {"layer1": True, "layer2": False, "layer3": False}
    return MTAN(_named(), _dilated_resnet(), _heads(), list(STAGES), STAGES, halved), _final


def cross_stitch(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """SimonVandenhende/Multi-Task-Learning-PyTorch."""
    _survey(checkout)
    from models.cross_stitch import CrossStitchNetwork  # type: ignore[import-not-found]

    return CrossStitchNetwork(_named(), _backbones(), _heads(), list(STAGES), STAGES, 0.9, 0.1), _final


def nddr(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """SimonVandenhende/Multi-Task-Learning-PyTorch."""
    _survey(checkout)
    from models.nddr_cnn import NDDRCNN  # type: ignore[import-not-found]

    channels = {"conv": 64, "layer1_without_conv": 256} | {stage: STAGES[stage] for stage in list(STAGES)[1:]}
    return NDDRCNN(_named(), _backbones(), _heads(), list(channels), list(channels), channels, 0.9, 0.1), _final


def atrc(checkout: str, size: tuple[int, int], encoder: str) -> Network:
    """brdav/atrc, with the contexts that it found for NYUv2; needs torchvision."""
    package = types.ModuleType("model")
    package.__path__ = [f"{checkout}/src/model"]  # its own file wants what only training needs
    sys.modules["model"] = package
    from model import builder  # type: ignore[import-not-found]

    backbone = builder.get_backbone("HRNet18-S", pretrained=False)
    maps = {name: {"final": CHANNELS[name], "aux": CLASSES[name]} for name in CHANNELS}
    genotype = f"{checkout}/genotypes/atrc_nyud_hrnet18.json"
    levels = backbone.idx_to_planes
    head = builder.get_head("AdaptiveTaskRelationalContextHead", "0,1,2,3", levels, list(CHANNELS), maps, genotype)

    def outputs(model: Any, images: Tensor) -> list[Tensor]:
        found = model[1](model[0](images), images.shape[-2:], image=images)
        return [*found["final"].values(), *found["aux"].values()]

    return nn.ModuleList([backbone, head]), outputs


def _dilated_resnet() -> nn.Module:
    from models.resnet import resnet50  # type: ignore[import-not-found]
    from models.resnet_dilated import ResnetDilated  # type: ignore[import-not-found]

    network: nn.Module = ResnetDilated(resnet50(pretrained=False))
    return network


def _backbones() -> nn.ModuleDict:
    return nn.ModuleDict({name: _dilated_resnet() for name in CHANNELS})


def _heads() -> nn.ModuleDict:
    from models.aspp import DeepLabHead  # type: ignore[import-not-found]

    return nn.ModuleDict({name: DeepLabHead(STAGES["layer4"], count) for name, count in CHANNELS.items()})


def _named() -> Any:
    return types.SimpleNamespace(TASKS=types.SimpleNamespace(NAMES=list(CHANNELS)))


def _final(model: nn.Module, images: Tensor) -> list[Tensor]:
    found: dict[str, Tensor] = model(images)
    return [found[name] for name in CHANNELS]


def propagation(checkout: str, tasks: list[str]) -> Callable[[list[Tensor]], list[Tensor]]:
    """What PAPNet does with its reduced features."""
    _survey(checkout)
    from models.papnet import MultiTaskDiffusionModule, compute_affinity_matrix

    diffuse = MultiTaskDiffusionModule(tasks, tasks, 0.05, 1)

    def spread(maps: list[Tensor]) -> list[Tensor]:
        named = dict(zip(tasks, maps, strict=True))
        given = {f"features_{name}": tensor for name, tensor in named.items()}
        given |= {f"matrix_{name}": compute_affinity_matrix(tensor) for name, tensor in named.items()}
        return list(diffuse(given).values())

    return spread


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
