"""Readout: reductions of nodes by the graph that they belong to.

    Pool            Segment* and CsrDegree by `batch` (global_add_pool, global_mean_pool, global_max_pool, norms)

They are Segment ops already; the rule tells them from messages, for whoever asks what became of them.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import RULE, Sheet, made_by
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["Pool"]


class Pool(Rule[ir.Node]):
    """A reduction by the graph of each node."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Node | None:
        """The op."""
        if node.domain != DOMAIN or not node.op_type.startswith(("Segment", "CsrDegree")):
            return None
        csr = made_by(node.inputs[0 if node.op_type == "CsrDegree" else 1], "IndexToCsr")
        index = None if csr is None else csr.inputs[0]
        return node if index is not None and index.is_graph_input() and index.name == "batch" else None

    def rewrite(self, match: ir.Node, sheet: Sheet) -> None:
        """The name of the rule."""
        match.metadata_props[RULE] = self.name
