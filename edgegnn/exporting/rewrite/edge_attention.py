"""Attention whose scores depend on both ends of an edge at once, without a row of features for each edge.

    PairScores      SpMMWeighted by softmax(att . leaky_relu(a[source] + b[target] (+ e W))) -> PairAttention (GATv2)
    DotScores       SpMMWeighted by softmax(scale * q[target] . (k[source] (+ e W))) -> DotAttention (transformers)
    EdgeValues      the sum of softmax(q[target] . (k[source] + e W)) * (v[source] + e V) -> DotAttentionEdges,
                    SpMMWeighted, and a product by node: q . (e W) is (W q) . e, and sums of a * (e V) are
                    (sums of a * e) V

The weights come in row order, so that the weighted sum reads them as they are: its `perm` is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import Csr, coo_csr, edge_row, partner, segments, untwisted
from edgegnn.exporting.rewrite.edge_rows import SOURCE, TARGET, EndRows, Ends, end_rows, feature_product, known_numbers
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import (
    Sheet,
    alone,
    array,
    made_by,
    rank,
    same_values,
    tail_of,
    uniform,
)
from edgegnn.exporting.rewrite.idle_pairs import IdlePair
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["DotScores", "EdgeValues", "FeaturePair", "PairScores"]

Floats = npt.NDArray[np.float32]
_MOST_FEATURES = 64  # of an edge: their product is made again for each edge
_MOST_BYTES = 64 * 1024  # of the matrix that has a weight for each head on its diagonal


def _scores(softmax: ir.Node) -> tuple[ir.Node, float] | None:
    """The sum over the channels of each head [E, H, K] that a softmax is of, and what it is multiplied by."""
    value, scale = same_values(softmax.inputs[0]), 1.0
    node = made_by(value)
    while node is not None and node.op_type in {"Mul", "Div"}:
        factor = uniform(node.inputs[1]) if array(node.inputs[1]) is not None else None
        if factor is None or factor == 0:
            return None
        scale *= factor if node.op_type == "Mul" else 1.0 / factor
        node = made_by(same_values(node.inputs[0]))
    if node is None or node.op_type != "ReduceSum" or len(node.inputs) < 2:
        return None
    axes, whole = array(node.inputs[1]), node.inputs[0]
    last = rank(whole)
    if axes is None or last is None or axes.size != 1 or int(axes.flat[0]) % last != last - 1 or last not in (2, 3):
        return None
    return node, scale


@dataclass(frozen=True)
class _Weighted:
    """A weighted sum whose weights are a softmax over its rows.

    Attributes:
        node: SpMMWeighted.
        softmax: SegmentSoftmax.
        ends: of the edges.
    """

    node: ir.Node
    softmax: ir.Node
    ends: Ends


def _weighted(node: ir.Node) -> _Weighted | None:
    if node.domain != DOMAIN or node.op_type != "SpMMWeighted":
        return None
    softmax = made_by(same_values(node.inputs[1]), "SegmentSoftmax")
    coo = made_by(node.inputs[2], "CooToCsr")
    index = None if softmax is None else made_by(softmax.inputs[1], "IndexToCsr")
    if softmax is None or coo is None or index is None:
        return None
    edges, turned = untwisted(coo.inputs[0])
    if edges is None or edge_row(index.inputs[0]) != (edges, 1 - turned):
        return None
    return _Weighted(node, softmax, Ends(edges, turned))


def _used_twice(weight: ir.Value | None, softmax: ir.Node) -> str | None:
    """Why the weights have to stay in the order of the edge list."""
    value = weight
    while value is not None and value is not softmax.outputs[0]:
        if not alone(value):
            return "the attention weights are used by other nodes, too"
        maker = value.producer()
        value = None if maker is None else maker.inputs[0]
    return None if alone(softmax.outputs[0]) else "the attention weights are used by other nodes, too"


def _sum_with(sheet: Sheet, node: ir.Node, x: ir.Value, weights: ir.Value, csr: Csr, like: ir.Value) -> ir.Value:
    """SpMMWeighted by weights in row order."""
    assert csr.col is not None
    in_order = sheet.constant(np.zeros(0, np.int32))
    inputs = [x, weights, csr.indptr, csr.col, csr.row, in_order, csr.rows]
    return sheet.make("SpMMWeighted", inputs, at=node, like=like, domain=DOMAIN)


def _csr(node: ir.Node) -> Csr:
    """The graph of a SpMMWeighted."""
    indptr, col, row, perm, rows = node.inputs[2:]
    assert indptr is not None
    assert row is not None
    assert perm is not None
    assert rows is not None
    return Csr(indptr, col, row, perm, rows)


def _weights(
    sheet: Sheet, kind: str, inputs: list[ir.Value], listed: bool, csr: Csr, at: ir.Node, **more: float
) -> ir.Value:
    """The operator of the weights, [E, H]."""
    assert csr.col is not None
    heads = (tail_of(inputs[0]) or (1,))[0]
    graph = [csr.indptr, csr.col, csr.row, *[csr.perm] * listed, csr.rows]
    return sheet.make(kind, [*inputs, *graph], more, at=at, dtype=ir.DataType.FLOAT, shape=[None, heads], domain=DOMAIN)


# GATv2 ------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    sum: _Weighted
    rows: EndRows
    att: Floats
    slope: float


class PairScores(Rule[_Pair]):
    """GATv2's attention: a product with the leaky ReLU of the sum of both ends."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Pair | Miss | None:
        """SpMMWeighted of a softmax of sums over channels of a constant times a leaky ReLU."""
        found = _weighted(node)
        scores = None if found is None else _scores(found.softmax)
        product = None if scores is None else made_by(scores[0].inputs[0], "Mul")
        if found is None or scores is None or product is None:
            return None
        leaky = next((n for n in map(_leaky, product.inputs) if n is not None), None)
        att = next((a for a in map(known_numbers, product.inputs) if a is not None), None)
        if leaky is None or att is None:
            return None
        rows = end_rows(leaky.inputs[0], found.ends)
        if rows is None or set(rows.ends) != {SOURCE, TARGET}:
            return Miss("what the leaky ReLU is of is no sum of rows of both ends and of a product of narrow features")
        if att.size not in (rows.tail[1], rows.tail[0] * rows.tail[1]):
            return Miss("scores are no products with one vector a head")
        known = np.broadcast_to(att.reshape(-1, rows.tail[1]).astype(np.float32), rows.tail)
        slope = leaky.attributes.get_float("alpha", 0.01)
        return _Pair(found, rows, known * np.float32(scores[1]), slope)

    def check(self, match: _Pair, sheet: Sheet) -> str | None:
        """The weights are for this sum alone; features are few."""
        product = match.rows.product
        if product is not None and len(product.weight) > _MOST_FEATURES:
            return "the edges have too many features to multiply them again for each edge"
        return _used_twice(match.sum.node.inputs[1], match.sum.softmax)

    def rewrite(self, match: _Pair, sheet: Sheet) -> ir.Value:
        """PairAttention, and the weighted sum."""
        node, csr, product = match.sum.node, _csr(match.sum.node), match.rows.product
        ends = [sheet.shaped(match.rows.ends[end], match.rows.tail, node) for end in (SOURCE, TARGET)]
        inputs = [*ends, sheet.floats(match.att)]
        kind = "PairAttention"
        if product is not None:
            kind, inputs = "PairAttentionEdges", [*inputs, product.features, sheet.floats(product.weight)]
        weights = _weights(sheet, kind, inputs, product is not None, csr, node, negative_slope=match.slope)
        x = node.inputs[0]
        assert x is not None
        return _sum_with(sheet, node, x, weights, csr, node.outputs[0])


def _leaky(value: ir.Value | None) -> ir.Node | None:
    return made_by(value, "LeakyRelu")


# Transformers ------------------------------------------------------------


@dataclass(frozen=True)
class _Dot:
    """Scores as products of a row of each end.

    Attributes:
        query: rows of the targets.
        key: rows of the sources, and a product of the features.
        scale: of the scores.
    """

    query: ir.Value
    key: EndRows
    scale: float


def _dot(softmax: ir.Node, ends: Ends) -> _Dot | None:
    scores = _scores(softmax)
    product = None if scores is None else made_by(scores[0].inputs[0], "Mul")
    if scores is None or product is None:
        return None
    a, b = (end_rows(v, ends) for v in product.inputs)
    for query, key in ((a, b), (b, a)):
        if query is None or key is None or query.tail != key.tail or query.product is not None:
            continue
        if set(query.ends) == {TARGET} and set(key.ends) == {SOURCE}:
            return _Dot(query.ends[TARGET], key, scores[1])
    return None


def _diagonal(weight: Floats, heads: int) -> Floats:
    """[H * D, H * K]: the part [D, K] of each head on the diagonal, zeros beside it."""
    depth, width = weight.shape[0], weight.shape[1] // heads
    matrix = np.zeros((heads, depth, heads, width), np.float32)
    for h in range(heads):
        matrix[h, :, h] = weight[:, h * width : (h + 1) * width]
    return matrix.reshape(heads * depth, heads * width)


def _too_wide(weight: Floats, heads: int) -> str | None:
    if weight.size * heads * 4 > _MOST_BYTES:
        return "the edges have too many features for a matrix with a part for each head"
    return None


def _dot_weights(sheet: Sheet, match: _Dot, csr: Csr, at: ir.Node) -> tuple[ir.Value, ir.Value | None]:
    """The weights of a transformer's attention, and the features under them where the edges have some."""
    heads, width = match.key.tail
    query, key = (sheet.shaped(v, match.key.tail, at) for v in (match.query, match.key.ends[SOURCE]))
    product = match.key.product
    if product is None:
        return _weights(sheet, "DotAttention", [query, key], False, csr, at, scale=match.scale), None
    assert csr.col is not None
    depth, rows = len(product.weight), None if query.shape is None else query.shape[0]
    flat, matrix = sheet.shaped(query, [heads * width], at), sheet.floats(_diagonal(product.weight, heads))
    shape = [rows, heads * depth]
    asked = sheet.make("Gemm", [flat, matrix], {"transB": 1}, at=at, dtype=ir.DataType.FLOAT, shape=shape)
    asked = sheet.shaped(asked, [heads, depth], at)
    inputs = [query, key, asked, product.features, csr.indptr, csr.col, csr.row, csr.perm, csr.rows]
    scale = {"scale": match.scale}
    weights, mixed = sheet.make_all("DotAttentionEdges", inputs, scale, at=at, outputs=2, domain=DOMAIN)
    weights.dtype, weights.shape = ir.DataType.FLOAT, ir.Shape([None, heads])
    mixed.dtype, mixed.shape = ir.DataType.FLOAT, ir.Shape([rows, heads, depth])
    return weights, mixed


class DotScores(Rule[tuple[_Weighted, _Dot]]):
    """A transformer's attention, whose values are rows of the sources."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[_Weighted, _Dot] | None:
        """SpMMWeighted of a softmax of products of rows of both ends."""
        found = _weighted(node)
        dot = None if found is None else _dot(found.softmax, found.ends)
        return None if found is None or dot is None else (found, dot)

    def check(self, match: tuple[_Weighted, _Dot], sheet: Sheet) -> str | None:
        """The weights are for this sum alone; features are few."""
        found, dot = match
        wide = None if dot.key.product is None else _too_wide(dot.key.product.weight, dot.key.tail[0])
        return wide or _used_twice(found.node.inputs[1], found.softmax)

    def rewrite(self, match: tuple[_Weighted, _Dot], sheet: Sheet) -> ir.Value:
        """DotAttention, and the weighted sum."""
        found, dot = match
        node, csr = found.node, _csr(found.node)
        x = node.inputs[0]
        assert x is not None
        return _sum_with(sheet, node, x, _dot_weights(sheet, dot, csr, node)[0], csr, node.outputs[0])


@dataclass(frozen=True)
class _Values:
    """A sum by row of attention times (rows of the sources, and a product of the features).

    Attributes:
        node: SegmentSum.
        weight: the attention, as the messages read it.
        softmax: SegmentSoftmax.
        dot: its scores.
        values: rows of the sources, and a product of the same features.
        source: index of the sources.
        index: of the targets.
        rows: how many.
    """

    node: ir.Node
    weight: ir.Value
    softmax: ir.Node
    dot: _Dot
    values: EndRows
    source: ir.Value
    index: ir.Value
    rows: ir.Value


class FeaturePair(IdlePair):
    """An idle Q/DQ pair behind a product of the edges' features, which `EdgeValues` takes apart."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Node | None:
        """A pair that no integer operator reads, of features of the edges times a constant."""
        found = super().pattern(node, sheet)
        return found if found is not None and feature_product(same_values(found.inputs[0])) is not None else None


class EdgeValues(Rule[_Values]):
    """A transformer's attention with features of the edges, in the scores and in the values."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Values | Miss | None:
        """A sum by row of a softmax times a sum of rows and of a product of features."""
        found = segments(node.outputs[0], "Sum") if node.outputs else None
        product = None if found is None else made_by(same_values(found.messages), "Mul")
        target = None if found is None else edge_row(found.index)
        if found is None or product is None or target is None:
            return None
        for weight, value in (product.inputs, product.inputs[::-1]):
            softmax = made_by(same_values(weight), "SegmentSoftmax")
            index = None if softmax is None else made_by(softmax.inputs[1], "IndexToCsr")
            if softmax is None or index is None or weight is None or index.inputs[0] is not found.index:
                continue
            ends = Ends(target[0], 1 - target[1])
            values, dot = end_rows(value, ends), _dot(softmax, ends)
            if values is None or values.product is None or set(values.ends) != {SOURCE}:
                return None
            if dot is None or dot.key.product is None:
                return Miss("the values have features of the edges, and the scores are no products of rows with them")
            if dot.key.product.features is not values.product.features or dot.key.tail[0] != values.tail[0]:
                return Miss("scores and values have different features of the edges, or different heads")
            if tail_of(weight) != (values.tail[0], 1):
                return Miss("values are weighted otherwise than one number a head")
            source = next((v for v in _indices(value) if partner(v, found.index)), None)
            if source is None:
                return None
            return _Values(node, weight, softmax, dot, values, source, found.index, found.rows)
        return None

    def check(self, match: _Values, sheet: Sheet) -> str | None:
        """The weights are for this sum alone; features are few."""
        heads = match.values.tail[0]
        for rows in (match.values, match.dot.key):
            assert rows.product is not None
            if (reason := _too_wide(rows.product.weight, heads)) is not None:
                return reason
        return _used_twice(match.weight, match.softmax)

    def rewrite(self, match: _Values, sheet: Sheet) -> ir.Value:
        """DotAttentionEdges, the weighted sum of rows, and the product with the features under the weights."""
        node, out = match.node, match.node.outputs[0]
        heads, width = match.values.tail
        assert match.values.product is not None
        x = sheet.shaped(match.values.ends[SOURCE], match.values.tail, node)
        csr = coo_csr(sheet, match.source, match.index, match.rows, sheet.size(x, 0, node), node)
        weights, mixed = _dot_weights(sheet, match.dot, csr, node)
        assert mixed is not None
        rows = None if out.shape is None else out.shape[0]
        like = sheet.shaped(x, match.values.tail, node)
        summed = _sum_with(sheet, node, x, weights, csr, like)
        summed.shape = ir.Shape([rows, heads, width])
        flat = sheet.shaped(summed, [heads * width], node)
        features = sheet.shaped(mixed, [heads * len(match.values.product.weight)], node)
        matrix = sheet.floats(_diagonal(match.values.product.weight, heads))
        whole = sheet.make("Gemm", [features, matrix, flat], at=node, like=flat)
        return sheet.shaped(whole, tail_of(out) or (), node)


def _indices(value: ir.Value | None) -> list[ir.Value]:
    """The indices of the look-ups in a sum."""
    node = made_by(same_values(value), "Add", "Gather")
    if node is None:
        return []
    if node.op_type == "Gather":
        return [v for v in node.inputs[1:] if v is not None]
    return [index for v in node.inputs for index in _indices(v)]
