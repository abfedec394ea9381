"""Decoders beside their public code, xTAM beside its materialised form: time and peak memory, one image, one thread;
two images for mtan, cross_stitch and nddr, whose DeepLab heads normalise a map of one pixel over the batch.

One JSON line a row: python benchmarks/decoders.py NAME [--reference DIR] [--bf16] [--size H W], of mti_net, pad_net,
pap, invpt, atrc, mtan, cross_stitch, nddr, propagation and xtam. Forward and backward; the time is the least of several
rounds in which candidates take turns, in seconds of the processor; memory is the peak of two rounds in a process of its
own less what it held before.

All but the last two: networks for NYUv2. DIR is a checkout of the public code, of
SimonVandenhende/Multi-Task-Learning-PyTorch for mti_net, pad_net, mtan, cross_stitch and nddr, of Armanfard-Lab/CTAL,
its folder code_cnn, for pap and propagation (whose affinities between all places need more than 16 GB; --size 224 288
needs a tenth), of prismformore/Multi-Task-Transformer for invpt (which needs einops), or of brdav/atrc. Without it
there are only rows of ours.
``channels_last`` is the order in which pictures and weights come: ours trains in it by default, the public code in the
other.

``propagation``: what PAP does between its towers, affinities of four tasks with 128 channels each at a quarter of the
size, and what spreads along them.

``xtam``: cross-task attention, the branch and the block around it, with the matrix of weights materialised and without
it; then the exchange between --tasks tasks, pairwise and through a hub. The size is the picture's; features have half
of it, the attention an eighth.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest import mock

import _public
import torch
from _turns import Build, Round, measure
from torch import Tensor, nn

from polyscene.decoders import AffinityPropagation, xtam
from polyscene.decoders.blocks import resize
from polyscene.decoders.dense_mtl import Hub, Pairwise
from polyscene.model import create_model

ENCODERS = {
    **dict.fromkeys(("mti_net", "pad_net", "pap", "atrc"), "hrnet_w18_small_v2"),
    **dict.fromkeys(("mtan", "cross_stitch", "nddr"), "resnet50"),
    "invpt": "vit_base_patch16_384",
}
ORDERS = {name: ("", ", channels_last") if name != "invpt" else ("",) for name in ENCODERS}
IMAGES = dict.fromkeys(("mtan", "cross_stitch", "nddr"), 2)
CHANNELS = 128
"""Of the maps that xTAM exchanges and PAP propagates."""


# -- whole networks ----------------------------------------------------------------------------------------------------
def ours(decoder: str, size: tuple[int, int], encoder: str) -> _public.Network:
    options: dict[str, Any] = {"img_size": list(size)}
    head = {}
    if encoder.startswith("hrnet"):
        options = {"upsample": "bilinear"}
    if encoder.startswith("resnet"):
        options, head = {"output_stride": 8}, {"head": "deeplab"}

    def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
        predictions = model(images[:, None])
        early = [raw.flatten(0, 1) for auxiliary in predictions.auxiliary for raw in auxiliary.maps.values()]
        if decoder in ("invpt", "pap", "atrc"):  # the public code gives them at the picture's size
            early = [resize(raw, images.shape[-2:]) for raw in early]
        return [*(raw.flatten(0, 1) for raw in predictions.final.values()), *early]

    return create_model("nyuv2", {"name": encoder, **options}, {"name": decoder, **head}), outputs


def network(name: str, decoder: str, checkout: str | None, size: tuple[int, int], encoder: str, bf16: bool) -> Round:
    torch.manual_seed(0)
    whose, _, order = name.partition(", ")
    made = getattr(_public, decoder)(checkout, size, encoder) if whose == "public" else ours(decoder, size, encoder)
    layout = torch.channels_last if order else torch.contiguous_format
    model, outputs = made[0].train().to(memory_format=layout), made[1]
    images = torch.rand(IMAGES.get(decoder, 1), 3, *size).contiguous(memory_format=layout)

    def run() -> tuple[float, float]:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.stack([raw.float().square().mean() for raw in outputs(model, images)]).sum()
        middle = time.process_time()
        loss.backward()
        return middle - start, time.process_time() - middle

    return run


def networks(options: argparse.Namespace) -> None:
    decoder, size = options.decoder, tuple(options.size or (448, 576))
    encoder = options.encoder or ENCODERS[decoder]
    whose = ["public", "ours"] if options.reference else ["ours"]
    names = [f"{who}{order}" for who in whose for order in ORDERS[decoder]]
    fixed = decoder, options.reference, size, encoder, options.bf16
    report(
        {name: partial(network, name, *fixed) for name in names},
        options.rounds,
        {"decoder": decoder, "encoder": encoder, "size": list(size), "bf16": options.bf16},
        ("forward", "backward"),
    )


# -- PAP's propagation ------------------------------------------------------------------------------------------------
def propagation(whose: str, checkout: str | None, size: tuple[int, int]) -> Round:
    torch.manual_seed(0)
    tasks = list(_public.CHANNELS)
    maps = [torch.randn(1, CHANNELS, *(side // 4 for side in size), requires_grad=True) for _ in tasks]
    spread = _public.propagation(checkout, tasks) if whose == "public" else AffinityPropagation(len(tasks))

    def run() -> tuple[float]:
        start = time.process_time()
        torch.stack([tensor.square().mean() for tensor in spread(maps)]).sum().backward()
        return (time.process_time() - start,)

    return run


def propagations(options: argparse.Namespace) -> None:
    size = tuple(options.size or (224, 288))
    whose = ["public", "ours"] if options.reference else ["ours"]
    builds = {who: partial(propagation, who, options.reference, size) for who in whose}
    report(builds, options.rounds, {"what": "propagation", "size": list(size)}, ("round",))


# -- xTAM --------------------------------------------------------------------------------------------------------------
def materialised(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2) / math.sqrt(query.shape[1])
    return (value.flatten(2) @ scores.softmax(-1).transpose(1, 2)).unflatten(2, query.shape[-2:])


def exchange(form: str, what: str, tasks: int, size: tuple[int, int]) -> Round:
    torch.manual_seed(0)
    height, width = (side // (8 if what == "attention" else 2) for side in size)
    maps = [torch.randn(1, CHANNELS, height, width, requires_grad=True) for _ in range(tasks)]
    blocks: dict[str, Callable[[], nn.Module]] = {
        "correlation": lambda: xtam.Correlation(CHANNELS),
        "xTAM": lambda: xtam.xTAM(CHANNELS),
        "exchange": lambda: (Hub if form == "hub" else Pairwise)([str(i) for i in range(tasks)], CHANNELS, "add"),
    }
    block = blocks[what]() if what in blocks else None

    def run() -> tuple[float]:
        start = time.process_time()
        with mock.patch.object(xtam, "attend", materialised if form == "materialised" else xtam.attend):
            if what == "exchange" and block is not None:
                out = torch.stack(list(block({str(i): each for i, each in enumerate(maps)}).values()))
            else:
                out = (xtam.attend if block is None else block)(*maps)
            out.backward(torch.ones_like(out))
        return (time.process_time() - start,)

    return run


def exchanges(options: argparse.Namespace) -> None:
    size = tuple(options.size or (512, 1024))
    half = tuple(side // 2 for side in size)
    cases = [(what, 3 if what == "attention" else 2, size) for what in ("attention", "correlation", "xTAM")]
    for what, tasks, of in [*cases, *(("exchange", tasks, half) for tasks in options.tasks)]:
        forms = ("pairwise", "hub") if what == "exchange" else ("materialised", "ours")
        about = {"what": what, "size": list(of)} | ({"tasks": tasks} if what == "exchange" else {})
        report({form: partial(exchange, form, what, tasks, of) for form in forms}, options.rounds, about, ("round",))


ALONE = {"propagation": propagations, "xtam": exchanges}


def report(builds: Mapping[str, Build], rounds: int, about: dict[str, object], phases: tuple[str, ...]) -> None:
    found = measure(builds, rounds)
    first = next(iter(found.values())) if len(found) > 1 else None
    for name, measured in found.items():
        print(json.dumps({**about, "name": name, **measured.row(phases, first)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoder", choices=(*ENCODERS, *ALONE))
    parser.add_argument("--reference", help="a checkout of the public code")
    parser.add_argument("--encoder", help="of our and of InvPT's public network; vit_large_patch16_384 for InvPT-L")
    parser.add_argument("--size", type=int, nargs=2)
    parser.add_argument("--tasks", type=int, nargs="*", default=(2, 3, 4, 6, 8))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="networks under bf16 autocast")
    options = parser.parse_args()
    ALONE.get(options.decoder, networks)(options)


if __name__ == "__main__":
    main()
