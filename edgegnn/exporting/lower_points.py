"""From a model's quantization points to `QuantizeLinear`/`DequantizeLinear` pairs and integer initializers.

`edgegnn::fake_quantize` arrives from the exporter as one placeholder node and leaves as

    activation, 8 bits     Q -> DQ, uint8, zero point + 128 (the same values as signed codes; ONNX Runtime's integer
                           kernels want uint8 activations); int8 where another pair follows at once, since ONNX Runtime
                           merges two adjacent pairs of one type into one with other scales
    activation, 4 bits     Q -> DQ, uint4, zero point + 8 (opset 21)
    activation, other      Clip to the range of the codes, then Q -> DQ in uint8
    weight, up to 4 bits   packed int4 initializer -> DQ (opset 21)
    weight, 5 to 8 bits    int8 initializer -> DQ

Points with learnt steps and widths are `edgegnn.exporting.lower_learnt`'s.

Nodes are named `<point>/Q` and `<point>/DQ`, so that a file can be asked which points it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript.values import Op, Opset

from edgegnn.errors import ExportError
from edgegnn.exporting.lower_learnt import learnt_placeholder
from edgegnn.exporting.qdq import constant, is_dequantized
from edgegnn.exporting.simplify import simplify

__all__ = ["keep_products_exact", "lower_fake_quantize", "translation_table", "without_points"]

_DOMAIN = "edgegnn"
_OP = "FakeQuantize"
_UNSIGNED = {ir.DataType.UINT8, ir.DataType.UINT4}
_SUB_BYTE = {ir.DataType.UINT4, ir.DataType.INT4}


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

    return {
        torch.ops.edgegnn.fake_quantize.default: fake_quantize,
        torch.ops.edgegnn.learnt_quantize.default: learnt_placeholder(),
    }


def without_points(model: ir.Model) -> ir.Model:
    """A copy of the exported graph without the placeholders, learnt ones included."""
    plain = model.clone()
    graph = plain.graph
    for node in list(graph):
        if node.domain == _DOMAIN:
            (old,), new = node.outputs, node.inputs[0]
            assert new is not None
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
            graph.remove(node, safe=True)
    graph.opset_imports.pop(_DOMAIN, None)
    simplify(plain)  # it looked into no placeholder: what stood around them is folded now
    return plain


def lower_fake_quantize(model: ir.Model) -> None:
    """Put Q/DQ pairs in the place of the placeholders, in place.

    Raises:
        ExportError: a scale is computed by the graph instead of being a constant.
    """
    used: dict[str, int] = {}
    nodes = [node for node in model.graph if node.domain == _DOMAIN and node.op_type == _OP]
    signed: set[ir.Node] = set()
    for node in reversed(nodes):
        followers = [use.node for use in node.outputs[0].uses() if use.node in nodes]
        if followers and not signed.issuperset(followers):
            signed.add(node)
    for node in nodes:
        name = node.attributes["name"].as_string()
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:  # a layer that runs twice
            name = f"{name}:{used[name]}"
        _lower(model.graph, node, name, signed=node in signed)
    model.graph.opset_imports.pop(_DOMAIN, None)


def _lower(graph: ir.Graph, node: ir.Node, name: str, *, signed: bool) -> None:
    x, scale, zero_point = node.inputs
    bits, axis = node.attributes["bits"].as_int(), node.attributes["axis"].as_int()
    scales, zeros = (None if v is None else ir.convenience.get_const_tensor(v) for v in (scale, zero_point))
    if x is None or scales is None or zeros is None:
        raise ExportError(
            f"the scale of quantization point {name} is not a constant: freeze the model before exporting it"
        )
    s, z = scales.numpy().astype(np.float32).reshape(-1), zeros.numpy().astype(np.int32).reshape(-1)
    weight = x.is_initializer()
    dtype = _code_type(bits, weight, signed)
    shift = (8 if dtype in _SUB_BYTE else 128) if dtype in _UNSIGNED else 0
    new: list[ir.Node] = []
    if not weight and bits not in (4, 8):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        limits = [
            constant(graph, f"{name}.{k}", np.float32((c - z[0]) * s[0])) for k, c in (("low", low), ("high", high))
        ]
        new.append(ir.node("Clip", [x, *limits], name=f"{name}/Clip"))
        x = new[-1].outputs[0]
        x.name = f"{name}.clipped"
    shape: tuple[int, ...] = s.shape if axis >= 0 else ()
    parameters = [
        constant(graph, f"{name}.scale", s.reshape(shape)),
        constant(graph, f"{name}.zero_point", (z + shift).reshape(shape), dtype),
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


def _code_type(bits: int, weight: bool, signed: bool) -> ir.DataType:
    if weight:
        return ir.DataType.INT4 if bits <= 4 else ir.DataType.INT8
    if bits == 4:
        return ir.DataType.INT4 if signed else ir.DataType.UINT4
    return ir.DataType.INT8 if signed else ir.DataType.UINT8


# What ONNX Runtime may not do ------------------------------------------------------------


def keep_products_exact(model: ir.Model) -> None:
    """Write products of quantized tensors so that ONNX Runtime's optimizer leaves their numbers alone, in place.

    Where a Gemm stands between a DequantizeLinear and a QuantizeLinear, the optimizer (1.31, "WeightBiasQuantization")
    rounds a float bias to int32 multiples of the product of the two scales, a large step with 4-bit codes, and even a
    float weight to int8. It does neither for a Gemm without bias whose weight is quantized, nor for a MatMul that no
    bias is added to; both still become integer kernels (QGemm, MatMulIntegerToFloat) where the codes allow it.

    A product of a float tensor with a quantized weight becomes MatMulNBits, which by default rounds the float tensor to
    int8 rows. A Max with one input, between the weight and the product, keeps it from seeing one.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type not in {"Gemm", "MatMul"} or not any(is_dequantized(v) for v in node.inputs[:2]):
            continue
        if is_dequantized(node.inputs[1]) and not is_dequantized(node.inputs[0]):
            weight = node.inputs[1]
            assert weight is not None
            barrier = ir.node("Max", [weight])
            barrier.metadata_props.update(node.metadata_props)
            barrier.outputs[0].type, barrier.outputs[0].shape = weight.type, weight.shape
            graph.insert_before(node, barrier)
            node.replace_input_with(1, barrier.outputs[0])
            continue
        a, b = node.inputs[:2]
        plain = all(node.attributes.get_float(k, 1.0) == 1.0 for k in ("alpha", "beta"))
        if a is None or b is None or not plain or any(v.shape is None or len(v.shape) != 2 for v in (a, b)):
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        added = bias is not None or any(use.node.op_type == "Add" for use in node.outputs[0].uses())
        if node.op_type == "Gemm" and bias is None and (is_dequantized(b) or added):
            continue
        if is_dequantized(b) or added or not b.is_initializer():
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


def _as_matmul(graph: ir.Graph, node: ir.Node, a: ir.Value, b: ir.Value) -> list[ir.Node]:
    new: list[ir.Node] = []
    if node.attributes.get_int("transA", 0):
        new.append(ir.node("Transpose", [a], {"perm": [1, 0]}))
        a = new[-1].outputs[0]
    if node.attributes.get_int("transB", 0):
        tensor = ir.convenience.get_const_tensor(b)
        assert tensor is not None
        name = f"{b.name}.T"
        b = graph.initializers[name] if name in graph.initializers else constant(graph, name, tensor.numpy().T.copy())
    return [*new, ir.node("MatMul", [a, b])]
