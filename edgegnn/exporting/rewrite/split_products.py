"""Products of what was looked up at both ends of an edge: a product for each node instead, then look-ups and sums.

    QuantizeParts   DQ(Q([x[target], x[source]])) -> [DQ(Q(x))[target], DQ(Q(x))[source]]
    SplitLinear     [x[target], x[source] - x[target], e] W + b -> (x W1 + b)[target] + (x W2)[source] + e W3

EdgeConv's, PNA's and EGNN's first products are such products. Only for lists of all edges, as in `node_side.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.codes import dequantized_weight
from edgegnn.exporting.rewrite.graph_editor import (
    Sheet,
    alone,
    array,
    axis_of,
    made_by,
    number,
    rank,
    same_values,
    tail_of,
)
from edgegnn.exporting.rewrite.node_side import LAYOUTS, Term, looked_up
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["QuantizeParts", "SplitLinear"]

Block = tuple[int, list[Term]]  # columns, and what they are the sum of


def _blocks(sheet: Sheet, value: ir.Value, at: ir.Node, pick: int | None = None) -> list[Block] | None:
    """The columns of a matrix [E, K] in groups; `pick` selects one entry of an axis in between."""
    node, tail = made_by(value), tail_of(value)
    if not tail:
        return None
    pair = looked_up(value)
    if pair is not None:
        table = pair[0]
        if pick is not None:
            shape = [None if table.shape is None else table.shape[0], tail[-1]]
            picked = sheet.integers(pick)
            table = sheet.once(
                ("picked", pair[0], pick),
                lambda: sheet.make("Gather", [pair[0], picked], {"axis": 1}, at=at, dtype=table.dtype, shape=shape),
            )[0]
        return [(tail[-1], [Term(1, table, pair[1])])] if rank(table) == 2 else None
    if node is not None and node.op_type == "Gather" and axis_of(node) == 1 and pick is None and len(tail) == 1:
        place = array(node.inputs[1])
        if place is not None and place.ndim == 0 and node.inputs[0] is not None and rank(node.inputs[0]) == 3:
            return _blocks(sheet, node.inputs[0], at, int(place))
    if node is not None and node.op_type in LAYOUTS and pick is None and len(tail) == 1:
        source = node.inputs[0]
        inner = None if source is None else tail_of(source)
        if source is not None and inner is not None and same_values(value) is not value and inner == (1, *tail):
            return _blocks(sheet, source, at, 0)
    if node is not None and node.op_type == "Concat" and axis_of(node) in (-1, len(tail)):
        parts = [None if v is None else _blocks(sheet, v, at, pick) for v in node.inputs]
        return None if any(p is None for p in parts) else [block for part in parts for block in part or ()]
    if node is not None and node.op_type in {"Add", "Sub"}:
        left, right = (None if v is None else _blocks(sheet, v, at, pick) for v in node.inputs)
        if left is None or right is None or [b[0] for b in left] != [b[0] for b in right]:
            return None
        sign = 1 if node.op_type == "Add" else -1
        return [
            (width, [*terms, *(Term(sign * t.sign, t.table, t.index) for t in more)])
            for (width, terms), (_, more) in zip(left, right, strict=True)
        ]
    return [(tail[0], [Term(1, value, None)])] if pick is None and len(tail) == 1 else None


class QuantizeParts(Rule[tuple[ir.Node, list[Block]]]):
    """A Q/DQ pair of rows of both ends, side by side: the rows of each end are quantized before they are looked up."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, list[Block]] | Miss | None:
        """(QuantizeLinear of one scale that only DequantizeLinears read, what it quantizes)."""
        if node.op_type != "QuantizeLinear" or node.domain or node.inputs[0] is None:
            return None
        blocks = _blocks(sheet, node.inputs[0], node)
        if blocks is None or len(blocks) < 2 or all(term.index is None for _, terms in blocks for term in terms):
            return None
        if any(len(terms) > 1 for _, terms in blocks):
            return Miss("sums of rows of both ends are quantized")
        if any((known := array(value)) is None or known.size != 1 for value in node.inputs[1:]):
            return Miss("rows of both ends are quantized with several scales")
        pairs = all(use.node.op_type == "DequantizeLinear" for use in node.outputs[0].uses())
        return (node, blocks) if pairs else Miss("codes of rows of both ends are read as they are")

    def rewrite(self, match: tuple[ir.Node, list[Block]], sheet: Sheet) -> None:
        """A pair for each part, with the names of this one."""
        node, blocks = match
        for use in list(node.outputs[0].uses()):
            reader, parts = use.node, []
            for width, (term,) in blocks:
                table = term.table
                codes = _named_like(sheet, node, [table, *node.inputs[1:]], node.outputs[0].dtype, table)
                part = _named_like(sheet, reader, [codes, *reader.inputs[1:]], table.dtype, table)
                if term.index is not None:
                    shape = [None if term.index.shape is None else term.index.shape[0], width]
                    inputs = [part, term.index]
                    part = sheet.make("Gather", inputs, {"axis": 0}, at=reader, dtype=table.dtype, shape=shape)
                parts.append(part)
            sheet.replace(
                reader.outputs[0], sheet.make("Concat", parts, {"axis": -1}, at=reader, like=reader.outputs[0])
            )


def _named_like(
    sheet: Sheet, node: ir.Node, inputs: Sequence[ir.Value | None], dtype: ir.DataType | None, like: ir.Value
) -> ir.Value:
    """The node's operator on other rows, once; it keeps the name, which quantization points are known by."""
    key = ("quantized", node.op_type, *inputs)
    new = sheet.once(key, lambda: sheet.make(node.op_type, inputs, node.attributes, at=node, like=like, dtype=dtype))[0]
    made = new.producer()
    assert made is not None
    made.name = node.name
    return new


_LEAST = {"int8": -128, "int4": -8}  # a code that has no negative


@dataclass(frozen=True)
class _Product:
    """A product of columns in blocks.

    Attributes:
        node: Gemm or MatMul.
        weight: [K, N]: float32, or codes of int8 or int4.
        scale: of each column's codes, [N] or one number; None of a float weight.
        blocks: the columns of the rows.
    """

    node: ir.Node
    weight: npt.NDArray[Any]
    scale: npt.NDArray[Any] | None
    blocks: list[Block]


def _weight_of(node: ir.Node) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None] | None:
    """The weight of a product as [K, N], and the scale of its codes; None when it is neither float32 nor codes."""
    weight, scale, turned = array(node.inputs[1]), None, number(node, "transB")
    dequantize = dequantized_weight(node.inputs[1])
    if dequantize is not None:
        weight, scale = array(dequantize.inputs[0]), array(dequantize.inputs[1])
        zero = array(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else np.zeros(1)
        axis = dequantize.attributes.get_int("axis", 1) % 2
        if weight is None or scale is None or zero is None or zero.astype(np.int32).any():
            return None
        if weight.dtype.name not in _LEAST or (scale.size > 1 and axis != (0 if turned else 1)):
            return None
    elif weight is not None and weight.dtype != np.float32:
        return None
    if weight is None or weight.ndim != 2:
        return None
    return (weight.T if turned else weight), scale


class SplitLinear(Rule[_Product]):
    """A product of what was looked up at both ends, side by side."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Product | Miss | None:
        """A Gemm or MatMul with a constant."""
        if node.op_type not in {"Gemm", "MatMul"} or node.domain or rank(node.outputs[0]) != 2:
            return None
        weight, rows = _weight_of(node), node.inputs[0]
        maker = made_by(rows, "Concat", "Add", "Sub", "Gather", *LAYOUTS)
        if rows is None or maker is None:
            return None
        ends = len(maker.inputs) > 1 and any(looked_up(value) is not None for value in maker.inputs)
        if weight is None:
            return Miss("rows of both ends meet a weight that is no matrix known at export") if ends else None
        if number(node, "transA") or any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return Miss("the product of rows of both ends has alpha, beta or transA") if ends else None
        blocks = _blocks(sheet, rows, node)
        if blocks is None or sum(width for width, _ in blocks) != (tail_of(rows) or (0,))[0]:
            return Miss("which columns of its rows come from which end of an edge can't be told") if ends else None
        terms = [term for _, block in blocks for term in block]
        found = [t for t in terms if t.index is not None]
        if not found or len(terms) < 2:
            return None
        return _Product(node, *weight, blocks)

    def check(self, match: _Product, sheet: Sheet) -> str | None:
        """Codes of weights can't be added up, and are for codes of rows."""
        terms = [(term.table, term.index) for _, block in match.blocks for term in block]
        if match.scale is None:
            return None
        if len(set(terms)) < len(terms):
            return "rows of one end stand in several columns, and codes of their weights can't be added up"
        subtracted = any(term.sign < 0 for _, block in match.blocks for term in block)
        if subtracted and match.weight.astype(np.int32).min() == _LEAST[match.weight.dtype.name]:
            return "rows are subtracted, and a code of their weights has no negative"
        codes = all(made_by(table, "DequantizeLinear") is not None for table, _ in terms)
        return None if codes else "the weight is quantized, and the rows of both ends are not"

    def rewrite(self, match: _Product, sheet: Sheet) -> None:
        """Products by node, look-ups, sums."""
        node, out = match.node, match.node.outputs[0]
        parts: dict[tuple[ir.Value, ir.Value | None], npt.NDArray[Any]] = {}
        at = 0
        for width, terms in match.blocks:
            piece = match.weight[at : at + width]
            at += width
            for term in terms:
                key = (term.table, term.index)
                signed = piece if term.sign > 0 else (-piece.astype(np.float32)).astype(piece.dtype)
                parts[key] = parts[key] + signed if key in parts else signed
        bias, end = _bias_of(node)
        result: ir.Value | None = None
        for (table, index), weight in sorted(parts.items(), key=lambda item: item[0][1] is None):
            inputs = [table, _piece(sheet, weight, match.scale, node)]
            shape = [None if table.shape is None else table.shape[0], *(tail_of(out) or ())]
            here, bias = (bias, None) if rank(bias) == 1 else (None, bias)
            if here is not None and match.scale is None:
                value = sheet.make("Gemm", [*inputs, here], at=node, dtype=out.dtype, shape=shape)
            else:
                value = sheet.make("MatMul", inputs, at=node, dtype=out.dtype, shape=shape)
                value = value if here is None else sheet.make("Add", [value, here], at=node, like=value)
            if index is not None:
                value = sheet.make("Gather", [value, index], {"axis": 0}, at=node, like=out)
            result = value if result is None else sheet.make("Add", [result, value], at=node, like=out)
        assert result is not None
        sheet.replace(end, result if bias is None else sheet.make("Add", [result, bias], at=node, like=out))


def _bias_of(node: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    """What is added to all rows of a product, in it or right behind it; and where the sum is."""
    out = node.outputs[0]
    if len(node.inputs) > 2:
        return node.inputs[2], out
    (use,) = out.uses() if alone(out) else (None,)
    if use is None or use.node.op_type != "Add":
        return None, out
    other = use.node.inputs[1 - use.idx]
    known = array(other)
    if known is None or known.ndim != 1 or tail_of(use.node.outputs[0]) != tail_of(out):
        return None, out
    return other, use.node.outputs[0]


def _piece(sheet: Sheet, weight: npt.NDArray[Any], scale: npt.NDArray[Any] | None, at: ir.Node) -> ir.Value:
    """Rows of a weight, as a constant or behind a DequantizeLinear."""
    if scale is None:
        return sheet.floats(weight)
    codes = sheet.constant(np.ascontiguousarray(weight))
    inputs = [codes, sheet.floats(scale.reshape(-1) if scale.size > 1 else scale.reshape(()))]
    return sheet.make("DequantizeLinear", inputs, {"axis": 1}, at=at, dtype=ir.DataType.FLOAT, shape=weight.shape)
