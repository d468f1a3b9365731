"""C code of GatedSum and GatedSumEdges."""

from __future__ import annotations

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.rows import at_least, columns_of, order_of, rows_of
from edgegnn.plain_c.values import count, fixed

__all__ = ["gated_sum"]


def gated_sum(features: bool, builder: Builder, node: Node) -> None:
    """GatedSum and GatedSumEdges."""
    graph = 7 if features else 4
    ends = [builder.tensor(node, place) for place in range(4)]
    csr, rows = rows_of(builder, node, graph, graph + 3 + features)
    width = ends[0].shape[1].fixed if len(ends[0].shape) == 2 else None
    if width is None or any(len(each.shape) != 2 or each.shape[1].fixed != width for each in ends):
        raise node.refuse("the number of channels isn't fixed, or not the same")
    for place in (1, 3):
        at_least(builder, node, ends[place].elements, count((rows, fixed(width))))
    at_least(builder, node, ends[2].elements, ends[0].elements)
    columns = columns_of(builder, node, graph + 1, csr, ends[0].shape[0])
    edges, depth, order, products = "NULL", 0, "NULL", "NULL, NULL"
    if features:
        own, matrices = builder.tensor(node, 4), [builder.tensor(node, place) for place in (5, 6)]
        known = own.shape[1].fixed if len(own.shape) == 2 else None
        if known is None:
            raise node.refuse("the number of features of an edge isn't fixed")
        at_least(builder, node, own.shape[0], csr.entries)
        for matrix in matrices:
            at_least(builder, node, matrix.elements, fixed(known * width))
        edges, depth, order = pointer(builder, node.inputs[4], own), known, order_of(builder, node, graph + 3, csr)
        products = ", ".join(pointer(builder, node.inputs[5 + i], v) for i, v in enumerate(matrices))
    builder.kernels.add("gated_sum")
    y = builder.result(node.outputs[0], "float", (rows, fixed(width)))
    given = ", ".join(pointer(builder, node.inputs[i], v) for i, v in enumerate(ends))
    graph_text = f"{csr.indptr}, {columns}, {order}"
    builder.step(f"gated_sum({rows.text}, {width}, {given}, {edges}, {depth}, {products}, {graph_text}, {y.name});")
