"""C code of [Q]EdgeProductMax and QEdgeMlpMax: rows of both ends of all edges, products, and the maximum."""

from __future__ import annotations

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, constant_tensor, pointer
from edgegnn.plain_c.dense import matmul
from edgegnn.plain_c.integer_operators import GemmForm, qgemm
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.rows import Csr, at_least, columns_of, rows_of
from edgegnn.plain_c.values import Dim, count, fixed

__all__ = ["edge_mlp", "edge_product"]

_MOST = 3.4028235e38
_ONE, _NONE = "QEdgeMlpMax.one", "QEdgeMlpMax.none"


def edge_product(codes: bool, builder: Builder, node: Node) -> None:
    """EdgeProductMax and QEdgeProductMax, by the C forms of the operators that they stand for."""
    csr, rows, width, ends, columns = _both_ends(builder, node, 5 if codes else 4)
    names = [f"{node.outputs[0]}.{part}" for part in ("ends", "messages")]
    sums = builder.result(names[0], "float", (csr.entries, fixed(width)))
    low, high = (float_literal(node.attributes.get(name, end)) for name, end in (("low", -_MOST), ("high", _MOST)))
    builder.kernels.add("edge_sums")
    builder.step(f"edge_sums({rows.text}, {width}, {ends}, {low}, {high}, {csr.indptr}, {columns}, {sums.name});")
    if codes:
        _trivial_inputs(builder)
        inputs = (names[0], *node.inputs[2:4], _ONE, node.inputs[4], _NONE)
        own = {k: v for k, v in node.attributes.items() if k not in ("low", "high")}
        product = Node(node.domain, "QuantizeGemmFloat", node.name, inputs, (names[1],), own)
        qgemm(GemmForm(floats=True, quantizes=True), builder, product)
    else:
        matmul(builder, Node(node.domain, "SparseGemm", node.name, (names[0], *node.inputs[2:4]), (names[1],), {}))
    _largest(builder, node, names[1], csr, rows)


def _trivial_inputs(builder: Builder) -> None:
    """A row scale of 1 and an addend of 0, which products of codes take."""
    builder.values |= {
        _ONE: constant_tensor(_ONE, np.ones(1, np.float32)),
        _NONE: constant_tensor(_NONE, np.zeros(1, np.float32)),
    }


def _both_ends(builder: Builder, node: Node, graph: int) -> tuple[Csr, Dim, int, str, str]:
    """The graph, its rows, how many features a node has, and the C expressions of both tables and of the columns."""
    source, target = builder.tensor(node, 0), builder.tensor(node, 1)
    csr, rows = rows_of(builder, node, graph, graph + 3)
    width = source.shape[1].fixed if len(source.shape) == 2 else None
    if width is None:
        raise node.refuse("the number of features isn't fixed")
    at_least(builder, node, target.elements, count((rows, fixed(width))))
    columns = columns_of(builder, node, graph + 1, csr, source.shape[0])
    return (
        csr,
        rows,
        width,
        ", ".join(pointer(builder, node.inputs[i], v) for i, v in enumerate((source, target))),
        columns,
    )


def _largest(builder: Builder, node: Node, messages: str, csr: Csr, rows: Dim) -> None:
    """The maximum of the messages of each row."""
    x = builder.tensor(Node(node.domain, "SegmentMax", node.name, (messages,), (), {}), 0)
    builder.kernels.add("reduce")
    y = builder.result(node.outputs[0], "float", (rows, x.shape[1]))
    builder.step(f"reduce(2, {rows.text}, {x.width}, {x.name}, {csr.indptr}, NULL, {y.name});")


def edge_mlp(builder: Builder, node: Node) -> None:
    """QEdgeMlpMax, by the C forms of the operators that it stands for."""
    csr, rows, width, given, columns = _both_ends(builder, node, 8)
    names = [f"{node.outputs[0]}.{part}" for part in ("ends", "hidden", "messages")]
    _trivial_inputs(builder)
    ends = builder.result(names[0], "float", (csr.entries, fixed(2 * width)))
    builder.kernels.add("edge_differences")
    builder.step(f"edge_differences({rows.text}, {width}, {given}, {csr.indptr}, {columns}, {ends.name});")
    own = node.attributes
    hidden = {f"y_{k[7:]}": v for k, v in own.items() if k in ("hidden_scale", "hidden_zero_point")}
    limits = {f"clip_{k[7:]}": v for k, v in own.items() if k in ("hidden_low", "hidden_high")}
    first = {**{k: v for k, v in own.items() if k.startswith("x_")}, **hidden, **limits}
    second = {f"x_{k[2:]}": v for k, v in hidden.items()}
    second |= {k: v for k, v in own.items() if k in ("clip_low", "clip_high")}
    inputs = node.inputs
    for form, op, x, y, (w, scale, bias), attributes in (
        (GemmForm(quantizes=True), "QuantizeGemm", names[0], names[1], inputs[2:5], first),
        (GemmForm(floats=True), "QGemmFloat", names[1], names[2], inputs[5:8], second),
    ):
        qgemm(form, builder, Node(node.domain, op, node.name, (x, w, scale, _ONE, bias, _NONE), (y,), attributes))
    _largest(builder, node, names[2], csr, rows)
