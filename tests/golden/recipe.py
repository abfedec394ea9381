"""Weights and pictures that are functions of names and numbers, so that no checkpoint of a public network need be kept.

A folder entry ``NAME.json`` holds what is known of the network, ``NAME.npz`` its outputs and, under ``keys``, the lines
"key, shape, type" of its state dict. The outputs are what the public code computes from these weights, each kept every
``stride``-th pixel from the ``stride // 2``-th on.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
TINY = 16  # fan-ins and biases below it follow rules of their own


def meta(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


def state_dict(name: str) -> dict[str, Tensor]:
    lines = bytes(np.load(HERE / f"{name}.npz")["keys"]).decode().splitlines()
    rows = [line.split("\t") for line in lines]
    gain = meta(name)["gain"]
    return {key: tensor(key, [int(side) for side in shape.split("x") if side != "-"], gain) for key, shape, *_ in rows}


def tensor(key: str, shape: list[int], gain: float = 1.0) -> Tensor:
    """The weights behind one name, which seeds them."""
    parent, leaf = ["", *key.split(".")][-2:]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    z = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)
    if leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf == "weight" and len(shape) > 1:
        rows = z.reshape(shape[0], -1)
        fan_in = rows.shape[1]
        if fan_in >= TINY:
            rows = rows - np.cumsum(rows, 1)[:, -1:] / fan_in
        z = rows.reshape(shape) * (gain / np.sqrt(fan_in))
    elif leaf == "weight":
        z = 1 + 0.1 * z
    elif leaf in ("alpha", "param") or parent == "weights":
        z = 0.5 * z
    else:
        z = 0.1 * z
        if leaf == "bias" and z.size < TINY:
            z = 0.5 + z
    return torch.from_numpy(z.astype(np.float32))


def same_weights(name: str, state: dict[str, Tensor]) -> bool:
    """Whether ``state`` is what the outputs were made from: bit for bit, or nearly where another generator or
    mathematics library differs in a last bit."""
    digest = hashlib.sha256()
    for key, value in state.items():
        digest.update(key.encode() + b"\0" + value.numpy().tobytes())
    want = meta(name)["weights"]
    if digest.hexdigest() == want["sha256"]:
        return True
    sums = [sum(float((value.double() ** power).sum()) for value in state.values()) for power in (1, 2)]
    return bool(np.allclose(sums, [want["sum"], want["sumsq"]], rtol=1e-9, atol=0))


def image(h: int, w: int, batch: int, seed: int, **_: Any) -> Tensor:
    """(b, 3, h, w) of mean 0 and variance 1 a channel: blotches of three sizes, and noise."""
    random = np.random.Generator(np.random.PCG64(1000003 * seed + 17))
    picture = np.zeros((batch, 3, h, w))
    for cell, strength in ((64, 1.0), (16, 0.7), (4, 0.5)):
        grid = random.standard_normal((batch, 3, h // cell + 2, w // cell + 2))
        rows, columns = np.arange(h) / cell, np.arange(w) / cell
        top, left = rows.astype(int), columns.astype(int)
        down, right = (rows - top)[:, None], columns - left
        upper, lower = (
            grid[:, :, line][..., left] * (1 - right) + grid[:, :, line][..., left + 1] * right
            for line in (top, top + 1)
        )
        picture = picture + strength * (upper * (1 - down) + lower * down)
    picture = picture + 0.3 * random.standard_normal(picture.shape)
    flat = picture.reshape(batch, 3, -1)
    flat = flat - np.cumsum(flat, -1)[..., -1:] / flat.shape[-1]
    flat = flat / np.sqrt(np.cumsum(flat**2, -1)[..., -1:] / flat.shape[-1])
    return torch.from_numpy(flat.reshape(picture.shape).astype(np.float32))


def image01(**of: Any) -> Tensor:
    """The same picture in [0, 1]."""
    return torch.from_numpy(np.clip(0.5 + 0.2 * image(**of).numpy().astype(float), 0, 1).astype(np.float32))


def errors(name: str, outputs: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """By output: the largest error as a share of its standard deviation, and what is allowed, five times the noise of
    the public code's own single precision or 1e-4. Every kept output must be there, in its size."""
    kept = np.load(HERE / f"{name}.npz")
    found = {}
    for output, about in meta(name)["outputs"].items():
        value = outputs[output]
        assert list(value.shape) == about["shape"], output
        grid = slice(about["stride"] // 2, None, about["stride"])
        error = (value[..., grid, grid].double() - torch.from_numpy(kept[output]).double()).abs().max()
        found[output] = float(error) / about["std"], max(5 * about["noise"], 1e-4)
    return found
