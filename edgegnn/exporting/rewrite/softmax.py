"""Attention: softmax over the edges of each node, and what is weighted by it.

    EdgeSoftmax     exp(l - max of its row) / sum over its row -> SegmentSoftmax
    Attention       SpMMWeighted by softmax(leaky_relu(a[source] + b[target])) -> AttentionSpMM (GAT)

GATv2's and TransformerConv's logits, which depend on both ends at once, are in `edge_attention.py`; others keep
SegmentSoftmax -> SpMMWeighted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import Segments, edge_row, segments, untwisted
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, axis_of, made_by, same_values, tail_of, uniform
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["Attention", "EdgeSoftmax"]


@dataclass(frozen=True)
class _Softmax:
    node: ir.Node
    logits: ir.Value
    total: Segments


class EdgeSoftmax(Rule[_Softmax]):
    """PyG's softmax over an index."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Softmax | Miss | None:
        """The division that ends it."""
        if node.op_type != "Div":
            return None
        power, total = made_by(node.inputs[0], "Exp"), _looked_up(_without_epsilon(node.inputs[1]), "Sum")
        if power is None or total is None:
            return None
        if total.messages is not power.outputs[0]:
            return Miss("softmax over edges: what is summed by row is not what is divided", total.node)
        below = made_by(power.inputs[0], "Sub")
        top = None if below is None else _looked_up(below.inputs[1], "Max")
        if below is None or top is None or below.inputs[0] is None or top.messages is not below.inputs[0]:
            return Miss("softmax over edges: the maximum of each node isn't subtracted before exp", total.node)
        if top.index is not total.index:
            return Miss("softmax over edges: its maximum and its sum are by different indices", total.node)
        return _Softmax(node, below.inputs[0], total)

    def check(self, match: _Softmax, sheet: Sheet) -> str | None:
        """The op takes a matrix."""
        return None if tail_of(match.logits) is not None else "the number of logits an edge is not known"

    def rewrite(self, match: _Softmax, sheet: Sheet) -> ir.Value:
        """SegmentSoftmax."""
        node, tail = match.node, tail_of(match.logits) or ()
        flat = sheet.shaped(match.logits, [int(np.prod(tail))] if len(tail) > 1 else tail, node)
        inputs = [flat, *match.total.node.inputs[1:]]
        return sheet.shaped(sheet.make("SegmentSoftmax", inputs, at=node, like=flat, domain=DOMAIN), tail, node)


def _without_epsilon(value: ir.Value | None) -> ir.Value | None:
    node = made_by(value, "Add")
    small = None if node is None else uniform(node.inputs[1])
    return node.inputs[0] if node is not None and small is not None and 0 <= small <= 1e-12 else value


def _looked_up(value: ir.Value | None, how: str) -> Segments | None:
    """The segment reduction that `value` gathers back per edge, or None."""
    node = made_by(value, "Gather")
    if node is None or axis_of(node):
        return None
    found = segments(_without_epsilon(node.inputs[0]), how)
    return found if found is not None and found.index is node.inputs[1] else None


@dataclass(frozen=True)
class _Attention:
    """AttentionSpMM's inputs.

    Attributes:
        node: SpMMWeighted.
        source: [C, H].
        target: [R, H].
        slope: of the leaky ReLU.
        heads: H.
    """

    node: ir.Node
    source: ir.Value
    target: ir.Value
    slope: float
    heads: int


class Attention(Rule[_Attention]):
    """GAT's attention: one number of each end, added."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Attention | Miss | None:
        """SpMMWeighted of a softmax of a sum of two look-ups."""
        if node.domain != DOMAIN or node.op_type != "SpMMWeighted":
            return None
        weight = same_values(node.inputs[1])
        softmax = made_by(weight, "SegmentSoftmax")
        if softmax is None:
            return None
        logits = same_values(softmax.inputs[0])
        leaky = made_by(logits, "LeakyRelu")
        both = None if leaky is None else made_by(leaky.inputs[0], "Add")
        coo = made_by(node.inputs[2], "CooToCsr")
        if leaky is None or both is None:
            return Miss("logits are no leaky ReLU of a sum of one number of each end: they depend on both ends at once")
        if coo is None or weight is None:
            return Miss("the edges of the weighted sum are no edge list")
        edges, turned = untwisted(coo.inputs[0])
        tables: dict[int, ir.Value] = {}
        for operand in both.inputs:
            rows = made_by(operand, "Gather")
            end = None if rows is None or axis_of(rows) else edge_row(rows.inputs[1])
            if rows is None or end is None or end[0] is not edges or rows.inputs[0] is None:
                return Miss("a summand of the logits is not looked up at an end of the edges that are summed")
            tables[end[1] ^ turned] = rows.inputs[0]
        index = made_by(softmax.inputs[1], "IndexToCsr")
        if set(tables) != {0, 1}:
            return Miss("both summands of the logits are looked up at the same end")
        if index is None or edge_row(index.inputs[0]) != (edges, 1 - turned):
            return Miss("the softmax is not over the edges that end in the same node")
        tail = tail_of(weight)
        heads = int(np.prod(tail)) if tail else 1
        return _Attention(node, tables[0], tables[1], leaky.attributes.get_float("alpha", 0.01), heads)

    def check(self, match: _Attention, sheet: Sheet) -> str | None:
        """The softmax isn't given out as well; logits are [E, H]."""
        weight = match.node.inputs[1]
        if weight is None or not alone(weight) or not alone(same_values(weight) or weight):
            return "the attention weights are used by other nodes, too"
        tails = [tail_of(v) for v in (match.source, match.target)]
        return None if tails[0] == tails[1] and tails[0] is not None else "logits are not one an edge and head"

    def rewrite(self, match: _Attention, sheet: Sheet) -> ir.Value:
        """AttentionSpMM."""
        node = match.node
        x, _, indptr, col, row, _, rows = node.inputs
        out = node.outputs[0]
        assert x is not None
        tail = tail_of(x) or ()
        block = sheet.shaped(x, tail if len(tail) == 2 else (1, *tail), node)
        ends = [sheet.shaped(v, [match.heads], node) for v in (match.source, match.target)]
        inputs = [block, *ends, indptr, col, row, rows]
        shape = [None if out.shape is None else out.shape[0], *(tail_of(block) or ())]
        mixed = sheet.make(
            "AttentionSpMM",
            inputs,
            {"negative_slope": match.slope},
            at=node,
            dtype=out.dtype,
            shape=shape,
            domain=DOMAIN,
        )
        return sheet.shaped(mixed, tail, node)
