"""Post-training INT8 by `onnxruntime.quantization`, without its traps.

Only products with constant weights are quantized. The rest of a graph network stays float: sums over neighbours would
wrap in 8 bits, and degree normalisation (Pow, Sqrt, Div) and softmax need the range.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edgegnn.errors import ExportError
from edgegnn.export.exact import share_constants
from edgegnn.export.tracing import quiet

__all__ = ["dynamic_int8", "static_int8"]


def dynamic_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in int8, one scale for each output channel; activations are rounded to uint8 as they come.

    Args:
        model: a float model from `capture`.

    Returns:
        A new model.

    Raises:
        ExportError: no product has constant weights, or onnxruntime refuses the model.
    """
    return _quantized(quantize_dynamic, model)


def static_int8(
    model: onnx.ModelProto, calibration: Iterable[Mapping[str, npt.NDArray[np.generic]]]
) -> onnx.ModelProto:
    """Weights in int8, one scale for each output channel; activations in uint8 with ranges seen on calibration graphs.

    Args:
        model: a float model from `capture`.
        calibration: inputs of graphs of any sizes; some without edges are welcome (isolated nodes have ranges of their
            own).

    Returns:
        A new model with QuantizeLinear/DequantizeLinear pairs around its products.

    Raises:
        ExportError: no product has constant weights, no calibration graph, or onnxruntime refuses the model.
    """
    graphs = [dict(inputs) for inputs in calibration]
    if not graphs:
        raise ExportError("static int8 needs at least one graph to calibrate on")
    connected = [g for g in graphs if "edge_index" not in g or g["edge_index"].shape[1] > 0]
    try:
        return _calibrated(model, graphs)
    except ExportError:
        # Some versions fail on empty tensors (onnxruntime issue 23600), such as the messages of no edges.
        if not connected or len(connected) == len(graphs):
            raise
        return _calibrated(model, connected)


def _calibrated(model: onnx.ModelProto, graphs: list[dict[str, npt.NDArray[np.generic]]]) -> onnx.ModelProto:
    return _quantized(
        quantize_static,
        model,
        calibration_data_reader=_Reader(graphs),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,  # uint8 x int8 is what ONNX Runtime's x86 kernels are fast at
        calibrate_method=CalibrationMethod.MinMax,  # the others fail on graphs of different sizes
    )


class _Reader(CalibrationDataReader):
    def __init__(self, graphs: list[dict[str, npt.NDArray[np.generic]]]) -> None:
        self._graphs: Iterator[dict[str, npt.NDArray[np.generic]]] = iter(graphs)

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        return next(self._graphs, None)


def _quantized(quantize: Any, model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    constants = {i.name for i in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in {"MatMul", "Gemm"}]
    computed = [n.name for n in products if n.input[1] not in constants]  # attention scores times values, say
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise ExportError("the model is quantized already: export it with --quant none, or start from the float model")
    if len(computed) == len(products):
        raise ExportError("nothing to quantize: the model has no product with constant weights; use --quant none")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as folder, quiet():
        out = Path(folder) / "model.onnx"
        try:
            quantize(
                copy,
                out,
                op_types_to_quantize=["MatMul", "Gemm"],
                nodes_to_exclude=computed,
                per_channel=True,
                weight_type=QuantType.QInt8,
                **options,
            )
        except Exception as error:
            raise ExportError(f"onnxruntime.quantization failed: {' '.join(str(error).split())[:300]}") from error
        result = ir.from_proto(onnx.load(out))
    for step in (
        passes.RemoveUnusedNodesPass(),
        share_constants(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        step(result)
    result.metadata_props.clear()
    proto = ir.to_proto(result)
    del proto.graph.value_info[:]
    return proto
