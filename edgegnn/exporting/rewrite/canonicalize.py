"""Simplify how an exported graph moves indices about, so that rules see plain row look-ups; results stay the same.

LookUp          GatherND(x, Unsqueeze(i, -1)) -> Gather(x, i); a negative axis of Gather is counted from the front
SameIndex       Reshape(i, [-1]) of a vector, Expand(i, Shape(i)), Max(i) of one tensor -> i
FlippedRows     row 0 of an edge list upside down -> row 1 of the edge list
KeptColumns     Transpose(Gather(Transpose(e), i)) -> Gather(e, i, axis=1)
OnlyEntry       Gather(x [N, 1, F], 0, axis=1) -> Reshape(x, [-1, F]), which copies nothing
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import Sheet, array, axis_of, made_by, number, rank, tail_of
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["RULES", "FlippedRows", "KeptColumns", "LookUp", "OnlyEntry", "SameIndex"]

_INTEGERS = {ir.DataType.INT64, ir.DataType.INT32}


class LookUp(Rule[tuple[ir.Node, ir.Value, int]]):
    """One way to look rows up by index."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, int] | Miss | None:
        """(Gather or GatherND, its index, its axis)."""
        if node.op_type == "Gather" and (axis := axis_of(node)) < 0:
            size, index = rank(node.inputs[0]), node.inputs[1]
            return None if size is None or index is None else (node, index, axis + size)
        if node.op_type != "GatherND":
            return None
        if number(node, "batch_dims"):
            return Miss("GatherND with batch_dims looks up one row in each table, not rows of one table")
        last = made_by(node.inputs[1], "Unsqueeze")
        axes = None if last is None else array(last.inputs[1])
        index = None if last is None else last.inputs[0]
        if axes is None or axes.size != 1 or index is None or axes.flat[0] not in (-1, rank(index)):
            return Miss("each row is named by several indices (GatherND): the native ops look up by one")
        return node, index, 0

    def rewrite(self, match: tuple[ir.Node, ir.Value, int], sheet: Sheet) -> ir.Value:
        """Gather."""
        node, index, axis = match
        return sheet.make("Gather", [node.inputs[0], index], {"axis": axis}, at=node, like=node.outputs[0])


class SameIndex(Rule[ir.Value]):
    """Indices that are only passed on."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Value | None:
        """The indices."""
        source = node.inputs[0] if node.inputs else None
        if source is None or source.dtype not in _INTEGERS or rank(source) != 1 or rank(node.outputs[0]) != 1:
            return None
        if node.op_type == "Reshape":
            return source
        if node.op_type in {"Max", "Min", "Sum"}:
            return source if len(node.inputs) == 1 else None
        shape = made_by(node.inputs[1], "Shape") if node.op_type == "Expand" else None
        return source if shape is not None and shape.inputs[0] is source and not _part(shape) else None

    def rewrite(self, match: ir.Value, sheet: Sheet) -> ir.Value:
        """The indices."""
        return match


def _part(shape: ir.Node) -> bool:
    """Whether a Shape gives some of the sizes only."""
    return bool(number(shape, "start")) or "end" in shape.attributes


class FlippedRows(Rule[tuple[ir.Node, ir.Value, int]]):
    """Rows of a matrix of two rows that was turned upside down (`edge_index.flip([0])`)."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, int] | Miss | None:
        """(Gather of a row, the matrix, the row)."""
        if node.op_type != "Gather" or axis_of(node):
            return None
        at, flip = array(node.inputs[1]), made_by(node.inputs[0], "Slice")
        if at is None or at.ndim or flip is None or flip.inputs[0] is None or len(flip.inputs) != 5:
            return None
        matrix = flip.inputs[0]
        start, end, axes, step = (array(v) for v in flip.inputs[1:])
        if start is None or end is None or axes is None or step is None:
            return None
        if (start.tolist(), axes.tolist(), step.tolist()) != ([-1], [0], [-1]) or end[0] > -3:
            return None
        if not matrix.shape or matrix.shape[0] != 2:
            return Miss("what is turned upside down is not known to have two rows, as an edge list has")
        return node, matrix, 1 - int(at) % 2

    def rewrite(self, match: tuple[ir.Node, ir.Value, int], sheet: Sheet) -> ir.Value:
        """Gather from the matrix itself."""
        node, matrix, row = match
        return sheet.make("Gather", [matrix, sheet.integers(row)], {"axis": 0}, at=node, like=node.outputs[0])


class KeptColumns(Rule[tuple[ir.Node, ir.Value, ir.Value]]):
    """A selection of edges: `edge_index[:, keep]`."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, ir.Value] | None:
        """(last Transpose, the matrix, the columns)."""
        rows = made_by(node.inputs[0], "Gather") if _swaps(node) else None
        if rows is None or axis_of(rows) or rank(rows.inputs[1]) != 1:
            return None
        turned, columns = made_by(rows.inputs[0], "Transpose"), rows.inputs[1]
        if turned is None or not _swaps(turned) or turned.inputs[0] is None or columns is None:
            return None
        return node, turned.inputs[0], columns

    def rewrite(self, match: tuple[ir.Node, ir.Value, ir.Value], sheet: Sheet) -> ir.Value:
        """Gather along the other axis."""
        node, matrix, columns = match
        return sheet.make("Gather", [matrix, columns], {"axis": 1}, at=node, like=node.outputs[0])


class OnlyEntry(Rule[tuple[ir.Node, ir.Value, tuple[int, ...]]]):
    """The one entry of an axis of size 1, as PNA picks its one tower."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, tuple[int, ...]] | None:
        """(Gather, what it picks from, sizes of its rows)."""
        if node.op_type != "Gather" or node.domain or (axis := axis_of(node)) < 1:
            return None
        source, at, tail = node.inputs[0], array(node.inputs[1]), tail_of(node.outputs[0])
        if source is None or source.shape is None or at is None or at.ndim or tail is None:
            return None
        return (node, source, tail) if source.shape[axis] == 1 and int(at) in (0, -1) else None

    def rewrite(self, match: tuple[ir.Node, ir.Value, tuple[int, ...]], sheet: Sheet) -> ir.Value:
        """Reshape."""
        node, source, tail = match
        return sheet.shaped(source, tail, node)


def _swaps(node: ir.Node) -> bool:
    order = node.attributes.get_ints("perm", ()) if node.op_type == "Transpose" else ()
    return np.array_equal(order, [1, 0])


RULES: tuple[Rule[Any], ...] = (LookUp(), SameIndex(), FlippedRows(), KeptColumns(), OnlyEntry())
