"""InvPT beside its public code: time and peak memory of forward and backward, one image, one thread.

Prints one JSON line a row: python benchmarks/invpt.py [--reference DIR] [--size 448 576] [--bf16]
DIR is a checkout of prismformore/Multi-Task-Transformer, whose code needs einops. Candidates take turns; the time is
the least of several rounds, in seconds of the processor; memory is the peak of a process that does one round.
Without DIR there is only a row of ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from polyscene.decoders.blocks import resize
from polyscene.model import create_model

CHANNELS = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
DEPTHS = {"base": (768, 12, 12), "large": (1024, 24, 16)}


def ours(options: argparse.Namespace) -> Callable[[Tensor], list[Tensor]]:
    encoder = {"name": f"vit_{options.encoder}_patch16_384", "img_size": list(options.size)}
    model = create_model("nyuv2", encoder, "invpt").train()

    def outputs(images: Tensor) -> list[Tensor]:
        predictions = model(images[:, None])
        (early,) = predictions.auxiliary
        final = [raw.flatten(0, 1) for raw in predictions.final.values()]
        return final + [resize(raw.flatten(0, 1), images.shape[-2:]) for raw in early.maps.values()]

    outputs.model = model  # type: ignore[attr-defined]
    return outputs


def reference(options: argparse.Namespace) -> Callable[[Tensor], list[Tensor]]:
    """The public network, with BatchNorm2d for SyncBatchNorm, which processors lack."""
    layers, helpers = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.helpers")
    import timm.layers

    layers.__dict__.update(timm.layers.__dict__)
    helpers.__dict__.update(build_model_with_cfg=None, named_apply=None, adapt_input_conv=None)
    utils, config = types.ModuleType("utils.utils"), types.ModuleType("easydict")
    utils.__dict__.update(to_2tuple=timm.layers.to_2tuple)
    config.__dict__.update(EasyDict=types.SimpleNamespace)
    sys.modules |= {"timm.models.layers": layers, "timm.models.helpers": helpers}
    sys.modules |= {"utils": types.ModuleType("utils"), "utils.utils": utils, "easydict": config}
    sys.path.insert(0, f"{options.reference}/InvPT")
    from models import transformer_net  # type: ignore[import-not-found]
    from models.transformers import invpt, transformer_decoder, vit  # type: ignore[import-not-found]

    invpt.BATCHNORM = transformer_decoder.BATCHNORM = nn.BatchNorm2d
    width, depth, heads = DEPTHS[options.encoder]
    vit._init_vit_weights = lambda *_, **__: None
    vit.named_apply = lambda *_, **__: None
    backbone = vit.VisionTransformer(
        select_list=[depth // 4 * taken for taken in (1, 2, 3)],
        img_size=tuple(options.size),
        patch_size=16,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
    )
    patches = [side // 16 for side in options.size]
    p = types.SimpleNamespace(
        embed_dim=512,
        PRED_OUT_NUM_CONSTANT=64,
        mtt_resolution_downsample_rate=2,
        spatial_dim=[patches] * 4,
        backbone_channels=[width] * 4,
        TASKS=types.SimpleNamespace(NAMES=list(CHANNELS), NUM_OUTPUT=CHANNELS),
    )
    tasks = nn.ModuleDict({name: transformer_decoder.MLPHead(576, count) for name, count in CHANNELS.items()})
    model: Any = transformer_net.TransformerNet(p, backbone, [width] * 4, tasks).train()

    def outputs(images: Tensor) -> list[Tensor]:
        found = model(images)
        return [found[name] for name in CHANNELS] + [found["inter_preds"][name] for name in CHANNELS]

    outputs.model = model  # type: ignore[attr-defined]
    return outputs


def round_of(outputs: Callable[[Tensor], list[Tensor]], images: Tensor, bf16: bool) -> tuple[float, float]:
    """Seconds forward and backward."""
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = torch.stack([raw.float().square().mean() for raw in outputs(images)]).sum()
    middle = time.process_time()
    loss.backward()
    return middle - start, time.process_time() - middle


def peak(build: Callable[..., Any], options: argparse.Namespace) -> float:
    """GB that a process of its own needs for two rounds, the second of which has gradients to add to."""
    torch.set_num_threads(1)
    outputs, images = build(options), torch.rand(1, 3, *options.size)
    for _ in range(2):
        round_of(outputs, images, options.bf16)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference")
    parser.add_argument("--encoder", choices=DEPTHS, default="base")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 576))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="ours and the reference under bf16 autocast")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = {"ours": ours} | ({"reference": reference} if options.reference else {})
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {name: pool.apply(peak, (build, options)) for name, build in kinds.items()}
    candidates = {name: build(options) for name, build in kinds.items()}
    images = torch.rand(1, 3, *options.size)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, outputs in candidates.items():
            times[name].append(round_of(outputs, images, options.bf16))
            outputs.model.zero_grad(set_to_none=True)  # type: ignore[attr-defined]
    best = {name: tuple(min(part) for part in zip(*rounds, strict=True)) for name, rounds in times.items()}
    for name, (forward, backward) in best.items():
        row = {"name": name, "encoder": options.encoder, "size": list(options.size), "bf16": options.bf16}
        row |= {"forward_s": round(forward, 2), "backward_s": round(backward, 2), "peak_gb": round(memory[name], 2)}
        row |= {"times_faster": round(sum(best["reference"]) / (forward + backward), 2)} if options.reference else {}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
