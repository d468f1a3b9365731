"""The MLP of an EdgeConv layer in integers, a few edges at a time, without a row of features for each edge.

EdgeMlp     SegmentMax of QGemm of QuantizeGemm of [x[target], x[source] - x[target]] -> QEdgeMlpMax
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import coo_csr, edge_row, segments
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, array, axis_of, made_by, number, rank, tail_of, uniform
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["EdgeMlp", "EdgeProduct", "QEdgeProduct"]


@dataclass(frozen=True)
class _Ends:
    """Columns [x[target], x[source] - x[target]] of each edge; where the rows are looked up."""

    sources: ir.Value
    targets: ir.Value
    source: ir.Value
    target: ir.Value


@dataclass(frozen=True)
class _Product:
    """A maximum of products of a sum of both ends' rows.

    Attributes:
        node: SegmentMax.
        ends: what is added up.
        limits: what the sum is clipped to.
        weight: [K, N].
        bias: [N] or [1].
        rows: number of rows.
    """

    node: ir.Node
    ends: _Ends
    limits: dict[str, float]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    rows: ir.Value


class EdgeProduct(Rule[_Product]):
    """The maximum over neighbours of a float product, behind a ReLU of a sum of both ends' rows."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Product | None:
        """SegmentMax of Gemm of Relu of Add of two look-ups."""
        found = segments(node.outputs[0], "Max") if node.outputs else None
        product = None if found is None else made_by(found.messages, "Gemm", "MatMul")
        act = None if product is None else made_by(product.inputs[0], "Relu", "Clip")
        both = None if act is None else made_by(act.inputs[0], "Add")
        if found is None or product is None or act is None or both is None:
            return None
        if not all(alone(each.outputs[0]) for each in (product, act)):
            return None
        weight, limits, ends = _float_weight(product), _limits(act), _sum_of_ends(both, found.index)
        if weight is None or limits is None or ends is None:
            return None
        bias = array(product.inputs[2]) if len(product.inputs) > 2 else np.zeros(1, np.float32)
        if bias is None or bias.ndim != 1 or bias.size not in (1, weight.shape[1]):
            return None
        return _Product(node, ends, limits, weight, bias.astype(np.float32), found.rows)

    def rewrite(self, match: _Product, sheet: Sheet) -> ir.Value:
        """EdgeProductMax."""
        node, ends = match.node, match.ends
        csr = coo_csr(sheet, ends.source, ends.target, match.rows, sheet.size(ends.sources, 0, node), node)
        constants = [sheet.floats(match.weight), sheet.floats(match.bias)]
        inputs = [ends.sources, ends.targets, *constants, csr.indptr, csr.col, csr.row, csr.rows]
        return sheet.make("EdgeProductMax", inputs, match.limits, at=node, like=node.outputs[0], domain=DOMAIN)


def _float_weight(product: ir.Node) -> npt.NDArray[np.float32] | None:
    weight = array(product.inputs[1])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or number(product, "transA"):
        return None
    if any(product.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    return np.ascontiguousarray(weight.T if number(product, "transB") else weight)


def _limits(act: ir.Node) -> dict[str, float] | None:
    if act.op_type == "Relu":
        return {"low": 0.0}
    ends = {name: value for name, value in zip(("low", "high"), act.inputs[1:], strict=False) if value is not None}
    known = {name: uniform(value) for name, value in ends.items()}
    return {name: value for name, value in known.items() if value is not None} if None not in known.values() else None


def _sum_of_ends(both: ir.Node, target: ir.Value) -> _Ends | None:
    """Rows that are looked up at the targets, and at the sources, of the edges of one list."""
    found = [_looked_up(value) for value in both.inputs]
    own = next((each for each in found if each is not None and each[1] is target), None)
    other = next((each for each in found if each is not None and each[1] is not target), None)
    lists = edge_row(target), None if other is None else edge_row(other[1])
    if own is None or other is None or lists[0] is None or lists[1] is None:
        return None
    if lists[0][0] is not lists[1][0] or tail_of(own[0]) != tail_of(other[0]):
        return None
    return _Ends(other[0], own[0], other[1], own[1])


@dataclass(frozen=True)
class _QProduct:
    """The same with an integer product.

    Attributes:
        node: SegmentMax.
        product: QuantizeGemmFloat.
        ends: what is added up.
        limits: what the sum is clipped to.
        rows: number of rows.
    """

    node: ir.Node
    product: ir.Node
    ends: _Ends
    limits: dict[str, float]
    rows: ir.Value


class QEdgeProduct(Rule[_QProduct]):
    """The maximum over neighbours of an integer product, behind a ReLU of a sum of both ends' rows."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _QProduct | None:
        """SegmentMax of QuantizeGemmFloat of Relu of Add of two look-ups."""
        found = segments(node.outputs[0], "Max") if node.outputs else None
        product = None if found is None else made_by(found.messages, "QuantizeGemmFloat")
        act = None if product is None else made_by(product.inputs[0], "Relu", "Clip")
        both = None if act is None else made_by(act.inputs[0], "Add")
        if found is None or product is None or act is None or both is None or not _plain(product):
            return None
        if not all(alone(each.outputs[0]) for each in (product, act)):
            return None
        limits, ends = _limits(act), _sum_of_ends(both, found.index)
        return None if limits is None or ends is None else _QProduct(node, product, ends, limits, found.rows)

    def rewrite(self, match: _QProduct, sheet: Sheet) -> ir.Value:
        """QEdgeProductMax."""
        node, ends, product = match.node, match.ends, match.product
        csr = coo_csr(sheet, ends.source, ends.target, match.rows, sheet.size(ends.sources, 0, node), node)
        weights = [*product.inputs[1:3], product.inputs[4]]
        inputs = [ends.sources, ends.targets, *weights, csr.indptr, csr.col, csr.row, csr.rows]
        attributes = {**{k: a.value for k, a in product.attributes.items()}, **match.limits}
        return sheet.make("QEdgeProductMax", inputs, attributes, at=node, like=node.outputs[0], domain=DOMAIN)


@dataclass(frozen=True)
class _Mlp:
    """A maximum of two products of both ends' rows.

    Attributes:
        node: SegmentMax.
        first: QuantizeGemm.
        second: QGemmFloat.
        ends: what is multiplied.
        rows: number of rows.
    """

    node: ir.Node
    first: ir.Node
    second: ir.Node
    ends: _Ends
    rows: ir.Value


class EdgeMlp(Rule[_Mlp]):
    """The maximum over neighbours of two integer products."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Mlp | Miss | None:
        """SegmentMax of QGemmFloat of QuantizeGemm of rows of both ends."""
        if node.domain != DOMAIN or node.op_type != "SegmentMax":
            return None
        second = made_by(node.inputs[0], "QGemmFloat")
        first = None if second is None else made_by(second.inputs[0], "QuantizeGemm")
        index = made_by(node.inputs[1], "IndexToCsr")
        if first is None or second is None or index is None or node.inputs[-1] is None:
            return None
        ends = _ends(first.inputs[0])
        if ends is None or ends.target is not index.inputs[0]:
            return Miss(
                "the rows that are multiplied are not those of an edge's target and their difference to its source's"
            )
        if not all(alone(v) for v in (first.outputs[0], second.outputs[0])):
            return Miss("what the products give for each edge is used by other nodes, too")
        if not all(_plain(product) for product in (first, second)):
            return Miss("the products have a scale or a summand for each edge")
        return _Mlp(node, first, second, ends, node.inputs[-1])

    def rewrite(self, match: _Mlp, sheet: Sheet) -> ir.Value:
        """QEdgeMlpMax."""
        node, ends = match.node, match.ends
        csr = coo_csr(sheet, ends.source, ends.target, match.rows, sheet.size(ends.sources, 0, node), node)
        weights = [v for product in (match.first, match.second) for v in (*product.inputs[1:3], product.inputs[4])]
        inputs = [ends.sources, ends.targets, *weights, csr.indptr, csr.col, csr.row, csr.rows]
        first, second = ({k: a.value for k, a in each.attributes.items()} for each in (match.first, match.second))
        attributes = {k: v for k, v in first.items() if k.startswith("x_")}
        attributes |= {f"hidden_{k[2:]}": first[k] for k in ("y_scale", "y_zero_point") if k in first}
        attributes |= {f"hidden_{k[5:]}": first[k] for k in ("clip_low", "clip_high") if k in first}
        attributes |= {k: second[k] for k in ("clip_low", "clip_high") if k in second}
        return sheet.make("QEdgeMlpMax", inputs, attributes, at=node, like=node.outputs[0], domain=DOMAIN)


def _ends(value: ir.Value | None) -> _Ends | None:
    both = made_by(value, "Concat")
    if both is None or len(both.inputs) != 2 or axis_of(both) not in (-1, 1) or rank(value) != 2:
        return None
    own, less = _looked_up(both.inputs[0]), made_by(both.inputs[1], "Sub")
    other, again = (None, None) if less is None else (_looked_up(v) for v in less.inputs)
    if own is None or other is None or again is None or (own[0], own[1]) != (again[0], again[1]):
        return None
    lists = edge_row(own[1]), edge_row(other[1])
    if lists[0] is None or lists[1] is None or lists[0][0] is not lists[1][0] or lists[0][1] == lists[1][1]:
        return None
    return _Ends(other[0], own[0], other[1], own[1]) if tail_of(own[0]) == tail_of(other[0]) else None


def _looked_up(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(table, index) of float rows."""
    node = made_by(value, "Gather")
    if node is None or axis_of(node) or rank(node.inputs[1]) != 1:
        return None
    table, index = node.inputs
    if table is None or index is None or table.dtype != ir.DataType.FLOAT or rank(table) != 2:
        return None
    return table, index


def _plain(product: ir.Node) -> bool:
    """Whether a product has one row scale, 1, and adds nothing."""
    return uniform(product.inputs[3]) == 1.0 and uniform(product.inputs[5]) == 0.0
