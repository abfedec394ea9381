"""``polyscene export``: write, check, time; what does not agree with torch is not kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from polyscene.export.engine import ABOUT, ENGINES, EXTRA, Arrays, Engine, NotInstalled, run_by
from polyscene.export.precision import Precision

Format = Literal["onnx", "openvino"]
SAMPLES = Path(__file__).parents[1] / "samples"
STEP = 32  # pixels; every stride of a pyramid divides it
NEEDED = ("onnx", "onnxruntime", "openvino")


class Unlike(ValueError):
    """The exported network does not say what torch says."""


def run(
    weights: str | Path,
    out: str | Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    size: tuple[int, int] | None = None,
    photos: Sequence[str | Path] = (),
    data: str | None = None,
) -> dict[str, Any]:
    """Writes ``model.onnx`` or ``model.xml``, ``export.json`` and, beside ONNX, ``look.py`` into ``out``, and returns
    what ``export.json`` says. ``size`` (h, w): about as trained by default. ``photos``, the package's samples by
    default, are what parity is checked on and 8 bits are calibrated with; ``data``, as ``polyscene eval`` takes it, is
    what the change of the figures is told on.

    Raises ``Unlike``, and then leaves what was in ``out``; ``ValueError`` where a network cannot be exported;
    ``NotInstalled``, which is one too."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise NotInstalled(f"{', '.join(missing)} not installed: {EXTRA}")
    out = Path(out)
    from polyscene import weights as files
    from polyscene.export import graph
    from polyscene.portable import Portable

    model, facts = files.load(weights)
    network = Portable(model)
    if size is None:
        height, width = (max(STEP, round(side / STEP) * STEP) for side in facts.get("size") or (192, 256))
        size = height, width
    if any(side < STEP or side % STEP for side in size):
        raise ValueError(f"size {size[0]}x{size[1]}: both sides must be multiples of {STEP}, so that every stride fits")
    labelled = None if data is None else _loader(data, model, size)
    inputs = examples(photos or [SAMPLES], size, network)
    console = Console(soft_wrap=True, highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".export-*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        exact = Path(scratch) / "exact.onnx"
        any_size = graph.write(network, size, exact)
        made = _at(exact, format, precision, inputs)
        about: dict[str, Any] = {
            "file": made.name,
            "format": format,
            "precision": precision,
            "inputs": network.inputs,
            "outputs": network.outputs,
            "size": size,
            "any_size": any_size,
            "canonical_focal": model.canonical_focal,
            "classes": {name: task.classes for name, task in model.tasks.items()},
            "units": {name: task.unit for name, task in model.tasks.items()},
            "tasks": [task.describe() for task in model.tasks.values()],
            "licence": facts.get("licence", "not stated"),
        }
        engine = run_by(made, about)
        about |= _compared(network, engine, inputs, precision, console)
        if labelled is not None:
            about |= _judged(network, engine, labelled, console)
        about |= _timed(network, engine, exact, inputs[0], console)
        _keep(made, about, out)
    free = "any size in multiples of 32" if any_size else f"{size[0]}x{size[1]} (height x width) alone"
    megabytes = sum(file.stat().st_size for file in out.glob("model.*")) / 1e6
    console.print(f"{out / made.name}: {precision}, {megabytes:.1f} MB, any batch, {free}")
    return about


def examples(photos: Sequence[str | Path], size: tuple[int, int], network: Any) -> list[Arrays]:
    """Inputs of single pictures, their middles cut to the aspect of ``size`` (h, w)."""
    from PIL import Image, ImageOps

    from polyscene import pictures

    found = pictures.find(photos)
    if not found:
        raise ValueError(f"no picture in {', '.join(map(str, photos))} to check the exported network with")
    made: list[Arrays] = []
    for path, _ in found:
        whole = Image.fromarray(pictures.read(path).pixels)
        pixels = np.asarray(ImageOps.fit(whole, size[::-1], Image.Resampling.BILINEAR), np.float32) / 255
        given: Arrays = {
            "images": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]),
            "focal": np.array([0.9 * max(size)], np.float32),
        }
        made.append({name: given[name] for name in network.inputs})
    return made


def _at(exact: Path, format: Format, precision: Precision, inputs: Sequence[Arrays]) -> Path:
    from polyscene.export import precision as bits

    source = exact
    if precision == "int8":
        source = exact.with_name("int8.onnx")
        bits.int8(exact, source, inputs)
    if format == "openvino":
        file = exact.with_name("model.xml")
        bits.openvino(source, file, half=precision == "fp16")
        return file
    file = exact.with_name("model.onnx")
    if precision == "fp16":
        bits.fp16(source, file)
    else:
        shutil.copyfile(source, file)
    return file


def _compared(
    network: Any, engine: Engine, inputs: Sequence[Arrays], precision: Precision, console: Console
) -> dict[str, Any]:
    from polyscene.export import parity

    own = [parity.torch_values(network, each) for each in inputs]
    found = [engine(each) for each in inputs]
    apart = parity.largest_differences(own, found)
    within = parity.EXACT if precision == "fp32" else float("inf")
    if not all(np.isfinite(value) and value <= within for value in apart.values()):
        told = ", ".join(f"{name} {value:.2g}" for name, value in apart.items())
        raise Unlike(
            f"{engine.name} differs from torch by too much (largest difference over the range of the values: {told}; "
            f"{parity.EXACT:g} is allowed at fp32): nothing was kept. Please report the encoder and decoder"
        )
    agreed = parity.agreement(network, own, found)
    for name, value in apart.items():
        figures = ", ".join(f"{key} {figure:.4g}" for key, figure in agreed[name].items())
        console.print(f"{name}: largest difference from torch {value:.1e} of the range; between the two {figures}")
    return {"largest_difference": apart, "agreement": agreed}


def _loader(data: str, model: Any, size: tuple[int, int]) -> Any:
    """The first of what ``data`` names, brought to ``size``."""
    from polyscene.data import sources
    from polyscene.evaluate.command import configuration

    config = configuration(data, None)
    if not config.data.evaluate:
        raise ValueError(f"{data}: data.evaluate names no source to judge on")
    section = config.data.model_copy(update={"size": size, "train": {}, "target": {}})
    return next(iter(sources.build(section, model.tasks, config.seed).evaluate.values()))


def _judged(network: Any, engine: Engine, labelled: Any, console: Console) -> dict[str, Any]:
    from polyscene.export import figures, parity

    ways: dict[str, Any] = {"torch": partial(parity.torch_values, network), "exported": engine}
    found = figures.judge(network, ways, labelled)
    for name, before in found["torch"].items():
        after = found["exported"][name]
        console.print(f"{name}: {before:.4g} by torch, {after:.4g} exported ({after - before:+.2g})")
    return {"figures": found}


def _timed(network: Any, engine: Engine, exact: Path, inputs: Arrays, console: Console) -> dict[str, Any]:
    from polyscene.export import parity

    others = [kind(exact, engine.about, engine.threads) for kind in ENGINES.values()]
    each = {f"{other.name} fp32": other for other in others} | {f"{engine.name} {engine.about['precision']}": engine}
    times = parity.milliseconds(
        {"torch": lambda: parity.torch_values(network, inputs)}
        | {name: partial(other, inputs) for name, other in each.items()}
    )
    console.print("ms a picture: " + ", ".join(f"{name} {value:.1f}" for name, value in times.items()))
    return {"milliseconds": times}


def _keep(made: Path, about: dict[str, Any], out: Path) -> None:
    """What was made takes the place of what was there, ``export.json`` last, without which there is no exported
    network: none is ever half of another. What it no longer names goes."""
    look = made.with_name("look.py")
    if about["format"] == "onnx":
        shutil.copyfile(Path(__file__).with_name("look.py"), look)
    told = made.with_name(ABOUT)
    told.write_text(json.dumps(about, indent=2), encoding="utf-8")
    (out / ABOUT).unlink(missing_ok=True)
    new = [*sorted(made.parent.glob("model.*")), *([look] if look.exists() else []), told]
    for file in new:
        file.replace(out / file.name)
    for name in {"model.onnx", "model.xml", "model.bin", "look.py"} - {file.name for file in new}:
        (out / name).unlink(missing_ok=True)
