"""The ways in which exporters scatter and look up rows, as the ones that the rewrite rules know.

EdgeRows       Squeeze(Split(edges)), Squeeze(Slice(edges)) -> Gather(edges, 0), Gather(edges, 1)
ElementsOfRows GatherElements(x, index repeated over the columns) -> Gather(x, index)
IndexAsIs      indices that are cast to int32 and back, or that are only cast for an operator that takes both
TiledIndex     Tile(index, [1, F]) -> Expand(index, [E, F])
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import Sheet, array, axis_of, made_by, rank
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["RULES"]

_INDEXED = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1}


class EdgeRows(Rule[tuple[ir.Node, ir.Value, int]]):
    """A row of an edge list."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, int] | None:
        """(the node that makes a vector of it, the edge list, the row)."""
        if node.op_type not in {"Squeeze", "Reshape", "Gather"} or rank(node.outputs[0]) != 1:
            return None
        if node.op_type == "Gather" and not _first(node):
            return None
        part = made_by(node.inputs[0], "Split", "Slice", "Gather")
        edges = None if part is None else part.inputs[0]
        if part is None or edges is None or edges.shape is None or len(edges.shape) != 2 or edges.shape[0] != 2:
            return None
        if part.op_type == "Gather":
            at = array(part.inputs[1])
            return None if axis_of(part) or at is None or at.shape != (1,) else (node, edges, int(at[0]) % 2)
        if part.op_type == "Split":
            sizes = None if len(part.inputs) < 2 else array(part.inputs[1])
            whole = len(part.outputs) == 2 and (sizes is None or sizes.tolist() == [1, 1])
            row = [i for i, out in enumerate(part.outputs) if out is node.inputs[0]]
            return (node, edges, row[0]) if whole and axis_of(part) in (0, -2) and row else None
        bounds = [array(v) for v in part.inputs[1:]]
        if any(b is None or b.size != 1 for b in bounds):
            return None
        numbers = [int(b.flat[0]) for b in bounds if b is not None] + [0, 1][len(bounds) - 2 :]
        start, end, axis, step = numbers[:4]
        rows = list(range(2))[start:end:step] if step else []
        return (node, edges, rows[0]) if axis in (0, -2) and len(rows) == 1 else None

    def rewrite(self, match: tuple[ir.Node, ir.Value, int], sheet: Sheet) -> ir.Value:
        """Gather with a number."""
        node, edges, row = match
        return sheet.make("Gather", [edges, sheet.integers(row)], {"axis": 0}, at=node, like=node.outputs[0])


def _first(node: ir.Node) -> bool:
    at = array(node.inputs[1])
    return at is not None and at.ndim == 0 and int(at) == 0 and axis_of(node) == 0


class ElementsOfRows(Rule[tuple[ir.Node, ir.Value]]):
    """Whole rows, looked up element by element."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value] | None:
        """(GatherElements, the row of each message)."""
        table, index = (node.inputs[0], node.inputs[1]) if node.op_type == "GatherElements" else (None, None)
        expand, size = made_by(index, "Expand"), rank(table)
        column = None if expand is None else expand.inputs[0]
        if table is None or index is None or column is None or not size or axis_of(node) % size:
            return None
        if table.shape is None or index.shape is None or tuple(table.shape)[1:] != tuple(index.shape)[1:]:
            return None
        if column.shape is None or len(column.shape) != size or any(s != 1 for s in tuple(column.shape)[1:]):
            return None
        return node, column

    def rewrite(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> ir.Value:
        """Gather."""
        node, column = match
        while (step := made_by(column, "Unsqueeze", "Reshape")) is not None and step.inputs[0] is not None:
            column = step.inputs[0]
            if rank(column) == 1:
                return sheet.make("Gather", [node.inputs[0], column], {"axis": 0}, at=node, like=node.outputs[0])
        rows = None if column.shape is None else column.shape[0]
        flat = sheet.make("Reshape", [column, sheet.integers([-1])], at=node, dtype=column.dtype, shape=[rows])
        return sheet.make("Gather", [node.inputs[0], flat], {"axis": 0}, at=node, like=node.outputs[0])


class IndexAsIs(Rule[tuple[ir.Node, int, ir.Value]]):
    """An index that is cast between the two types of indices."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, int, ir.Value] | None:
        """(the operator, the position of its index, the index before the cast)."""
        at = _INDEXED.get(node.op_type)
        cast = None if at is None else made_by(node.inputs[at], "Cast")
        source = None if cast is None else cast.inputs[0]
        if at is None or source is None or source.dtype != ir.DataType.INT64:
            return None
        return node, at, source

    def rewrite(self, match: tuple[ir.Node, int, ir.Value], sheet: Sheet) -> None:
        """Without the cast."""
        node, at, source = match
        node.replace_input_with(at, source)


class CastLater(Rule[tuple[ir.Node, ir.Node, ir.Value]]):
    """A cast of indices to int32 before they are picked, laid out or repeated: after it."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Node, ir.Value] | None:
        """(the operator, the cast, what is cast)."""
        if node.op_type not in {"Gather", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Split", "Expand", "Transpose"}:
            return None
        cast = made_by(node.inputs[0], "Cast")
        source = None if cast is None else cast.inputs[0]
        if cast is None or source is None or source.dtype != ir.DataType.INT64 or len(node.outputs) != 1:
            return None
        return (node, cast, source) if node.outputs[0].dtype == ir.DataType.INT32 else None

    def rewrite(self, match: tuple[ir.Node, ir.Node, ir.Value], sheet: Sheet) -> ir.Value:
        """The operator on int64, then the cast."""
        node, _, source = match
        out = node.outputs[0]
        moved = sheet.make(
            node.op_type,
            [source, *node.inputs[1:]],
            dict(node.attributes),
            at=node,
            dtype=source.dtype,
            shape=list(out.shape or ()),
        )
        return sheet.make("Cast", [moved], {"to": ir.DataType.INT32}, at=node, like=out)


class TiledIndex(Rule[tuple[ir.Node, ir.Value]]):
    """An index that is repeated over the columns by Tile."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value] | None:
        """(Tile, the index as a column)."""
        column = node.inputs[0] if node.op_type == "Tile" else None
        times = None if column is None else array(node.inputs[1])
        if column is None or times is None or not times.size or times[0] != 1 or column.shape is None:
            return None
        if column.dtype not in (ir.DataType.INT64, ir.DataType.INT32) or any(s != 1 for s in tuple(column.shape)[1:]):
            return None
        return node, column

    def rewrite(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> ir.Value:
        """Expand."""
        node, column = match
        times = sheet.integers([int(t) for t in array(node.inputs[1])])  # type: ignore[union-attr]
        return sheet.make("Expand", [column, times], at=node, like=node.outputs[0])


RULES: tuple[Rule[Any], ...] = (EdgeRows(), CastLater(), IndexAsIs(), TiledIndex(), ElementsOfRows())
