"""Sums of messages that have a weight for each channel, as filters of distances make them (SchNet, PaiNN).

    Channels        SegmentSum of d * w * Gather(x, source), and of sums of such -> SpMMChannels

Messages are `[E, F]`, or vectors in space: `[E, F, 3]` or `[E, 3, F]`, whose coordinates are the planes of the op. The
weights of all uses of one filter are read where they are, without a copy of each part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.aggregate import csr_for, share
from edgegnn.exporting.rewrite.csr import Segments, segments
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, array, axis_of, made_by, rank, same_values, tail_of
from edgegnn.exporting.rewrite.messages import (
    CONSTANT,
    EDGE,
    SOURCE,
    TARGET,
    Factor,
    Message,
    message_of,
    product,
    width,
)
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["Channels"]


@dataclass(frozen=True)
class _Term:
    """A summand of the messages.

    Attributes:
        message: its factors.
        channels: the axis of `message.tail` along which the weights differ.
        wide: the factors that are weights of channels.
        narrow: the factors of edges that are the same for all channels.
        rows: what is looked up, and constants.
    """

    message: Message
    channels: int
    wide: tuple[Factor, ...]
    narrow: tuple[Factor, ...]
    rows: tuple[Factor, ...]


@dataclass(frozen=True)
class _Sum:
    """A sum of messages: terms that become SpMMChannels, and what is left of the messages."""

    segments: Segments
    terms: tuple[_Term, ...]
    rest: tuple[ir.Value, ...]


class Channels(Rule[_Sum]):
    """A sum of rows of the sources, each channel of a message with a weight of its own."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Sum | Miss | None:
        """A sum or mean of products, or of sums of products."""
        found = segments(node.outputs[0], "Sum", "Mean") if node.outputs else None
        tail = None if found is None else tail_of(found.messages)
        if found is None or tail is None:
            return None
        terms, rest, reasons = [], [], []
        for value in _summands(found.messages, tail):
            term = _term(replace(found, messages=value))
            if isinstance(term, _Term):
                terms.append(term)
                continue
            rest.append(value)
            reasons += [term] if term else []
        if terms:
            return _Sum(found, tuple(terms), tuple(rest))
        return Miss(reasons[0]) if reasons else None

    def check(self, match: _Sum, sheet: Sheet) -> str | None:
        """All of it, or a part that is worth the split."""
        if len(match.rest) > len(match.terms):
            return "most summands of the messages have no weights of channels"
        return None

    def rewrite(self, match: _Sum, sheet: Sheet) -> ir.Value:
        """SpMMChannels of each term."""
        node, out = match.segments.node, match.segments.node.outputs[0]
        total = None
        for term in match.terms:
            part = _summed(sheet, term, node)
            total = part if total is None else sheet.make("Add", [total, part], at=node, like=part)
        assert total is not None
        if match.rest:
            left = match.rest[0]
            for value in match.rest[1:]:
                left = sheet.make("Add", [left, value], at=node, like=left)
            inputs = [left, *node.inputs[1:]]
            part = sheet.make("SegmentSum", inputs, at=node, like=out, domain=DOMAIN)
            total = sheet.make("Add", [total, part], at=node, like=out)
        if match.segments.how == "Mean":
            message = match.terms[0].message
            csr = csr_for(sheet, message, match.terms[0].rows[0].value)
            total = sheet.make("Div", [total, share(sheet, message, csr)], at=node, like=out)
        return total


def _summands(value: ir.Value, tail: tuple[int, ...]) -> list[ir.Value]:
    """The summands of the messages, each as wide as the messages."""
    node = made_by(value, "Add")
    if node is None or len(value.uses()) != 1:
        return [value]
    parts = [v for v in node.inputs if v is not None and tail_of(v) == tail]
    return [each for part in parts for each in _summands(part, tail)] if len(parts) == 2 else [value]


def _term(found: Segments) -> _Term | str:
    """A summand whose weights differ from channel to channel; else why it is none, "" where it has no such weights."""
    message = message_of(found)
    edges = [] if message is None else message.of(EDGE)
    places = [[i for i, size in enumerate(f.tail) if size != 1] for f in edges]
    if message is None or not any(places):
        return ""
    if len(message.tail) > 2:
        return f"messages have {len(message.tail)} axes: only vectors, and vectors in space, are known"
    if any(f.divides for f in message.factors):
        return "messages are divided by a factor of the source or the edge"
    if message.of(TARGET):
        return "messages have a factor of the target, too"
    if any(len(at) > 1 for at in places):
        return "the weights of an edge differ along several axes of its message"
    channels = _channels(message, places)
    if channels is None:
        return "the weights of an edge differ along an axis that the rows at the sources don't have"
    wide = [f for f, at in zip(edges, places, strict=True) if at == [channels]]
    narrow = [f for f, at in zip(edges, places, strict=True) if at != [channels]]
    rows = [*message.of(SOURCE), *message.of(CONSTANT)]
    if width(rows, len(message.tail))[channels] != message.tail[channels]:
        return "messages are wider than the rows that are looked up at the sources"
    return _Term(message, channels, tuple(wide), tuple(narrow), tuple(rows))


def _channels(message: Message, places: list[list[int]]) -> int | None:
    """The axis of the channels: the widest along which a factor of the edges differs, and a looked up row, too."""
    rows = width(message.of(SOURCE), len(message.tail))
    axes = {at[0] for at in places if len(at) == 1 and rows[at[0]] != 1}
    return max(axes, key=lambda axis: message.tail[axis], default=None)


def _summed(sheet: Sheet, term: _Term, node: ir.Node) -> ir.Value:
    message, tail = term.message, term.message.tail
    first = len(tail) == 2 and term.channels == 0  # channels, then coordinates
    table = product(sheet, None, term.rows, node, edges=False)
    own = width(term.rows, len(tail))
    table = sheet.shaped(table, own, node)
    if first and own[1] != 1:
        table = sheet.transposed(table, (0, 2, 1), node)
    elif len(tail) == 1 or first:
        table = sheet.shaped(table, (1, own[0]), node)
    weights, offset, more = _weights(sheet, term, node)
    factors = [*term.narrow, *more]
    planes = int(np.prod(width(factors, len(tail)) if factors else (1,)))
    directions = sheet.shaped(_narrow(sheet, term, factors, node), (planes,), node)
    csr = csr_for(sheet, message, table)
    inputs = [table, weights, directions, csr.indptr, csr.col, csr.row, csr.perm, csr.rows]
    count = max(planes, 1 if len(tail) == 1 or (first and own[1] == 1) else own[1 if first else 0])
    rows = None if node.outputs[0].shape is None else node.outputs[0].shape[0]
    result = sheet.make(
        "SpMMChannels",
        inputs,
        {"offset": offset},
        at=node,
        dtype=ir.DataType.FLOAT,
        shape=[rows, count, tail[term.channels]],
        domain=DOMAIN,
    )
    if len(tail) == 1:
        return sheet.shaped(result, tail, node)
    return sheet.transposed(result, (0, 2, 1), node) if first else result


def _narrow(sheet: Sheet, term: _Term, factors: list[Factor], node: ir.Node) -> ir.Value:
    """The product of an edge's other factors, beside the weights of channels; ones where it has none."""
    if factors:
        return product(sheet, None, factors, node, edges=True)
    source = term.message.source

    def ones() -> ir.Value:
        count = sheet.make("Shape", [source], at=node, dtype=ir.DataType.INT64, shape=[1])
        one = sheet.floats(1.0)
        return sheet.make("Expand", [one, count], at=node, dtype=ir.DataType.FLOAT, shape=[None])

    return sheet.once(("ones", source), ones)[0]


def _weights(sheet: Sheet, term: _Term, node: ir.Node) -> tuple[ir.Value, int, list[Factor]]:
    """The weights [E, W] of all channels, from which column on they are read, and factors that they had in common."""
    count = len(term.message.tail)
    if len(term.wide) > 1:
        whole = product(sheet, None, term.wide, node, edges=True)
        return sheet.shaped(whole, (term.message.tail[term.channels],), node), 0, []
    value = same_values(term.wide[0].edge)
    assert value is not None
    whole, offset = _part(value)
    scaled = made_by(whole, "Mul")
    more: list[Factor] = []
    if scaled is not None and all(use.node.op_type in {"Slice", "Split"} for use in whole.uses()):
        a, b = scaled.inputs
        for kept, factor in ((a, b), (b, a)):
            if kept is not None and factor is not None and tail_of(factor) == (1,) and tail_of(kept) == tail_of(whole):
                more.append(Factor(EDGE, factor, (1,) * count, False, factor))
                whole = kept
                break
    return whole if rank(whole) == 2 else sheet.shaped(whole, (term.message.tail[term.channels],), node), offset, more


def _part(value: ir.Value) -> tuple[ir.Value, int]:
    """The matrix that some columns are cut from, and the first one's place; the value itself and 0 otherwise."""
    node = made_by(value, "Slice", "Split")
    source = None if node is None else node.inputs[0]
    if node is None or source is None or rank(source) != 2:
        return value, 0
    if node.op_type == "Split":
        sizes = [tail_of(out) for out in node.outputs]
        if axis_of(node) not in (1, -1) or any(size is None for size in sizes):
            return value, 0
        before = [size[0] for size in sizes[: list(node.outputs).index(value)] if size]
        return source, sum(before)
    bounds = [array(v) for v in node.inputs[1:]]
    if any(b is None or b.size != 1 for b in bounds) or len(bounds) < 3:
        return value, 0
    start, _, axis, *step = (int(b.flat[0]) for b in bounds if b is not None)
    return (source, start) if axis in (1, -1) and start >= 0 and step in ([], [1]) else (value, 0)
