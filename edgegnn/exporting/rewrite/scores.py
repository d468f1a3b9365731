"""Attention scores: products with a vector for each head, done as one matrix product.

Scores: sum(h * att_src), sum(h * att_dst), ... over the channels of each head -> h times one matrix, then Split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import Sheet, array, made_by, tail_of
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["RULES", "Scores"]

# The matrix has the vectors of all heads on its diagonal, and zeros: a file shall not grow for it.
MAX_BYTES = 32 * 1024


@dataclass(frozen=True)
class _Scores:
    rows: ir.Value  # [N, H, C]
    sums: tuple[ir.Node, ...]
    vectors: tuple[npt.NDArray[np.float32], ...]  # [H, C] each


class Scores(Rule[_Scores]):
    """All sums over the channels of one tensor times a constant become one product."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Scores | Miss | None:
        """ReduceSum over the last axis of [N, H, C] times a constant [1, H, C]."""
        rows = _rows(node)
        if rows is None:
            return None
        sums, vectors = [], []
        for use in rows.uses():
            if use.node.op_type != "Mul" or len(use.node.outputs[0].uses()) != 1:
                continue
            (reader,) = (u.node for u in use.node.outputs[0].uses())
            vector = _vector(reader, rows)
            if vector is not None and _rows(reader) is rows:
                sums.append(reader)
                vectors.append(vector)
        if node not in sums:
            return Miss("what is summed is used by other nodes, too, or its constant is not a vector for each head")
        return _Scores(rows, tuple(sums), tuple(vectors))

    def check(self, found: _Scores, sheet: Sheet) -> str | None:
        """The matrix must be small."""
        heads, channels = found.vectors[0].shape
        if 4 * heads * heads * channels * len(found.sums) > MAX_BYTES:
            return "too many heads and channels for one matrix"
        return None

    def rewrite(self, found: _Scores, sheet: Sheet) -> None:
        """[N, H * C] times [H * C, H * number of vectors]."""
        heads, channels = found.vectors[0].shape
        matrix = np.zeros((heads, channels, len(found.sums), heads), np.float32)
        for i, vector in enumerate(found.vectors):
            for head in range(heads):
                matrix[head, :, i, head] = vector[head]
        at = found.sums[0]
        flat = sheet.shaped(found.rows, (heads * channels,), at)
        first = None if found.rows.shape is None else found.rows.shape[0]
        columns = heads * len(found.sums)
        weight = sheet.floats(matrix.reshape(heads * channels, columns))
        scores = sheet.make("MatMul", [flat, weight], at=at, dtype=ir.DataType.FLOAT, shape=[first, columns])
        if len(found.sums) == 1:
            sheet.replace(at.outputs[0], scores)
            return
        parts = sheet.make_all(
            "Split", [scores], {"axis": 1, "num_outputs": len(found.sums)}, at=at, outputs=len(found.sums)
        )
        for node, part in zip(found.sums, parts, strict=True):
            part.dtype, part.shape = ir.DataType.FLOAT, ir.Shape([first, heads])
            sheet.replace(node.outputs[0], part)


def _rows(node: ir.Node) -> ir.Value | None:
    """The tensor that is multiplied by a constant and summed over the last of three axes; None for other nodes."""
    if node.op_type != "ReduceSum" or node.attributes.get_int("keepdims", 1) != 0:
        return None
    product = made_by(node.inputs[0], "Mul")
    axes = array(node.inputs[1]) if len(node.inputs) > 1 else None
    if product is None or axes is None or axes.reshape(-1).tolist() not in ([-1], [2]):
        return None
    for value in product.inputs:
        if value is not None and _constant(value) is None and len(tail_of(value) or ()) == 2:
            return value
    return None


def _vector(node: ir.Node, rows: ir.Value) -> npt.NDArray[np.float32] | None:
    product, tail = made_by(node.inputs[0], "Mul"), tail_of(rows)
    if product is None or tail is None or node.op_type != "ReduceSum":
        return None
    other = product.inputs[1] if product.inputs[0] is rows else product.inputs[0]
    known = None if other is None else _constant(other)
    if known is None or known.size != int(np.prod(tail)) or known.shape[-2:] != tail:
        return None
    return known.reshape(tail).astype(np.float32)


def _constant(value: ir.Value) -> npt.NDArray[Any] | None:
    """A constant, also one that is stored in codes of one scale."""
    known = array(value)
    node = made_by(value, "DequantizeLinear")
    if known is not None or node is None:
        return known
    codes, scale, zero = (array(v) for v in (*node.inputs, None)[:3])
    if codes is None or scale is None or scale.size != 1:
        return None
    shift = np.float32(0 if zero is None else int(zero.flat[0]))
    return (codes.astype(np.float32) - shift) * np.float32(scale.flat[0])


RULES: tuple[Rule[Any], ...] = (Scores(),)
