"""Post-training INT8 by `onnxruntime.quantization`, without its traps.

Only products with constant weights are quantized. The rest of a graph network stays float: sums over neighbours would
wrap in 8 bits, and degree normalisation (Pow, Sqrt, Div) and softmax need the range.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from edgegnn.exporting.decisions import decide_exactly, places_points
from edgegnn.exporting.simplify import share_constants
from edgegnn.exporting.tracing import quiet
from edgegnn.runtime import make_session

__all__ = ["dynamic_int8", "static_int8"]

_LOOKED_AT = 4  # graphs that tell which rows stand for a whole graph


def dynamic_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in int8, one scale for each output channel; activations are rounded as they come, each row by itself.

    onnxruntime's own DynamicQuantizeLinear takes one scale for the whole tensor: the answer for a graph would depend on
    what else is in its batch.

    Args:
        model: a float model from `capture`.

    Returns:
        A new model.

    Raises:
        ExportError: no product has constant weights, or onnxruntime refuses the model.
    """
    return _scale_by_row(_quantized(quantize_dynamic, model, {n.name for n in _products(model, stacks=False)}))


def _scale_by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put standard operators in the place of each DynamicQuantizeLinear: codes about 128, and a scale `[..., 1]`."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:]
    scales = {node.output[1] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"}
    both = {node.output[0]: node for node in model.graph.node if node.op_type == "Mul" and scales & set(node.input)}
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            new.graph.node.extend(_by_row(node))
        elif node.op_type == "Mul" and both.keys() & set(node.input):
            new.graph.node.extend(_one_after_other(node, both))
        elif not both.keys() & set(node.output):
            new.graph.node.append(node)
    known = {value.name for value in model.graph.initializer}
    constants: dict[str, npt.NDArray[Any]] = {
        "by_row.last": np.array([-1], np.int64),
        "by_row.top": np.array(127, np.float32),
        "by_row.least": np.array(np.finfo(np.float32).tiny, np.float32),  # of a row of zeros
        "by_row.one": np.array(1, np.float32),
        "by_row.middle": np.array(128, np.uint8),
    }
    if scales:
        new.graph.initializer.extend(
            onnx.numpy_helper.from_array(value, name) for name, value in constants.items() if name not in known
        )
    return new


def _one_after_other(node: onnx.NodeProto, both: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sums times the product of two scales, as two multiplications.

    What onnxruntime fuses the product into, MatMulIntegerToFloat, reads the first row's scale only.
    """
    (name,) = both.keys() & set(node.input)
    (sums,) = (i for i in node.input if i != name)
    first, second = both[name].input[1], both[name].input[0]
    make = onnx.helper.make_node
    return [
        make("Mul", [sums, first], [f"{node.output[0]}.part"], name=f"{node.name}.Part"),
        make("Mul", [f"{node.output[0]}.part", second], list(node.output), name=node.name),
    ]


def _by_row(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    make = onnx.helper.make_node
    (x,), (codes, scale, zero) = node.input, node.output
    return [
        make("Abs", [x], [f"{codes}.abs"], name=f"{node.name}.Abs"),
        make("ReduceMax", [f"{codes}.abs", "by_row.last"], [f"{codes}.top"], name=f"{node.name}.ReduceMax", keepdims=1),
        make("Div", [f"{codes}.top", "by_row.top"], [f"{codes}.step"], name=f"{node.name}.Step"),
        make("Max", [f"{codes}.step", "by_row.least"], [scale], name=f"{node.name}.Max"),
        make("Div", [x, scale], [f"{codes}.steps"], name=f"{node.name}.Div"),
        make("QuantizeLinear", [f"{codes}.steps", "by_row.one", "by_row.middle"], [codes], name=f"{node.name}.Codes"),
        make("Identity", ["by_row.middle"], [zero], name=f"{node.name}.Zero"),
    ]


def static_int8(
    model: onnx.ModelProto, calibration: Iterable[Mapping[str, npt.NDArray[np.generic]]]
) -> onnx.ModelProto:
    """Weights in int8, one scale for each output channel; activations in uint8 with ranges seen on calibration graphs.

    Rows that stand for a whole graph stay float, and only the weight has codes: sums over nodes grow with the graph, no
    range that was seen holds those of a larger one, and a product of one row has no time to gain.

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
    whole = _of_whole_graphs(model, graphs)
    static = {node.name for node in _products(model)} - whole - _of_differences(model)
    quantized = model
    if static:
        quantized = _quantized(
            quantize_static,
            model,
            static,
            calibration_data_reader=_Reader(graphs),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,  # uint8 x int8 is what ONNX Runtime's x86 kernels are fast at
            calibrate_method=CalibrationMethod.MinMax,  # the others fail on graphs of different sizes
        )
    return _weights_alone(quantized, whole)


def _of_differences(model: onnx.ModelProto) -> set[str]:
    """Names of the products of [x[target], x[source] - x[target]] (EdgeConv), unless there are no others.

    In float they are made node by node, ten times fewer rows; codes of the differences exist for each edge only.
    """
    made = {name: node for node in model.graph.node for name in node.output}

    def maker(name: str, *kinds: str) -> onnx.NodeProto | None:
        node = made.get(name)
        return node if node is not None and node.op_type in kinds else None

    found = set()
    for node in _products(model):
        both = maker(node.input[0], "Concat")
        parts = [] if both is None else [maker(name, "Gather", "Sub") for name in both.input]
        ends = [name for part in parts if part is not None and part.op_type == "Sub" for name in part.input]
        if ends and all(maker(name, "Gather") is not None for name in ends):
            found.add(node.name)
    return found if len(found) < len(_products(model)) else set()


def _weights_alone(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The model with int8 weights in these products, one scale a column; what they are multiplied by stays float."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in new.graph.initializer}
    nodes = list(new.graph.node)
    del new.graph.node[:]
    for node in nodes:
        if node.name in names:
            prefix, dequantized = f"{node.name}.weight", node.input[1]  # codes already, where another product shares it
            if dequantized in weights:
                turned = any(a.name == "transB" and a.i for a in node.attribute)
                dequantized = _add_codes(new.graph, weights[dequantized], prefix, turned=turned)
            # onnxruntime would round the other factor, too, if it saw the weight's codes (`keep_products_exact`)
            new.graph.node.append(
                onnx.helper.make_node("Max", [dequantized], [f"{prefix}.float"], name=f"{prefix}.Max")
            )
            node.input[1] = f"{prefix}.float"
        new.graph.node.append(node)
    rest = {name for node in new.graph.node for name in node.input} | {value.name for value in new.graph.output}
    kept = [tensor for tensor in new.graph.initializer if tensor.name in rest]
    del new.graph.initializer[:]
    new.graph.initializer.extend(kept)
    return new


def _add_codes(graph: onnx.GraphProto, tensor: onnx.TensorProto, prefix: str, *, turned: bool) -> str:
    """Add the codes of a weight, a scale a column ("transB": a row), and what dequantizes them; return its output."""
    weight = onnx.numpy_helper.to_array(tensor)
    axis = weight.ndim - (2 if turned else 1)
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=others) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    codes = np.rint(weight / np.expand_dims(scale, others)).astype(np.int8)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value, f"{prefix}.{what}") for what, value in (("codes", codes), ("scale", scale))
    )
    inputs, output = [f"{prefix}.codes", f"{prefix}.scale"], f"{prefix}.dequantized"
    graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [output], name=f"{prefix}.DQ", axis=axis))
    return output


def _of_whole_graphs(model: onnx.ModelProto, graphs: Sequence[Mapping[str, npt.NDArray[np.generic]]]) -> set[str]:
    """Names of the products that read one row in a graph of several nodes."""
    several = [graph for graph in graphs if len(next(iter(graph.values()))) > 1][:_LOOKED_AT]  # rows of x, or of z
    given = {value.name for value in model.graph.input}
    read = {node.name: node.input[0] for node in _products(model) if node.input[0] not in given}
    if not several or not read:
        return set()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(read.values()))
    session: Any = make_session(copy.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    one = set(read.values())
    for graph in several:
        found = session.run(None, {name: graph[name] for name in names})
        rows = zip(dict.fromkeys(read.values()), found, strict=True)
        one -= {name for name, value in rows if value.ndim != 2 or len(value) != 1}
    return {name for name, tensor in read.items() if tensor in one}


class _Reader(CalibrationDataReader):
    def __init__(self, graphs: list[dict[str, npt.NDArray[np.generic]]]) -> None:
        self._graphs: Iterator[dict[str, npt.NDArray[np.generic]]] = iter(graphs)

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        return next(self._graphs, None)


def _products(model: onnx.ModelProto, *, stacks: bool = True) -> list[onnx.NodeProto]:
    """Products with constant weights; attention scores times values, say, are none, nor is what places points.

    With `stacks`, also those with several matrices at once. MatMulInteger, which stands for a product whose ranges come
    with the data, has no scale for each column of several.

    Raises:
        ExportError: there is none, or they are quantized already.
    """
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise ExportError("the model is quantized already: export it with --quant none, or start from the float model")
    constants = {i.name for i in model.graph.initializer if stacks or len(i.dims) == 2}
    points = places_points(model)
    found = (n for n in model.graph.node if n.op_type in {"MatMul", "Gemm"} and n.input[1] in constants)
    products = [n for n in found if n.name not in points]
    if not products:
        raise ExportError("nothing to quantize: the model has no product with constant weights; use --quant none")
    return products


def _without_repeats(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes that make a tensor again: onnxruntime transposes a shared weight once for each reader."""
    made: dict[str, onnx.NodeProto] = {}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        first = made.setdefault(node.output[0], node)
        if first is node or (first.op_type, first.input) != (node.op_type, node.input):
            model.graph.node.append(node)
    return model


def _quantized(quantize: Any, model: onnx.ModelProto, products: Collection[str], **options: Any) -> onnx.ModelProto:
    """The model with these products quantized, by name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as folder, quiet():
        out = Path(folder) / "model.onnx"
        try:
            quantize(
                copy,
                out,
                op_types_to_quantize=["MatMul", "Gemm"],
                nodes_to_quantize=[*products, *(f"{name}_MatMul" for name in products)],  # as it renames a Gemm
                per_channel=True,
                weight_type=QuantType.QInt8,
                **options,
            )
        except Exception as error:
            raise ExportError(f"onnxruntime.quantization failed: {' '.join(str(error).split())[:300]}") from error
        result = ir.from_proto(_without_repeats(onnx.load(out)))
    decide_exactly(result.graph)
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
