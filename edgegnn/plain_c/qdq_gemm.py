"""DequantizeLinear, Gemm, QuantizeLinear in a row: one integer product in onnxruntime, and in the C code.

onnxruntime adds the bias as an integer, multiplies the sum by x_scale * w_scale / y_scale, and rounds that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.builder import Builder, Node, QuantizedTable
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.product_rows import by_two, padded, weight_table
from edgegnn.plain_c.values import fixed

__all__ = ["QdqGemm", "emit_qdq_gemm", "find_qdq_gemm", "replaces"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class QdqGemm:
    """The three operators; a ReLU before codes whose zero point is 0 changes nothing, and is left out."""

    dequantize: Node
    gemm: Node
    quantize: Node
    weight: QuantizedTable
    bias: QuantizedTable | None
    relu: Node | None = None


def find_qdq_gemm(builder: Builder, gemm: Node) -> QdqGemm | None:
    """The three operators around a Gemm, where they are one integer product."""
    if gemm.op != "Gemm" or any(gemm.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    before, after = builder.producers.get(gemm.inputs[0]), builder.uses.get(gemm.outputs[0], [])
    relu = after[0] if [n.op for n in after] == ["Relu"] and after[0].outputs[0] not in builder.outputs else None
    if relu is not None:
        after = builder.uses.get(relu.outputs[0], [])
    weight = builder.quantized.get(gemm.inputs[1])
    bias = builder.quantized.get(gemm.inputs[2]) if len(gemm.inputs) > 2 and gemm.inputs[2] else None
    plain = gemm.attributes.get("transB", 0) == 1 and not gemm.attributes.get("transA", 0)
    if not plain or weight is None or (bias is None and len(gemm.inputs) > 2) or gemm.outputs[0] in builder.outputs:
        return None
    if before is None or before.op != "DequantizeLinear" or [n.op for n in after] != ["QuantizeLinear"]:
        return None
    if relu is not None and _scale(builder, after[0])[1] != 0:  # codes below the zero point would be cut off, too
        return None
    return QdqGemm(before, gemm, after[0], weight, bias, relu)


def replaces(builder: Builder, dequantize: Node) -> bool:
    """Whether nothing reads the floats of a DequantizeLinear but products that take its codes."""
    uses = builder.uses.get(dequantize.outputs[0], [])
    return dequantize.outputs[0] not in builder.outputs and all(
        use.inputs[0] == dequantize.outputs[0] and find_qdq_gemm(builder, use) for use in uses
    )


def emit_qdq_gemm(builder: Builder, found: QdqGemm) -> None:
    """Write the product row by row, from codes to codes."""
    x = builder.tensor(found.dequantize, 0)
    (x_scale, x_zero), (y_scale, y_zero) = (_scale(builder, node) for node in (found.dequantize, found.quantize))
    width, depth = found.weight.codes.shape
    if len(x.shape) != 2 or x.shape[1].fixed != depth or (found.bias is not None and found.bias.codes.size != width):
        raise found.gemm.refuse("its input, its weights and its bias don't match")
    hint = found.gemm.name.rsplit("/", 1)[0]
    scales = (x_scale * np.broadcast_to(found.weight.scale.astype(np.float32).reshape(-1), (width,))) / y_scale
    weights = weight_table(builder, f"{hint}_weight", found.weight.codes)
    length = padded(depth)
    factor = builder.table(f"{hint}_factor", scales.astype(np.float32), "float")
    none = builder.table("none", np.zeros(1, np.float32), "float")
    start = "NULL" if found.bias is None else builder.table(f"{hint}_start", found.bias.codes, "int32_t")
    low, high = float_literal(-3.4028234663852886e38), float_literal(3.4028234663852886e38)
    ends = f"{float_literal(1.0)}, {float_literal(-y_zero)}, {float_literal(255 - y_zero)}, {y_zero}"
    layer = builder.record(
        hint,
        "qgemm_t",
        f"{{{weights.sizes}, {factor}, {none}, 0, {start}, NULL, NULL, {low}, {high}, {{{low}, {high}, {ends}}}}}",
    )
    one = builder.table("one", np.ones(1, np.float32), "float")
    row = builder.buffer("row", "int16_t", fixed(2 * length))
    builder.kernels.update(("widen_codes", "qgemm_codes"))
    y = builder.result(found.quantize.outputs[0], "uint8_t", (x.shape[0], fixed(width)), takes_over=x)
    builder.fused.update(node.outputs[0] for node in (found.relu, found.quantize) if node is not None)
    widen = f"widen_codes({row.name} + j * {length}, {x.name} + (i + j) * {depth}, {depth}, {x_zero});"
    product = f"qgemm_codes(&{layer}, {row.name}, pair, {one}, 0, NULL, {y.name} + i * {width});"
    builder.step(by_two(x.shape[0], widen, product))


def _scale(builder: Builder, node: Node) -> tuple[np.float32, int]:
    """Scale and zero point of codes, one for all."""
    zero = int(builder.constant(node, 2).reshape(-1)[0]) if len(node.inputs) > 2 else 0
    return np.float32(builder.constant(node, 1).reshape(-1)[0]), zero
