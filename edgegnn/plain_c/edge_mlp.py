"""C code of QEdgeMlpMax: rows of both ends of all edges, two products, and the maximum."""

from __future__ import annotations

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, constant_tensor, pointer
from edgegnn.plain_c.integer_operators import GemmForm, qgemm
from edgegnn.plain_c.rows import at_least, columns_of, rows_of
from edgegnn.plain_c.values import count, fixed

__all__ = ["edge_mlp"]

_ONE, _NONE = "QEdgeMlpMax.one", "QEdgeMlpMax.none"


def edge_mlp(builder: Builder, node: Node) -> None:
    """QEdgeMlpMax, by the C forms of the operators that it stands for."""
    source, target = builder.tensor(node, 0), builder.tensor(node, 1)
    csr, rows = rows_of(builder, node, 8, 11)
    width = source.shape[1].fixed if len(source.shape) == 2 else None
    if width is None:
        raise node.refuse("the number of features isn't fixed")
    at_least(builder, node, target.elements, count((rows, fixed(width))))
    columns = columns_of(builder, node, 9, csr, source.shape[0])
    names = [f"{node.outputs[0]}.{part}" for part in ("ends", "hidden", "messages")]
    builder.values |= {
        _ONE: constant_tensor(_ONE, np.ones(1, np.float32)),
        _NONE: constant_tensor(_NONE, np.zeros(1, np.float32)),
    }
    given = ", ".join(pointer(builder, node.inputs[i], v) for i, v in enumerate((source, target)))
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
    messages = builder.tensor(Node(node.domain, "SegmentMax", node.name, (names[2],), (), {}), 0)
    builder.kernels.add("reduce")
    largest = builder.result(node.outputs[0], "float", (rows, messages.shape[1]))
    builder.step(f"reduce(2, {rows.text}, {messages.width}, {messages.name}, {csr.indptr}, NULL, {largest.name});")
