"""Weights of edges that are products of numbers of their two ends: scales of rows before and after a plain sum.

    RowScales       sum of c[target] * c[source] * x[source] -> c * (sum of (c * x)[source])

GCN's normalisation is such a weight (c = degree^-1/2), as are 1/degree of the target and any other factor that is
looked up at the ends only. The sum itself is unweighted then, which is what integer kernels are fastest at.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegnn.exporting.rewrite.aggregate import csr_for
from edgegnn.exporting.rewrite.csr import segments
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet
from edgegnn.exporting.rewrite.messages import (
    CONSTANT,
    EDGE,
    SOURCE,
    TARGET,
    Message,
    finite,
    message_of,
    product,
    width,
)
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["RowScales"]


class RowScales(Rule[Message]):
    """A sum (or mean) of rows, weighted by numbers of the two ends of each edge."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> Message | None:
        """A sum of products."""
        found = segments(node.outputs[0], "Sum", "Mean") if node.outputs else None
        message = None if found is None else message_of(found)
        return message if message is not None and len(message.factors) > 1 else None

    def check(self, match: Message, sheet: Sheet) -> str | None:
        """No factor that belongs to the edge itself."""
        if match.of(EDGE):
            return "the weight of an edge is not made of numbers of its ends"
        if width(match.of(SOURCE), len(match.tail)) != match.tail:
            return "messages are wider than the rows that are looked up at the sources"
        if not all(finite(f.value) for f in match.of(TARGET)):
            return "a factor of the target may be infinite where no edge ends"
        return None

    def rewrite(self, match: Message, sheet: Sheet) -> ir.Value:
        """Mul -> SpMM -> Mul."""
        node, out = match.segments.node, match.segments.node.outputs[0]
        x = sheet.shaped(product(sheet, None, match.of(SOURCE), node, edges=False), match.tail, node)
        csr = csr_for(sheet, match, x)
        kind = "SpMM" if match.segments.how == "Sum" else "SpMMMean"
        inputs = [x, csr.indptr, csr.col, csr.row, csr.rows]
        summed = sheet.make(kind, inputs, at=node, like=out, domain=DOMAIN)
        return product(sheet, summed, match.of(TARGET, CONSTANT), node, edges=False)
