"""Graphs of fewer bits, and OpenVINO's files, made of an ONNX file of 32 bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyscene.export.graph import quiet

Precision = Literal["fp32", "fp16", "int8"]


def fp16(source: Path, file: Path) -> None:
    """Weights and arithmetic in half precision; inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), file)


def int8(source: Path, file: Path, calibration: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Convolutions' weights and inputs in 8 bits, the ranges of the latter found on ``calibration`` inputs; those that
    are ``delicate`` keep 32."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self.rest, None)

    prepared = file.with_suffix(".prepared.onnx")
    try:
        with quiet():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(file),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=delicate(onnx.load(prepared).graph),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
    finally:
        prepared.unlink(missing_ok=True)


def delicate(graph: Any) -> list[str]:
    """The names of the convolutions that lose most by 8 bits: the first, whose maps span the widest range (a trained
    EfficientNet-Lite kept 73 % of its classes with them and 96 % without); depthwise ones, which hold few weights and
    were no faster; and the last."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    depthwise = [node for node in convolutions if any(each.name == "group" and each.i > 1 for each in node.attribute)]
    return [node.name for node in (*_first(graph.node), *depthwise, *_first(reversed(graph.node), back=True))]


def _first(nodes: Iterable[Any], back: bool = False) -> list[Any]:
    """The convolutions before which there is no other, walking from the inputs, or ``back`` from the outputs."""
    found: list[Any] = []
    beyond: set[str] = set()
    for node in nodes:
        came, goes = (node.output, node.input) if back else (node.input, node.output)
        if node.op_type == "Conv" and not beyond.intersection(came):
            found.append(node)
        if node.op_type == "Conv" or beyond.intersection(came):
            beyond.update(goes)
    return found


def openvino(source: Path, file: Path, half: bool) -> None:
    """``source`` as OpenVINO's ``.xml`` and ``.bin``; ``half`` stores the weights in 16 bits."""
    import openvino as library

    library.save_model(library.convert_model(str(source)), str(file), compress_to_fp16=half)
