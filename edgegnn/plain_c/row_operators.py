"""C code of operators on rows: LayerNormalization, QuantizeRows, MatMulInteger, Expand."""

from __future__ import annotations

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.elementwise import write
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.rows import at_least
from edgegnn.plain_c.values import Tensor, count, fixed

__all__ = ["expand", "layer_norm", "matmul_integer", "quantize_rows"]


def layer_norm(builder: Builder, node: Node) -> None:
    """LayerNormalization over the last axis."""
    x = builder.tensor(node, 0)
    width = x.shape[-1].fixed
    axis = int(node.attributes.get("axis", -1)) % len(x.shape)
    if axis != len(x.shape) - 1 or width is None or len(node.outputs) > 1:
        raise node.refuse("only that over the last axis has one")
    given = [(name, builder.tensor(node, i)) for i, name in enumerate(node.inputs) if i > 0 and name]
    for _, value in given:
        at_least(builder, node, value.elements, x.shape[-1])
    names = [pointer(builder, name, value) for name, value in given]
    bias = names[1] if len(names) > 1 else "NULL"
    builder.kernels.add("layer_norm")
    y = builder.result(node.outputs[0], "float", x.shape)
    epsilon = float_literal(float(np.float32(node.attributes.get("epsilon", 1e-5))))
    rows = count(x.shape[:-1]).text
    builder.step(f"layer_norm({rows}, {width}, {epsilon}, {x.name}, {names[0]}, {bias}, {y.name});")


def quantize_rows(builder: Builder, node: Node) -> None:
    """QuantizeRows."""
    x, step, top, factor = (builder.tensor(node, i) for i in range(4))
    for value in (step, top, factor):
        own = value.shape if value.elements.fixed != 1 else (fixed(1), fixed(1))
        if len(own) != 2 or len(x.shape) != 2:
            raise node.refuse("it takes a matrix in C")
        for have, need in zip(own, (x.shape[0] if value is not factor else fixed(1), x.shape[1]), strict=True):
            if have.fixed != 1:
                at_least(builder, node, have, need)
    zero = 128 if node.attributes.get("signed", 0) else 0
    steps = f"{_by(step, 0)}, {_by(step, 1)}, {_by(top, 0)}, {_by(top, 1)}, {_by(factor, 1)}"
    record = builder.record("rows", "quantize_rows_t", f"{{{steps}, {zero}}}")
    builder.kernels.add("quantize_rows")
    y = builder.result(node.outputs[0], "uint8_t", x.shape)
    given = ", ".join(pointer(builder, n, v) for n, v in zip(node.inputs[1:], (step, top, factor), strict=True))
    builder.step(f"quantize_rows(&{record}, {x.shape[0].text}, {x.width}, {x.name}, {given}, {y.name});")


def _by(value: Tensor, axis: int) -> int:
    """The step from one row (axis 0) or column (axis 1) to the next in a tensor [R, 1], [1, K] or of one element."""
    return 0 if value.elements.fixed == 1 or value.shape[axis].fixed == 1 else 1


def matmul_integer(builder: Builder, node: Node) -> None:
    """MatMulInteger of codes and constant weights, whose zero points are constant, too."""
    x = builder.tensor(node, 0)
    weight = builder.constant(node, 1).astype(np.int64)
    zeros = [builder.constant(node, i).astype(np.int64) if len(node.inputs) > i else np.zeros(1, int) for i in (2, 3)]
    centred = weight - zeros[1]
    if x.ctype != "uint8_t" or zeros[0].size != 1 or weight.ndim != 2 or np.abs(centred).max(initial=0) > 127:
        raise node.refuse("only uint8 codes with one zero point times 8-bit weights have one")
    depth, width = weight.shape
    builder.same(node, [x.shape[-1], fixed(depth)])
    table = builder.table(node.inputs[1], np.ascontiguousarray(centred.T.astype(np.int8)), "int8_t")
    builder.kernels.add("integer_matmul")
    y = builder.result(node.outputs[0], "int32_t", (*x.shape[:-1], fixed(width)))
    head = f"{count(x.shape[:-1]).text}, {depth}, {width}, {x.name}, {int(zeros[0].reshape(-1)[0])}"
    builder.step(f"integer_matmul({head}, {table}, {y.name});")


def expand(builder: Builder, node: Node) -> None:
    """Expand: broadcasting alone."""
    x = builder.tensor(node, 0)
    shape = builder.sizes(node, 1)
    write(builder, node, [x, Tensor("", x.ctype, shape)], x.ctype, lambda elements: elements[0])
