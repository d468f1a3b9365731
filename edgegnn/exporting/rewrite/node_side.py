"""Work that is done for every edge but depends on one end of it only: done for every node instead.

    LookUpLater     f(Gather(x, i)) -> Gather(f(x), i), for an f that works on each row by itself
    Spread          mean of m^2 - (mean of m)^2, where m is a[source] + b[target] -> the same of a[source]
    SplitSums       sum, mean, max or min of a[source] + b[target] -> the same of a[source], plus b where an edge ends

PNA's messages are such sums; products of both ends are in `split_products.py`. Only for lists of all edges: rows that
are looked up for a few selected edges stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import Segments, edge_row, index_csr, partner, segments
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, array, axis_of, made_by, number, rank, same_values, tail_of
from edgegnn.exporting.rewrite.messages import finite
from edgegnn.exporting.rewrite.rule import Miss, Rule
from edgegnn.runtime.roles import PAIRS

__all__ = ["LookUpLater", "SplitSums", "Spread", "Term", "looked_up"]

_ALONE = {  # operators that work on each element
    *("Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Neg"),
    *("Reciprocal", "Relu", "Selu", "Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh"),
}
_TOGETHER = {"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"}
LAYOUTS = {"Reshape", "Squeeze", "Unsqueeze"}
_OF_ROWS = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Softmax", "LayerNormalization"}


_QUANTIZE = {"QuantizeLinear", "DequantizeLinear"}
_ROW_BY_ROW = _ALONE | _TOGETHER | LAYOUTS | _OF_ROWS | _QUANTIZE | {"Gather", "Gemm", "MatMul"}


def looked_up(value: ir.Value | None, *, codes: bool = False) -> tuple[ir.Value, ir.Value] | None:
    """(table, index) of rows that are looked up for each edge of a whole list; of float, or of `codes` as well."""
    node = made_by(value, "Gather")
    if node is None or axis_of(node) or rank(node.inputs[1]) != 1:
        return None
    table, index = node.inputs
    row = edge_row(index)
    if table is None or index is None or row is None or not (codes or table.dtype == ir.DataType.FLOAT):
        return None
    edges = row[0].producer()
    whole = edges.op_type == "Concat" if edges is not None else not _lists_pairs(row[0])
    return (table, index) if whole else None


def _lists_pairs(value: ir.Value) -> bool:
    """Whether an input lists pairs that are asked for: a few, of nodes that may be many."""
    return value.shape is not None and len(value.shape) == 2 and str(value.shape[1]) == PAIRS.size


# One end ------------------------------------------------------------


class LookUpLater(Rule[tuple[ir.Node, ir.Value]]):
    """An operator on rows that were looked up."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value] | Miss | None:
        """(the operator, the index)."""
        if node.domain or not node.inputs or len(node.outputs) != 1:
            return None
        found = [looked_up(v, codes=node.op_type in _QUANTIZE) for v in node.inputs]
        indices = {index for pair in found if pair is not None for index in (pair[1],)}
        if len(indices) != 1:
            return None
        if node.op_type not in _ROW_BY_ROW:
            return None
        if tail_of(node.outputs[0]) is None:
            return Miss(f"{node.op_type} of rows that are looked up makes rows of a width that is not known")
        if not self._row_by_row(node, found):
            return Miss(f"{node.op_type} of rows that are looked up mixes rows, or reads a number of each edge, too")
        return node, indices.pop()

    @staticmethod
    def _row_by_row(node: ir.Node, found: Sequence[tuple[ir.Value, ir.Value] | None]) -> bool:
        out, first = node.outputs[0], node.inputs[0]
        if first is None:
            return False
        kind, others = node.op_type, [v for v, pair in zip(node.inputs, found, strict=True) if pair is None and v]
        if kind in _ALONE:
            return found[0] is not None and all(array(v) is not None for v in others)
        if kind in _TOGETHER:
            ranks = {rank(pair[0]) for pair in found if pair is not None}
            return ranks == {rank(out)} and all(_broadcast(v, out) for v in others)
        if found[0] is None:
            return False
        if kind in {"Gemm", "MatMul"}:
            weights = all(v.is_initializer() for v in others) and not number(node, "transA")
            return weights and rank(first) == 2 == rank(out) and (kind == "MatMul" or len(node.inputs) >= 2)
        if kind in LAYOUTS:
            return same_values(out) is not out
        if kind in _QUANTIZE:
            return all(v.is_initializer() and v.shape is not None and all(s == 1 for s in v.shape) for v in others)
        if kind == "Gather":
            return axis_of(node) > 0 and all(array(v) is not None for v in others)
        if kind in {"Softmax", "LayerNormalization"}:
            axis = number(node, "axis") if "axis" in node.attributes else -1
            return axis % (rank(first) or 1) > 0 and all(v.is_initializer() for v in others)
        if kind in _OF_ROWS:
            axes = array(node.inputs[1]) if len(node.inputs) > 1 else None
            return axes is not None and axes.size > 0 and bool((axes % (rank(first) or 1) > 0).all())
        return False

    def rewrite(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> ir.Value:
        """The operator on the tables, then the look-up."""
        node, index = match
        out, tail = node.outputs[0], tail_of(node.outputs[0]) or ()
        pairs = [looked_up(v, codes=node.op_type in _QUANTIZE) for v in node.inputs]
        inputs = [v if pair is None else pair[0] for v, pair in zip(node.inputs, pairs, strict=True)]
        table = next(pair[0] for pair in pairs if pair is not None)
        rows = None if table.shape is None else table.shape[0]
        if node.op_type in LAYOUTS:
            new = sheet.shaped(table, tail, node)
        else:
            key = ("lifted", node.op_type, *inputs, str(sorted(node.attributes.items())))
            new = sheet.once(key, lambda: self._on_tables(sheet, node, inputs, [rows, *tail]))[0]
        return sheet.make("Gather", [new, index], {"axis": 0}, at=node, like=out)

    @staticmethod
    def _on_tables(sheet: Sheet, node: ir.Node, inputs: Sequence[ir.Value | None], shape: list[Any]) -> ir.Value:
        new = sheet.make(node.op_type, inputs, node.attributes, at=node, like=node.outputs[0], shape=shape)
        made = new.producer()
        assert made is not None
        made.name = node.name  # quantization points are known by it
        return new


def _broadcast(value: ir.Value, out: ir.Value) -> bool:
    """Whether a constant is the same for all rows of `out`."""
    known = array(value)
    if known is None or out.shape is None:
        return False
    return known.ndim < len(out.shape) or known.shape[0] == 1


# Both ends ------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """A summand of a message: rows of a table that are looked up, or a tensor of the edges (index None)."""

    sign: int
    table: ir.Value
    index: ir.Value | None


@dataclass(frozen=True)
class _Sum:
    """A reduction of a[source] + b[target].

    Attributes:
        segments: the reduction.
        source: index of the source of each edge.
        sources: what is looked up there.
        targets: what is looked up at the target.
        tail: sizes of a message.
    """

    segments: Segments
    source: ir.Value
    sources: tuple[Term, ...]
    targets: tuple[Term, ...]
    tail: tuple[int, ...]


def _sum_of(messages: ir.Value, found: Segments) -> _Sum | None:
    base, tail = same_values(messages), tail_of(messages)
    terms = None if base is None else _terms(base)
    if tail is None or terms is None or any(t.index is None for t in terms):
        return None
    sources = tuple(t for t in terms if t.index is not None and partner(t.index, found.index))
    targets = tuple(t for t in terms if t.index is found.index)
    if not sources or not targets or len(sources) + len(targets) != len(terms):
        return None
    source = sources[0].index
    return None if source is None else _Sum(found, source, sources, targets, tail)


def _terms(value: ir.Value, sign: int = 1) -> list[Term] | None:
    pair, node = looked_up(value), made_by(value, "Add", "Sub")
    if pair is not None:
        return [Term(sign, *pair)]
    if node is None or any(
        rank(v) != rank(value) or tail_of(v) != tail_of(value) for v in node.inputs if v is not None
    ):
        return None
    left, right = node.inputs
    first = None if left is None else _terms(left, sign)
    second = None if right is None else _terms(right, sign if node.op_type == "Add" else -sign)
    return None if first is None or second is None else [*first, *second]


def _added(sheet: Sheet, terms: Sequence[Term], tail: tuple[int, ...], at: ir.Node) -> ir.Value:
    """The sum of tables."""
    result: ir.Value | None = None
    for term in sorted(terms, key=lambda t: -t.sign):
        table = sheet.shaped(term.table, tail, at)
        if result is None:
            result = table if term.sign > 0 else sheet.make("Neg", [table], at=at, like=table)
        else:
            result = sheet.make("Add" if term.sign > 0 else "Sub", [result, table], at=at, like=table)
    assert result is not None
    return result


def _messages(sheet: Sheet, match: _Sum) -> ir.Value:
    """The part of each message that comes from the source: a[source]."""
    node, found = match.segments.node, match.segments

    def make() -> ir.Value:
        a = _added(sheet, match.sources, match.tail, node)
        return sheet.make("Gather", [a, match.source], {"axis": 0}, at=node, like=found.messages)

    return sheet.once(("messages", found.messages, match.source), make)[0]


class Spread(Rule[tuple[ir.Node, _Sum]]):
    """A variance of a[source] + b[target]: b is the same for all messages of a row."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, _Sum] | Miss | None:
        """(Sub, the mean of the messages)."""
        if node.op_type != "Sub":
            return None
        squares, square = segments(node.inputs[0], "Mean"), made_by(node.inputs[1], "Mul")
        mean = (
            None if square is None or square.inputs[0] is not square.inputs[1] else segments(square.inputs[0], "Mean")
        )
        product = None if squares is None else made_by(squares.messages, "Mul")
        if squares is None or mean is None or product is None:
            return None
        if squares.index is not mean.index or squares.rows is not mean.rows:
            return Miss("variance: the mean and the mean of squares are over different rows", squares.node)
        if any(v is not mean.messages for v in product.inputs):
            return Miss("variance: the squared tensor is not the one that the mean is taken of", squares.node)
        match = _sum_of(mean.messages, mean)
        return None if match is None else (node, match)

    def rewrite(self, match: tuple[ir.Node, _Sum], sheet: Sheet) -> ir.Value:
        """The same, of a[source] alone."""
        node, summed = match
        csr = summed.segments.node.inputs[1:]
        messages = _messages(sheet, summed)
        out = node.outputs[0]
        squares = sheet.make("Mul", [messages, messages], at=node, like=messages)
        means = [sheet.make("SegmentMean", [v, *csr], at=node, like=out, domain=DOMAIN) for v in (squares, messages)]
        square = sheet.make("Mul", [means[1], means[1]], at=node, like=out)
        return sheet.make("Sub", [means[0], square], at=node, like=out)


class SplitSums(Rule[_Sum]):
    """A reduction of messages that are sums of what is looked up at both ends."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Sum | Miss | None:
        """A Segment op."""
        found = segments(node.outputs[0], "Sum", "Mean", "Max", "Min") if node.outputs else None
        match = None if found is None else _sum_of(found.messages, found)
        if found is None or match is not None:
            return match
        both = made_by(same_values(found.messages), "Add", "Sub")
        ends = [] if both is None else [looked_up(value) for value in both.inputs]
        if any(end is not None and end[1] is found.index for end in ends) and not all(ends):
            return Miss("messages are sums of what is looked up at the target and of a number of the edge itself")
        return None

    def check(self, match: _Sum, sheet: Sheet) -> str | None:
        """The summand of the target is multiplied by 0 where no edge ends, so it has to be finite."""
        if all(finite(t.table) for t in match.targets):
            return None
        return "a summand of the target may be infinite where no edge ends"

    def rewrite(self, match: _Sum, sheet: Sheet) -> ir.Value:
        """Reduce what comes from the sources; add what belongs to the target."""
        found, node = match.segments, match.segments.node
        out, how = node.outputs[0], match.segments.how
        messages = _messages(sheet, match)
        reduced = sheet.make(node.op_type, [messages, *node.inputs[1:]], at=node, like=out, domain=DOMAIN)
        own = _added(sheet, match.targets, match.tail, node)
        csr = index_csr(sheet, found.index, found.rows, node)
        inputs = [csr.indptr, csr.row, csr.rows]

        def degree() -> ir.Value:
            return sheet.make("CsrDegree", inputs, at=node, dtype=ir.DataType.FLOAT, shape=[None], domain=DOMAIN)

        times = sheet.once(("degree", *inputs), degree)[0]
        if how != "Sum":
            times = sheet.once(
                ("any", times), lambda: sheet.make("Min", [times, sheet.floats(1.0)], at=node, like=times)
            )[0]
        factor = sheet.shaped(times, (1,) * len(match.tail), node)
        if how in {"Max", "Min"}:
            both = sheet.make("Add", [reduced, own], at=node, like=out)
            return sheet.make("Mul", [both, factor], at=node, like=out)
        counted = sheet.make("Mul", [own, factor], at=node, like=out)
        return sheet.make("Add", [reduced, counted], at=node, like=out)
