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
    """Convolutions' weights and inputs in 8 bits, the ranges of the latter found on ``calibration`` inputs; the last
    convolutions, which give metres and vectors, keep 32."""
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
                nodes_to_exclude=last_convolutions(onnx.load(prepared).graph),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
    finally:
        prepared.unlink(missing_ok=True)


def last_convolutions(graph: Any) -> list[str]:
    """The names of those from which the outputs are reached without another."""
    makers = {output: node for node in graph.node for output in node.output}
    found, pending, seen = [], [output.name for output in graph.output], set()
    while pending:
        node = makers.get(pending.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            pending += node.input
    return found


def openvino(source: Path, file: Path, half: bool) -> None:
    """``source`` as OpenVINO's ``.xml`` and ``.bin``; ``half`` stores the weights in 16 bits."""
    import openvino as library

    library.save_model(library.convert_model(str(source)), str(file), compress_to_fp16=half)
