"""C code of the dense products of floats: Gemm, MatMul, SparseGemm; and of batch norms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.builder import Builder, Node
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.products import any_gemm, any_matmul
from edgegnn.plain_c.qdq_gemm import emit_qdq_gemm, find_qdq_gemm
from edgegnn.plain_c.values import Tensor, count, fixed

__all__ = ["batch_norm", "gemm", "matmul", "normalised_matmul"]

Array = npt.NDArray[np.generic]


def gemm(builder: Builder, node: Node) -> None:
    """Gemm, by a kernel where the weights are constant."""
    attributes = node.attributes
    product = find_qdq_gemm(builder, node)
    if product is not None:
        emit_qdq_gemm(builder, product)
        return
    plain = not attributes.get("transA", 0) and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    if not (plain and _is_constant(builder, node, 1) and _is_constant(builder, node, 2)):
        any_gemm(builder, node)
        return
    _product(builder, node, bool(attributes.get("transB", 0)), bias=2)


def matmul(builder: Builder, node: Node) -> None:
    """MatMul, and SparseGemm."""
    if not _is_constant(builder, node, 1) or builder.constant(node, 1).ndim != 2:
        any_matmul(builder, node)
        return
    _product(builder, node, transposed=False, bias=2)


def normalised_matmul(builder: Builder, node: Node) -> None:
    """NormalizeSparseGemm: the product's rows divided by the sums of x's rows."""
    x, bias = builder.tensor(node, 0), _bias(builder, node, 2, builder.constant(node, 1).shape[1])
    y = _product(builder, node, transposed=False, bias=None)
    builder.kernels.add("row_divisor")
    value = f"{y.name}[i * {y.width} + j] / divisor"
    whole = value if bias == "NULL" else f"{value} + {bias}[j]"
    builder.loop(
        x.shape[0],
        f"{{\n  const float divisor = row_divisor({x.name} + i * {x.width}, {x.width}, "
        f"{float_literal(node.attributes.get('least_sum', 1.0))});\n  size_t j;\n"
        f"  for (j = 0; j < {y.width}; ++j) {y.name}[i * {y.width} + j] = {whole};\n}}",
    )


def _is_constant(builder: Builder, node: Node, place: int) -> bool:
    """Whether an input is the same for every graph, or left out."""
    if place >= len(node.inputs) or not node.inputs[place]:
        return True
    value = builder.values[node.inputs[place]]
    return isinstance(value, Tensor) and value.constant is not None


def _product(builder: Builder, node: Node, transposed: bool, bias: int | None) -> Tensor:
    x = builder.tensor(node, 0)
    weight = builder.constant(node, 1)
    width, depth = weight.shape if transposed else weight.shape[::-1]
    own = "NULL" if bias is None else _bias(builder, node, bias, width)
    builder.same(node, [x.shape[-1], fixed(depth)])
    rows = count(x.shape[:-1])
    y = builder.result(node.outputs[0], "float", (*x.shape[:-1], fixed(width)))
    head = f"{rows.text}, {depth}, {width}, {x.name}"
    codes = _codes(builder, node, transposed)
    builder.kernels.add("gemm_codes" if codes else "gemm")
    if codes:
        builder.step(f"gemm_codes({head}, {codes}, {own}, {y.name});")
        return y
    table = builder.table(node.inputs[1], np.ascontiguousarray(weight if transposed else weight.T), "float")
    builder.step(f"gemm({head}, {table}, {own}, {y.name});")
    return y


def _codes(builder: Builder, node: Node, transposed: bool) -> str:
    """The arguments of weights that stay int8 codes with a scale a column or one for all; "" for others."""
    found = builder.quantized.get(node.inputs[1])
    if found is None or found.codes.ndim != 2 or found.codes.dtype != np.int8:
        return ""
    column = 0 if transposed else 1
    if found.codes.shape != builder.constant(node, 1).shape or found.scale.size not in (1, found.codes.shape[column]):
        return ""
    if found.scale.size != 1 and found.axis != column:
        return ""
    codes = found.codes if transposed else found.codes.T
    table = builder.table(node.inputs[1], np.ascontiguousarray(codes), "int8_t")
    scale = builder.table(f"{node.inputs[1]}_scale", found.scale.reshape(-1), "float")
    return f"{table}, {scale}, {0 if found.scale.size == 1 else 1}"


def _bias(builder: Builder, node: Node, place: int, width: int) -> str:
    if len(node.inputs) <= place or not node.inputs[place]:
        return "NULL"
    values = builder.constant(node, place).reshape(-1)
    if values.size not in (1, width):
        raise node.refuse("its bias has neither one element nor one a column")
    if not values.any():
        return "NULL"
    return builder.table(node.inputs[place], np.broadcast_to(values, (width,)).copy(), "float")


def batch_norm(builder: Builder, node: Node) -> None:
    """BatchNormalization of a matrix with constant statistics: (x - mean) / sqrt(variance + epsilon) * scale + bias."""
    x: Tensor = builder.tensor(node, 0)
    scale, bias, mean, variance = (builder.constant(node, i).astype(np.float32) for i in range(1, 5))
    if len(x.shape) != 2:
        raise node.refuse("it takes a matrix in C")
    if any(value.size != x.width for value in (scale, bias, mean, variance)):
        raise node.refuse("its statistics are not one a column")
    epsilon = np.float32(node.attributes.get("epsilon", 1e-5))
    factor = (scale / np.sqrt(variance + epsilon)).astype(np.float32)
    shift = (bias - mean * factor).astype(np.float32)
    factors, shifts = (builder.table(f"norm_{n}", v, "float") for n, v in (("factor", factor), ("shift", shift)))
    y = builder.result(node.outputs[0], "float", x.shape, takes_over=x)
    body = f"{y.name}[i * {x.width} + j] = {x.name}[i * {x.width} + j] * {factors}[j] + {shifts}[j];"
    builder.step(
        f"for (size_t i = 0; i < {x.shape[0].text}; ++i) {{\n  for (size_t j = 0; j < {x.width}; ++j) {body}\n}}"
    )
