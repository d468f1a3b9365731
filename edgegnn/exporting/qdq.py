"""Quantization points in an ONNX file: fold the weights into integers, list the points, say what stayed float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

__all__ = ["QdqPoint", "constant", "fold_weights", "fold_weights_ir", "is_dequantized", "qdq_points", "stayed_float"]


@dataclass(frozen=True)
class QdqPoint:
    """One quantization point as it is in the file.

    Attributes:
        name: the point's name.
        kind: "weight" (an integer initializer and a DequantizeLinear) or "activation" (a pair).
        dtype: of the codes: "int8", "uint8", "int4", "uint4".
        axis: channel axis of the scales, -1 for one scale.
        scale: float32 `[1]` or `[C]`.
        zero_point: in the dtype's own codes, int32, the shape of `scale`.
    """

    name: str
    kind: str
    dtype: str
    axis: int
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]


# Weights ------------------------------------------------------------


def fold_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize the initializers that feed a QuantizeLinear, for good.

    The float copy disappears, and a Transpose behind the DequantizeLinear is done on the codes. What `model` computes
    does not change by a bit.

    Args:
        model: any ONNX model.

    Returns:
        A new model.
    """
    folded = ir.from_proto(model)
    fold_weights_ir(folded)
    return ir.to_proto(folded)


def fold_weights_ir(model: ir.Model) -> None:
    """`fold_weights` in place."""
    graph = model.graph
    for node in list(graph):
        if node.op_type != "QuantizeLinear" or node.inputs[0] is None or not node.inputs[0].is_initializer():
            continue
        _fold(graph, node)
    for node in list(graph):
        source = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] is not None else None
        if source is not None and is_dequantized(node.inputs[0]) and len(source.outputs[0].uses()) == 1:
            _transpose_codes(graph, source, node)


def _fold(graph: ir.Graph, quantize: ir.Node) -> None:
    weight, scale, zero_point = quantize.inputs
    tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in (weight, scale, zero_point)]
    if weight is None or any(t is None for t in tensors):
        return
    w, s, z = (t.numpy() for t in tensors if t is not None)
    dtype = tensors[2].dtype  # type: ignore[union-attr]
    if s.ndim:
        axis = quantize.attributes.get_int("axis", 1)
        around = [-1 if d == axis % w.ndim else 1 for d in range(w.ndim)]
        s, z = s.reshape(around), z.reshape(around)
    codes = np.round(w / s) + z.astype(np.float32)  # halves to even, as QuantizeLinear does
    name = (quantize.name or f"{weight.name}/Q").rpartition("/")[0]
    if len(weight.uses()) == 1:
        graph.initializers.pop(str(weight.name), None)
    quantize.outputs[0].replace_all_uses_with(constant(graph, name, np.clip(codes, *_limits(dtype)), dtype))
    graph.remove(quantize, safe=True)


def _limits(dtype: ir.DataType) -> tuple[int, int]:
    if dtype in {ir.DataType.INT4, ir.DataType.UINT4}:
        return (-8, 7) if dtype == ir.DataType.INT4 else (0, 15)
    info = np.iinfo(dtype.numpy())
    return int(info.min), int(info.max)


def _transpose_codes(graph: ir.Graph, dequantize: ir.Node, transpose: ir.Node) -> None:
    codes = dequantize.inputs[0]
    tensor = None if codes is None else ir.convenience.get_const_tensor(codes)
    if codes is None or tensor is None or len(codes.uses()) != 1:
        return
    permutation = list(transpose.attributes.get_ints("perm", range(len(tensor.shape))[::-1]))
    name = graph.initializers.pop(str(codes.name)).name
    dequantize.replace_input_with(0, constant(graph, str(name), tensor.numpy().transpose(permutation), tensor.dtype))
    scale = dequantize.inputs[1]
    if scale is not None and scale.shape is not None and len(scale.shape):
        axis = dequantize.attributes.get_int("axis", 1) % len(permutation)
        dequantize.attributes["axis"] = ir.AttrInt64("axis", permutation.index(axis))
    ir.convenience.replace_nodes_and_values(graph, transpose, [transpose], [], transpose.outputs, dequantize.outputs)


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether a tensor comes straight out of a DequantizeLinear."""
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def constant(graph: ir.Graph, name: str, values: Any, dtype: ir.DataType | None = None) -> ir.Value:
    """A new initializer; sub-byte codes are packed. Where the name is taken, a number is appended."""
    free, number = name, 0
    while free in graph.initializers:
        number += 1
        free = f"{name}_{number}"
    array = np.asarray(values, None if dtype is None else dtype.numpy())
    tensor = ir.tensor(array, dtype, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


# Asking a file ------------------------------------------------------------


def qdq_points(model: onnx.ModelProto) -> dict[str, QdqPoint]:
    """The quantization points that are in a file, by name.

    A point counts when its DequantizeLinear reads codes: of an integer initializer, or of its own QuantizeLinear.
    """
    points: dict[str, QdqPoint] = {}
    for node in ir.from_proto(model).graph:
        name, _, end = (node.name or "").rpartition("/")
        if node.op_type != "DequantizeLinear" or end != "DQ":
            continue
        codes, scale, zero_point = node.inputs
        if codes is None:
            continue
        producer = codes.producer()
        if not codes.is_initializer() and (producer is None or producer.name != f"{name}/Q"):
            continue
        s, z = (None if v is None else ir.convenience.get_const_tensor(v) for v in (scale, zero_point))
        if s is None or z is None:
            continue
        points[name] = QdqPoint(
            name=name,
            kind="weight" if codes.is_initializer() else "activation",
            dtype=z.dtype.name.lower(),
            axis=node.attributes.get_int("axis", 1) if s.numpy().ndim else -1,
            scale=s.numpy().astype(np.float32).reshape(-1),
            zero_point=z.numpy().astype(np.int32).reshape(-1),
        )
    return points


_SHAPES = {"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Cast", "Flatten", "Gather", "Slice"}
_NORMS = {"BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization"}
_LEARNT = {"step", "tops", "boundaries", "blocks"}  # what learnt codes are scaled by, and how a row's are found
_INTEGER_OPS = {"QuantizeLinear", "DequantizeLinear", "MatMulInteger"}
_FLOAT_OPS = {
    "ScatterElements": "sums, means or maxima over neighbours: 8-bit sums would wrap",
    "Pow": "degree normalisation: small numbers over a wide range",
    "Sqrt": "normalisation: small numbers over a wide range",
    "Exp": "softmax over neighbours: needs the range of float",
    "Softmax": "needs the range of float",
    **dict.fromkeys(sorted(_NORMS), "normalisation layer"),
    **dict.fromkeys(
        ("SpMM", "SpMMMean", "SpMMWeighted"),
        "its rows have no codes: they are computed edge by edge, or a product that makes them narrow stands in front",
    ),
    **dict.fromkeys(("SpMMMax", "SpMMMin"), "extremes over neighbours: compared, not added up"),
    "EdgeProductMax": "sums of both ends' rows, multiplied edge by edge",
    **dict.fromkeys(("GatedSum", "GatedSumEdges"), "gates need the range of float"),
    **dict.fromkeys(
        ("QEdgeMlpMax", "QEdgeProductMax"), "sums of both ends' rows and the maximum; its products are of codes"
    ),
    **dict.fromkeys(("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin"), "messages or pooled rows without codes"),
    **dict.fromkeys(
        (
            *("SegmentSoftmax", "AttentionSpMM"),
            *("PairAttention", "PairAttentionEdges", "DotAttention", "DotAttentionEdges"),
        ),
        "softmax over neighbours: needs the range of float",
    ),
    **dict.fromkeys(
        ("QAttentionSpMM", "QAttentionSpMMFloat"), "scores and softmax need the range of float; its rows are codes"
    ),
}


def stayed_float(model: onnx.ModelProto, rewritten: onnx.ModelProto | None = None) -> list[dict[str, Any]]:
    """What a file still holds or computes in float, and why.

    Args:
        model: with its Q/DQ pairs, as it was captured: says what tensors are for.
        rewritten: the same with `ai.edgegnn` operators, whose kinds are listed in place of the model's own.

    Returns:
        One entry for each float initializer of more than one element (scales of quantization points aside), largest
        first, then one for each kind of operator that is never quantized: {"tensor": name, "bytes": n, "why": words}.
    """
    graph = ir.from_proto(model).graph
    quantized = any(node.op_type in _INTEGER_OPS for node in graph)
    points = {name.rpartition("/")[0] for node in graph if (name := node.name or "").endswith("/DQ")}
    entries: list[dict[str, Any]] = []
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < 2 or _is_scale(value):
            continue
        point, _, end = name.rpartition(".")
        if point in points and end in _LEARNT:
            continue
        why = _reason(value) if quantized else "nothing is quantized by this recipe"
        entries.append({"tensor": name, "bytes": tensor.nbytes, "why": why})
    entries.sort(key=lambda entry: (-entry["bytes"], entry["tensor"]))
    final = graph if rewritten is None else ir.from_proto(rewritten).graph
    for kind, why in _FLOAT_OPS.items():
        number = sum(node.op_type == kind for node in final)
        if number and quantized:
            entries.append({"tensor": f"{kind} ({number} operator{'s' * (number > 1)})", "bytes": 0, "why": why})
    return entries


def _is_scale(value: ir.Value) -> bool:
    """Whether an initializer is only the scale of quantization points."""
    for use in value.uses():
        if use.node.op_type == "Mul":  # dynamic quantization: sums of products of codes, times the scale of the weight
            casts = [v.producer() for v in use.node.inputs if v is not None]
            sums = [c.inputs[0] for c in casts if c is not None and c.op_type == "Cast"]
            producers = [v.producer() for v in sums if v is not None]
            if not any(p is not None and p.op_type == "MatMulInteger" for p in producers):
                return False
        elif use.node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or use.idx != 1:
            return False
    return True


def _reason(value: ir.Value) -> str:
    for use in value.uses():
        kind, index = use.node.op_type, use.idx
        if kind == "Gather" and index == 0:
            return "a table in which rows are looked up, not a factor of a product"
        if kind in _SHAPES:
            return _reason(use.node.outputs[0])
        if kind in _NORMS:
            return "statistics of a normalisation layer"
        if kind == "Add" or (kind == "Gemm" and index == 2):
            return "bias, added in float after the product"
        if kind in {"Gemm", "MatMul"}:
            return "weight of a product without quantization points"
        if kind in {"Mul", "Div", "Sub", "Pow"}:
            return "scales or shifts its operand element by element, not a factor of a product"
        return f"used by {kind}, which stays float"
    return "not used"
