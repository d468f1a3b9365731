"""Graphs in compressed rows, as operators hand them on: which tensors are one, and how far its numbers reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegnn.plain_c.builder import Builder, Node
from edgegnn.plain_c.values import Dim, Tensor, fixed

__all__ = ["Csr", "at_least", "columns_of", "order_of", "rows_of"]


@dataclass(frozen=True)
class Csr:
    """A graph in compressed rows.

    Attributes:
        indptr: the C expression of its row pointers.
        rows: how many it has.
        columns: its entries' columns are below that.
        entries: how many it has; their places in the edge list are below that.
    """

    indptr: str
    rows: Dim
    columns: Dim
    entries: Dim


def at_least(builder: Builder, node: Node, have: Dim, need: Dim) -> None:
    """Have a size checked that memory depends on: here where both are numbers, else in the C code.

    Raises:
        ExportError: it is too small.
    """
    if have.text == need.text or need.most <= 0:
        return
    if have.fixed is not None and need.most <= have.fixed:
        return
    if have.fixed is not None and need.fixed is not None:
        raise node.refuse(f"a tensor has {have.text} elements where {need.text} are needed")
    builder.step(f"if ({have.text} < {need.text}) return BAD_SIZES;")


def rows_of(builder: Builder, node: Node, place: int, size: int) -> tuple[Csr, Dim]:
    """The graph of an operator, and how many rows it asks for.

    Args:
        builder: what the C code is added to.
        node: the operator.
        place: of its input `indptr`.
        size: of its input `num_rows`.

    Raises:
        ExportError: the input is no row pointers, or has fewer rows.
    """
    csr = builder.graphs.get(node.inputs[place])
    if csr is None:
        csr = _constant_rows(builder, node, place)
    (rows,) = builder.sizes(node, size)
    at_least(builder, node, csr.rows, rows)
    return csr, rows


def _constant_rows(builder: Builder, node: Node, place: int) -> Csr:
    array = builder.constant(node, place).reshape(-1).astype(np.int64)
    if array.size < 1 or array[0] != 0 or (np.diff(array) < 0).any():
        raise node.refuse("its row pointers are none")
    entries = fixed(int(array[-1]))
    return Csr(builder.index(node, place).name, fixed(array.size - 1), fixed(0), entries)


def columns_of(builder: Builder, node: Node, place: int, csr: Csr, below: Dim) -> str:
    """The C expression of the columns of a graph's entries, which are all below a size.

    Raises:
        ExportError: the input is not the columns of this graph, or one is too large.
    """
    own = builder.columns.get(node.inputs[place])
    if own is not None and own == csr:
        at_least(builder, node, below, csr.columns)
        return builder.index(node, place).name
    return _constant_places(builder, node, place, csr.entries, below)


def order_of(builder: Builder, node: Node, place: int, csr: Csr) -> str:
    """The C expression of the places of a graph's entries in the edge list; "NULL" where they are in order.

    Raises:
        ExportError: the input is not the order of this graph.
    """
    value = builder.values[node.inputs[place]]
    if not isinstance(value, Tensor) or value.elements.fixed == 0:
        return "NULL"
    own = builder.orders.get(node.inputs[place])
    if own is not None and own == csr:
        return builder.index(node, place).name
    return _constant_places(builder, node, place, csr.entries, csr.entries)


def _constant_places(builder: Builder, node: Node, place: int, number: Dim, below: Dim) -> str:
    array = builder.constant(node, place).reshape(-1)
    if number.fixed is None or array.size < number.fixed or array.dtype.kind not in "iu":
        raise node.refuse(f"its input {node.inputs[place]} is not of the same graph as its row pointers")
    if array.size:
        if int(array.min()) < 0:
            raise node.refuse("its constant index is out of range")
        at_least(builder, node, below, fixed(int(array.max()) + 1))
    return builder.index(node, place).name
