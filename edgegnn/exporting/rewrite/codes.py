"""Tensors of 8-bit codes: what integer operators read.

value = (codes - zero_point) * scale, times a number for each row or each column where steps were learnt (A2Q): the
product of rows has the rows' numbers behind it, the sum of rows the columns'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import array, made_by, rank, tail_of

__all__ = ["Codes", "codes_of", "dequantized_weight", "known_numbers", "scaled_codes"]

_BYTES = {ir.DataType.UINT8, ir.DataType.INT8}


@dataclass(frozen=True)
class Codes:
    """A tensor of 8-bit codes behind a DequantizeLinear: value = (codes - zero_point) * scale * rows * columns.

    `rows` is float32 `[rows, 1]` or None, `columns` a constant float32 `[columns]` or None.
    """

    value: ir.Value
    scale: float
    zero_point: int
    rows: ir.Value | None = None
    columns: npt.NDArray[np.float32] | None = None


def codes_of(value: ir.Value | None) -> Codes | None:
    """The codes that a tensor is dequantized from with one scale; None for any other tensor."""
    node = made_by(value, "DequantizeLinear")
    if node is None or node.inputs[0] is None or node.inputs[0].dtype not in _BYTES:
        return None
    scale, zero = array(node.inputs[1]), array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
    if scale is None or zero is None or scale.size != 1 or node.inputs[0].is_initializer():
        return None
    return Codes(node.inputs[0], float(scale.flat[0]), int(zero.flat[0]))


def scaled_codes(value: ir.Value | None) -> Codes | None:
    """`codes_of` a tensor, or of one that is multiplied by a number for each row or each column."""
    plain = codes_of(value)
    node = made_by(value, "Mul")
    if plain is not None or node is None or value is None or rank(value) != 2:
        return plain
    for codes, other in (node.inputs, node.inputs[::-1]):
        found = codes_of(codes)
        if found is None or other is None or rank(other) != 2 or rank(codes) != 2:
            continue
        known = array(other)
        if tail_of(other) == (1,) and (known is None or len(known) > 1):
            return replace(found, rows=other)
        if known is not None and known.shape == (1, *(tail_of(value) or ())) and (known > 0).all():
            return replace(found, columns=known.reshape(-1).astype(np.float32))
    return None


def dequantized_weight(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that makes a product's weight, also behind the Max of `keep_products_exact`; or None."""
    barrier = made_by(value, "Max")
    if barrier is not None and len(barrier.inputs) == 1:
        value = barrier.inputs[0]
    return made_by(value, "DequantizeLinear")


def known_numbers(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """A vector that is known at export: a constant, or constant codes behind a DequantizeLinear; None for others.

    onnxruntime's quantization gives a bias such codes, in int32.
    """
    node = made_by(value, "DequantizeLinear")
    if node is None:
        return array(value)
    codes, scale = array(node.inputs[0]), array(node.inputs[1])
    zero = array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.int32)
    if codes is None or scale is None or zero is None or codes.ndim != 1:
        return None
    numbers = (codes.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return numbers.astype(np.float32)
