"""Layouts of the same rows, one behind the other: what is left of them when all operators have found their place.

OneLayout       Reshape(Reshape(x)) -> Reshape(x), or x itself where it has that shape
"""

from __future__ import annotations

import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import Sheet, same_values, tail_of
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["OneLayout"]


class OneLayout(Rule[tuple[ir.Node, ir.Value]]):
    """A layout of rows that had another layout before."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value] | None:
        """(Reshape, Squeeze or Unsqueeze of a layout, or one that changes nothing; the rows at the beginning)."""
        if node.op_type not in {"Reshape", "Squeeze", "Unsqueeze"} or node.domain:
            return None
        out = node.outputs[0]
        rows = same_values(out)
        if rows is None or rows is out or tail_of(out) is None:
            return None
        if tail_of(rows) == tail_of(out):
            return None if out.is_graph_output() else (node, rows)
        return None if rows is node.inputs[0] else (node, rows)

    def rewrite(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> ir.Value:
        """One layout, or none."""
        node, rows = match
        return sheet.shaped(rows, tail_of(node.outputs[0]) or (), node)
