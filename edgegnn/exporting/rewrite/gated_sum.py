"""Sums of messages with a gate for each channel, without a row of features for each edge.

GatedMessages   SegmentSum of sigmoid(a[target] + b[source] + e W) * softplus(c[target] + d[source] + e V) -> GatedSum
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import coo_csr, edge_row, partner, segments
from edgegnn.exporting.rewrite.edge_rows import SOURCE, TARGET, EndRows, Ends, end_rows
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, array, made_by, same_values, tail_of, uniform
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["GatedMessages"]

_LEAST_THRESHOLD = 17.0  # from here on log(1 + e^v) is v in float32
_MOST_FEATURES = 64  # of an edge: their products are made again for each edge


@dataclass(frozen=True)
class _Gated:
    """A sum of gated messages.

    Attributes:
        node: SegmentSum.
        gate: what the sigmoid is of.
        value: what the softplus is of.
        source: index of the sources.
        index: of the targets.
        rows: how many.
    """

    node: ir.Node
    gate: EndRows
    value: EndRows
    source: ir.Value
    index: ir.Value
    rows: ir.Value


class GatedMessages(Rule[_Gated]):
    """CGConv's messages and their sum."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Gated | None:
        """SegmentSum of a sigmoid times a softplus of sums of rows of both ends."""
        found = segments(node.outputs[0], "Sum") if node.outputs else None
        product = None if found is None else made_by(found.messages, "Mul")
        target = None if found is None else edge_row(found.index)
        if found is None or product is None or target is None or not alone(found.messages):
            return None
        ends = Ends(target[0], 1 - target[1])
        for gate, value in (product.inputs, product.inputs[::-1]):
            sigmoid, inner = made_by(gate, "Sigmoid"), _softplus(value)
            if sigmoid is None or inner is None:
                continue
            sums = [end_rows(v, ends) for v in (sigmoid.inputs[0], inner)]
            source = _source(inner, found.index)
            if sums[0] is None or sums[1] is None or source is None or not _alike(sums[0], sums[1]):
                return None
            return _Gated(node, sums[0], sums[1], source, found.index, found.rows)
        return None

    def check(self, match: _Gated, sheet: Sheet) -> str | None:
        """Features are few."""
        product = match.gate.product
        if product is not None and len(product.weight) > _MOST_FEATURES:
            return "the edges have too many features to multiply them again for each edge"
        return None

    def rewrite(self, match: _Gated, sheet: Sheet) -> ir.Value:
        """GatedSum, or GatedSumEdges."""
        node, tables = match.node, []
        for rows in (match.gate, match.value):
            tables += [sheet.shaped(rows.ends[end], [rows.tail[1]], node) for end in (SOURCE, TARGET)]
        csr = coo_csr(sheet, match.source, match.index, match.rows, sheet.size(tables[0], 0, node), node)
        gate, value = match.gate.product, match.value.product
        if gate is None or value is None:
            inputs = [*tables, csr.indptr, csr.col, csr.row, csr.rows]
            return sheet.make("GatedSum", inputs, at=node, like=node.outputs[0], domain=DOMAIN)
        own = [gate.features, sheet.floats(gate.weight), sheet.floats(value.weight)]
        inputs = [*tables, *own, csr.indptr, csr.col, csr.row, csr.perm, csr.rows]
        return sheet.make("GatedSumEdges", inputs, at=node, like=node.outputs[0], domain=DOMAIN)


def _alike(gate: EndRows, value: EndRows) -> bool:
    """Whether gates and values are sums of the same kind, of vectors."""
    if set(gate.ends) != {SOURCE, TARGET} or set(value.ends) != {SOURCE, TARGET} or gate.tail != value.tail:
        return False
    if gate.tail[0] != 1 or any(len(tail_of(v) or ()) != 1 for each in (gate, value) for v in each.ends.values()):
        return False
    if gate.product is None or value.product is None:
        return gate.product is value.product
    return gate.product.features is value.product.features


def _softplus(value: ir.Value | None) -> ir.Value | None:
    """What a softplus is of, also one that is the identity from a threshold on, as PyTorch's is."""
    node = made_by(value, "Softplus")
    if node is not None:
        return node.inputs[0]
    where = made_by(value, "Where")
    if where is None:
        return None
    above, plain, soft = made_by(where.inputs[0], "Greater"), where.inputs[1], made_by(where.inputs[2], "Softplus")
    if above is None or soft is None or plain is None or above.inputs[0] is not plain or soft.inputs[0] is not plain:
        return None
    threshold = uniform(above.inputs[1]) if array(above.inputs[1]) is not None else None
    return plain if threshold is not None and threshold >= _LEAST_THRESHOLD else None


def _source(value: ir.Value | None, index: ir.Value) -> ir.Value | None:
    """The index of the sources among the look-ups of a sum."""
    node = made_by(same_values(value), "Add", "Gather")
    if node is None:
        return None
    if node.op_type == "Gather":
        return next((v for v in node.inputs[1:] if v is not None and partner(v, index)), None)
    return next((found for v in node.inputs if (found := _source(v, index)) is not None), None)
