"""C code of attention whose scores depend on both ends of an edge at once: PairAttention and DotAttention."""

from __future__ import annotations

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.rows import Csr, at_least, columns_of, order_of, rows_of
from edgegnn.plain_c.values import Tensor, count, fixed

__all__ = ["dot_attention", "pair_attention"]


def pair_attention(features: bool, builder: Builder, node: Node) -> None:
    """PairAttention and PairAttentionEdges."""
    graph = 5 if features else 3
    source, target, att = (builder.tensor(node, place) for place in range(3))
    csr, rows = rows_of(builder, node, graph, graph + 3 + features)
    heads, width = _heads(node, source)
    at_least(builder, node, target.elements, count((rows, fixed(heads), fixed(width))))
    at_least(builder, node, att.elements, fixed(heads * width))
    columns = columns_of(builder, node, graph + 1, csr, source.shape[0])
    edges, depth, order = "NULL", 0, "NULL"
    product = "NULL"
    if features:
        edges, depth, order = _features(builder, node, 3, graph + 3, csr)
        matrix = builder.tensor(node, 4)
        at_least(builder, node, matrix.elements, fixed(depth * heads * width))
        product = pointer(builder, node.inputs[4], matrix)
    builder.kernels.add("pair_attention")
    y = builder.result(node.outputs[0], "float", (csr.entries, fixed(heads)))
    ends = ", ".join(pointer(builder, node.inputs[i], v) for i, v in enumerate((source, target, att)))
    slope = _number(node, "negative_slope", 0.2)
    sizes = f"{rows.text}, {heads}, {width}"
    given = f"{edges}, {depth}, {product}, {csr.indptr}, {columns}, {order}"
    builder.step(f"pair_attention({sizes}, {ends}, {slope}, {given}, {y.name});")


def dot_attention(features: bool, builder: Builder, node: Node) -> None:
    """DotAttention and DotAttentionEdges."""
    graph = 4 if features else 2
    query, key = builder.tensor(node, 0), builder.tensor(node, 1)
    csr, rows = rows_of(builder, node, graph, graph + 3 + features)
    heads, width = _heads(node, key)
    at_least(builder, node, query.elements, count((rows, fixed(heads), fixed(width))))
    columns = columns_of(builder, node, graph + 1, csr, key.shape[0])
    edges, depth, order = "NULL", 0, "NULL"
    asked = mixed = "NULL"
    y = builder.result(node.outputs[0], "float", (csr.entries, fixed(heads)))
    if features:
        edges, depth, order = _features(builder, node, 3, graph + 3, csr)
        own = builder.tensor(node, 2)
        shape = (rows, fixed(heads), fixed(depth))
        at_least(builder, node, own.elements, count(shape))
        asked = pointer(builder, node.inputs[2], own)
        mixed = builder.result(node.outputs[1], "float", shape).name
    builder.kernels.add("dot_attention")
    ends = ", ".join(pointer(builder, node.inputs[i], v) for i, v in enumerate((query, key)))
    head = f"{rows.text}, {heads}, {width}, {ends}, {_number(node, 'scale', 1.0)}"
    given = f"{asked}, {edges}, {depth}, {csr.indptr}, {columns}, {order}"
    builder.step(f"dot_attention({head}, {given}, {y.name}, {mixed});")


def _number(node: Node, name: str, otherwise: float) -> str:
    return float_literal(float(np.float32(node.attributes.get(name, otherwise))))


def _heads(node: Node, rows: Tensor) -> tuple[int, int]:
    """Heads of rows [C, H, K], and the columns of one."""
    sizes = [dim.fixed for dim in rows.shape[1:]]
    if len(sizes) != 2 or sizes[0] is None or sizes[1] is None:
        raise node.refuse("the number of heads or of their columns isn't fixed")
    return sizes[0], sizes[1]


def _features(builder: Builder, node: Node, place: int, perm: int, csr: Csr) -> tuple[str, int, str]:
    """The C expressions of the features of the edges and of their order, and how many an edge has."""
    features = builder.tensor(node, place)
    depth = features.shape[1].fixed if len(features.shape) == 2 else None
    if depth is None:
        raise node.refuse("the number of features of an edge isn't fixed")
    at_least(builder, node, features.shape[0], csr.entries)
    return pointer(builder, node.inputs[place], features), depth, order_of(builder, node, perm, csr)
