"""Quantization points in an ONNX file: `QuantizeLinear`/`DequantizeLinear` pairs and integer initializers.

`edgegnn::fake_quantize` arrives from the exporter as one placeholder node and leaves as

    activation, 8 bits     Q -> DQ, uint8, zero point + 128 (the same values as signed codes; ONNX Runtime's integer
                           kernels want uint8 activations)
    activation, 4 bits     Q -> DQ, uint4, zero point + 8 (opset 21)
    activation, other      Clip to the range of the codes, then Q -> DQ in uint8
    weight, up to 4 bits   packed int4 initializer -> DQ (opset 21)
    weight, 5 to 8 bits    int8 initializer -> DQ

Nodes are named `<point>/Q` and `<point>/DQ`, so that a file can be asked which points it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnxscript.values import Op, Opset

from edgegnn.errors import ExportError

__all__ = ["QdqPoint", "fold_weights", "fold_weights_ir", "keep_products_exact", "lower_fake_quantize", "qdq_points", "stayed_float", "translation_table"]

_DOMAIN = "edgegnn"
_OP = "FakeQuantize"
_UNSIGNED = {ir.DataType.UINT8, ir.DataType.UINT4}
_SUB_BYTE = {ir.DataType.UINT4, ir.DataType.INT4}


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


# Capture ------------------------------------------------------------


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the exporter translates `edgegnn::fake_quantize`: to a placeholder that no optimizer looks into."""
    if not hasattr(torch.ops.edgegnn, "fake_quantize"):  # no quantized model without edgegnn.quantize.ops
        return {}
    schema = onnx.defs.OpSchema(
        _OP,
        _DOMAIN,
        1,
        inputs=[
            onnx.defs.OpSchema.FormalParameter("x", "T"),
            onnx.defs.OpSchema.FormalParameter("scale", "T"),
            onnx.defs.OpSchema.FormalParameter("zero_point", "tensor(int32)"),
        ],
        outputs=[onnx.defs.OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            onnx.defs.OpSchema.Attribute("axis", onnx.defs.OpSchema.AttrType.INT),
            onnx.defs.OpSchema.Attribute("bits", onnx.defs.OpSchema.AttrType.INT),
            onnx.defs.OpSchema.Attribute("name", onnx.defs.OpSchema.AttrType.STRING),
        ],
    )
    placeholder = Op(Opset(_DOMAIN, 1), _OP, schema)

    def fake_quantize(x, scale, zero_point, axis: int, bits: int, name: str):  # type: ignore[no-untyped-def]
        return placeholder(x, scale, zero_point, axis=axis, bits=bits, name=name)

    return {torch.ops.edgegnn.fake_quantize.default: fake_quantize}


def lower_fake_quantize(model: ir.Model) -> None:
    """Put Q/DQ pairs in the place of the placeholders, in place.

    Raises:
        ExportError: a scale is computed by the graph instead of being a constant.
    """
    used: dict[str, int] = {}
    for node in list(model.graph):
        if node.domain != _DOMAIN or node.op_type != _OP:
            continue
        name = node.attributes["name"].as_string()
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:  # a layer that runs twice
            name = f"{name}:{used[name]}"
        _lower(model.graph, node, name)
    model.graph.opset_imports.pop(_DOMAIN, None)


def _lower(graph: ir.Graph, node: ir.Node, name: str) -> None:
    x, scale, zero_point = node.inputs
    bits, axis = node.attributes["bits"].as_int(), node.attributes["axis"].as_int()
    scales, zeros = (None if v is None else ir.convenience.get_const_tensor(v) for v in (scale, zero_point))
    if x is None or scales is None or zeros is None:
        raise ExportError(
            f"the scale of quantization point {name} is not a constant: freeze the model before exporting it"
        )
    s, z = scales.numpy().astype(np.float32).reshape(-1), zeros.numpy().astype(np.int32).reshape(-1)
    weight = x.is_initializer()
    dtype = _code_type(bits, weight)
    shift = (8 if dtype in _SUB_BYTE else 128) if dtype in _UNSIGNED else 0
    new: list[ir.Node] = []
    if not weight and bits not in (4, 8):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        limits = [
            _constant(graph, f"{name}.{k}", np.float32((c - z[0]) * s[0])) for k, c in (("low", low), ("high", high))
        ]
        new.append(ir.node("Clip", [x, *limits], name=f"{name}/Clip"))
        x = new[-1].outputs[0]
        x.name = f"{name}.clipped"
    shape: tuple[int, ...] = s.shape if axis >= 0 else ()
    parameters = [
        _constant(graph, f"{name}.scale", s.reshape(shape)),
        _constant(graph, f"{name}.zero_point", (z + shift).reshape(shape), dtype),
    ]
    attributes = {"axis": axis} if axis >= 0 else {}
    quantize = ir.node("QuantizeLinear", [x, *parameters], attributes, name=f"{name}/Q")
    codes = quantize.outputs[0]
    codes.name, codes.dtype = f"{name}.codes", dtype
    dequantize = ir.node("DequantizeLinear", [codes, *parameters], attributes, name=f"{name}/DQ")
    new += [quantize, dequantize]
    for n in new:
        n.metadata_props.update(node.metadata_props)
    old, out = node.outputs[0], dequantize.outputs[0]
    out.name, out.shape, out.type = old.name, old.shape, old.type
    codes.shape = old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [old], [out])


def _code_type(bits: int, weight: bool) -> ir.DataType:
    if weight:
        return ir.DataType.INT4 if bits <= 4 else ir.DataType.INT8
    return ir.DataType.UINT4 if bits == 4 else ir.DataType.UINT8


def _constant(graph: ir.Graph, name: str, values: Any, dtype: ir.DataType | None = None) -> ir.Value:
    """A new initializer; sub-byte codes are packed."""
    tensor = ir.tensor(np.asarray(values) if dtype is None else np.asarray(values, dtype.numpy()), dtype, name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


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
        if source is not None and _is_dequantized(node.inputs[0]) and len(source.outputs[0].uses()) == 1:
            _transpose_codes(graph, source, node)


def _fold(graph: ir.Graph, quantize: ir.Node) -> None:
    weight, scale, zero_point = quantize.inputs
    old = quantize.outputs[0]
    tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in (weight, scale, zero_point)]
    if any(t is None for t in tensors) or old.dtype is None:
        return
    w, s, z = (t.numpy() for t in tensors if t is not None)
    if s.ndim:
        axis = quantize.attributes.get_int("axis", 1)
        around = [-1 if d == axis % w.ndim else 1 for d in range(w.ndim)]
        s, z = s.reshape(around), z.reshape(around)
    low, high = (
        (-8, 7) if old.dtype == ir.DataType.INT4 else (0, 15) if old.dtype == ir.DataType.UINT4 else _limits(old.dtype)
    )
    codes = np.clip(np.round(w / s) + z.astype(np.float32), low, high)  # halves to even, as QuantizeLinear does
    assert weight is not None
    name = (quantize.name or f"{weight.name}/Q").rpartition("/")[0]
    if name in graph.initializers:
        name = f"{name}.codes"
    value = _constant(graph, name, codes, old.dtype)
    old.replace_all_uses_with(value)
    graph.remove(quantize, safe=True)


def _limits(dtype: ir.DataType) -> tuple[int, int]:
    info = np.iinfo(dtype.numpy())
    return int(info.min), int(info.max)


def _transpose_codes(graph: ir.Graph, dequantize: ir.Node, transpose: ir.Node) -> None:
    codes = dequantize.inputs[0]
    tensor = None if codes is None else ir.convenience.get_const_tensor(codes)
    if codes is None or tensor is None or len(codes.uses()) != 1:
        return
    permutation = list(transpose.attributes.get_ints("perm", range(len(tensor.shape))[::-1]))
    del graph.initializers[str(codes.name)]
    dequantize.replace_input_with(
        0, _constant(graph, str(codes.name), tensor.numpy().transpose(permutation), codes.dtype)
    )
    scale = dequantize.inputs[1]
    if scale is not None and scale.shape is not None and len(scale.shape):
        axis = dequantize.attributes.get_int("axis", 1) % len(permutation)
        dequantize.attributes["axis"] = ir.AttrInt64("axis", permutation.index(axis))
    ir.convenience.replace_nodes_and_values(graph, transpose, [transpose], [], transpose.outputs, dequantize.outputs)


# What ONNX Runtime may not do ------------------------------------------------------------


def keep_products_exact(model: ir.Model) -> None:
    """Write products of quantized tensors so that ONNX Runtime's optimizer leaves their numbers alone, in place.

    Where a Gemm stands between a DequantizeLinear and a QuantizeLinear, the optimizer (1.31, "WeightBiasQuantization")
    rounds a float bias to int32 multiples of the product of the two scales, a large step with 4-bit codes, and even a
    float weight to int8. It does neither for a Gemm without bias whose weight is quantized, nor for a MatMul without one;
    both still become integer kernels (QGemm, MatMulIntegerToFloat) where the codes allow it.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type not in {"Gemm", "MatMul"} or not any(_is_dequantized(v) for v in node.inputs[:2]):
            continue
        a, b = node.inputs[:2]
        plain = node.op_type == "MatMul" or (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)) == (1.0, 1.0)
        if a is None or b is None or not plain or any(v.shape is None or len(v.shape) != 2 for v in (a, b)):
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        added = bias is not None or any(use.node.op_type == "Add" for use in node.outputs[0].uses())
        if node.op_type == "Gemm" and bias is None and (_is_dequantized(b) or added):
            continue
        if _is_dequantized(b) or added or not b.is_initializer():
            attributes = {k: node.attributes.get_int(k, 0) for k in ("transA", "transB")}
            new = [ir.node("Gemm", [a, b], attributes)]
        elif node.op_type == "MatMul":
            continue
        else:
            new = _as_matmul(graph, node, a, b)
        if bias is not None:
            new.append(ir.node("Add", [new[-1].outputs[0], bias]))
        for n in new:
            n.metadata_props.update(node.metadata_props)
            n.outputs[0].type, n.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        ir.convenience.replace_nodes_and_values(graph, node, [node], new, node.outputs, new[-1].outputs)


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _as_matmul(graph: ir.Graph, node: ir.Node, a: ir.Value, b: ir.Value) -> list[ir.Node]:
    new: list[ir.Node] = []
    if node.attributes.get_int("transA", 0):
        new.append(ir.node("Transpose", [a], {"perm": [1, 0]}))
        a = new[-1].outputs[0]
    if node.attributes.get_int("transB", 0):
        tensor = ir.convenience.get_const_tensor(b)
        assert tensor is not None
        name = f"{b.name}.T"
        b = graph.initializers[name] if name in graph.initializers else _constant(graph, name, tensor.numpy().T.copy())
    return [*new, ir.node("MatMul", [a, b])]


# Asking a file ------------------------------------------------------------


def qdq_points(model: onnx.ModelProto) -> dict[str, QdqPoint]:
    """The quantization points that are in a file, by name.

    A point counts when its DequantizeLinear reads codes: of an integer initializer, or of its own QuantizeLinear.
    """
    points: dict[str, QdqPoint] = {}
    for node in ir.from_proto(model).graph:
        name, _, end = (node.name or "").rpartition("/")
        if node.op_type != "DequantizeLinear" or end != "DQ" or node.inputs[0] is None:
            continue
        codes, scale, zero_point = node.inputs
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
