"""Reductions of rows over neighbours.

    Rows            ScatterElements(0, row of each message, messages) -> SegmentSum, SegmentMax, SegmentMin
    Mean            SegmentSum / max(degree, 1) -> SegmentMean
    Neighbours      Segment* of Gather(x, source of each edge) -> SpMM, SpMMMean, SpMMMax, SpMMMin
    Weighted        SegmentSum of weight * Gather(x, source) -> SpMMWeighted

`Rows` comes first and every other rule of aggregations starts from what it leaves; standard deviations and variances
are sums and means of squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import Csr, Segments, coo_csr, edge_row, index_csr, segments
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, axis_of, made_by, rank, same_values, tail_of, uniform
from edgegnn.exporting.rewrite.messages import EDGE, SOURCE, TARGET, Factor, Message, finite, message_of, product, width
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["Mean", "Neighbours", "Rows", "Weighted", "csr_for", "share"]

_HOWS = {"add": "Sum", "max": "Max", "min": "Min"}
_EXTREMES = {"Max", "Min"}
_BOUND = 3.4e38  # torch's exporter starts a maximum from the lowest float


@dataclass(frozen=True)
class _Scatter:
    """A reduction by ScatterElements.

    Attributes:
        node: the operator.
        how: add, max, min or mul.
        index: the row of each message, int64 [E]; None when elements of a row go to different rows.
        start: what the result starts from, [R, ...].
        alone: what it starts from doesn't count where there are messages.
        axis: of the rows.
    """

    node: ir.Node
    how: str
    index: ir.Value | None
    start: ir.Value
    alone: bool
    axis: int


class Rows(Rule[_Scatter]):
    """A reduction of rows by an index."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Scatter | Miss | None:
        """ScatterElements with a reduction."""
        how = node.attributes.get_string("reduction", "none")
        if node.op_type == "ScatterND" and how != "none":
            return Miss("each message names its place by several indices (ScatterND): the native ops reduce by one")
        if node.op_type != "ScatterElements" or how == "none" or len(node.inputs) != 3:
            return None
        start, index, messages = node.inputs
        size = rank(messages)
        if start is None or index is None or messages is None:
            return None
        if not size:
            return Miss("the number of dimensions of the messages is not known")
        uses = node.outputs[0].uses()
        if uses and all(use.node.op_type == node.op_type and use.idx == 0 for use in uses):
            return None  # only what the next one starts from
        axis = axis_of(node) % size
        root, inner = _row_index(index, messages, axis), made_by(start, "ScatterElements")
        if inner is not None and inner.attributes.get_string("reduction", "none") == {"max": "min", "min": "max"}.get(
            how
        ):
            bound = uniform(inner.inputs[2])
            before = inner.inputs[0]
            same = inner.inputs[1] is index and before is not None and uniform(before) == 0
            if same and bound is not None and (bound <= -_BOUND if how == "max" else bound >= _BOUND):
                assert before is not None
                return _Scatter(node, how, root, before, True, axis)
        return _Scatter(node, how, root, start, False, axis)

    def check(self, match: _Scatter, sheet: Sheet) -> str | None:
        """The native ops reduce float32 rows, and start from zero."""
        if match.how not in _HOWS:
            return "a product of messages: there is no native op for it"
        if match.index is None:
            return "elements of one message go to different rows"
        out, messages = match.node.outputs[0], match.node.inputs[2]
        if out.dtype == ir.DataType.FLOAT:
            return None
        if match.how == "add" and uniform(messages) == 1.0 and uniform(match.start) == 0.0 and rank(out) == 1:
            return None  # counts
        kind = "unknown type" if out.dtype is None else out.dtype.name.lower()
        return f"values are {kind}: the native ops reduce float32"

    def rewrite(self, match: _Scatter, sheet: Sheet) -> ir.Value:
        """Segment*."""
        node, out = match.node, match.node.outputs[0]
        messages = node.inputs[2]
        assert messages is not None
        assert match.index is not None
        rows = _number_of_rows(sheet, match)
        if out.dtype != ir.DataType.FLOAT:
            messages = sheet.make("Cast", [messages], {"to": ir.DataType.FLOAT}, at=node, like=messages)
            messages.dtype = ir.DataType.FLOAT
        size = rank(messages) or 1
        front = [match.axis, *(i for i in range(size) if i != match.axis)]
        moved = _rows_first(sheet, messages, match.axis, node) if match.axis else messages
        csr = index_csr(sheet, match.index, rows, node)
        tail = [] if moved.shape is None else list(moved.shape)[1:]
        result = sheet.make(
            f"Segment{_HOWS[match.how]}",
            [moved, csr.indptr, csr.row, csr.perm, rows],
            at=node,
            dtype=ir.DataType.FLOAT,
            shape=[None if out.shape is None else out.shape[match.axis], *tail],
            domain=DOMAIN,
        )
        if match.axis:
            result = sheet.transposed(result, [front.index(i) for i in range(size)], node)
        if out.dtype != ir.DataType.FLOAT:
            return sheet.make("Cast", [result], {"to": out.dtype}, at=node, like=out)
        if match.alone or (match.how == "add" and uniform(match.start) == 0):
            return result
        joined = {"add": "Add", "max": "Max", "min": "Min"}[match.how]
        return sheet.make(joined, [match.start, result], at=node, like=out)


def _rows_first(sheet: Sheet, value: ir.Value, axis: int, at: ir.Node) -> ir.Value:
    """A tensor with one of its axes in front; look-ups and products are done that way round, not turned afterwards."""
    size, node = rank(value) or 0, made_by(value, "Gather", "Mul")
    front = [axis, *(i for i in range(size) if i != axis)]
    sizes = None if value.shape is None else [value.shape[i] for i in front]
    if node is not None and node.op_type == "Gather" and node.inputs[0] is not None:
        if axis_of(node) == axis and rank(node.inputs[1]) == 1:
            table = sheet.transposed(node.inputs[0], front, at)
            return sheet.make("Gather", [table, node.inputs[1]], {"axis": 0}, at=at, dtype=value.dtype, shape=sizes)
    elif node is not None:
        parts = []
        for operand in node.inputs:
            missing = size - (rank(operand) or 0)
            tail = None if operand is None or missing > axis else tail_of(operand)
            if operand is not None and not missing:
                parts.append(_rows_first(sheet, operand, axis, at))
            elif operand is not None and missing == axis and tail is not None:  # it starts with the axis
                parts.append(sheet.shaped(operand, [*(1,) * axis, *tail], at))
        if len(parts) == 2:
            return sheet.make("Mul", parts, at=at, dtype=value.dtype, shape=sizes)
    return sheet.transposed(value, front, at)


def _number_of_rows(sheet: Sheet, match: _Scatter) -> ir.Value:
    made = made_by(match.start, "ConstantOfShape", "Expand")
    if made is not None and match.axis == 0:
        shape = made.inputs[0] if made.op_type == "ConstantOfShape" else made.inputs[1]
        if shape is not None:
            return sheet.first_element(shape, match.node)
    return sheet.size(match.start, match.axis, match.node)


def _row_index(index: ir.Value, messages: ir.Value, axis: int) -> ir.Value | None:
    """The vector that an index of ScatterElements repeats over all axes but one."""
    size, line = rank(messages) or 0, index
    expand = made_by(line, "Expand")
    if expand is not None and expand.inputs[0] is not None:
        line = expand.inputs[0]
    if line.shape is None or messages.shape is None or line.dtype != ir.DataType.INT64:
        return None
    at = axis - (size - len(line.shape))
    if at < 0 or any(s != 1 for i, s in enumerate(line.shape) if i != at):
        return None
    if line.shape[at] == 1 and messages.shape[axis] != 1:  # one row for all
        return None
    if expand is None and any(s != 1 for i, s in enumerate(messages.shape) if i != axis):
        return None
    while rank(line) != 1:
        step = made_by(line, "Reshape", "Unsqueeze", "Squeeze", "Identity")
        if step is None or step.inputs[0] is None:
            return None
        line = step.inputs[0]
    return line


# Means ------------------------------------------------------------


class Mean(Rule[Segments]):
    """A sum divided by the number of messages; no message counts as one."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> Segments | Miss | None:
        """The sum."""
        if node.op_type != "Div":
            return None
        found = segments(node.inputs[0], "Sum")
        if found is None:
            return None
        count = _per_row(node.inputs[1])
        least = made_by(count, "Max", "Clip")
        degree = None if least is None else made_by(_per_row(least.inputs[0]), "CsrDegree")
        if made_by(count, "CsrDegree") is not None:
            return Miss(
                "the sum is divided by the number of messages as it is: a mean counts no message as one", found.node
            )
        if least is None or degree is None:
            return None
        if uniform(least.inputs[1]) != 1.0:
            return Miss("the number of messages that divides the sum has another lower limit than 1", found.node)
        if least.op_type == "Clip" and len(least.inputs) > 2 and least.inputs[2] is not None:
            return Miss("the number of messages that divides the sum has an upper limit", found.node)
        if degree.inputs[0] is not found.node.inputs[1]:
            return Miss("the sum is divided by the number of messages of another index", found.node)
        return found

    def rewrite(self, match: Segments, sheet: Sheet) -> ir.Value:
        """SegmentMean."""
        node = match.node
        return sheet.make("SegmentMean", node.inputs, at=node, like=node.outputs[0], domain=DOMAIN)


def _per_row(value: ir.Value | None) -> ir.Value | None:
    """The vector [R] that a tensor repeats along its rows."""
    node = made_by(value, "Expand")
    line = value if node is None else node.inputs[0]
    if line is None or ((rank(line) or 0) > 1 and any(size != 1 for size in tail_of(line) or (0,))):
        return None
    return same_values(line)


# Over edges ------------------------------------------------------------


def csr_for(sheet: Sheet, message: Message, x: ir.Value) -> Csr:
    """The CSR of the edges that a message goes along, for rows of `x`."""
    node = message.segments.node
    cols = sheet.size(x, 0, node)
    return coo_csr(sheet, message.source, message.segments.index, message.segments.rows, cols, node)


def share(sheet: Sheet, message: Message, degree_of: Csr) -> ir.Value:
    """max(number of messages, 1) by row, shaped to divide what they sum to."""
    node = message.segments.node
    inputs = [degree_of.indptr, degree_of.row, degree_of.rows]

    def make() -> ir.Value:
        degree = sheet.make("CsrDegree", inputs, at=node, dtype=ir.DataType.FLOAT, shape=[None], domain=DOMAIN)
        return sheet.make("Max", [degree, sheet.floats(1.0)], at=node, like=degree)

    return sheet.shaped(sheet.once(("share", *inputs), make)[0], (1,) * len(message.tail), node)


def _no_neighbours(found: Segments) -> Miss | None:
    """Why what is summed along edges are no rows of the sources."""
    if edge_row(found.index) is None:
        return None  # not along edges
    if tail_of(found.messages) is None:
        return Miss("the width of the messages is not known")
    maker = found.messages.producer()
    made = "given for each edge" if maker is None else f"made for each edge, last by {maker.op_type}"
    return Miss(f"messages are no rows that are looked up at the sources, times weights: they are {made}")


class Neighbours(Rule[Message]):
    """A reduction of rows of the sources, as they are."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> Message | Miss | None:
        """A Segment op over rows that were looked up."""
        found = segments(node.outputs[0], "Sum", "Mean", "Max", "Min") if node.outputs else None
        if found is None:
            return None
        message = message_of(found)
        if message is None:
            return _no_neighbours(found)
        if [f.role for f in message.factors] == [SOURCE]:
            return message
        return Miss("each message has a weight: extremes are of rows as they are") if found.how in _EXTREMES else None

    def check(self, match: Message, sheet: Sheet) -> str | None:
        """Rows, not reciprocals; of the whole width."""
        factor = match.factors[0]
        return None if factor.tail == match.tail and not factor.divides else "messages are wider than the rows"

    def rewrite(self, match: Message, sheet: Sheet) -> ir.Value:
        """SpMM."""
        node, how = match.segments.node, match.segments.how
        x = sheet.shaped(match.factors[0].value, match.tail, node)
        csr = csr_for(sheet, match, x)
        kind = "SpMM" if how == "Sum" else f"SpMM{how}"
        inputs = [x, csr.indptr, csr.col, csr.row, csr.rows]
        return sheet.make(kind, inputs, at=node, like=node.outputs[0], domain=DOMAIN)


class Weighted(Rule[Message]):
    """A sum of rows of the sources, each times a number of its edge (or a number for each head)."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> Message | None:
        """A sum or mean of products."""
        found = segments(node.outputs[0], "Sum", "Mean") if node.outputs else None
        message = None if found is None else message_of(found)
        return message if message is not None and len(message.factors) > 1 else None

    def check(self, match: Message, sheet: Sheet) -> str | None:
        """One weight an edge, or one an edge and head; the rest belongs to nodes."""
        rows, _, outside = _parts(match)
        if width(rows, len(match.tail)) != match.tail:
            return "messages are wider than the rows that are looked up at the sources"
        if any(f.role == EDGE for f in (*rows, *outside)):
            return "each edge has a factor for every channel"
        if not all(finite(f.value) for f in outside if f.role == TARGET):
            return "a factor of the target may be infinite where no edge ends"
        return None

    def rewrite(self, match: Message, sheet: Sheet) -> ir.Value:
        """SpMMWeighted."""
        node, out = match.segments.node, match.segments.node.outputs[0]
        rows, weights, outside = _parts(match)
        tail, heads = match.tail, [size for size in width(weights, len(match.tail)) if size != 1]
        if not heads:
            tail = (int(np.prod(tail or (1,))),)
        x = sheet.shaped(product(sheet, None, rows, node, edges=False), tail, node)
        w = sheet.shaped(product(sheet, None, weights, node, edges=True), heads, node)
        csr = csr_for(sheet, match, x)
        inputs = [x, w, csr.indptr, csr.col, csr.row, csr.perm, csr.rows]
        shape = [None if out.shape is None else out.shape[0], *tail]
        summed = sheet.make("SpMMWeighted", inputs, at=node, dtype=out.dtype, shape=shape, domain=DOMAIN)
        result = sheet.shaped(summed, match.tail, node)
        if match.segments.how == "Mean":
            result = sheet.make("Div", [result, share(sheet, match, csr)], at=node, like=out)
        return product(sheet, result, outside, node, edges=False)


def _parts(message: Message) -> tuple[list[Factor], list[Factor], list[Factor]]:
    """Factors by where they go: rows that are summed, weights of edges, factors of the sum."""
    rows: list[Factor] = []
    weights: list[Factor] = []
    outside: list[Factor] = []
    for factor in sorted(message.factors, key=lambda f: (f.divides, -int(np.prod(f.tail)))):
        narrow = _narrow(factor.tail, message.tail)
        if factor.role == SOURCE and (not rows or not narrow or width(rows, len(message.tail)) != message.tail):
            rows.append(factor)
        else:
            (weights if narrow else outside).append(factor)
    return rows, weights, outside


def _narrow(tail: tuple[int, ...], message: tuple[int, ...]) -> bool:
    """Whether a factor is one number an edge, or one an edge and head."""
    return all(size == 1 for size in tail) or (len(tail) == 2 and tail[1] == 1 and tail[0] == message[0])
