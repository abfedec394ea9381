"""The graph of a network as an ONNX file."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyscene.encoders.timm_vit import TimmViT
from polyscene.export.engine import Arrays, Onnx
from polyscene.portable import Portable

OPSET = 18
CLOSE = 1e-2  # of the range, on noise: a graph that is frozen to a size or a batch is wrong by far more
Size = tuple[int, int]


def write(network: Portable, size: Size, file: Path) -> bool:
    """Writes ``network`` with a free batch; and, where it can be, with a free size in multiples of 32, which is
    returned. ``ValueError`` if it cannot be exported."""
    still = prepare(network, size)
    try:
        _trace(still, size, file, any_size=True)
        if _same(still, file, 1, (size[0] + 64, size[1] + 32)) and _same(still, file, 3, size):
            return True
    except Exception as error:  # of many kinds: the tracer's, the exporter's, the network's own
        logging.getLogger(__name__).debug("no free size: %s", error)
    try:
        _trace(still, size, file, any_size=False)
        same = _same(still, file, 1, size) and _same(still, file, 3, size)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
        raise ValueError(f"this network cannot be written as ONNX ({reason})") from error
    if not same:
        raise ValueError("this network cannot be written as ONNX: its graph is bound to one batch")
    return False


def prepare(network: Portable, size: Size) -> Portable:
    """A copy that says the same of pictures whose sides are multiples of 32, with nothing to work out about sizes
    that is known: TensorFlow's padding is constant there, and a ViT has the positions of ``size``."""
    twin = copy.deepcopy(network).requires_grad_(False)
    for module in list(twin.modules()):
        if isinstance(module, TimmViT) and hasattr(module.net, "set_input_size"):
            module.net.set_input_size(img_size=size)
        for name, child in module.named_children():
            if isinstance(child, timm.layers.Conv2dSame):
                setattr(module, name, _Padded(child))
    return twin


class _Padded(nn.Module):
    """A convolution with TensorFlow's "same" padding, for maps whose sides its stride divides."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.how = (conv.stride, 0, conv.dilation, conv.groups)
        spans = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        down, across = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, stride, dilation in spans)
        self.around = (across // 2, across - across // 2, down // 2, down - down // 2)

    def forward(self, maps: Tensor) -> Tensor:
        return F.conv2d(F.pad(maps, self.around), self.weight, self.bias, *self.how)


def example(network: Portable, batch: int, size: Size) -> Arrays:
    """Noise."""
    images = np.random.default_rng(batch).random((batch, 3, *size), np.float32)
    focal = np.linspace(0.5, 1.5, batch, dtype=np.float32) * max(size)
    return {name: {"images": images, "focal": focal}[name] for name in network.inputs}


def _trace(network: Portable, size: Size, file: Path, any_size: bool) -> None:
    # torch.export needs minutes for what tracing does in seconds, where sizes are free (docs/decisions)
    free = {0: "batch", 2: "height", 3: "width"} if any_size else {0: "batch"}
    axes = {"images": free, "focal": {0: "batch"}, **dict.fromkeys(network.outputs, free)}
    with quiet():
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(value) for value in example(network, 2, size).values()),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_axes={name: axes[name] for name in (*network.inputs, *network.outputs)},
        )


def _same(network: Portable, file: Path, batch: int, size: Size) -> bool:
    inputs = example(network, batch, size)
    about = {"any_size": True, "inputs": network.inputs, "outputs": network.outputs}
    with torch.inference_mode():
        own = network(*(torch.from_numpy(value) for value in inputs.values()))
    found = Onnx(file, about, torch.get_num_threads())(inputs)
    for name, value in own.items():
        least, most = value.aminmax()
        wanted = value.numpy()
        if found[name].shape != wanted.shape or np.abs(found[name] - wanted).max() > CLOSE * float(most - least) + 1e-5:
            return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters say much that is no concern of who exports."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
